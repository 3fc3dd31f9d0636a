/*
 * See attention.h. Queries and keys are walked in blocks whose score matrix stays in cache; softmax runs
 * online, rescaling what is summed whenever a larger score appears. A single query (decoding) takes its own
 * path of dot products. Both cut the work by T, S, D and the mask alone.
 */
#include "worker/math/attention.h"

#include "worker/math/gemm.h"
#include "worker/math/simd.h"

#include <math.h>
#include <string.h>

#define BLOCK_Q 64
#define BLOCK_K 128

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

size_t attention_scratch_floats(const struct attention *a)
{
	size_t forward = BLOCK_Q * BLOCK_K + (BLOCK_Q + BLOCK_K) * a->head_dim + 2 * BLOCK_Q;
	size_t backward = 2 * BLOCK_Q * BLOCK_K + BLOCK_Q;
	size_t decode = BLOCK_K;
	size_t most = forward > backward ? forward : backward;

	return most > decode ? most : decode;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The keys that query i sees. */
static struct range visible(const struct attention *a, size_t T, size_t S, size_t i)
{
	struct range r = {0, S};

	if (!a->causal)
		return r;
	r.end = S - T + i + 1;
	if (a->window && r.end > a->window)
		r.begin = r.end - a->window;
	return r;
}

/* The keys that any query of [q0, q0 + nq) sees. */
static struct range visible_any(const struct head *h, size_t q0, size_t nq)
{
	struct range first = visible(h->a, h->T, h->S, q0);
	struct range last = visible(h->a, h->T, h->S, q0 + nq - 1);
	struct range r = {first.begin, last.end};

	return r;
}

/* The columns of a block that query i sees; empty when begin >= end. */
static struct range columns(const struct head *h, size_t i, const struct block *b)
{
	struct range r = visible(h->a, h->T, h->S, i);

	r.begin = r.begin > b->k0 ? smaller(r.begin - b->k0, b->nk) : 0;
	r.end = r.end > b->k0 ? smaller(r.end - b->k0, b->nk) : 0;
	return r;
}

static struct head head_view(const struct attention *a, size_t index, size_t T, size_t S, const float *q,
        size_t ldq, const float *k, size_t ldk, const float *v, size_t ldv)
{
	size_t kv = index / (a->n_heads / a->n_kv_heads) * a->head_dim;
	struct head h = {.a = a,
	        .T = T,
	        .S = S,
	        .index = index,
	        .q = q + index * a->head_dim,
	        .k = k + kv,
	        .v = v + kv,
	        .ldq = ldq,
	        .ldk = ldk,
	        .ldv = ldv};

	return h;
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

/* A block's rows of this head behind one another, in room (nk,D), for products. */
static const float *gather(
        const struct head *h, const struct paged_rows *p, const struct block *b, float *room)
{
	size_t D = h->a->head_dim, n;

	for (size_t j = 0; j < b->nk; j += n) {
		const float *rows;

		n = b->nk - j;
		rows = page_run(p, b->k0 + j, &n);
		for (size_t i = 0; i < n; i++)
			memcpy(room + (j + i) * D, rows + i * p->ld, D * sizeof(*room));
	}
	return room;
}

/* score[j] = scale * score[j] + bias of (query i, key k0 + j) for j in r. The last query stands at key S - 1,
 * or, without a causal mask, query i at key i. */
static void scale_and_bias(const struct head *h, size_t i, size_t k0, struct range r, float *score)
{
	const struct attention *a = h->a;
	size_t position = a->causal ? h->S - h->T + i : i;
	const float *bias = a->rel_bias ? a->rel_bias + h->index * a->rel_n : NULL;

	simd()->scale_add(r.end - r.begin, a->scale, NULL, score + r.begin);
	for (size_t j = r.begin; bias && j < r.end; j++) {
		size_t ahead = k0 + j + a->rel_zero; /* minus position is the index, clamped */
		size_t index = ahead > position ? ahead - position : 0;

		score[j] += bias[smaller(index, a->rel_n - 1)];
	}
}

/* Turn the scores of query i into exponentials, zero where it does not look, and move its running maximum and
 * sum and the row o (D) summed under the old maximum to the new one. */
static void softmax_online(
        const struct head *h, size_t i, const struct block *b, float *score, float *top, float *sum, float *o)
{
	struct range r = columns(h, i, b);
	float largest, keep;

	if (r.begin >= r.end) {
		memset(score, 0, b->nk * sizeof(*score));
		return;
	}
	scale_and_bias(h, i, b->k0, r, score);
	largest = simd()->max(r.end - r.begin, score + r.begin);
	if (largest > *top) {
		keep = *sum != 0 ? expf(*top - largest) : 0;
		simd()->scale(h->a->head_dim, keep, o);
		*sum *= keep;
		*top = largest;
	}
	*sum += (float)simd()->exp_sum(r.end - r.begin, score + r.begin, *top, score + r.begin);
	memset(score, 0, r.begin * sizeof(*score));
	memset(score + r.end, 0, (b->nk - r.end) * sizeof(*score));
}

/* o = o / sum, and the log-sum-exp. */
static void finish_row(
        const struct head *h, size_t i, float top, float sum, const float *acc, float *o, float *lse)
{
	size_t D = h->a->head_dim;

	for (size_t d = 0; d < D; d++)
		o[d] = sum != 0 ? acc[d] / sum : 0;
	if (lse)
		lse[i * h->a->n_heads + h->index] = top + logf(sum);
}

static void forward_block(
        const struct head *h, size_t q0, size_t nq, float *o, size_t ldo, float *lse, float *scratch)
{
	size_t D = h->a->head_dim;
	float *score = scratch, *acc = score + BLOCK_Q * BLOCK_K;
	float *top = acc + BLOCK_Q * D, *sum = top + BLOCK_Q, *room = sum + BLOCK_Q;
	struct range keys = visible_any(h, q0, nq);
	struct block b = {.q0 = q0, .nq = nq};
	size_t ldk = h->paged ? D : h->ldk, ldv = h->paged ? D : h->ldv;

	memset(acc, 0, nq * D * sizeof(*acc));
	for (size_t i = 0; i < nq; i++) {
		top[i] = -INFINITY;
		sum[i] = 0;
	}
	for (b.k0 = keys.begin; b.k0 < keys.end; b.k0 += BLOCK_K) {
		const float *k, *v;

		b.nk = smaller(BLOCK_K, keys.end - b.k0);
		k = h->paged ? gather(h, &h->k_pages, &b, room) : h->k + b.k0 * h->ldk;
		gemm_nt(nq, b.nk, D, h->q + q0 * h->ldq, h->ldq, k, ldk, 0, score, BLOCK_K);
		for (size_t i = 0; i < nq; i++)
			softmax_online(h, q0 + i, &b, score + i * BLOCK_K, top + i, sum + i, acc + i * D);
		v = h->paged ? gather(h, &h->v_pages, &b, room) : h->v + b.k0 * h->ldv;
		gemm_nn(nq, D, b.nk, score, BLOCK_K, v, ldv, 1, acc, D);
	}
	for (size_t i = 0; i < nq; i++)
		finish_row(h, q0 + i, top[i], sum[i], acc + i * D, o + (q0 + i) * ldo, lse);
}

/* One query: dot products with the keys, then a weighted sum of the values. */
static void forward_single(const struct head *h, float *o, float *lse, float *score)
{
	size_t D = h->a->head_dim;
	struct range keys = visible(h->a, 1, h->S, 0);
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
			for (size_t i = 0; i < n; i++)
				simd()->axpy(D, score[j + i], v + i * ldv, o);
		}
	}
	finish_row(h, 0, top, sum, o, o, lse);
}

