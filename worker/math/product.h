/*
 * Products of rows with frozen weights, however many the rows: training, prefill and decoding. The order in
 * which the terms of one output are summed depends on K alone, never on M, N or the neighbours, so that a
 * request's numbers do not depend on who shares its batch; nor, wherever numbers are float32 or weights bf16
 * and the processor fuses multiplication and addition, on the processor.
 *
 * What is multiplied: float32 weights with x as it is. bf16 weights with x as it is (`exact`), or, where the
 * processor multiplies bf16, with x rounded to bf16 (sums float32 either way). int8 weights with x quantised
 * as they are, by groups of MATRIX_GROUP: integer sums within a group are exact, groups are added in float32.
 *
 * Thread: any; calls for disjoint ranges of outputs may run side by side and give the same bits as one call.
 */
#ifndef REDD_MATH_PRODUCT_H
#define REDD_MATH_PRODUCT_H

#include "worker/math/matrix.h"

#include <stdbool.h>
#include <stdint.h>

/* Rows x (M,K) as products with matrices of one format want them. Borrows x and scratch. */
struct product_rows {
	enum matrix_format format;
	size_t n, n_in; /* M, K */
	void *data;     /* read only where it is x */
	size_t ld;      /* between rows, in elements of data */
	bool pairs;     /* bf16: data is bf16 too */
	const float *x; /* as they were, with row distance ldx */
	size_t ldx;
	float *scales;   /* int8: (M, groups) */
	int32_t *shifts; /* int8: (M, groups) -128 * the group's sum */
};

/* Scratch that M rows need, whatever the format, in bytes; at a multiple of 64. */
size_t product_scratch_bytes(size_t n_rows, size_t n_in);
/* Prepare x (M,K) with row distance ldx. One preparation serves all products with the same x. Rows that are
 * used as they lie (float32 weights, or bf16 and exact) need no scratch. int8 is never exact. */
void product_prepare(enum matrix_format format, bool exact, size_t M, size_t K, const float *x, size_t ldx,
        void *scratch, struct product_rows *out);
/* The same in two steps: say where rows are to lie, and fill in rows begin .. end - 1 (different threads:
 * different rows). */
void product_place(enum matrix_format format, bool exact, size_t M, size_t K, const float *x, size_t ldx,
        void *scratch, struct product_rows *out);
void product_fill(const struct product_rows *rows, size_t begin, size_t end);
/* Outputs begin .. end - 1 of y (M,N) = x w^T + bias overwritten; y has row distance ldy, bias (N) may be
 * NULL. begin, and unless it is N end, multiples of MATRIX_PANEL. */
void product_forward(const struct matrix *w, size_t begin, size_t end, const struct product_rows *x,
        const float *bias, float *y, size_t ldy);
/* The way back: dx (M,K) = dy (M,N) w, or += where `add` says so, dy prepared as rows of N. float32 and bf16
 * weights alone. turned: scratch of PRODUCT_BACK_FLOATS at a multiple of 64. */
#define PRODUCT_BACK_FLOATS ((size_t)256 * 768)
void product_backward(const struct matrix *w, const struct product_rows *dy, float *turned, bool add,
        float *dx, size_t lddx);

#endif
