/*
 * Scaled dot-product attention of one sequence, blocked (Dao et al., 2022): no (T,S) matrix is ever held, so
 * memory grows linearly with length. Grouped-query: query head h reads key/value head h / (H / KV).
 * Results depend on this sequence alone, and a query's, but for one that comes by itself, not on which others
 * come with it. Thread: any; scratch belongs to the caller.
 */
#ifndef REDD_MATH_ATTENTION_H
#define REDD_MATH_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attention {
	size_t n_heads;    /* H */
	size_t n_kv_heads; /* KV, divides H */
	size_t head_dim;   /* D */
	float scale;       /* on q.k: 1/sqrt(D), or 1 for T5 */
	bool causal;       /* query i (at absolute position S - T + i) sees keys 0 .. S - T + i */
	size_t window;     /* causal only: sees at most this many keys, itself included; 0 = all */
	/* Relative position bias added to the scaled score, or NULL: rel_bias (H, rel_n), indexed by
	 * clamp(key position - query position + rel_zero, 0, rel_n - 1). No gradient is computed for it. */
	const float *rel_bias;
	size_t rel_n;
	size_t rel_zero;
};

/* Floats of scratch that either pass needs, whatever T and S. */
size_t attention_scratch_floats(const struct attention *a);

/* o (T, H*D) = softmax(scale * q k^T + mask) v.  q (T, H*D) with row distance ldq; k, v (S, KV*D), S >= T
 * when causal; o overwritten. lse (T,H), the log-sum-exp of each score row, is written unless NULL. */
void attention_forward(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv, float *o, size_t ldo, float *lse,
        float *scratch);

/* Rows in pages: row s is the (s % page_rows)-th of the page pages[s / page_rows]. */
struct paged_rows {
	float *base;           /* of the page 0 */
	size_t stride;         /* floats from page to page */
	const uint32_t *pages; /* borrowed */
	size_t page_rows;
	size_t ld; /* from row to row of a page */
};

/* The same over keys and values in pages. Where they lie does not show in the result. */
void attention_forward_paged(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const struct paged_rows *k, const struct paged_rows *v, float *o, size_t ldo, float *scratch);

/* dq (T, H*D), dk, dv (S, KV*D) overwritten; each has the row distance of its forward twin (ldq, ldk, ldv).
 * o, lse from the forward pass; dout (T, H*D) with row distance ldo. */
void attention_backward(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv, const float *o, const float *dout, size_t ldo,
        const float *lse, float *dq, float *dk, float *dv, float *scratch);

#endif
