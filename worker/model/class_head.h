/*
 * The classification head of encoders: first token -> dropout -> dense -> tanh -> dropout -> out_proj, whose
 * numbers are part of an adapter. Unlike the base it is trained in full. Internal to model/.
 * Letters: n sequences, C width, L outputs. Thread: any.
 */
#ifndef REDD_MODEL_CLASS_HEAD_H
#define REDD_MODEL_CLASS_HEAD_H

#include "worker/adapter/adapter.h"

struct class_head {
	const struct adapter_layout *layout; /* with a head */
	const float *params;
	size_t width;
	/* Of its inputs; sequence i of the batch is always dropped alike under one seed. */
	float dropout;
	uint64_t seed;
};

struct class_rows {
	size_t n;
	size_t first;   /* the batch's number of the first of them */
	float *x;       /* (n,C) in: the first tokens; then what is left of them */
	float *pre;     /* (n,C) before tanh */
	float *hidden;  /* (n,C) */
	float *outputs; /* (n,L) */
};

/* A row's outputs do not depend on the others. */
void class_head_forward(const struct class_head *h, const struct class_rows *r);
/* r->outputs holds the outputs' gradient; pre and hidden are spent. grads (n_params) accumulated;
 * dx (n,C) overwritten, or NULL. */
void class_head_backward(const struct class_head *h, const struct class_rows *r, float *grads, float *dx);

#endif
