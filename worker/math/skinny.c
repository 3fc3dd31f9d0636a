/* See skinny.h; the kernels are in simd_skinny.h. */
#include "worker/math/skinny.h"

#include "worker/math/simd.h"

void skinny_product(size_t M, size_t N, size_t K, const float *restrict x, size_t ldx,
        const float *restrict w, const float *restrict bias, float *restrict y, size_t ldy)
{
	simd()->skinny(M, N, K, x, ldx, w, bias, y, ldy);
}
