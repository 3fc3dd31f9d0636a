/*
 * Activations, each next to its derivative. Elementwise over n numbers; accurate to a few float32 ulps
 * (no -ffast-math; the vector paths use polynomials whose error the tests bound). Results for an element do
 * not depend on n or on its place. Thread: any.
 */
#ifndef REDD_MATH_ACTIVATION_H
#define REDD_MATH_ACTIVATION_H

#include <stddef.h>

enum activation {
	ACT_GELU,      /* x * Phi(x), by erf: Hugging Face "gelu" */
	ACT_GELU_TANH, /* the tanh approximation: "gelu_new", "gelu_pytorch_tanh", "gelu_fast" */
	ACT_SILU,      /* x * sigmoid(x): "silu", "swish" */
	ACT_RELU,
	ACT_TANH,
};

/* y (n) = f(x). y may be x. */
void activation_forward(enum activation f, size_t n, const float *x, float *y);
/* dx (n) = dy * f'(x), overwritten; dx may be dy. */
void activation_backward(enum activation f, size_t n, const float *x, const float *dy, float *dx);

/* Gated linear unit (Shazeer, 2020): y (n) = f(gate) * up. y may be gate or up. */
void gated_forward(enum activation f, size_t n, const float *gate, const float *up, float *y);
/* dgate (n) = dy * up * f'(gate), dup (n) = dy * f(gate); overwritten. dgate and dup are distinct from each
 * other; either may be dy, gate or up itself. */
void gated_backward(enum activation f, size_t n, const float *gate, const float *up, const float *dy,
        float *dgate, float *dup);

#endif
