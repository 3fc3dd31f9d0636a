/*
 * The serving passes over a KV cache: a chunk of one prompt, and one token for each of many sequences.
 * See model.h for the face. A chunk's products depend on that chunk alone; the rows of a decode step go
 * through kernels whose order of summation no neighbour can change. Thread: the workspace's owner.
 */
#include "core/mem.h"
#include "worker/model/transformer.h"

#include <string.h>

struct kv {
	size_t capacity, length;
	size_t n_layers;
	size_t layer_floats; /* of one layer's keys, and of its values */
	size_t width;        /* KV*D */
	float *data;         /* owned: per layer keys (capacity, KV*D), then values */
};

struct serve_workspace {
	size_t max_rows, max_seqs;
	size_t *positions; /* (rows), owned like all below */
	float *x;          /* (rows,C) */
	float *picked;     /* (rows,C) */
	float *attention_scratch;
	struct block_state state;
	struct block_scratch scratch;
};

static size_t kv_width(const struct model *m)
{
	return m->arch.n_kv_heads * m->arch.head_dim;
}

size_t kv_bytes(const struct model *m, size_t n_positions)
{
	return sizeof(struct kv) + 2 * m->arch.n_layers * n_positions * kv_width(m) * sizeof(float);
}

enum err kv_new(const struct model *m, size_t n_positions, struct kv **out)
{
	struct kv *kv = mem_calloc(1, sizeof(*kv));

	if (!kv)
		return ERR_MEM;
	kv->capacity = n_positions;
	kv->n_layers = m->arch.n_layers;
	kv->width = kv_width(m);
	kv->layer_floats = n_positions * kv->width;
	kv->data = mem_aligned(2 * m->arch.n_layers * kv->layer_floats, sizeof(float));
	if (!kv->data) {
		kv_free(kv);
		return ERR_MEM;
	}
	*out = kv;
	return OK;
}

void kv_free(struct kv *kv)
{
	if (!kv)
		return;
	mem_free(kv->data);
	mem_free(kv);
}

size_t kv_length(const struct kv *kv)
{
	return kv->length;
}

size_t kv_capacity(const struct kv *kv)
{
	return kv->capacity;
}

void kv_truncate(struct kv *kv, size_t n)
{
	if (n < kv->length)
		kv->length = n;
}

enum err serve_workspace_new(
        const struct model *m, size_t max_rows, size_t max_seqs, struct serve_workspace **out)
{
	const struct arch *a = &m->arch;
	size_t n = max_rows > max_seqs ? max_rows : max_seqs, C = a->width, F = a->ffn_width;
	struct attention attention = block_attention(m, 0);
	struct serve_workspace *w = mem_calloc(1, sizeof(*w));

	if (!w)
		return ERR_MEM;
	w->max_rows = max_rows;
	w->max_seqs = max_seqs;
	w->positions = mem_calloc(n, sizeof(*w->positions));
	w->x = mem_aligned(n * C, sizeof(float));
	w->picked = mem_aligned(n * C, sizeof(float));
	w->attention_scratch = mem_aligned(attention_scratch_floats(&attention), sizeof(float));
	w->state.x_in = w->state.x_mid = w->x;
	w->state.qkv = mem_aligned(n * arch_qkv_width(a), sizeof(float));
	w->state.attn = mem_aligned(n * a->n_heads * a->head_dim, sizeof(float));
	w->state.gate = mem_aligned(n * F, sizeof(float));
	w->state.up = mem_aligned(n * F, sizeof(float));
	w->scratch.normed = mem_aligned(n * C, sizeof(float));
	w->scratch.hidden = mem_aligned(n * F, sizeof(float));
	w->scratch.branch = mem_aligned(n * C, sizeof(float));
	if (!w->positions || !w->x || !w->picked || !w->attention_scratch || !w->state.qkv ||
	        !w->state.attn || !w->state.gate || !w->state.up || !w->scratch.normed ||
	        !w->scratch.hidden || !w->scratch.branch) {
		serve_workspace_free(w);
		return ERR_MEM;
	}
	*out = w;
	return OK;
}

void serve_workspace_free(struct serve_workspace *w)
{
	if (!w)
		return;
	mem_free(w->positions);
	mem_free(w->x);
	mem_free(w->picked);
	mem_free(w->attention_scratch);
	mem_free(w->state.qkv);
	mem_free(w->state.attn);
	mem_free(w->state.gate);
	mem_free(w->state.up);
	mem_free(w->scratch.normed);
	mem_free(w->scratch.hidden);
	mem_free(w->scratch.branch);
	mem_free(w);
}

static float *kv_keys(const struct kv *kv, size_t layer)
{
	return kv->data + 2 * layer * kv->layer_floats;
}

