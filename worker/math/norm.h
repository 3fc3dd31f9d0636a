/*
 * Layer normalisation (Ba, Kiros, Hinton, 2016) and root-mean-square normalisation (Zhang, Sennrich, 2019).
 * T rows of C channels, contiguous. Variance is the biased one. Each row on its own: results do not depend on
 * T. Thread: any.
 */
#ifndef REDD_MATH_NORM_H
#define REDD_MATH_NORM_H

#include <stddef.h>

/* y (T,C) = (x - mean) * rstd * weight + bias, rstd = 1/sqrt(var + eps). bias may be NULL.
 * mean (T), rstd (T) are written for the backward pass; either may be NULL when not wanted. y may be x. */
void layernorm_forward(size_t T, size_t C, const float *x, const float *weight, const float *bias, float eps,
        float *y, float *mean, float *rstd);
/* dx (T,C) accumulated with the gradient through the norm; dy (T,C), x, mean, rstd as in the forward pass. */
void layernorm_backward(size_t T, size_t C, const float *dy, const float *x, const float *weight,
        const float *mean, const float *rstd, float *dx);

/* y (T,C) = x * rstd * weight, rstd = 1/sqrt(mean(x^2) + eps). rstd may be NULL. y may be x. */
void rmsnorm_forward(
        size_t T, size_t C, const float *x, const float *weight, float eps, float *y, float *rstd);
/* dx (T,C) accumulated. */
void rmsnorm_backward(size_t T, size_t C, const float *dy, const float *x, const float *weight,
        const float *rstd, float *dx);

#endif
