/* See tokenizer_config.h. */
#include "worker/text/tokenizer_config.h"

#include "core/buf.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)16 << 20)

/* ---- the files ---- */

/* *out = the object in DIR/NAME, to own; NULL when there is no such file. */
static enum err load_object(const char *dir, const char *name, json_t **out, struct why *why)
{
	char *path = mem_printf("%s/%s", dir, name);
	json_error_t error = {0};
	struct buf text = {0};
	json_t *json = NULL;
	enum err e;

	if (!path)
		return ERR_MEM;
	e = buf_read_file(&text, path, CONFIG_MAX_BYTES);
	if (!e)
		json = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &error);
	if (!e && !json)
		e = json_out_of_memory(&error) ? ERR_MEM
		                               : why_set(why, ERR_FORMAT, "%s: not JSON: %s (line %d)", path,
		                                         error.text, error.line);
	else if (!e && !json_is_object(json))
		e = why_set(why, ERR_FORMAT, "%s: not a JSON object", path);
	else if (e && e != ERR_NOT_FOUND && e != ERR_MEM)
		why_set(why, e, "%s: %s", path, err_text(e));
	if (e)
		json_decref(json);
	else
		*out = json;
	buf_fini(&text);
	mem_free(path);
	return e == ERR_NOT_FOUND ? OK : e;
}

/* Put what one more file says into c: its members where they are missing, or all of it as member `key`. */
static enum err merge_file(
        const char *dir, const char *name, const char *key, struct tokenizer_config *c, struct why *why)
{
	json_t *json = NULL;
	enum err e = load_object(dir, name, &json, why);
	int failed = 0;

	if (e || !json)
		return e;
	if (key)
		failed = json_object_set(c->json, key, json);
	else
		failed = json_object_update_missing(c->json, json);
	json_decref(json);
	return failed ? ERR_MEM : OK;
}

enum err tokenizer_config_open(const char *dir, struct tokenizer_config *out, struct why *why)
{
	const json_t *kind;
	enum err e;

	out->kind = "";
	out->json = json_object();
	e = out->json ? merge_file(dir, "tokenizer_config.json", NULL, out, why) : ERR_MEM;
	if (!e)
		e = merge_file(dir, "special_tokens_map.json", NULL, out, why);
	if (!e)
		e = merge_file(dir, "added_tokens.json", "added_tokens_encoder", out, why);
	if (!e)
		e = merge_file(dir, "config.json", "model_config", out, why);
	if (e)
		return e;
	kind = json_get_any(out->json, "tokenizer_class");
	if (!kind)
		kind = json_get_any(json_object_get(out->json, "model_config"), "model_type");
	if (json_is_string(kind))
		out->kind = json_string_value(kind);
	return OK;
}

void tokenizer_config_fini(struct tokenizer_config *c)
{
	if (!c)
		return;
	json_decref(c->json);
	*c = (struct tokenizer_config){0};
}

bool tokenizer_config_is(const struct tokenizer_config *c, const char *family)
{
	return strcasestr(c->kind, family) != NULL;
}

enum err tokenizer_config_flag(
        const struct tokenizer_config *c, const char *key, bool usual, bool *out, struct why *why)
{
	*out = usual;
	return json_get_bool(c->json, key, out, why);
}

/* A token's name: a string, or an object's "content". */
static const char *name_of(const json_t *token)
{
	return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

const char *tokenizer_config_token(const struct tokenizer_config *c, const char *role, const char *usual)
{
	const json_t *token = json_object_get(c->json, role);

	return token ? name_of(token) : usual;
}

/* ---- added tokens ---- */

enum err token_list_init(struct token_list *l, const struct tokenizer_config *config, struct vocab *vocab)
{
	*l = (struct token_list){config, vocab, json_object()};
	return l->tokens ? OK : ERR_MEM;
}

void token_list_fini(struct token_list *l)
{
	json_decref(l->tokens);
	l->tokens = NULL;
}

/* The entry of a token: with the flags that `flags`, an object or not, has; a known one keeps its other
 * flags. */
static enum err put_token(
        struct token_list *l, const char *name, int32_t id, bool special, const json_t *flags)
{
	static const char *const keys[] = {"single_word", "lstrip", "rstrip", "normalized"};
	json_t *token = json_object_get(l->tokens, name);
	bool fresh = !token;

	if (fresh) {
		token = json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", name,
		        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 0);
		if (!token || json_object_set_new(l->tokens, name, token))
			return ERR_MEM;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *flag = json_object_get(flags, keys[i]);

		if (json_is_boolean(flag) && json_object_set(token, keys[i], flag))
			return ERR_MEM;
	}
	if (special && json_object_set_new(token, "special", json_true()))
		return ERR_MEM;
	return OK;
}

enum err token_list_add(struct token_list *l, const char *name, bool special)
{
	int32_t id = vocab_find(l->vocab, name, strlen(name));

