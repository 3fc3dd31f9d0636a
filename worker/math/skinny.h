/*
 * Products with few rows, for decoding: weights are streamed once whatever the number of rows, and the
 * order in which the terms of one output are summed depends on K alone, never on M, N or the neighbours.
 * So a request's numbers do not depend on who shares its batch. Kernels by cpu_level().
 * Thread: any; calls for disjoint ranges of N may run side by side and give the same bits as one call.
 */
#ifndef REDD_MATH_SKINNY_H
#define REDD_MATH_SKINNY_H

#include <stddef.h>

/* y (M,N) = x (M,K) w^T + bias; w (N,K) contiguous, bias (N) or NULL. Overwrites y. */
void skinny_product(size_t M, size_t N, size_t K, const float *restrict x, size_t ldx, const float *restrict w,
	const float *restrict bias, float *restrict y, size_t ldy);

#endif
