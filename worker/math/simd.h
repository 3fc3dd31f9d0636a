/*
 * The vector kernels behind the public headers of this folder, compiled once per cpu_level() from the same
 * source (simd_body.h) and reached through a table. Internal to math/.
 *
 * In every kernel the arithmetic of one output depends on its own inputs and, for reductions, their number:
 * never on its place, its neighbours or alignment. Vectors that run past an end are padded and take the
 * same instructions. All levels that fuse products and sums give the same bits, but for int8 and pairs of
 * bf16.
 */
#ifndef REDD_MATH_SIMD_H
#define REDD_MATH_SIMD_H

#include "worker/math/activation.h"
#include "worker/math/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that memory hands over at once, for prefetching. */
#define CACHE_LINE 64

/* Scales and integers of a group of a panel of outputs. */
#define INT8_BLOCK_BYTES (MATRIX_PANEL * (sizeof(float) + MATRIX_GROUP))

/* Quantised rows (n, n_groups * MATRIX_GROUP). */
struct int8_rows {
	size_t n, n_groups;
	const int8_t *q;
	const float *scales;   /* (n, n_groups) */
	const int32_t *shifts; /* (n, n_groups) */
};

/* Terms of a sum of K that are added up by themselves, before the next so many: short sums lose less. A
 * multiple of MATRIX_PANEL, at most PRODUCT_BLOCK, that cuts even a short sum in parts. */
#define PRODUCT_BLOCK ((size_t)256)
#define PRODUCT_PARTS 2
static inline size_t product_block(size_t K)
{
	size_t part = (K / PRODUCT_PARTS + MATRIX_PANEL - 1) / MATRIX_PANEL * MATRIX_PANEL;

	return part < MATRIX_PANEL ? MATRIX_PANEL : part < PRODUCT_BLOCK ? part : PRODUCT_BLOCK;
}

/* y (M,N) = or += x w^T + bias. */
struct product_call {
	size_t M, N, K;
	size_t block; /* terms that are added up by themselves */
	const void *x;
	size_t ldx;  /* in elements of x */
	bool turned; /* float32 alone: x is (K,M) */
	const void *w;
	size_t panel;      /* bytes from panel to panel of w */
	const float *bias; /* (N) or NULL */
	float *y;
	size_t ldy;
	bool add;
};

struct simd_kernels {
	/* product.h; x (M,K) float32, or for product_pairs bf16, zeros behind an odd K. product_pairs is NULL
	 * where the level has no such thing. */
	void (*product_f32)(const struct product_call *c);
	void (*product_bf16)(const struct product_call *c);
	void (*product_pairs)(const struct product_call *c);
	void (*product_int8)(const struct int8_rows *x, size_t N, const char *panels, const float *bias,
	        float *y, size_t ldy);
	void (*rows_int8)(size_t K, const float *x, int8_t *q, float *scales, int32_t *shifts);

	/* A panel (K, MATRIX_PANEL) of rows (n,K), n <= MATRIX_PANEL, with zeros beside them. */
	void (*panel_of_rows)(size_t n, size_t K, const float *rows, size_t ld, float *panel);
	/* Pairs of inputs (n/2, MATRIX_PANEL outputs, 2) as pairs of outputs (MATRIX_PANEL/2, MATRIX_PANEL
	 * inputs, 2), zeros where n < MATRIX_PANEL ends. NULL as product_pairs is. */
	void (*pairs_turn)(size_t n, const uint16_t *from, uint16_t *to);
	/* matrix.h. A group: n <= MATRIX_GROUP, padded with zeros; returns the scale. Rows of a panel: n <=
	 * MATRIX_PANEL. */
	float (*quantise)(size_t n, const float *x, int8_t *q);
	void (*unpack_int8)(size_t K, size_t n, const char *panel, float *rows);
	void (*to_bf16)(size_t n, const float *x, uint16_t *y);

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
	/* y += a[j] * (x + j * ldx) for `rows` rows of x in turn. */
	void (*axpy_rows)(size_t rows, size_t n, const float *a, const float *x, size_t ldx, float *y);
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

extern const struct simd_kernels simd_portable, simd_avx2, simd_avx512, simd_avx512_vnni, simd_avx512_bf16,
        simd_amx;

/* The table of cpu_level(). */
const struct simd_kernels *simd(void);

#endif
