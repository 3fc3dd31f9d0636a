/*
 * Log-probabilities of one row of logits, as the model gives them: before bias, penalties, temperature,
 * filters. Thread: any.
 */
#ifndef REDD_SERVE_LOGPROB_H
#define REDD_SERVE_LOGPROB_H

#include "worker/serve/serve.h"

/* logit - log_sum_exp, in double. log_total is log_sum_exp() of the row. */
float logprob_of(float logit, double log_total);
/* The n (<= SERVE_MAX_LOGPROBS) most probable of V tokens into top, best first, the lower id among equals;
 * returns how many there are, less than n only when V is. */
size_t logprob_top(size_t V, const float *logits, double log_total, size_t n, struct token_logprob *top);

#endif
