/*
 * Softmax cross-entropy over logits, and log-probabilities for serving. Each row on its own.
 * Thread: any.
 */
#ifndef REDD_MATH_LOSS_H
#define REDD_MATH_LOSS_H

#include <stddef.h>
#include <stdint.h>

/* The index of the largest of n numbers, the lowest on ties; n > 0. */
size_t argmax(size_t n, const float *x);

/* The log-sum-exp of n numbers, accumulated in double. */
double log_sum_exp(size_t n, const float *x);

/* For each of n rows of logits (n,V): losses[i] = -log softmax(logits[i])[targets[i]].
 * correct[i] (may be NULL) = 1 when the argmax is the target, else 0.
 * When grad_scale != 0, logits are overwritten with grad_scale * (softmax - onehot); otherwise left alone. */
void cross_entropy(size_t n, size_t V, float *logits, const int32_t *targets, float grad_scale,
        double *losses, unsigned char *correct);

#endif
