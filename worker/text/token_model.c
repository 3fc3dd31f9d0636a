/* See token_model.h. */
#include "worker/text/token_model.h"

#include "core/mem.h"

#include <string.h>

static const struct token_model_kind *const kinds[] = {&bpe_kind, &unigram_kind, &wordpiece_kind};

void *token_scratch_get(struct token_scratch *s, size_t n)
{
	void *p;

	if (n <= s->n)
		return s->p;
	p = mem_realloc(s->p, n, 2);
	if (!p)
		return NULL;
	s->p = p;
	s->n = 2 * n;
	return p;
}

void token_scratch_fini(struct token_scratch *s)
{
	mem_free(s->p);
	*s = (struct token_scratch){0};
}

enum err token_model_parse_vocab(const json_t *json, struct vocab *out, struct why *why)
{
	json_t *vocab, *value;
	const char *key;
	int32_t id;
	enum err e = json_get_object(json, "vocab", &vocab, why);

	if (e)
		return e;
	json_object_foreach (vocab, key, value) {
		if (!json_id(value, &id))
			return why_set(why, ERR_FORMAT,
			        "\"vocab\": the id of \"%.60s\" is not an integer from 0 to %d", key,
			        TOKENIZER_MAX_ID);
		e = vocab_add(out, key, strlen(key), id);
		if (e == ERR_EXISTS)
			return why_set(why, ERR_FORMAT, "\"vocab\": id %d is there twice, also as \"%.60s\"",
			        id, key);
		if (e)
			return e;
	}
	if (!out->n_tokens)
		return why_set(why, ERR_FORMAT, "\"vocab\" is empty");
	return OK;
}

enum err token_model_parse(const json_t *json, struct token_model *out, struct why *why)
{
	struct json_text type = {0};
	enum err e = json_get_text_optional(json, "type", &type, why);

	if (e)
		return e;
	if (!json_is_object(json))
		return why_set(why, ERR_FORMAT, "must be an object");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (type.p ? strcmp(type.p, kinds[i]->type) == 0 : kinds[i]->recognise(json)) {
			out->kind = kinds[i];
			e = kinds[i]->parse(json, out, why);
			if (e && e != ERR_MEM)
				why_prefix(why, "%s: ", kinds[i]->type);
			return e;
		}
	}
	if (!type.p)
		return why_set(why, ERR_FORMAT, "\"type\" is missing");
	return why_set(why, ERR_UNSUPPORTED, "the type \"%.60s\" is not known", type.p);
}

void token_model_fini(struct token_model *m)
{
	if (!m)
		return;
	if (m->kind)
		m->kind->free_state(m->state);
	vocab_fini(&m->vocab);
	*m = (struct token_model){0};
}
