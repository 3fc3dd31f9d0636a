/*
 * What a folded checkpoint consists of: each tensor, where it comes from and what is done to it. Internal to
 * fold.c and fold_plan.c.
 */
#ifndef REDD_MODEL_FOLD_PLAN_H
#define REDD_MODEL_FOLD_PLAN_H

#include "worker/model/shards.h"
#include "worker/model/transformer.h"

/* The edit of one site. */
struct fold_edit {
	float *scale, *shift; /* owned (width); NULL where the site is not edited */
	bool shifts;          /* some shift is not 0 */
};

enum fold_kind {
	FOLD_COPY,   /* as it is */
	FOLD_WEIGHT, /* (n_out,n_in), or (n_in,n_out) when the base stores it so: times scale along n_out */
	FOLD_GAIN,   /* (n_out), a norm's weight: times scale */
	FOLD_BIAS,   /* scale * bias + shift */
	FOLD_NEW,    /* a bias the base has not: shift, or zeros without an edit */
};

struct fold_tensor {
	enum fold_kind kind;
	const struct tensor *source;  /* borrowed from the shards; of FOLD_NEW its module's weight */
	const struct fold_edit *edit; /* borrowed from the plan; NULL = none */
	char *name;                   /* owned: of FOLD_NEW */
	size_t n_out;                 /* of FOLD_NEW */
};

struct fold_plan {
	const struct model *model;   /* borrowed */
	struct shards *shards;       /* owned: the base's files, mapped once more */
	struct fold_edit *edits;     /* owned (n_sites) */
	struct fold_tensor *tensors; /* owned */
	size_t n_tensors, cap_tensors;
	bool attn_bias, ffn_bias; /* the family's switch must be set in config.json */
};

/* plan is zeroed. Errors as model_fold(); fold_plan_fini() in any case. */
enum err fold_plan_make(const struct model *m, const struct adapter_layout *layout, const float *params,
        struct fold_plan *plan, struct why *why);
void fold_plan_fini(struct fold_plan *plan);

#endif
