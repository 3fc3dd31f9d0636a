/* See norm.h; the kernels for one row are in simd_rows.h. */
#include "worker/math/norm.h"

#include "worker/math/simd.h"

void layernorm_forward(size_t T, size_t C, const float *x, const float *weight, const float *bias, float eps,
        float *y, float *mean, float *rstd)
{
	for (size_t t = 0; t < T; t++)
		simd()->layernorm(C, x + t * C, weight, bias, eps, y + t * C, mean ? mean + t : NULL,
		        rstd ? rstd + t : NULL);
}

void layernorm_backward(size_t T, size_t C, const float *dy, const float *x, const float *weight,
        const float *mean, const float *rstd, float *dx)
{
	for (size_t t = 0; t < T; t++)
		simd()->layernorm_backward(C, dy + t * C, x + t * C, weight, mean[t], rstd[t], dx + t * C);
}

void rmsnorm_forward(
        size_t T, size_t C, const float *x, const float *weight, float eps, float *y, float *rstd)
{
	for (size_t t = 0; t < T; t++)
		simd()->rmsnorm(C, x + t * C, weight, eps, y + t * C, rstd ? rstd + t : NULL);
}

void rmsnorm_backward(size_t T, size_t C, const float *dy, const float *x, const float *weight,
        const float *rstd, float *dx)
{
	for (size_t t = 0; t < T; t++)
		simd()->rmsnorm_backward(C, dy + t * C, x + t * C, weight, rstd[t], dx + t * C);
}
