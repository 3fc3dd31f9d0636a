/* See logprob.h. */
#include "worker/serve/logprob.h"

#include <math.h>

float logprob_of(float logit, double log_total)
{
	return (float)fmin((double)logit - log_total, 0);
}

size_t logprob_top(size_t V, const float *logits, double log_total, size_t n, struct token_logprob *top)
{
	size_t n_top = 0;

	if (n > SERVE_MAX_LOGPROBS)
		n = SERVE_MAX_LOGPROBS;
	for (size_t i = 0; i < V && n > 0; i++) {
		size_t at;

		if (n_top == n && !(logits[i] > top[n - 1].logprob))
			continue;
		at = n_top < n ? n_top++ : n - 1;
		for (; at > 0 && logits[i] > top[at - 1].logprob; at--)
			top[at] = top[at - 1];
		top[at] = (struct token_logprob){.id = (int32_t)i, .logprob = logits[i]};
	}
	for (size_t i = 0; i < n_top; i++)
		top[i].logprob = logprob_of(top[i].logprob, log_total);
	return n_top;
}
