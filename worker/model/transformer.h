/*
 * The one transformer: a pre-norm block in pieces that training and serving share, driven by struct arch.
 * Internal to model/.
 *
 * Letters: N rows of the pass, C width, W width of the row [q | k | v], O = H*D width of attention's output,
 * F feed-forward width. A pass belongs to one thread.
 */
#ifndef REDD_MODEL_TRANSFORMER_H
#define REDD_MODEL_TRANSFORMER_H

#include "worker/math/attention.h"
#include "worker/model/weights.h"

struct model {
	char *dir; /* owned: what was opened */
	struct arch arch;
	struct weights weights;
	struct model_info info;
	struct site *sites; /* owned (n_sites) */
	size_t n_sites;
	struct layer_site layer_sites[ARCH_MAX_LAYER_SITES];
	size_t n_layer_sites;
	float *rope_cos, *rope_sin; /* owned (max_positions, D/2); rotary positions only */
};

/* The site of a module in a layer. */
size_t model_site(const struct model *m, size_t layer, enum module module);

/* What one run through the layers has in common. */
struct pass {
	const struct model *m;
	size_t n_rows;           /* N */
	const size_t *positions; /* (N) of each row in its own sequence */
	const struct edit_run *runs;
	size_t n_runs;
	/* Rows of different requests share the pass: sums in an order that no neighbour can change. */
	bool shared;
};

/* What a block computes on the way. Training keeps these for the backward pass, one set a layer; serving
 * reuses one set. Pointers that are NULL are not kept. */
struct block_state {
	float *x_in;          /* (N,C) residual stream entering the block */
	float *mean1, *rstd1; /* (N) */
	float *qkv;           /* (N,W) after edit and rotation */
	float *qkv_raw;       /* (N,W) before the edit, or NULL */
	float *attn;          /* (N,O) */
	float *lse;           /* (N,H), or NULL */
	float *attn_out_raw;  /* (N,C) before the edit, or NULL */
	float *x_mid;         /* (N,C) residual stream after attention */
	float *mean2, *rstd2; /* (N) */
	float *gate;          /* (N,F), gated only */
	float *up;            /* (N,F) before the activation */
	float *ffn_out_raw;   /* (N,C) before the edit, or NULL */
};

/* Scratch of a pass. */
struct block_scratch {
	float *normed; /* (N,C) */
	float *hidden; /* (N,F) */
	float *branch; /* (N,C) */
};

/* x (N,C) = token embeddings (+ learned positions). tokens are checked by the caller. */
void transformer_embed(const struct pass *p, const int32_t *tokens, float *x);
/* From s->x_in to s->qkv. */
void block_qkv(
        const struct pass *p, size_t layer, const struct block_state *s, const struct block_scratch *t);
/* From s->attn (and s->x_in) to x_out (N,C), the residual stream leaving the block. x_out may be s->x_in or
 * s->x_mid; s->x_mid may be s->x_in. */
void block_finish(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out);
/* y (n,C) = the final norm of x (n,C); mean, rstd (n) may be NULL. */
void transformer_final_norm(
        const struct model *m, size_t n, const float *x, float *y, float *mean, float *rstd);
/* dx (n,C) accumulated. */
void transformer_final_norm_backward(const struct model *m, size_t n, const float *dy, const float *x,
        const float *mean, const float *rstd, float *dx);
/* y (N, n_out) with row distance ldy. */
void linear_forward(
        const struct linear *l, size_t n_rows, bool shared, const float *x, size_t ldx, float *y, size_t ldy);
/* dx (N, n_in) = dy (N, n_out; row distance lddy) w + beta dx. */
void linear_backward(const struct linear *l, size_t n_rows, const float *dy, size_t lddy, float beta,
        float *dx, size_t lddx);

/* ---- backward twins; single run at strength 1. dx (N,C) is the gradient of the stream leaving the block and
 * becomes, in place, that of the stream after attention. ---- */
struct block_grads {
	float *d_hidden;  /* (N,F) scratch */
	float *d_gate;    /* (N,F) scratch, gated only */
	float *d_branch;  /* (N,C) scratch */
	float *d_attn;    /* (N,O) */
	float *d_qkv;     /* (N,W) */
	float *key_shift; /* (KV*D) scratch */
	float *grads;     /* (n_params) accumulated */
};
/* `below`: whether anything under the feed-forward site needs a gradient. */
void block_finish_backward_ffn(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx, bool below);
/* Gradient of s->attn into g->d_attn; dx is unchanged (the residual goes on). */
void block_finish_backward_attn(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, const float *dx, bool below);
/* g->d_qkv to dx, accumulated: dx becomes the gradient of the stream entering the block. */
void block_qkv_backward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx, bool below);

/* The attention of a layer. */
struct attention block_attention(const struct model *m, size_t layer);

#endif
