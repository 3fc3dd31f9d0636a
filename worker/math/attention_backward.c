/*
 * The backward pass of attention.h: scores are computed again from what the forward pass left, block by
 * block.
 */
#include "worker/math/attention_block.h"
#include "worker/math/gemm.h"
#include "worker/math/simd.h"

#include <string.h>

/* Probabilities again from scores and the log-sum-exp: p = exp(score - lse), zero where query i does not
 * look. */
static void probabilities(const struct head *h, size_t i, const struct block *b, float lse, float *score)
{
	struct range r = block_columns(h, i, b);

	if (r.begin >= r.end) {
		memset(score, 0, b->nk * sizeof(*score));
		return;
	}
	block_scale(h, i, b->k0, r, score);
	simd()->exp_sum(r.end - r.begin, score + r.begin, lse, score + r.begin);
	block_hide(b, r, score);
}

/* Where the gradients of one head go; rows as those of its forward twins. */
struct head_grads {
	const float *o, *dout, *lse;
	size_t ldo;
	float *dq, *dk, *dv;
};

/* What the queries [q0, q0 + nq), at most GROUP_Q, share. */
struct backward_group {
	size_t q0, nq;
	float *p, *ds;              /* (BLOCK_Q,BLOCK_K) probabilities and the gradients of scores */
	float *delta;               /* (nq) */
	float *keys, *values;       /* panels of a block of keys: of D terms */
	float *key_terms;           /* of as many as there are keys */
	float *query_terms, *douts; /* panels of nq terms */
};

static struct backward_group backward_cut(
        const struct head *h, const struct head_grads *hg, size_t q0, float *scratch)
{
	size_t D = h->a->head_dim, room = whole(D);
	struct backward_group g = {.q0 = q0, .nq = smaller(GROUP_Q, h->T - q0), .p = scratch};
	const float *dout = hg->dout + q0 * hg->ldo, *o = hg->o + q0 * hg->ldo;

	g.ds = g.p + BLOCK_Q * BLOCK_K;
	g.delta = g.ds + BLOCK_Q * BLOCK_K;
	g.keys = g.delta + GROUP_Q;
	g.values = g.keys + BLOCK_K * room;
	g.key_terms = g.values + BLOCK_K * room;
	g.query_terms = g.key_terms + BLOCK_K * room;
	g.douts = g.query_terms + GROUP_Q * room;
	for (size_t i = 0; i < g.nq; i++)
		g.delta[i] = simd()->dot(D, dout + i * hg->ldo, o + i * hg->ldo);
	gemm_pack_columns(D, g.nq, h->q + q0 * h->ldq, h->ldq, g.query_terms);
	gemm_pack_columns(D, g.nq, dout, hg->ldo, g.douts);
	return g;
}

static void backward_block(const struct head *h, const struct head_grads *hg, const struct backward_group *g,
        const struct block *b, struct panels key_terms)
{
	size_t row = b->q0 - g->q0, first = row * MATRIX_PANEL;
	float *dk = hg->dk + b->k0 * h->ldk, *dv = hg->dv + b->k0 * h->ldv, *dq = hg->dq + b->q0 * h->ldq;

	block_scores(h, b, h->q + b->q0 * h->ldq, h->ldq, g->keys, g->p);
	for (size_t i = 0; i < b->nq; i++)
		probabilities(
		        h, b->q0 + i, b, hg->lse[(b->q0 + i) * h->a->n_heads + h->index], g->p + i * BLOCK_K);
	block_queries(h, b, g->p, (struct panels){g->douts + first, g->nq}, dv, h->ldv);
	block_scores(h, b, hg->dout + b->q0 * hg->ldo, hg->ldo, g->values, g->ds);
	for (size_t i = 0; i < b->nq; i++)
		simd()->softmax_backward(
		        b->nk, g->p + i * BLOCK_K, g->delta[row + i], h->a->scale, g->ds + i * BLOCK_K);
	block_keys(h, b, g->ds, key_terms, dq, h->ldq);
	block_queries(h, b, g->ds, (struct panels){g->query_terms + first, g->nq}, dk, h->ldk);
}

static void backward_group(const struct head *h, const struct head_grads *hg, size_t q0, float *scratch)
{
	struct backward_group g = backward_cut(h, hg, q0, scratch);
	struct range keys = head_keys(h, q0, g.nq);
	size_t D = h->a->head_dim;

	for (size_t k0 = keys.begin / BLOCK_K * BLOCK_K; k0 < keys.end; k0 += BLOCK_K) {
		size_t nk = smaller(BLOCK_K, keys.end - k0);

		gemm_pack_rows(nk, D, h->k + k0 * h->ldk, h->ldk, g.keys);
		gemm_pack_rows(nk, D, h->v + k0 * h->ldv, h->ldv, g.values);
		gemm_pack_columns(D, nk, h->k + k0 * h->ldk, h->ldk, g.key_terms);
		for (size_t q = 0; q < g.nq; q += BLOCK_Q) {
			struct block b = block_of(h, q0 + q, smaller(BLOCK_Q, g.nq - q), k0, nk);

			if (b.nk)
				backward_block(h, hg, &g, &b, (struct panels){g.key_terms, nk});
		}
	}
}

static void zero_rows(size_t rows, size_t n, float *x, size_t ldx)
{
	for (size_t i = 0; i < rows; i++)
		memset(x + i * ldx, 0, n * sizeof(*x));
}

void attention_backward(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv, const float *o, const float *dout, size_t ldo,
        const float *lse, float *dq, float *dk, float *dv, float *scratch)
{
	size_t D = a->head_dim;

	zero_rows(T, a->n_heads * D, dq, ldq);
	zero_rows(S, a->n_kv_heads * D, dk, ldk);
	zero_rows(S, a->n_kv_heads * D, dv, ldv);
	for (size_t index = 0; index < a->n_heads; index++) {
		struct head h = head_view(a, index, T, S, q, ldq, k, ldk, v, ldv);
		size_t own = index * D, shared = index / (a->n_heads / a->n_kv_heads) * D;
		struct head_grads g = {o + own, dout + own, lse, ldo, dq + own, dk + shared, dv + shared};

		for (size_t q0 = 0; q0 < T; q0 += GROUP_Q)
			backward_group(&h, &g, q0, scratch);
	}
}
