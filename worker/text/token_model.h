/*
 * tokenizer.json's "model": from a piece of text to ids. Each kind of model is a row of the table in
 * token_model.c. Immutable once parsed; any thread may encode with a scratch of its own.
 */
#ifndef REDD_TEXT_TOKEN_MODEL_H
#define REDD_TEXT_TOKEN_MODEL_H

#include "worker/text/json_get.h"
#include "worker/text/tokenizer.h"
#include "worker/text/vocab.h"

/* Working memory of one encode call, grown as pieces ask for it. Zero-initialise. */
struct token_scratch {
	void *p; /* owned */
	size_t n;
};
/* At least n bytes, aligned for anything, not zeroed; NULL when memory is short. */
void *token_scratch_get(struct token_scratch *s, size_t n);
void token_scratch_fini(struct token_scratch *s);

struct token_model {
	const struct token_model_kind *kind;
	struct vocab vocab;
	void *state; /* owned; what the kind keeps */
};

struct token_model_kind {
	const char *type;
	/* Whether a model without a "type" is of this kind. */
	bool (*recognise)(const json_t *json);
	/* Fill vocab and state. */
	enum err (*parse)(const json_t *json, struct token_model *out, struct why *why);
	/* Append the ids of one piece (n > 0 bytes of UTF-8). */
	enum err (*encode)(const struct token_model *m, struct token_scratch *s, const char *p, size_t n,
	        struct ids *out);
	void (*free_state)(void *state);
};

/* Zero-initialise *out; fini it on failure too. */
enum err token_model_parse(const json_t *json, struct token_model *out, struct why *why);
void token_model_fini(struct token_model *m);

/* A kind's "vocab" that is an object of strings and ids. */
enum err token_model_parse_vocab(const json_t *json, struct vocab *out, struct why *why);

extern const struct token_model_kind bpe_kind, unigram_kind, wordpiece_kind;

#endif
