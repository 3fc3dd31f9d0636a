/*
 * The one transformer: a block of branches (attention, perhaps cross-attention, feed-forward) that every pass
 * runs through block_forward() and block_backward(), driven by struct arch. Internal to model/.
 *
 * A branch reads the residual stream, and what it gives is edited and added to it. Its norm comes before it
 * (GPT-2, LLaMA, T5) or after the sum (BERT). The stream that leaves a branch may be edited too.
 *
 * Letters: N rows of the pass, M rows of the source (cross-attention's keys), S either, C width, W width of
 * the row [q | k | v], O = H*D width of attention's output, F feed-forward width. A pass belongs to one
 * thread.
 */
#ifndef REDD_MODEL_TRANSFORMER_H
#define REDD_MODEL_TRANSFORMER_H

#include "worker/math/attention.h"
#include "worker/math/crew.h"
#include "worker/model/weights.h"

struct model {
	char *dir; /* owned: what was opened */
	struct arch arch;
	struct weights weights;
	struct model_info info;
	struct site *sites; /* owned (n_sites) */
	size_t n_sites;
	bool train_bf16;            /* see model_train_bf16() */
	float *rope_cos, *rope_sin; /* owned (max_positions, D/2); rotary positions only */
};

/* Queries, keys and values, or their gradients: q (N,O), k and v (S,KV*D), with their row distances. Where
 * one module gives all three they lie side by side, as they do in every self-attention here. */
struct qkv {
	float *q, *k, *v;
	size_t ldq, ldkv;
};

/* Rows that one of a crew norms, edits or rotates at a time. */
#define ROWS_PART ((size_t)32)

/* What a branch computes on the way. Training keeps these for the backward pass, one set a layer; serving
 * reuses one set. Pointers that are NULL are not kept. */
struct branch_state {
	float *x_in;        /* (N,C) the stream entering */
	float *x_sum;       /* (N,C) the stream before the norm that follows; post_norm only; may be x_in */
	float *mean, *rstd; /* (N) of the norm */
	float *raw;         /* (N,C) the module's output before its edit, or NULL */
	float *stream;      /* (N,C) the stream leaving before its edit, or NULL */
};

struct attention_state {
	struct branch_state branch;
	struct qkv row; /* after edit and rotation */
	struct qkv raw; /* before the edit, or q NULL */
	float *attn;    /* (N,O) */
	float *lse;     /* (N,H), or NULL */
};

struct ffn_state {
	struct branch_state branch;
	float *gate; /* (N,F), gated only */
	float *up;   /* (N,F) before the activation */
};

struct block_state {
	struct attention_state attn[2]; /* by enum attention_kind */
	struct ffn_state ffn;
};

/* Scratch of linear maps, and who computes them; what is not needed may be NULL. */
struct linear_scratch {
	struct crew *crew; /* borrowed; NULL = the pass's own thread alone */
	bool exact;        /* rows are multiplied as they are, whatever the format of the weights */
	void *rows;        /* product_scratch_bytes(): unless exact or float32 */
	float *panel;      /* linear_panel_floats(): the way back; int8 and exact */
};

/* Scratch of a pass. */
struct block_scratch {
	float *normed; /* (N,C) */
	float *hidden; /* (N,F) */
	float *branch; /* (N,C) */
};

/* What one run through a stack has in common. */
struct pass {
	const struct model *m;
	const struct stack *stack;
	size_t n_rows;                 /* N */
	const size_t *positions;       /* (N) of each row in its own sequence */
	const unsigned char *segments; /* (N), or NULL: all the first */
	const struct edit_run *runs;
	size_t n_runs;
	struct linear_scratch linear;
	/* From s->row to s->attn: who sees whom is the pass's business. */
	void (*attend)(const struct pass *p, size_t layer, enum attention_kind kind,
	        const struct attention_state *s);
	void *context; /* borrowed: attend's */
	/* Cross-attention's keys and values are projected from here; NULL when they are there already. */
	const struct pass *source;
	const float *memory; /* (M,C) what the source's stack gave */
	/* Rows of the stack's last block that anyone asks for, as a pass of their own with a single run: all
	 * rows give keys and values there, but only these attend to them and go on, side by side. Of each
	 * sequence they are the last ones, or, where attention is not causal, the first. NULL = all. */
	const struct pass *rest;
	const size_t *rest_rows; /* (rest's N) which they are, ascending */
};

/* What a pass of a single run goes on with, and its run. */
struct rest_pass {
	struct pass pass;
	struct edit_run run;
};

/* Scratch and results of the way back; a single run at strength 1. */
struct block_grads {
	float *d_hidden;     /* (N,F) scratch */
	float *d_gate;       /* (N,F) scratch, gated only */
	float *d_branch;     /* (N,C) scratch */
	float *d_attn;       /* (N,O) */
	struct qkv d_row[2]; /* by enum attention_kind */
	float *d_memory;     /* (M,C) accumulated; NULL = the source needs none */
	float *key_shift;    /* (KV*D) scratch */
	float *grads;        /* (n_params) accumulated */
	/* The lowest site of the pass's stack whose output needs a gradient: an edited one, or one that leads
	 * to the source. */
	size_t floor;
	/* Fills d_row[kind] from d_attn. */
	void (*attend_backward)(const struct pass *p, size_t layer, enum attention_kind kind,
	        const struct attention_state *s, const struct block_grads *g);
};