static void forward_head(const struct head *h, float *o, size_t ldo, float *lse, float *scratch)
{
	float *o_head = o + h->index * h->a->head_dim;

	if (h->T == 1)
		forward_single(h, o_head, lse, scratch);
	for (size_t q0 = 0; h->T > 1 && q0 < h->T; q0 += BLOCK_Q)
		forward_block(h, q0, smaller(BLOCK_Q, h->T - q0), o_head, ldo, lse, scratch);
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
		size_t kv = index / (a->n_heads / a->n_kv_heads) * a->head_dim;
		struct head h = {.a = a,
		        .T = T,
		        .S = S,
		        .index = index,
		        .q = q + index * a->head_dim,
		        .ldq = ldq,
		        .paged = true,
		        .k_pages = *k,
		        .v_pages = *v};

		h.k_pages.base += kv;
		h.v_pages.base += kv;
		forward_head(&h, o, ldo, NULL, scratch);
	}
}

/* Probabilities again from scores and the log-sum-exp: p = exp(score - lse), zero where query i does not
 * look. */
static void probabilities(const struct head *h, size_t i, const struct block *b, float lse, float *score)
{
	struct range r = columns(h, i, b);

	if (r.begin >= r.end) {
		memset(score, 0, b->nk * sizeof(*score));
		return;
	}
	scale_and_bias(h, i, b->k0, r, score);
	simd()->exp_sum(r.end - r.begin, score + r.begin, lse, score + r.begin);
	memset(score, 0, r.begin * sizeof(*score));
	memset(score + r.end, 0, (b->nk - r.end) * sizeof(*score));
}

