/*
 * Beam search over scores, as Hugging Face's generate() does it: which continuations go on, which are
 * finished, when looking further ends. It knows ids and log-probabilities; what computes them, caches and
 * text are others' matters.
 *
 * A step: beam_offer() for every row in order, then beam_step(). Nothing is allocated in it. Thread: the
 * owner's.
 */
#ifndef REDD_SERVE_BEAM_H
#define REDD_SERVE_BEAM_H

#include "worker/serve/serve.h"

struct beam;

/* A token of an answer. */
struct beam_token {
	int32_t id;
	float logprob; /* its own, as offered */
	size_t source; /* step * width + row it was chosen from, both counted from 0 */
};

/* A finished answer; tokens are borrowed until the next call for one. */
struct beam_answer {
	size_t n_tokens; /* the end counts */
	const struct beam_token *tokens;
	double score; /* sum of the scores offered / n_tokens ^ length_penalty */
	bool ended;   /* the last token is an end; else there are max_tokens */
};

/* p->n_beams and max_tokens are > 0. An answer ends with one of `ends` (borrowed) or after max_tokens.
 * ERR_MEM. */
enum err beam_new(const struct beam_params *p, size_t max_tokens, size_t n_ends, const int32_t *ends,
        struct beam **out);
void beam_free(struct beam *b);

/* Rows of the next step, the best first: 1 at the start, later at most p->n_beams. */
size_t beam_n_rows(const struct beam *b);
/* The last token of a row; not before the first step. */
int32_t beam_row_token(const struct beam *b, size_t row);
/* All tokens of a row, oldest first, into ids (max_tokens). Returns how many: the number of steps so far. */
size_t beam_row_path(const struct beam *b, size_t row, int32_t *ids);

/* The row of the step before that a row continues. */
size_t beam_row_parent(const struct beam *b, size_t row);

/* The next tokens of a row: scores (n_vocab) are added to the row's own, -INFINITY is never chosen; logprobs
 * (n_vocab) are only remembered. */
void beam_offer(struct beam *b, size_t row, size_t n_vocab, const float *scores, const float *logprobs);
/* Choose among what was offered. True when the search is over. */
bool beam_step(struct beam *b);

/* Once it is over: the answers, best first; p->n_beams of them unless too little was offered. */
size_t beam_n_answers(const struct beam *b);
struct beam_answer beam_answer(struct beam *b, size_t k);

#endif
