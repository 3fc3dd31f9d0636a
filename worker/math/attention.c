/*
 * The forward pass of attention.h. Queries and keys are walked in blocks whose score matrix stays in cache;
 * softmax runs online, rescaling what is summed whenever a larger score appears. Keys and values are packed
 * for products once for a group of blocks of queries. A single query (decoding) takes its own path of dot
 * products.
 */
#include "worker/math/attention_block.h"
#include "worker/math/gemm.h"
#include "worker/math/simd.h"

#include <math.h>
#include <string.h>

size_t attention_scratch_floats(const struct attention *a)
{
	size_t D = whole(a->head_dim);
	size_t forward = BLOCK_Q * BLOCK_K + GROUP_Q * (D + 2) + 3 * BLOCK_K * D;
	size_t backward = 2 * BLOCK_Q * BLOCK_K + GROUP_Q * (2 * D + 1) + 3 * BLOCK_K * D;

	return forward > backward ? forward : backward;
}

/* n rows from row s on lie behind one another, at most as many as are asked for; returns where. */
static const float *page_run(const struct paged_rows *p, size_t s, size_t *n)
{
	size_t row = s % p->page_rows;

	*n = smaller(*n, p->page_rows - row);
	return p->base + p->pages[s / p->page_rows] * p->stride + row * p->ld;
}

static const float *key_run(const struct head *h, size_t s, size_t *n)
{
	return h->paged ? page_run(&h->k_pages, s, n) : h->k + s * h->ldk;
}

static const float *value_run(const struct head *h, size_t s, size_t *n)
{
	return h->paged ? page_run(&h->v_pages, s, n) : h->v + s * h->ldv;
}

/* n rows from row s on, behind one another in room (n,D). */
static const float *gather(const struct head *h, const struct paged_rows *p, size_t s, size_t n, float *room)
{
	size_t D = h->a->head_dim, some;

	for (size_t j = 0; j < n; j += some) {
		const float *rows;

		some = n - j;
		rows = page_run(p, s + j, &some);
		for (size_t i = 0; i < some; i++)
			memcpy(room + (j + i) * D, rows + i * p->ld, D * sizeof(*room));
	}
	return room;
}

/* Turn the scores of query i into exponentials, zero where it does not look, and move its running maximum and
 * sum and the row o (D) summed under the old maximum to the new one. */
static void softmax_online(
        const struct head *h, size_t i, const struct block *b, float *score, float *top, float *sum, float *o)
{
	struct range r = block_columns(h, i, b);
	float largest, keep;

	if (r.begin >= r.end) {
		memset(score, 0, b->nk * sizeof(*score));
		return;
	}
	block_scale(h, i, b->k0, r, score);
	largest = simd()->max(r.end - r.begin, score + r.begin);
	if (largest > *top) {
		keep = *sum != 0 ? expf(*top - largest) : 0;
		simd()->scale(h->a->head_dim, keep, o);
		*sum *= keep;
		*top = largest;
	}
	*sum += (float)simd()->exp_sum(r.end - r.begin, score + r.begin, *top, score + r.begin);
	block_hide(b, r, score);
}

/* o = acc / sum, and the log-sum-exp; acc may be o. */
static void finish_row(
        const struct head *h, size_t i, float top, float sum, const float *acc, float *o, float *lse)
{
	memmove(o, acc, h->a->head_dim * sizeof(*o));
	simd()->scale(h->a->head_dim, sum != 0 ? 1 / sum : 0, o);
	if (lse)
		lse[i * h->a->n_heads + h->index] = top + logf(sum);
}

/* What the queries [q0, q0 + nq), at most GROUP_Q, share. */
struct forward_group {
	size_t q0, nq;
	float *score;         /* (BLOCK_Q,BLOCK_K) */
	float *acc;           /* (nq,D) */
	float *top, *sum;     /* (nq) */
	float *keys, *values; /* panels of a block of keys: of D terms, and of as many as there are keys */
	float *room;          /* (BLOCK_K,D) */
};

static struct forward_group forward_cut(const struct head *h, size_t q0, float *scratch)
{
	size_t D = whole(h->a->head_dim);
	struct forward_group g = {.q0 = q0, .nq = smaller(GROUP_Q, h->T - q0), .score = scratch};

	g.acc = g.score + BLOCK_Q * BLOCK_K;
	g.top = g.acc + GROUP_Q * D;
	g.sum = g.top + GROUP_Q;
	g.keys = g.sum + GROUP_Q;
	g.values = g.keys + BLOCK_K * D;
	g.room = g.values + BLOCK_K * D;
	memset(g.acc, 0, g.nq * h->a->head_dim * sizeof(*g.acc));
	for (size_t i = 0; i < g.nq; i++) {
		g.top[i] = -INFINITY;
		g.sum[i] = 0;
	}
	return g;
}