/* ---- the stream's ends (ends.c) ---- */

/* x (N,C) = embeddings of tokens, positions and segments, normed where the family does. tokens are checked by
 * the caller. */
void transformer_embed(const struct pass *p, const int32_t *tokens, float *x);
/* y (n,C) = the final norm of a stack of x (n,C), or x where there is none; mean, rstd (n) may be NULL; y may
 * be x. */
void transformer_final_norm(const struct model *m, const struct stack *s, size_t n, const float *x, float *y,
        float *mean, float *rstd);
/* dx (n,C) accumulated. */
void transformer_final_norm_backward(const struct model *m, const struct stack *s, size_t n, const float *dy,
        const float *x, const float *mean, const float *rstd, float *dx);

/* ---- the block ---- */

/* From the first branch's x_in to x_out (N,C), the stream leaving the block. Each branch leaves its result in
 * the next one's x_in; all of them and x_out may be the same. */
void block_forward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out);
/* The same in two steps: up to the output of the feed-forward module, in t->branch, and on from there, with
 * no more of the state than s->ffn.branch.x_in. */
void block_outputs(
        const struct pass *p, size_t layer, const struct block_state *s, const struct block_scratch *t);
void block_join(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out);
/* dx (N,C), the gradient of the stream leaving the block, becomes that of the stream entering it, unless the
 * floor comes first: then false, and dx is spent. */
bool block_backward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx);
/* Keys and values of a layer's cross-attention from memory (M,C), into s->row; raw is kept. */
void block_source(
        const struct pass *source, size_t layer, const float *memory, const struct attention_state *s);

/* Let only n rows of p, `rows`, go on from its last block's first attention, under a context of their own;
 * all of them borrowed. */
void pass_narrow(struct pass *p, struct rest_pass *rest, const size_t *rows, size_t n, void *context);
/* The pass that goes on from the first attention of a layer. */
const struct pass *block_rest(const struct pass *p, size_t layer);
/* The attention of a layer. */
struct attention block_attention(const struct model *m, size_t layer, enum attention_kind kind);

/* ---- branches (branch.c) ---- */

/* What the module of a branch reads: s->x_in, normed into t->normed where the norm comes first. */
const float *branch_begin(const struct pass *p, const struct norm *norm, const struct branch_state *s,
        const struct block_scratch *t);
/* Join t->branch (N,C), the output of the module of `site`, to the stream: x_out (N,C), whose own site is the
 * next one. */
void branch_join(const struct pass *p, const struct norm *norm, size_t site, const struct branch_state *s,
        const struct block_scratch *t, float *x_out);
/* The way back through the join: dx, of x_out, becomes the gradient of the sum, and g->d_branch that of the
 * module's output before the edit. */
void branch_join_backward(const struct pass *p, const struct norm *norm, size_t site,
        const struct branch_state *s, const struct block_grads *g, float *dx);
/* g->d_branch, the gradient of what branch_begin() gave, added to dx. */
void branch_begin_backward(const struct pass *p, const struct norm *norm, const struct branch_state *s,
        const struct block_grads *g, float *dx);

/* One of several linear maps of the same x: y (N, n_out) with row distance ldy. */
struct linear_output {
	const struct linear *l;
	float *y;
	size_t ldy;
};
#define LINEAR_MAX_OUTPUTS 3

/* x (N, n_in) through n of them, at most LINEAR_MAX_OUTPUTS, by product.h: no row shows in another. Exact
 * rows meet the float32 numbers that int8 weights stand for. */
void linears_forward(const struct linear_output *outputs, size_t n, const struct linear_scratch *t,
        size_t n_rows, const float *x, size_t ldx);
/* One. */
void linear_forward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, const float *x,
        size_t ldx, float *y, size_t ldy);
/* dx (N, n_in) = dy (N, n_out; row distance lddy) w, or += where `add` says so. */
void linear_backward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, const float *dy,
        size_t lddy, bool add, float *dx, size_t lddx);
/* Floats of panel that a model's linear maps need. */
size_t linear_panel_floats(const struct model *m);
/* The largest n_in of them. */
size_t linear_max_inputs(const struct model *m);
void norm_forward(const struct arch *a, const struct norm *n, size_t n_rows, const float *x, float *y,
        float *mean, float *rstd);
/* dx accumulated. */
void norm_backward(const struct arch *a, const struct norm *n, size_t n_rows, const float *dy, const float *x,
        const float *mean, const float *rstd, float *dx);
/* Copy rows (n_rows,n). */
void rows_copy(size_t n_rows, size_t n, float *to, size_t ldto, const float *from, size_t ldfrom);
/* Rows (n_rows,n) of from, by number, ascending; to may be from. */
void rows_pick(size_t n_rows, const size_t *rows, size_t n, float *to, const float *from);
/* In place the way back: x (n_rows,n) to where its rows came from among n_all, zeros between them. */
void rows_spread(size_t n_rows, const size_t *rows, size_t n_all, size_t n, float *x);

/* ---- the attention branch (block_attention.c) ---- */

void attention_branch(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_scratch *t, float *x_out);
/* As block_backward(), of this branch. */
bool attention_branch_backward(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_grads *g, float *dx);

#endif
