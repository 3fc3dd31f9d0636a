/*
 * Prompts of /v1/completions: a string, a list of strings, token ids, or a list of lists of token ids.
 * Pure; the owner's thread.
 */
#ifndef REDD_API_COMPLETION_PROMPT_H
#define REDD_API_COMPLETION_PROMPT_H

#include "worker/text/tokenizer.h"

#include <jansson.h>

#define COMPLETION_MAX_PROMPTS 1024

struct completion_prompt {
	const char *text; /* borrowed from the JSON; NULL when ids were given */
	size_t n_text;
	struct ids ids; /* owned; as given, or by completion_prompts_encode() */
};

/* Zero-initialise. */
struct completion_prompts {
	struct completion_prompt *items; /* owned */
	size_t n;
};
void completion_prompts_fini(struct completion_prompts *p);

/* Ids are below vocab_size. ERR_INVALID with why->param "prompt", ERR_MEM; *out is untouched then. */
enum err completion_prompts_parse(
        const json_t *prompt, size_t vocab_size, struct completion_prompts *out, struct why *why);

/* Give every text its ids, special tokens added. A text without any begins from bos_id, when there is one
 * (>= 0). ERR_INVALID, ERR_MEM. */
enum err completion_prompts_encode(
        struct completion_prompts *p, const struct tokenizer *t, int32_t bos_id, struct why *why);

/* One list of token ids, each in [0, vocab_size), not empty, appended to out. name is what to call it
 * ("tokens", "prompt[3]"); param is why's. */
enum err completion_ids_parse(const json_t *list, size_t vocab_size, const char *param, const char *name,
        struct ids *out, struct why *why);

#endif
