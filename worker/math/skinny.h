/*
 * Products with few rows, for decoding: weights are streamed once whatever the number of rows, and the
 * order in which the terms of one output are summed depends on K alone, never on M, N or the neighbours.
 * So a request's numbers do not depend on who shares its batch. Kernels by cpu_level().
 *
 * What is multiplied: float32 weights with x as it is. bf16 weights with x as it is, or, where the processor
 * multiplies bf16, with x rounded to bf16 (sums float32 either way). int8 weights with x quantised as they
 * are, by groups of MATRIX_GROUP: integer sums within a group are exact, groups are added in float32.
 *
 * Thread: any; calls for disjoint ranges of outputs may run side by side and give the same bits as one call.
 */
#ifndef REDD_MATH_SKINNY_H
#define REDD_MATH_SKINNY_H

#include "worker/math/matrix.h"

#include <stdint.h>

/* Rows x (M,K) as products with matrices of one format want them. Borrows x and scratch. */
struct skinny_rows {
	enum matrix_format format;
	size_t n, n_in; /* M, K */
	const void *data;
	size_t ld;             /* between rows, in elements of data */
	const float *scales;   /* int8: (M, groups) */
	const int32_t *shifts; /* int8: (M, groups) -128 * the group's sum */
};

/* Scratch that M rows need, whatever the format, in bytes; at a multiple of 64. */
size_t skinny_scratch_bytes(size_t n_rows, size_t n_in);
/* Prepare x (M,K) with row distance ldx. One preparation serves all products with the same x. */
void skinny_prepare(enum matrix_format format, size_t M, size_t K, const float *x, size_t ldx, void *scratch,
        struct skinny_rows *out);
/* Outputs begin .. end - 1 of y (M,N) = x w^T + bias overwritten; y has row distance ldy, bias (N) may be
 * NULL. begin, and unless it is N end, multiples of MATRIX_PANEL. */
void skinny_product(const struct matrix *w, size_t begin, size_t end, const struct skinny_rows *x,
        const float *bias, float *y, size_t ldy);

#endif
