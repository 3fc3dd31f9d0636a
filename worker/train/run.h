/*
 * The inside of a train_run, shared by train.c (which drives it) and state.c (which saves it). Not for
 * others.
 */
#ifndef REDD_TRAIN_RUN_H
#define REDD_TRAIN_RUN_H

#include "core/hash.h"
#include "worker/train/plan.h"
#include "worker/train/score.h"
#include "worker/train/train.h"

/* What moves as the run goes on, beside the arrays: all that a saved state must hold. */
struct train_counters {
	uint64_t steps;      /* done */
	uint64_t updates;    /* of them those that had a label: Adam's t */
	uint64_t tokens;     /* pushed through the model by steps */
	uint64_t evaluated;  /* the step of the last evaluation, 0 = none */
	uint64_t best_step;  /* 0 = no evaluation yet */
	uint64_t unimproved; /* evaluations since the best */
	double best_score;   /* the higher, the better */
};

struct train_run {
	/* borrowed */
	const struct model *model;
	const struct adapter_layout *layout;
	const struct dataset *train;
	const struct dataset *valid; /* NULL = none */

	struct train_config config;
	uint8_t binding[HASH_BYTES]; /* of config, base, layout, start and data: whose state this is */
	size_t n_params;
	size_t steps_per_epoch, total_steps;

	struct train_counters at;
	float *params, *m, *v, *best; /* owned, (n_params) */
	float *identity;              /* owned (n_params): what weights decay towards; NULL = zero */

	/* scratch, allocated once */
	float *grads;      /* (n_params) the step's */
	double *sum;       /* (n_params) */
	float *item_grads; /* (max items, n_params) */
	struct train_sums *item_sums;
	size_t *order;      /* (train rows) of epoch order_epoch */
	size_t order_epoch; /* SIZE_MAX = none yet */
	struct plan step_plan;
	struct plan eval_plan;  /* cut once */
	struct scorer scorer;   /* of the validation set's labels */
	enum train_phase phase; /* between begin and end; TRAIN_DONE otherwise */
};

/* Fill r->binding from all that determines the result. */
void train_state_bind(struct train_run *r, const float *start_params);

#endif
