/*
 * What the passes of attention.h share: one head's view of the tensors, the mask, and products of blocks of
 * queries and keys. Internal to math/. Thread: any; memory is the caller's.
 *
 * Blocks of keys begin at multiples of BLOCK_K and sums over them are cut at multiples of PART, so that a
 * query's result does not depend on which others it came with.
 */
#ifndef REDD_MATH_ATTENTION_BLOCK_H
#define REDD_MATH_ATTENTION_BLOCK_H

#include "worker/math/attention.h"
#include "worker/math/matrix.h"

#include <stdbool.h>
#include <stddef.h>

/* Multiples of every level's tile of rows, and BLOCK_K of MATRIX_PANEL. */
#define BLOCK_Q ((size_t)48)
#define GROUP_Q (4 * BLOCK_Q)
#define BLOCK_K ((size_t)192)

/* One head's view of the tensors, and the sizes all helpers need. */
struct head {
	const struct attention *a;
	size_t T, S, index;
	const float *q, *k, *v;
	size_t ldq, ldk, ldv;
	bool paged; /* then k, v, ldk and ldv say nothing */
	struct paged_rows k_pages, v_pages;
};

/* A block of queries [q0, q0 + nq) against keys [k0, k0 + nk). */
struct block {
	size_t q0, nq, k0, nk;
};

struct range {
	size_t begin, end;
};

/* Panels, gemm.h's, of so many terms each. */
struct panels {
	const float *data;
	size_t n_terms;
};

static inline size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Rounded up to whole panels. */
static inline size_t whole(size_t n)
{
	return (n + MATRIX_PANEL - 1) / MATRIX_PANEL * MATRIX_PANEL;
}

struct head head_view(const struct attention *a, size_t index, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv);
/* The keys that any query of [q0, q0 + nq) sees. */
struct range head_keys(const struct head *h, size_t q0, size_t nq);

/* Of queries [q0, q0 + nq) and keys [k0, k0 + nk): the keys up to the last that is seen, or none. */
struct block block_of(const struct head *h, size_t q0, size_t nq, size_t k0, size_t nk);
/* The columns of a block that query i sees; empty when begin >= end. */
struct range block_columns(const struct head *h, size_t i, const struct block *b);
/* score[j] = scale * score[j] + bias of (query i, key k0 + j) for j in r. */
void block_scale(const struct head *h, size_t i, size_t k0, struct range r, float *score);
/* Zeros where a query does not look: outside of r. */
void block_hide(const struct block *b, struct range r, float *score);

/* score (nq,BLOCK_K) = x (nq,D), rows of a block's queries, times rows of its keys. Columns from nk on are
 * overwritten with what nobody should read. */
void block_scores(const struct head *h, const struct block *b, const float *x, size_t ldx, const float *keys,
        float *score);
/* y (nq,D) += score times rows of keys. */
void block_keys(const struct head *h, const struct block *b, const float *score, struct panels keys, float *y,
        size_t ldy);
/* y (nk,D) += score turned times rows of queries. */
void block_queries(const struct head *h, const struct block *b, const float *score, struct panels queries,
        float *y, size_t ldy);

#endif
