/* See added_tokens.h. Matching is leftmost, then longest, as Hugging Face's automaton does. */
#include "worker/text/added_tokens.h"

#include "core/mem.h"
#include "worker/text/utf8.h"

#include <stdlib.h>

/* ---- reading ---- */

static enum err parse_flags(const json_t *json, struct added_token *out, struct why *why)
{
	enum err e = json_get_id(json, "id", &out->id, why);

	if (!e)
		e = json_get_bool(json, "single_word", &out->single_word, why);
	if (!e)
		e = json_get_bool(json, "lstrip", &out->lstrip, why);
	if (!e)
		e = json_get_bool(json, "rstrip", &out->rstrip, why);
	if (!e)
		e = json_get_bool(json, "normalized", &out->normalized, why);
	if (!e)
		e = json_get_bool(json, "special", &out->special, why);
	return e;
}

/* A token's string and id must not contradict the model's vocabulary. */
static enum err check_id(const struct vocab *model, struct json_text content, int32_t id, struct why *why)
{
	int32_t known = vocab_find(model, content.p, content.n);
	size_t n;

	if (known >= 0 && known != id)
		return why_set(why, ERR_FORMAT, "\"%.60s\" has id %d here and %d in the vocabulary",
		        content.p, id, known);
	if (known < 0 && vocab_text(model, id, &n))
		return why_set(why, ERR_FORMAT, "id %d of \"%.60s\" is another token's in the vocabulary", id,
		        content.p);
	return OK;
}

static enum err parse_token(const json_t *json, const struct vocab *model, struct added_tokens *out,
        struct json_text *content, struct why *why)
{
	struct added_token *token = &out->items[out->n];
	enum err e = json_get_text(json, "content", content, why);

	if (e)
		return e;
	e = parse_flags(json, token, why);
	if (e)
		return e;
	e = check_id(model, *content, token->id, why);
	if (e)
		return e;
	e = vocab_add(&out->names, content->p, content->n, token->id);
	if (e == ERR_EXISTS)
		return why_set(
		        why, ERR_FORMAT, "\"%.60s\" or its id %d is there twice", content->p, token->id);
	return e;
}

/* What a token is looked for as: its string, or what the normalizer makes of that. */
static enum err add_text(const struct normalizer *normalizer, struct regex_scratch *s,
        struct json_text content, struct added_tokens *out)
{
	struct added_token *token = &out->items[out->n];
	struct buf text = {0}, spare = {0};
	enum err e = buf_append(&text, content.p, content.n);

	if (!e && token->normalized)
		e = normalizer_apply(normalizer, s, &text, &spare);
	token->text = out->texts.len;
	token->n_text = text.len;
	if (!e)
		e = buf_append(&out->texts, text.data, text.len);
	buf_fini(&text);
	buf_fini(&spare);
	return e;
}

/* The trie of those tokens that are looked for after the normalizer, or before. */
static enum err build_trie(
        const struct added_tokens *a, bool normalized, struct trie_key *keys, struct trie *out)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct added_token *token = &a->items[i];

		if (token->normalized == normalized)
			keys[n++] = (struct trie_key){a->texts.data + token->text, token->n_text, token->id};
	}
	return trie_build(out, keys, n);
}

static enum err build_tries(struct added_tokens *a)
{
	struct trie_key *keys = mem_calloc(a->n, sizeof(*keys));
	enum err e = keys ? build_trie(a, false, keys, &a->raw) : ERR_MEM;

	if (!e)
		e = build_trie(a, true, keys, &a->normalized);
	mem_free(keys);
	return e;
}

static int compare_ids(const void *a, const void *b)
{
	const struct added_token *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static enum err parse_tokens(const json_t *json, const struct vocab *model,
        const struct normalizer *normalizer, struct added_tokens *out, struct why *why)
{
	struct regex_scratch *s;
	struct json_text content;
	json_t *token;
	size_t i;
	enum err e = regex_scratch_new(&s);

	if (e)
		return e;
	json_array_foreach (json, i, token) {
		e = parse_token(token, model, out, &content, why);
		if (!e)
			e = add_text(normalizer, s, content, out);
		if (e)
			break;
		out->n++;
	}
	regex_scratch_free(s);
	return e;
}

enum err added_tokens_parse(const json_t *json, const struct vocab *model,
        const struct normalizer *normalizer, struct added_tokens *out, struct why *why)
{
	enum err e;

	if (!json || json_is_null(json))
		return OK;
	if (!json_is_array(json))
		return why_set(why, ERR_FORMAT, "must be an array");
	out->items = mem_calloc(json_array_size(json), sizeof(*out->items));
	if (!out->items)
		return ERR_MEM;
	e = parse_tokens(json, model, normalizer, out, why);
	if (e || !out->n)
		return e;
	qsort(out->items, out->n, sizeof(*out->items), compare_ids);
	return build_tries(out);
}

void added_tokens_fini(struct added_tokens *a)
{
	if (!a)
		return;
	vocab_fini(&a->names);
	mem_free(a->items);
	buf_fini(&a->texts);
	trie_fini(&a->raw);
	trie_fini(&a->normalized);
	*a = (struct added_tokens){0};
}

const struct added_token *added_tokens_get(const struct added_tokens *a, int32_t id)
{
	struct added_token key = {.id = id};

	return a->n ? bsearch(&key, a->items, a->n, sizeof(*a->items), compare_ids) : NULL;
}

/* ---- finding ---- */

static bool stands_alone(const char *p, size_t n, size_t start, size_t end)
{
	return (start == 0 || !utf8_is_word(utf8_last(p, start))) &&
	       (end == n || !utf8_is_word(utf8_get(p + end)));
}

enum err added_tokens_split(const struct added_tokens *a, const struct trie *trie, const char *p, size_t n,
        enum err (*add)(void *arg, const struct added_token *token, size_t start, size_t end), void *arg)
{
	size_t done = 0, len = 0;
	enum err e = OK;

	for (size_t i = 0; trie->n && i < n && !e;) {
		const struct added_token *token;
		size_t start = i, end;
		int32_t found;

		if (!trie->roots[(unsigned char)p[i]] ||
		        (found = trie_longest(trie, 0, p + i, n - i, &len)) < 0) {
			i++;
			continue;
		}
		token = added_tokens_get(a, found);
		i += len;
		end = i;
		if (token->single_word && !stands_alone(p, n, start, end))
			continue;
		if (token->lstrip)
			start -= utf8_trailing_space(p, start);
		if (start < done)
			start = done;
		if (token->rstrip)
			end += utf8_leading_space(p + end, n - end);
		if (end < done)
			continue; /* within the space that the one before took */
		if (start > done)
			e = add(arg, NULL, done, start);
		if (!e)
			e = add(arg, token, start, end);
		done = end;
	}
	if (!e && done < n)
		e = add(arg, NULL, done, n);
	return e;
}
