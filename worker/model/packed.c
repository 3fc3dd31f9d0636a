/* See packed.h. */
#include "worker/model/packed.h"

#include <string.h>

void packed_positions(const struct packed *b, size_t *positions)
{
	size_t row = 0;

	for (size_t i = 0; i < b->n_seqs; i++)
		for (size_t j = 0; j < b->lengths[i]; j++)
			positions[row++] = j;
}

void packed_segments(const struct packed *b, const int32_t *tokens, unsigned char *segments)
{
	size_t row = 0;

	for (size_t i = 0; i < b->n_seqs; i++) {
		size_t end = row + b->lengths[i];
		bool second = false;

		for (; row < end; row++) {
			segments[row] = second;
			second = second || tokens[row] == tokens[end - 1];
		}
	}
}

static const size_t *keys_lengths(const struct packed *b, enum attention_kind kind)
{
	return kind == ATTENTION_CROSS ? b->source_lengths : b->lengths;
}

/* Whose rows are the queries. */
static const struct packed *asking_of(const struct pass *p, size_t layer, enum attention_kind kind)
{
	return (kind == ATTENTION_SELF ? block_rest(p, layer) : p)->context;
}

/* Rows of a sequence before the n that ask. */
static size_t skipped(const struct attention *a, size_t length, size_t n)
{
	return a->causal ? length - n : 0;
}

void packed_attend(
        const struct pass *p, size_t layer, enum attention_kind kind, const struct attention_state *s)
{
	const struct packed *b = p->context, *asking = asking_of(p, layer, kind);
	const size_t *n_keys = keys_lengths(b, kind);
	struct attention a = block_attention(p->m, layer, kind);
	size_t O = a.n_heads * a.head_dim, row = 0, key = 0, first = 0;
	const struct qkv *x = &s->row;

	for (size_t i = 0; i < b->n_seqs; i++) {
		size_t n = asking->lengths[i], from = first + skipped(&a, b->lengths[i], n);

		attention_forward(&a, n, n_keys[i], x->q + from * x->ldq, x->ldq, x->k + key * x->ldkv,
		        x->ldkv, x->v + key * x->ldkv, x->ldkv, s->attn + row * O, O,
		        s->lse ? s->lse + row * a.n_heads : NULL, b->scratch);
		row += n;
		first += b->lengths[i];
		key += n_keys[i];
	}
}

/* Gradients (n,width) of queries that nobody asked. */
static void no_gradients(const struct qkv *d, size_t row, size_t n, size_t width)
{
	for (size_t i = row; i < row + n; i++)
		memset(d->q + i * d->ldq, 0, width * sizeof(*d->q));
}

void packed_attend_backward(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_grads *g)
{
	const struct packed *b = p->context, *asking = asking_of(p, layer, kind);
	const size_t *n_keys = keys_lengths(b, kind);
	struct attention a = block_attention(p->m, layer, kind);
	size_t O = a.n_heads * a.head_dim, row = 0, key = 0, first = 0;
	const struct qkv *x = &s->row, *d = &g->d_row[kind];

	for (size_t i = 0; i < b->n_seqs; i++) {
		size_t n = asking->lengths[i], from = first + skipped(&a, b->lengths[i], n);

		no_gradients(d, first, from - first, O);
		no_gradients(d, from + n, b->lengths[i] - n - (from - first), O);
		attention_backward(&a, n, n_keys[i], x->q + from * x->ldq, x->ldq, x->k + key * x->ldkv,
		        x->ldkv, x->v + key * x->ldkv, x->ldkv, s->attn + row * O, g->d_attn + row * O, O,
		        s->lse + row * a.n_heads, d->q + from * d->ldq, d->k + key * d->ldkv,
		        d->v + key * d->ldkv, b->scratch);
		row += n;
		first += b->lengths[i];
		key += n_keys[i];
	}
}