	return id < 0 ? OK : put_token(l, name, id, special, NULL);
}

static enum err add_named(struct token_list *l, const json_t *token, const char *what, struct why *why)
{
	const char *name = name_of(token);
	int32_t id;
	enum err e = OK;

	if (!token || json_is_null(token))
		return OK;
	if (!name)
		return why_set(why, ERR_FORMAT, "tokenizer_config.json: \"%s\" names no token", what);
	id = vocab_find(l->vocab, name, strlen(name));
	if (id < 0) {
		id = (int32_t)l->vocab->n_ids;
		e = id > TOKENIZER_MAX_ID ? why_set(why, ERR_FORMAT, "more than %d tokens", TOKENIZER_MAX_ID)
		                          : vocab_add(l->vocab, name, strlen(name), id);
	}
	return e ? e : put_token(l, name, id, true, token);
}

/* One of the tokens that a file gives with its id. */
static enum err add_numbered(
        struct token_list *l, const char *name, json_int_t id, const json_t *flags, struct why *why)
{
	int32_t known = name ? vocab_find(l->vocab, name, strlen(name)) : -1;
	enum err e = OK;

	if (!name || id < 0 || id > TOKENIZER_MAX_ID || (known >= 0 && known != id))
		return why_set(why, ERR_FORMAT, "the added token \"%.60s\" cannot have id %lld",
		        name ? name : "", (long long)id);
	if (known < 0)
		e = vocab_add(l->vocab, name, strlen(name), (int32_t)id);
	if (e == ERR_EXISTS)
		return why_set(why, ERR_FORMAT, "the id %lld of the added token \"%.60s\" is another's",
		        (long long)id, name);
	return e ? e
	         : put_token(l, name, (int32_t)id, json_is_true(json_object_get(flags, "special")), flags);
}

static enum err add_files_tokens(struct token_list *l, struct why *why)
{
	json_t *token;
	const char *key;
	enum err e = OK;

	json_object_foreach (json_object_get(l->config->json, "added_tokens_encoder"), key, token) {
		if (!e)
			e = add_numbered(
			        l, key, json_is_integer(token) ? json_integer_value(token) : -1, NULL, why);
	}
	json_object_foreach (json_object_get(l->config->json, "added_tokens_decoder"), key, token) {
		if (!e)
			e = add_numbered(l, name_of(token), strtol(key, NULL, 10), token, why);
	}
	return e;
}

enum err token_list_add_configured(struct token_list *l, struct why *why)
{
	static const char *const roles[] = {
	        "unk_token", "bos_token", "eos_token", "pad_token", "sep_token", "cls_token", "mask_token"};
	const json_t *json = l->config->json, *token;
	size_t i;
	enum err e = add_files_tokens(l, why);

	for (i = 0; !e && i < sizeof(roles) / sizeof(roles[0]); i++)
		e = add_named(l, json_object_get(json, roles[i]), roles[i], why);
	json_array_foreach (json_object_get(json, "additional_special_tokens"), i, token) {
		if (!e)
			e = add_named(l, token, "additional_special_tokens", why);
	}
	return e;
}

json_t *token_list_array(const struct token_list *l)
{
	json_t *array = json_array(), *token;
	const char *key;

	json_object_foreach (l->tokens, key, token) {
		if (array && json_array_append(array, token)) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* ---- tokens around text ---- */

static int put_special(json_t *single, json_t *specials, const char *name, int32_t id)
{
	if (!name || id < 0)
		return 0;
	return json_array_append_new(
	               single, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", name, "type_id", 0)) |
	       json_object_set_new(specials, name,
	               json_pack("{s:s, s:[i], s:[s]}", "id", name, "ids", (int)id, "tokens", name));
}

enum err template_json(const struct vocab *vocab, const char *before, const char *after, json_t **out)
{
	int32_t before_id = before ? vocab_find(vocab, before, strlen(before)) : -1;
	int32_t after_id = after ? vocab_find(vocab, after, strlen(after)) : -1;
	json_t *single = json_array(), *pair = json_array(), *specials = json_object(), *json = NULL;
	int failed = !single || !pair || !specials;

	if (!failed)
		failed = put_special(single, specials, before, before_id) |
		         json_array_append_new(
		                 single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0)) |
		         put_special(single, specials, after, after_id);
	if (!failed)
		failed = json_array_extend(pair, single) | put_special(pair, specials, before, before_id) |
		         json_array_append_new(
		                 pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1)) |
		         put_special(pair, specials, after, after_id);
	if (!failed)
		json = json_pack("{s:s, s:O, s:O, s:O}", "type", "TemplateProcessing", "single", single,
		        "pair", pair, "special_tokens", specials);
	json_decref(single);
	json_decref(pair);
	json_decref(specials);
	if (!json)
		return ERR_MEM;
	*out = json;
	return OK;
}
