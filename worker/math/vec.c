/* See vec.h. */
#include "worker/math/vec.h"

#include "worker/math/simd.h"

#define TRANSPOSE_BLOCK 32

void vec_add(size_t n, float *restrict y, const float *restrict x)
{
	simd()->add(n, x, y);
}

void vec_axpy(size_t n, float a, const float *restrict x, float *restrict y)
{
	simd()->axpy(n, a, x, y);
}

void vec_add_rows(size_t T, size_t C, float *restrict y, size_t ldy, const float *restrict b)
{
	for (size_t t = 0; t < T; t++)
		simd()->add(C, b, y + t * ldy);
}

void vec_from_f16(size_t n, const void *src, float *dst)
{
	simd()->from_f16(n, src, dst);
}

void vec_from_bf16(size_t n, const void *src, float *dst)
{
	simd()->from_bf16(n, src, dst);
}

/* In square blocks, so that the side walked across rows stays in cache. */
void vec_transpose(size_t rows, size_t cols, const float *restrict src, float *restrict dst)
{
	for (size_t r0 = 0; r0 < rows; r0 += TRANSPOSE_BLOCK)
		for (size_t c0 = 0; c0 < cols; c0 += TRANSPOSE_BLOCK) {
			size_t r1 = rows - r0 < TRANSPOSE_BLOCK ? rows : r0 + TRANSPOSE_BLOCK;
			size_t c1 = cols - c0 < TRANSPOSE_BLOCK ? cols : c0 + TRANSPOSE_BLOCK;

			for (size_t c = c0; c < c1; c++)
				for (size_t r = r0; r < r1; r++)
					dst[c * rows + r] = src[r * cols + c];
		}
}
