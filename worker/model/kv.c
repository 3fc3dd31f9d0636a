/* See kv.h. */
#include "worker/model/kv.h"

#include "core/mem.h"

#include <string.h>

static size_t kv_width(const struct arch *a)
{
	return a->n_kv_heads * a->head_dim;
}

static size_t kv_layers(const struct arch *a)
{
	return a->stacks[a->n_stacks - 1].n_layers;
}

size_t kv_bytes(const struct model *m, size_t n_positions)
{
	return sizeof(struct kv) + 2 * kv_layers(&m->arch) * n_positions * kv_width(&m->arch) * sizeof(float);
}

enum err kv_new(const struct model *m, size_t n_positions, struct kv **out)
{
	struct kv *kv = mem_calloc(1, sizeof(*kv));

	if (!kv)
		return ERR_MEM;
	kv->capacity = n_positions;
	kv->n_layers = kv_layers(&m->arch);
	kv->width = kv_width(&m->arch);
	kv->data = mem_aligned(2 * kv_layers(&m->arch) * n_positions * kv->width, sizeof(float));
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
	return kv->capacity - kv->n_source;
}

void kv_truncate(struct kv *kv, size_t n)
{
	if (n < kv->length)
		kv->length = n;
}

void kv_copy(struct kv *dst, const struct kv *src, size_t n)
{
	/* caches with tokens in common have the source in common */
	size_t from = n ? src->n_source + n : 0, at = from * src->width;
	size_t bytes = (src->n_source + src->length - from) * src->width * sizeof(float);

	for (size_t i = 0; i < src->n_layers; i++) {
		memcpy(kv_keys(dst, i, ATTENTION_CROSS) + at, kv_keys(src, i, ATTENTION_CROSS) + at, bytes);
		memcpy(kv_values(dst, i, ATTENTION_CROSS) + at, kv_values(src, i, ATTENTION_CROSS) + at,
		        bytes);
	}
	dst->n_source = src->n_source;
	dst->length = src->length;
}

float *kv_keys(const struct kv *kv, size_t layer, enum attention_kind kind)
{
	size_t first = kind == ATTENTION_CROSS ? 0 : kv->n_source;

	return kv->data + (2 * layer * kv->capacity + first) * kv->width;
}

float *kv_values(const struct kv *kv, size_t layer, enum attention_kind kind)
{
	return kv_keys(kv, layer, kind) + kv->capacity * kv->width;
}
