/*
 * One choice of an answer while it grows: its text, its tokens' log-probabilities, how it ended. It is
 * written by one thread at a time: the handler's before its request is submitted, then the serving thread's,
 * then whoever assembles the answer. It knows nothing of the exchange or of other choices.
 */
#ifndef REDD_API_INFERENCE_CHOICE_H
#define REDD_API_INFERENCE_CHOICE_H

#include "api/inference_codec.h"
#include "api/inference_request.h"

/* Zero-initialise. */
struct inference_choice {
	const struct inference_codec *codec; /* borrowed, as the two below */
	const struct inference_request *request;
	const struct tokenizer *tokenizer;
	size_t prompt;            /* which of the request's prompts */
	size_t index;             /* place in the answer of a stream */
	struct buf text;          /* not yet taken */
	struct inference_log log; /* not yet taken */
	struct detok *detok;      /* owned; to count characters; only when text offsets are wanted */
	size_t n_chars;           /* of the choice's text, by that count */
	size_t prompt_chars;      /* n_chars where the answer begins */
	bool started;             /* the first generated token has been seen */
	double logprob_sum;       /* of the generated tokens that have one: */
	size_t n_scored;
	size_t n_generated; /* as the engine counts */
	enum serve_finish finish;
};

/* A choice for one of the request's prompts. With echo its text begins with the prompt's. ERR_MEM: c may be
 * half built, to be finished with inference_choice_fini() all the same. */
enum err inference_choice_init(struct inference_choice *c, const struct inference_codec *codec,
        const struct inference_request *request, const struct tokenizer *t, size_t prompt, size_t index);
void inference_choice_fini(struct inference_choice *c);

/* Take in one token, or the end. ERR_MEM. */
enum err inference_choice_token(struct inference_choice *c, const struct serve_token *token);
enum err inference_choice_done(struct inference_choice *c, const struct serve_result *result);

/* Whether there is text to stream. */
bool inference_choice_has_text(const struct inference_choice *c);
/* What has been gathered, as a piece of a stream, and forget it. NULL when memory is short. */
json_t *inference_choice_take_json(struct inference_choice *c, enum serve_finish finish);
/* All of it, as a whole choice. NULL when memory is short. */
json_t *inference_choice_json(const struct inference_choice *c, size_t index);

/* ---- all choices of a request: best_of for each prompt, a prompt's together ---- */

/* The choices wanted: the first n of each prompt, or when more were sampled the n whose tokens have the
 * highest mean log-probability, best first. NULL when memory is short. */
json_t *inference_choices_json(
        const struct inference_request *request, const struct inference_choice *choices);
/* A prompt counts once; every token sampled counts. */
struct inference_usage inference_choices_usage(
        const struct inference_request *request, const struct inference_choice *choices);

#endif
