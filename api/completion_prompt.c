/* See completion_prompt.h. */
#include "api/completion_prompt.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define PROMPT_NAME_SIZE 32

void completion_prompts_fini(struct completion_prompts *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		ids_fini(&p->items[i].ids);
	mem_free(p->items);
	memset(p, 0, sizeof(*p));
}

enum err completion_ids_parse(const json_t *list, size_t vocab_size, const char *param, const char *name,
        struct ids *out, struct why *why)
{
	size_t n = json_array_size(list);
	int32_t *ids;
	enum err e;

	if (!json_is_array(list) || !n)
		return why_param(why, ERR_INVALID, param, "%s must be a list of token ids, not empty", name);
	ids = mem_calloc(n, sizeof(*ids));
	if (!ids)
		return ERR_MEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(list, i);
		json_int_t id = json_integer_value(item);

		if (!json_is_integer(item) || id < 0 || (uint64_t)id >= vocab_size) {
			mem_free(ids);
			return why_param(why, ERR_INVALID, param, "%s[%zu] must be a token id from 0 to %zu",
			        name, i, vocab_size - 1);
		}
		ids[i] = (int32_t)id;
	}
	e = ids_append(out, ids, n);
	mem_free(ids);
	return e;
}

/* One prompt: a string, or ids. */
static enum err prompt_parse(const json_t *json, size_t vocab_size, const char *name,
        struct completion_prompt *out, struct why *why)
{
	if (json_is_array(json))
		return completion_ids_parse(json, vocab_size, "prompt", name, &out->ids, why);
	if (!json_is_string(json))
		return why_param(
		        why, ERR_INVALID, "prompt", "%s must be a string or a list of token ids", name);
	out->text = json_string_value(json);
	out->n_text = json_string_length(json);
	return OK;
}

enum err completion_prompts_parse(
        const json_t *prompt, size_t vocab_size, struct completion_prompts *out, struct why *why)
{
	bool single = json_is_string(prompt) || json_is_integer(json_array_get(prompt, 0));
	size_t n = single ? 1 : json_array_size(prompt);
	struct completion_prompts p = {0};
	char name[PROMPT_NAME_SIZE];
	enum err e = OK;

	if (!n)
		return why_param(why, ERR_INVALID, "prompt",
		        "prompt must be a string, a list of strings, a list of token ids or a list of such "
		        "lists");
	if (n > COMPLETION_MAX_PROMPTS)
		return why_param(why, ERR_INVALID, "prompt", "prompt has %zu entries, at most %d are allowed",
		        n, COMPLETION_MAX_PROMPTS);
	p.items = mem_calloc(n, sizeof(*p.items));
	if (!p.items)
		return ERR_MEM;
	p.n = n;
	if (single)
		e = prompt_parse(prompt, vocab_size, "prompt", &p.items[0], why);
	for (size_t i = 0; !single && !e && i < n; i++) {
		snprintf(name, sizeof(name), "prompt[%zu]", i);
		e = prompt_parse(json_array_get(prompt, i), vocab_size, name, &p.items[i], why);
	}
	if (e)
		completion_prompts_fini(&p);
	else
		*out = p;
	return e;
}

enum err completion_prompts_encode(
        struct completion_prompts *p, const struct tokenizer *t, int32_t bos_id, struct why *why)
{
	for (size_t i = 0; i < p->n; i++) {
		struct completion_prompt *prompt = &p->items[i];
		enum err e = OK;

		if (!prompt->text)
			continue;
		e = tokenizer_encode(t, prompt->text, prompt->n_text, true, &prompt->ids);
		if (!e && !prompt->ids.n && bos_id < 0)
			return why_param(why, ERR_INVALID, "prompt",
			        "prompt must not be empty: this model has no token to begin a text with");
		if (!e && !prompt->ids.n)
			e = ids_append(&prompt->ids, &bos_id, 1);
		if (e)
			return e;
	}
	return OK;
}
