/* See activation.h; the kernels are in simd_activation.h. */
#include "worker/math/activation.h"

#include "worker/math/simd.h"

void activation_forward(enum activation f, size_t n, const float *x, float *y)
{
	simd()->activation_forward(f, n, x, y);
}

void activation_backward(enum activation f, size_t n, const float *x, const float *dy, float *dx)
{
	simd()->activation_backward(f, n, x, dy, dx);
}

void gated_forward(enum activation f, size_t n, const float *gate, const float *up, float *y)
{
	simd()->gated_forward(f, n, gate, up, y);
}

void gated_backward(enum activation f, size_t n, const float *gate, const float *up, const float *dy,
        float *dgate, float *dup)
{
	simd()->gated_backward(f, n, gate, up, dy, dgate, dup);
}
