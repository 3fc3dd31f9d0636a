/*
 * From one row of logits to the next token. The order is that of Hugging Face's and vLLM's processors: bias,
 * penalties, n-grams, temperature, top-k, top-p, min-p, draw. Pure: what is chosen is a function of the
 * arguments, summed in a fixed order, whoever else is in the batch. Thread: a sampler is scratch and has one
 * owner.
 */
#ifndef REDD_SERVE_SAMPLER_H
#define REDD_SERVE_SAMPLER_H

#include "worker/serve/serve.h"

struct sampler;

/* What a sequence consists of so far. Ids outside the vocabulary are passed over. */
struct sample_history {
	const int32_t *prompt;
	size_t n_prompt;
	const int32_t *generated;
	size_t n_generated;
};

/* What a decoder has before its own tokens, none of which there are yet: the prompt, or of a seq2seq, whose
 * encoder has the prompt, the token it starts from. Borrowed from both. */
struct sample_history sample_history_start(const struct serve_request *r, const struct model_info *info);

/* ERR_INVALID with why->param when a field is out of range or not finite, or a bias names no token. */
enum err sample_params_check(const struct sample_params *p, size_t n_vocab, struct why *why);

enum err sampler_new(size_t n_vocab, struct sampler **out);
void sampler_free(struct sampler *s);

/* The row x (n_vocab) under bias and penalties, with -INFINITY for what would repeat an n-gram: x itself
 * where nothing changes it, else s's own until the next call. Allocates nothing. */
const float *sampler_adjust(struct sampler *s, const struct sample_params *p,
        const struct sample_history *history, const float *x);

/* The next token. logits (n_vocab) are left alone; u in [0, 1) is the draw and unused when greedy. Greedy
 * takes the lowest id among equals. Top-k keeps every token equal to the k-th, as Hugging Face does.
 * ERR_STATE when the logits are not finite: then nothing can be chosen. Allocates nothing. */
enum err sampler_pick(struct sampler *s, const struct sample_params *p, const struct sample_history *history,
        const float *logits, double u, int32_t *token);

#endif
