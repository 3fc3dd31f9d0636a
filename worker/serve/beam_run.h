/*
 * The beams of one request in the running batch: the search, a cache of keys and values for each row, what
 * the answers' log-probabilities will be. It turns rows of logits into the next rows; the request's text and
 * its life are sequence.h's. Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_BEAM_RUN_H
#define REDD_SERVE_BEAM_RUN_H

#include "worker/serve/beam.h"
#include "worker/serve/sampler.h"

struct beam_run;

/* What it needs beside the caches is small to them: some bytes a row and position.
 * request, pool and ends (n_ends) are borrowed; it has beams and max_tokens > 0, of n_positions with the
 * prompt. ERR_MEM. */
enum err beam_run_new(const struct serve_request *request, const struct model *m, struct kv_pool *pool,
        size_t max_tokens, size_t n_positions, size_t n_ends, const int32_t *ends, struct beam_run **out);
void beam_run_free(struct beam_run *run);
/* Give the caches back; only the answers remain. */
void beam_run_free_caches(struct beam_run *run);

/* Rows of the next step: one, which takes the prompt, until the first beam_run_advance(). */
size_t beam_run_n_rows(const struct beam_run *run);
int32_t beam_run_token(const struct beam_run *run, size_t row);
struct kv *beam_run_kv(const struct beam_run *run, size_t row);

/* Take all rows a step further by their logits (n_rows, V), which become log-probabilities. *over: the
 * answers are known. ERR_STATE when logits are not finite. Allocates nothing. */
enum err beam_run_advance(struct beam_run *run, size_t V, struct sampler *sampler, float *logits, bool *over);

/* beam.h's, and the alternatives to a token of an answer: NULL unless the request asked for some. */
size_t beam_run_n_answers(const struct beam_run *run);
struct beam_answer beam_run_answer(struct beam_run *run, size_t k);
const struct token_logprob *beam_run_top(const struct beam_run *run, const struct beam_token *token);

#endif
