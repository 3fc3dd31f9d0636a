/*
 * The decoding fields of a request: how the next token is chosen, by sampling or with beams. JSON to
 * sample_params and beam_params, checked; and the seed each of several choices draws from. Pure; any thread.
 */
#ifndef REDD_API_SAMPLE_REQUEST_H
#define REDD_API_SAMPLE_REQUEST_H

#include "worker/serve/serve.h"

#include <jansson.h>

struct sample_request {
	struct sample_params params; /* seed is the request's; see sample_request_seed() */
	bool has_seed;
	struct beam_params beams; /* n_beams is 1 without */
};

/* temperature, top_p, top_k, min_p, the penalties, seed and logit_bias, with OpenAI's defaults;
 * no_repeat_ngram_size, num_beams, length_penalty and early_stopping with Hugging Face's. Ids of logit_bias
 * are below vocab_size; with beams temperature is 0. ERR_INVALID with why->param; *out is untouched then. */
enum err sample_request_parse(
        const json_t *body, size_t vocab_size, struct sample_request *out, struct why *why);

/* The seed of the k-th choice: `seed` itself for the first, so that n = 1 is the seed's own answer. */
uint64_t sample_request_seed(uint64_t seed, size_t k);

#endif