/* Where the gradients of one head go; rows as those of its forward twins. */
struct head_grads {
	const float *o, *dout, *lse;
	size_t ldo;
	float *dq, *dk, *dv;
};

static void backward_block(
        const struct head *h, const struct head_grads *g, size_t q0, size_t nq, float *scratch)
{
	size_t D = h->a->head_dim;
	float *p = scratch, *ds = p + BLOCK_Q * BLOCK_K, *delta = ds + BLOCK_Q * BLOCK_K;
	const float *dout = g->dout + q0 * g->ldo, *q = h->q + q0 * h->ldq;
	struct range keys = visible_any(h, q0, nq);
	struct block b = {.q0 = q0, .nq = nq};

	for (size_t i = 0; i < nq; i++)
		delta[i] = simd()->dot(D, dout + i * g->ldo, g->o + (q0 + i) * g->ldo);
	for (b.k0 = keys.begin; b.k0 < keys.end; b.k0 += BLOCK_K) {
		const float *k = h->k + b.k0 * h->ldk;

		b.nk = smaller(BLOCK_K, keys.end - b.k0);
		gemm_nt(nq, b.nk, D, q, h->ldq, k, h->ldk, 0, p, BLOCK_K);
		for (size_t i = 0; i < nq; i++)
			probabilities(
			        h, q0 + i, &b, g->lse[(q0 + i) * h->a->n_heads + h->index], p + i * BLOCK_K);
		gemm_tn(b.nk, D, nq, p, BLOCK_K, dout, g->ldo, 1, g->dv + b.k0 * h->ldv, h->ldv);
		gemm_nt(nq, b.nk, D, dout, g->ldo, h->v + b.k0 * h->ldv, h->ldv, 0, ds, BLOCK_K);
		for (size_t i = 0; i < nq; i++)
			simd()->softmax_backward(
			        b.nk, p + i * BLOCK_K, delta[i], h->a->scale, ds + i * BLOCK_K);
		gemm_nn(nq, D, b.nk, ds, BLOCK_K, k, h->ldk, 1, g->dq + q0 * h->ldq, h->ldq);
		gemm_tn(b.nk, D, nq, ds, BLOCK_K, q, h->ldq, 1, g->dk + b.k0 * h->ldk, h->ldk);
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

		for (size_t q0 = 0; q0 < T; q0 += BLOCK_Q)
			backward_block(&h, &g, q0, smaller(BLOCK_Q, T - q0), scratch);
	}
}
