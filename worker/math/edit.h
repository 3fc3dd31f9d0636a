/*
 * The elementwise edit on a module's output that RED and its relatives share
 * (Wu et al., "Advancing Parameter Efficiency in Fine-tuning via Representation Editing", arXiv 2402.15179).
 * Rows h (T,C) have the distance ldh. scale or bias may be NULL: identity. Each row on its own.
 * Thread: any.
 */
#ifndef REDD_MATH_EDIT_H
#define REDD_MATH_EDIT_H

#include <stddef.h>

/* In place: h[t][c] = h[t][c] * scale[c] + bias[c]. */
void edit_forward(size_t T, size_t C, float *h, size_t ldh, const float *scale, const float *bias);
/* dh (T,C, row distance lddh) overwritten with dh * scale; dscale (C) accumulated with sum_t dh * h,
 * dbias (C) with sum_t dh (dh before it is scaled); either may be NULL when not trained.
 * h (T,C) is the value before the edit. Rows are summed in order. */
void edit_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh, const float *scale,
        float *dscale, float *dbias);

#endif
