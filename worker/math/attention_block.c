/* See attention_block.h. */
#include "worker/math/attention_block.h"

#include "worker/math/simd.h"

#include <string.h>

/* Terms that are added up by themselves: over queries or keys, and over a head's numbers. */
#define PART ((size_t)48)
#define PART_D ((size_t)64)

struct head head_view(const struct attention *a, size_t index, size_t T, size_t S, const float *q, size_t ldq,
        const float *k, size_t ldk, const float *v, size_t ldv)
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

struct range head_keys(const struct head *h, size_t q0, size_t nq)
{
	struct range first = visible(h->a, h->T, h->S, q0);
	struct range last = visible(h->a, h->T, h->S, q0 + nq - 1);
	struct range r = {first.begin, last.end};

	return r;
}

struct range block_columns(const struct head *h, size_t i, const struct block *b)
{
	struct range r = visible(h->a, h->T, h->S, i);

	r.begin = r.begin > b->k0 ? smaller(r.begin - b->k0, b->nk) : 0;
	r.end = r.end > b->k0 ? smaller(r.end - b->k0, b->nk) : 0;
	return r;
}

struct block block_of(const struct head *h, size_t q0, size_t nq, size_t k0, size_t nk)
{
	struct range keys = head_keys(h, q0, nq);
	struct block b = {q0, nq, k0, 0};

	if (keys.begin < k0 + nk && keys.end > k0)
		b.nk = smaller(nk, keys.end - k0);
	return b;
}

/* The last query stands at key S - 1, or, without a causal mask, query i at key i. */
void block_scale(const struct head *h, size_t i, size_t k0, struct range r, float *score)
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

void block_hide(const struct block *b, struct range r, float *score)
{
	memset(score, 0, r.begin * sizeof(*score));
	memset(score + r.end, 0, (b->nk - r.end) * sizeof(*score));
}

/* Rows x of a block or, turned, columns. */
struct operand {
	const float *x;
	size_t ldx;
	bool turned;
};

/* y (M,N) = or += x w over K terms. */
static void product(size_t M, size_t N, size_t K, size_t part, struct operand x, struct panels w, bool add,
        float *y, size_t ldy)
{
	struct product_call c = {.M = M,
	        .N = N,
	        .K = K,
	        .block = part,
	        .x = x.x,
	        .ldx = x.ldx,
	        .turned = x.turned,
	        .w = w.data,
	        .panel = w.n_terms * MATRIX_PANEL * sizeof(float),
	        .y = y,
	        .ldy = ldy,
	        .add = add};

	simd()->product_f32(&c);
}

void block_scores(const struct head *h, const struct block *b, const float *x, size_t ldx, const float *keys,
        float *score)
{
	size_t D = h->a->head_dim;

	product(b->nq, whole(b->nk), D, PART_D, (struct operand){x, ldx, false}, (struct panels){keys, D},
	        false, score, BLOCK_K);
}

void block_keys(const struct head *h, const struct block *b, const float *score, struct panels keys, float *y,
        size_t ldy)
{
	product(b->nq, h->a->head_dim, b->nk, PART, (struct operand){score, BLOCK_K, false}, keys, true, y,
	        ldy);
}

void block_queries(const struct head *h, const struct block *b, const float *score, struct panels queries,
        float *y, size_t ldy)
{
	product(b->nk, h->a->head_dim, b->nq, PART, (struct operand){score, BLOCK_K, true}, queries, true, y,
	        ldy);
}
