/* See loss.h. */
#include "worker/math/loss.h"

#include "worker/math/simd.h"

#include <math.h>

/* The first of n numbers that equals best; 0 when none does, as when all are NaN. */
static size_t first_equal(size_t n, const float *x, float best)
{
	for (size_t i = 0; i < n; i++)
		if (x[i] == best)
			return i;
	return 0;
}

size_t argmax(size_t n, const float *x)
{
	return first_equal(n, x, simd()->max(n, x));
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
			correct[i] = row[target] == top && first_equal(V, row, top) == target;
		sum = simd()->exp_sum(V, row, top, grad_scale != 0 ? row : NULL);
		losses[i] = log(sum) + ((double)top - at_target);
		if (grad_scale == 0)
			continue;
		simd()->scale(V, (float)((double)grad_scale / sum), row);
		row[target] -= grad_scale;
	}
}
