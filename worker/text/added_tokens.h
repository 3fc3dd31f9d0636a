/*
 * tokenizer.json's "added_tokens": tokens found in text as they stand, before any model sees it. Immutable
 * once parsed.
 */
#ifndef REDD_TEXT_ADDED_TOKENS_H
#define REDD_TEXT_ADDED_TOKENS_H

#include "worker/text/json_get.h"
#include "worker/text/normalizer.h"
#include "worker/text/trie.h"
#include "worker/text/vocab.h"

struct added_token {
	int32_t id;
	bool single_word, lstrip, rstrip, normalized, special;
	size_t text, n_text; /* in the list's texts: what it is looked for as, and decoded to */
};

struct added_tokens {
	struct vocab names;        /* as written in the file */
	struct added_token *items; /* owned; by ascending id */
	struct buf texts;          /* owned */
	size_t n;
	struct trie raw;        /* those looked for in text as it came */
	struct trie normalized; /* those looked for after the normalizer, itself applied to them */
};

/* Zero-initialise *out; fini it on failure too. model is the model's vocabulary: a token in both has one id.
 */
enum err added_tokens_parse(const json_t *json, const struct vocab *model,
        const struct normalizer *normalizer, struct added_tokens *out, struct why *why);
void added_tokens_fini(struct added_tokens *a);

/* NULL when id is not an added token. */
const struct added_token *added_tokens_get(const struct added_tokens *a, int32_t id);

/* Call add for the stretches of p in order: text between tokens with token NULL, and the tokens found, with
 * the white space they swallow. trie is one of a's. */
enum err added_tokens_split(const struct added_tokens *a, const struct trie *trie, const char *p, size_t n,
        enum err (*add)(void *arg, const struct added_token *token, size_t start, size_t end), void *arg);

#endif
