/* See rope.h. */
#include "worker/math/rope.h"

#include "worker/math/simd.h"

#include <math.h>

/* The angle per position of pair i. LLaMA 3 leaves fast pairs alone, slows slow ones by factor, and blends
 * between. */
static double frequency(const struct rope_params *p, size_t i, size_t D)
{
	double f = pow(p->theta, -2.0 * (double)i / (double)D);
	double turns, blend;

	switch (p->scaling) {
	case ROPE_DEFAULT:
		return f;
	case ROPE_LINEAR:
		return f / p->factor;
	case ROPE_LLAMA3:
		turns = p->original_max_positions * f / (2 * M_PI);
		if (turns > p->high_freq_factor)
			return f;
		if (turns < p->low_freq_factor)
			return f / p->factor;
		blend = (turns - p->low_freq_factor) / (p->high_freq_factor - p->low_freq_factor);
		return (1 - blend) * f / p->factor + blend * f;
	}
	return f;
}

void rope_table(const struct rope_params *p, size_t first, size_t n_positions, size_t D, float *cos_table,
        float *sin_table)
{
	for (size_t i = 0; i < D / 2; i++) {
		double f = frequency(p, i, D);

		for (size_t t = 0; t < n_positions; t++) {
			double angle = (double)(first + t) * f;

			cos_table[t * (D / 2) + i] = (float)cos(angle);
			sin_table[t * (D / 2) + i] = (float)sin(angle);
		}
	}
}

static void rotate_rows(size_t T, size_t H, size_t D, float *x, size_t ldx, const size_t *positions,
        const float *cos_table, const float *sin_table, float sign)
{
	for (size_t t = 0; t < T; t++) {
		const float *cos_row = cos_table + positions[t] * (D / 2);
		const float *sin_row = sin_table + positions[t] * (D / 2);

		for (size_t h = 0; h < H; h++) {
			float *head = x + t * ldx + h * D;

			simd()->rotate(D / 2, cos_row, sin_row, sign, head, head + D / 2);
		}
	}
}

void rope_forward(size_t T, size_t H, size_t D, float *x, size_t ldx, const size_t *positions,
        const float *cos_table, const float *sin_table)
{
	rotate_rows(T, H, D, x, ldx, positions, cos_table, sin_table, 1);
}

void rope_backward(size_t T, size_t H, size_t D, float *dx, size_t ldx, const size_t *positions,
        const float *cos_table, const float *sin_table)
{
	rotate_rows(T, H, D, dx, ldx, positions, cos_table, sin_table, -1);
}
