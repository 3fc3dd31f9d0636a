/*
 * The elementwise edit on a module's output that RED and its relatives share
 * (Wu et al., "Advancing Parameter Efficiency in Fine-tuning via Representation Editing", arXiv 2402.15179).
 * Rows h (T,C) have the distance ldh. scale or bias may be NULL: identity. Each row on its own. The edit may
 * be followed by a layer norm with a weight and a bias of its own.
 * Thread: any.
 */
#ifndef REDD_MATH_EDIT_H
#define REDD_MATH_EDIT_H

#include <stddef.h>

/* The vectors (C) of an edit with a layer norm behind it; scale or bias may be NULL: identity. */
struct edit_norm {
	const float *scale, *bias, *weight, *shift;
};
/* Where their gradients are accumulated; NULL where none is trained. */
struct edit_norm_grads {
	float *scale, *bias, *weight, *shift;
};

/* In place: h[t][c] = h[t][c] * scale[c] + bias[c]. */
void edit_forward(size_t T, size_t C, float *h, size_t ldh, const float *scale, const float *bias);
/* dh (T,C, row distance lddh) overwritten with dh * scale; dscale (C) accumulated with sum_t dh * h,
 * dbias (C) with sum_t dh (dh before it is scaled); either may be NULL when not trained.
 * h (T,C) is the value before the edit. Rows are summed in order. */
void edit_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh, const float *scale,
        float *dscale, float *dbias);

/* In place: h[t] += strength * (norm(h[t] * scale + bias) * weight + shift - h[t]); norm subtracts the mean
 * and divides by the deviation, whose square has EDIT_NORM_EPS added. At strength 1 it is the norm's result.
 */
#define EDIT_NORM_EPS 1e-5
void edit_norm_forward(size_t T, size_t C, float *h, size_t ldh, const struct edit_norm *e, float strength);
/* Backward of strength 1. dh and h as in edit_backward(). */
void edit_norm_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh,
        const struct edit_norm *e, const struct edit_norm_grads *grads);

#endif
