/*
 * Elementwise helpers over n numbers, and number formats. Thread: any.
 */
#ifndef REDD_MATH_VEC_H
#define REDD_MATH_VEC_H

#include <stddef.h>
#include <stdint.h>

/* y += x. */
void vec_add(size_t n, float *restrict y, const float *restrict x);
/* y += a * x. */
void vec_axpy(size_t n, float a, const float *restrict x, float *restrict y);
/* Each of T rows of y (row distance ldy) += b (C). */
void vec_add_rows(size_t T, size_t C, float *restrict y, size_t ldy, const float *restrict b);

/* IEEE half and bfloat16 (little-endian bits, any alignment) to float32, exactly. */
void vec_from_f16(size_t n, const void *src, float *dst);
void vec_from_bf16(size_t n, const void *src, float *dst);
/* dst (cols,rows) = transpose of src (rows,cols). */
void vec_transpose(size_t rows, size_t cols, const float *restrict src, float *restrict dst);

#endif
