/*
 * The vector kernels behind the public headers of this folder, compiled once per cpu_level() from the same
 * source (simd_body.h) and reached through a table. Internal to math/.
 *
 * In every kernel the arithmetic of one output depends on its own inputs and, for reductions, their number:
 * never on its place, its neighbours or alignment. Vectors that run past an end are padded and take the
 * same instructions. Between levels the last bits may differ.
 */
#ifndef REDD_MATH_SIMD_H
#define REDD_MATH_SIMD_H

#include "worker/math/activation.h"

#include <stdbool.h>
#include <stddef.h>

struct simd_kernels {
	/* skinny.h */
	void (*skinny)(size_t M, size_t N, size_t K, const float *restrict x, size_t ldx,
	        const float *restrict w, const float *restrict bias, float *restrict y, size_t ldy);

	/* activation.h */
	void (*activation_forward)(enum activation f, size_t n, const float *x, float *y);
	void (*activation_backward)(enum activation f, size_t n, const float *x, const float *dy, float *dx);
	void (*gated_forward)(enum activation f, size_t n, const float *gate, const float *up, float *y);
	void (*gated_backward)(enum activation f, size_t n, const float *gate, const float *up,
	        const float *dy, float *dgate, float *dup);

	/* norm.h, one row */
	void (*layernorm)(size_t C, const float *x, const float *weight, const float *bias, float eps,
	        float *y, float *mean, float *rstd);
	void (*layernorm_backward)(size_t C, const float *dy, const float *x, const float *weight, float mean,
	        float rstd, float *dx);
	void (*rmsnorm)(size_t C, const float *x, const float *weight, float eps, float *y, float *rstd);
	void (*rmsnorm_backward)(
	        size_t C, const float *dy, const float *x, const float *weight, float rstd, float *dx);

	/* The largest of n numbers, ignoring NaN; -inf when there is none. */
	float (*max)(size_t n, const float *x);
	/* The sum of exp(x - shift); the terms go to y (n) unless it is NULL. y may be x. */
	double (*exp_sum)(size_t n, const float *x, float shift, float *y);
	float (*dot)(size_t n, const float *a, const float *b);
	/* out[j] = dot(a, b + j * ldb), the same bits, for `rows` rows of b. */
	void (*dot_rows)(size_t rows, size_t n, const float *a, const float *b, size_t ldb, float *out);
	/* y += a * x, y += x, y *= a. */
	void (*axpy)(size_t n, float a, const float *x, float *y);
	void (*add)(size_t n, const float *x, float *y);
	void (*scale)(size_t n, float a, float *y);
	/* s = a * s + (b unless NULL). */
	void (*scale_add)(size_t n, float a, const float *b, float *s);
	/* ds = p * (ds - delta) * scale: the gradient through a softmax row. */
	void (*softmax_backward)(size_t n, const float *p, float delta, float scale, float *ds);
	/* Rotate the pairs (a[i], b[i]) by cos[i], sign * sin[i]. */
	void (*rotate)(size_t n, const float *cos_row, const float *sin_row, float sign, float *a, float *b);
	/* edit.h, one row; scale and bias may be NULL. */
	void (*edit)(size_t C, float *h, const float *scale, const float *bias);
	void (*edit_backward)(
	        size_t C, float *dh, const float *h, const float *scale, float *dscale, float *dbias);
	/* vec.h */
	void (*from_f16)(size_t n, const void *src, float *dst);
	void (*from_bf16)(size_t n, const void *src, float *dst);
};

extern const struct simd_kernels simd_portable, simd_avx2, simd_avx512;

/* The table of cpu_level(). */
const struct simd_kernels *simd(void);

#endif
