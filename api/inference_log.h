/*
 * Tokens and their log-probabilities, kept until they are written into an answer; and what tokens are called
 * there. One owner at a time.
 */
#ifndef REDD_API_INFERENCE_LOG_H
#define REDD_API_INFERENCE_LOG_H

#include "worker/serve/serve.h"

struct inference_log_entry {
	int32_t id;
	bool has_logprob; /* false: the first token of a prompt */
	float logprob;
	size_t text_offset; /* characters of the choice's text before this token */
	size_t first_top, n_top;
};

/* Zero-initialise. */
struct inference_log {
	struct inference_log_entry *entries; /* owned */
	size_t n, cap;
	struct token_logprob *tops; /* owned; all entries' one after the other, best first */
	size_t n_tops, cap_tops;
};
void inference_log_fini(struct inference_log *l);

/* Copies; the alternatives too. ERR_MEM; *l is unmodified then. */
enum err inference_log_append(struct inference_log *l, const struct serve_token *token, size_t text_offset);
/* Forget all entries, keep the memory. */
void inference_log_clear(struct inference_log *l);

/* Append the token as text: its bytes where they are UTF-8, else `prefix` and each byte as \xNN. ERR_MEM. */
enum err inference_token_name(const struct tokenizer *t, int32_t id, const char *prefix, struct buf *out);

/* Characters in n bytes of UTF-8. */
size_t inference_text_chars(const char *text, size_t n);

#endif