/* Keys k0 .. k0 + nk - 1 and their values as panels. */
static void forward_pack(const struct head *h, const struct forward_group *g, size_t k0, size_t nk)
{
	size_t D = h->a->head_dim, ldk = h->paged ? D : h->ldk, ldv = h->paged ? D : h->ldv;

	gemm_pack_rows(
	        nk, D, h->paged ? gather(h, &h->k_pages, k0, nk, g->room) : h->k + k0 * ldk, ldk, g->keys);
	gemm_pack_columns(
	        D, nk, h->paged ? gather(h, &h->v_pages, k0, nk, g->room) : h->v + k0 * ldv, ldv, g->values);
}

static void forward_block(
        const struct head *h, const struct forward_group *g, const struct block *b, struct panels values)
{
	size_t D = h->a->head_dim, row = b->q0 - g->q0;

	block_scores(h, b, h->q + b->q0 * h->ldq, h->ldq, g->keys, g->score);
	for (size_t i = 0; i < b->nq; i++)
		softmax_online(h, b->q0 + i, b, g->score + i * BLOCK_K, g->top + row + i, g->sum + row + i,
		        g->acc + (row + i) * D);
	block_keys(h, b, g->score, values, g->acc + row * D, D);
}

static void forward_group(const struct head *h, size_t q0, float *o, size_t ldo, float *lse, float *scratch)
{
	struct forward_group g = forward_cut(h, q0, scratch);
	struct range keys = head_keys(h, q0, g.nq);
	size_t D = h->a->head_dim;

	for (size_t k0 = keys.begin / BLOCK_K * BLOCK_K; k0 < keys.end; k0 += BLOCK_K) {
		size_t nk = smaller(BLOCK_K, keys.end - k0);

		forward_pack(h, &g, k0, nk);
		for (size_t q = 0; q < g.nq; q += BLOCK_Q) {
			struct block b = block_of(h, q0 + q, smaller(BLOCK_Q, g.nq - q), k0, nk);

			if (b.nk)
				forward_block(h, &g, &b, (struct panels){g.values, nk});
		}
	}
	for (size_t i = 0; i < g.nq; i++)
		finish_row(h, q0 + i, g.top[i], g.sum[i], g.acc + i * D, o + (q0 + i) * ldo, lse);
}

/* One query: dot products with the keys, then a weighted sum of the values. */
static void forward_single(const struct head *h, float *o, float *lse, float *score)
{
	size_t D = h->a->head_dim;
	struct range keys = head_keys(h, 0, 1);
	struct block b = {.q0 = 0, .nq = 1};
	size_t ldk = h->paged ? h->k_pages.ld : h->ldk, ldv = h->paged ? h->v_pages.ld : h->ldv, n;
	float top = -INFINITY, sum = 0;

	memset(o, 0, D * sizeof(*o));
	for (b.k0 = keys.begin; b.k0 < keys.end; b.k0 += BLOCK_K) {
		b.nk = smaller(BLOCK_K, keys.end - b.k0);
		for (size_t j = 0; j < b.nk; j += n) {
			const float *k;

			n = b.nk - j;
			k = key_run(h, b.k0 + j, &n);
			simd()->dot_rows(n, D, h->q, k, ldk, score + j);
		}
		softmax_online(h, 0, &b, score, &top, &sum, o);
		for (size_t j = 0; j < b.nk; j += n) {
			const float *v;

			n = b.nk - j;
			v = value_run(h, b.k0 + j, &n);
			simd()->axpy_rows(n, D, score + j, v, ldv, o);
		}
	}
	finish_row(h, 0, top, sum, o, o, lse);
}

static void forward_head(const struct head *h, float *o, size_t ldo, float *lse, float *scratch)
{
	float *o_head = o + h->index * h->a->head_dim;

	if (h->T == 1)
		forward_single(h, o_head, lse, scratch);
	for (size_t q0 = 0; h->T > 1 && q0 < h->T; q0 += GROUP_Q)
		forward_group(h, q0, o_head, ldo, lse, scratch);
}

void attention_forward(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv, float *o, size_t ldo, float *lse,
        float *scratch)
{
	for (size_t index = 0; index < a->n_heads; index++) {
		struct head h = head_view(a, index, T, S, q, ldq, k, ldk, v, ldv);

		forward_head(&h, o, ldo, lse, scratch);
	}
}

void attention_forward_paged(const struct attention *a, size_t T, size_t S, const float *q, size_t ldq,
        const struct paged_rows *k, const struct paged_rows *v, float *o, size_t ldo, float *scratch)
{
	for (size_t index = 0; index < a->n_heads; index++) {
		struct head h = head_view(a, index, T, S, q, ldq, k->base, k->ld, v->base, v->ld);

		h.paged = true;
		h.k_pages = *k;
		h.v_pages = *v;
		h.k_pages.base += h.k - k->base;
		h.v_pages.base += h.v - v->base;
		forward_head(&h, o, ldo, NULL, scratch);
	}
}