static float *kv_values(const struct kv *kv, size_t layer)
{
	return kv_keys(kv, layer) + kv->layer_floats;
}

void kv_copy(struct kv *dst, const struct kv *src, size_t n)
{
	size_t at = n * src->width, bytes = (src->length - n) * src->width * sizeof(float);

	for (size_t i = 0; i < src->n_layers; i++) {
		memcpy(kv_keys(dst, i) + at, kv_keys(src, i) + at, bytes);
		memcpy(kv_values(dst, i) + at, kv_values(src, i) + at, bytes);
	}
	dst->length = src->length;
}

/* n rows of [q | k | v] of one sequence: store their keys and values behind the `kv->length` ones that are
 * there, and attend over all. */
static void attend(const struct model *m, const struct serve_workspace *w, struct kv *kv, size_t layer,
        size_t row, size_t n)
{
	struct attention a = block_attention(m, layer);
	size_t W = arch_qkv_width(&m->arch), O = a.n_heads * a.head_dim, KV = kv->width;
	const float *qkv = w->state.qkv + row * W;
	float *keys = kv_keys(kv, layer), *values = kv_values(kv, layer);

	for (size_t i = 0; i < n; i++) {
		memcpy(keys + (kv->length + i) * KV, qkv + i * W + O, KV * sizeof(float));
		memcpy(values + (kv->length + i) * KV, qkv + i * W + O + KV, KV * sizeof(float));
	}
	attention_forward(&a, n, kv->length + n, qkv, W, keys, KV, values, KV, w->state.attn + row * O, O,
	        NULL, w->attention_scratch);
}

static enum err tokens_check(const struct model *m, const int32_t *tokens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((size_t)tokens[i] >= m->arch.vocab_size)
			return ERR_INVALID;
	return OK;
}

enum err model_prefill(const struct model *m, struct serve_workspace *w, struct kv *kv, const int32_t *tokens,
        size_t n_rows, const struct edit_run *run, const size_t *logit_rows, size_t n_logits, float *logits)
{
	struct edit_run whole = *run;
	struct pass pass = {.m = m, .n_rows = n_rows, .positions = w->positions, .runs = &whole, .n_runs = 1};
	size_t C = m->arch.width;
	enum err e = tokens_check(m, tokens, n_rows);

	whole.n_rows = n_rows;
	if (e)
		return e;
	if (n_rows > w->max_rows)
		return ERR_TOO_LARGE;
	if (n_rows > kv->capacity - kv->length)
		return ERR_TOO_LONG;
	for (size_t i = 0; i < n_rows; i++)
		w->positions[i] = kv->length + i;
	transformer_embed(&pass, tokens, w->x);
	for (size_t i = 0; i < m->arch.n_layers; i++) {
		block_qkv(&pass, i, &w->state, &w->scratch);
		attend(m, w, kv, i, 0, n_rows);
		block_finish(&pass, i, &w->state, &w->scratch, w->x);
	}
	kv->length += n_rows;
	for (size_t i = 0; i < n_logits; i++)
		memcpy(w->picked + i * C, w->x + logit_rows[i] * C, C * sizeof(float));
	transformer_final_norm(m, n_logits, w->picked, w->picked, NULL, NULL);
	/* One row's logits must not depend on how many others of its prompt are wanted. */
	linear_forward(&m->weights.head, n_logits, true, w->picked, C, logits, m->arch.vocab_size);
	return OK;
}

enum err model_decode(const struct model *m, struct serve_workspace *w, size_t n, struct kv *const *kvs,
        const int32_t *tokens, const struct edit_run *runs, float *logits)
{
	struct pass pass = {
	        .m = m, .n_rows = n, .positions = w->positions, .runs = runs, .n_runs = n, .shared = true};
	enum err e = tokens_check(m, tokens, n);

	if (e)
		return e;
	if (n > w->max_seqs)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < n; i++) {
		if (kvs[i]->length == kvs[i]->capacity)
			return ERR_TOO_LONG;
		w->positions[i] = kvs[i]->length;
	}
	transformer_embed(&pass, tokens, w->x);
	for (size_t i = 0; i < m->arch.n_layers; i++) {
		block_qkv(&pass, i, &w->state, &w->scratch);
		for (size_t j = 0; j < n; j++)
			attend(m, w, kvs[j], i, j, 1);
		block_finish(&pass, i, &w->state, &w->scratch, w->x);
	}
	for (size_t i = 0; i < n; i++)
		kvs[i]->length++;
	transformer_final_norm(m, n, w->x, w->x, NULL, NULL);
	linear_forward(&m->weights.head, n, true, w->x, m->arch.width, logits, m->arch.vocab_size);
	return OK;
}
