/*
 * Rotary position embedding (Su et al., 2021) in Hugging Face's half-split layout: pairs are (i, i + D/2).
 * Thread: any.
 */
#ifndef REDD_MATH_ROPE_H
#define REDD_MATH_ROPE_H

#include <stddef.h>

enum rope_scaling { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 };

struct rope_params {
	double theta;
	enum rope_scaling scaling;
	double factor;                 /* LINEAR, LLAMA3 */
	double low_freq_factor;        /* LLAMA3 */
	double high_freq_factor;       /* LLAMA3 */
	double original_max_positions; /* LLAMA3 */
};

/* cos_table, sin_table (n_positions, D/2) for positions first .. first + n_positions - 1; computed in double.
 */
void rope_table(const struct rope_params *p, size_t first, size_t n_positions, size_t D, float *cos_table,
        float *sin_table);
/* Rotate H heads of width D in each of T rows of x (row distance ldx), in place. positions (T) index the
 * tables. */
void rope_forward(size_t T, size_t H, size_t D, float *x, size_t ldx, const size_t *positions,
        const float *cos_table, const float *sin_table);
/* The inverse rotation, which is the gradient's: same arguments. */
void rope_backward(size_t T, size_t H, size_t D, float *dx, size_t ldx, const size_t *positions,
        const float *cos_table, const float *sin_table);

#endif
