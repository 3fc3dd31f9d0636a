/*
 * AdamW (Loshchilov, Hutter, 2019) as torch.optim.AdamW has it, and the global-norm clipping that goes before
 * it. Moments and parameters are float32; the arithmetic of one update is double. Thread: the owner of the
 * arrays.
 */
#ifndef REDD_TRAIN_ADAMW_H
#define REDD_TRAIN_ADAMW_H

#include <stddef.h>

struct adamw {
	double beta1, beta2, eps;
	double weight_decay; /* decoupled */
	const float *anchor; /* borrowed (n): what it decays towards; NULL = zero */
};

/* The t-th update (t >= 1) of params (n) from grads (n) at this learning rate; m and v (n), zero before the
 * first, are the moments. */
void adamw_update(const struct adamw *o, size_t t, double learning_rate, size_t n,
        const float *restrict grads, float *restrict params, float *restrict m, float *restrict v);

/* The 2-norm of n numbers, summed in order in double. */
double grad_norm(size_t n, const float *grads);
/* Scale grads so that their norm, which the caller knows, is at most max_norm: torch's clip_grad_norm_. */
void grad_clip(size_t n, float *grads, double norm, double max_norm);

#endif
