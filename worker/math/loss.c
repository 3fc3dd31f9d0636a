/* See loss.h. */
#include "worker/math/loss.h"

#include "worker/math/simd.h"

#include <math.h>

size_t argmax(size_t n, const float *x)
{
	float best = simd()->max(n, x);

	for (size_t i = 0; i < n; i++)
		if (x[i] == best)
			return i;
	return 0; /* nothing but NaN */
}

double log_sum_exp(size_t n, const float *x)
{
	float top = simd()->max(n, x);

	if (top == -INFINITY)
		top = 0;
	return (double)top + log(simd()->exp_sum(n, x, top, NULL));
}

void cross_entropy(size_t n, size_t V, float *logits, const int32_t *targets, float grad_scale,
        double *losses, unsigned char *correct)
{
	for (size_t i = 0; i < n; i++) {
		float *row = logits + i * V;
		size_t target = (size_t)targets[i];
		float top = simd()->max(V, row);
		double at_target = (double)row[target];
		double sum;

		if (correct)
			correct[i] = argmax(V, row) == target;
		sum = simd()->exp_sum(V, row, top, grad_scale != 0 ? row : NULL);
		losses[i] = log(sum) + ((double)top - at_target);
		if (grad_scale == 0)
			continue;
		simd()->scale(V, (float)((double)grad_scale / sum), row);
		row[target] -= grad_scale;
	}
}
