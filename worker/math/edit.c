/* See edit.h; the kernels for one row are in simd_rows.h. */
#include "worker/math/edit.h"

#include "worker/math/simd.h"

void edit_forward(size_t T, size_t C, float *h, size_t ldh, const float *scale, const float *bias)
{
	for (size_t t = 0; t < T; t++)
		simd()->edit(C, h + t * ldh, scale, bias);
}

void edit_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh, const float *scale,
        float *dscale, float *dbias)
{
	for (size_t t = 0; t < T; t++)
		simd()->edit_backward(C, dh + t * lddh, h + t * ldh, scale, dscale, dbias);
}
