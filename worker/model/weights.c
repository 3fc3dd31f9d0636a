/*
 * Tensors by name from a Hugging Face directory. See weights.h.
 * What is float32 and stored (out,in) is used where it lies in the mapping; the rest is converted once.
 */
#include "worker/model/weights.h"

#include "core/mem.h"
#include "worker/math/vec.h"
#include "worker/model/shards.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TENSOR_NAME_SIZE 160
/* Of a tensor larger than all samples together, so many evenly spaced pieces enter the fingerprint. */
#define HASH_SAMPLES 16
#define HASH_SAMPLE_BYTES 4096

struct weight_files {
	struct shards *shards; /* owned */
	float **converted;     /* owned list of owned arrays */
	size_t n_converted, cap_converted;
};

/* While loading. */
struct loader {
	const char *dir;
	const struct arch *arch;
	struct weight_files *files;
	struct hash *hash;
	uint64_t n_params;
	struct why *why;
};

/* By its full name, or without the family's prefix as checkpoints of the bare model have it. */
static const struct tensor *tensor_lookup(const struct loader *l, const char *name)
{
	const struct tensor *t = shards_find(l->files->shards, name);
	size_t n = strlen(l->arch->family->prefix);

	if (!t && strncmp(name, l->arch->family->prefix, n) == 0)
		t = shards_find(l->files->shards, name + n);
	return t;
}

static void tensor_hash(struct hash *h, const char *name, const struct tensor *t)
{
	const char *data = t->data;

	hash_update(h, name, strlen(name) + 1);
	hash_update(h, &t->type, sizeof(t->type));
	hash_update(h, t->shape, t->n_dims * sizeof(t->shape[0]));
	if (t->n_bytes <= (size_t)HASH_SAMPLES * HASH_SAMPLE_BYTES) {
		hash_update(h, data, t->n_bytes);
		return;
	}
	for (size_t i = 0; i < HASH_SAMPLES; i++) {
		size_t at = (t->n_bytes - HASH_SAMPLE_BYTES) / (HASH_SAMPLES - 1) * i;

		hash_update(h, data + at, HASH_SAMPLE_BYTES);
	}
}

/* An array of n floats that lives as long as the weights. */
static enum err converted_new(struct weight_files *f, size_t n, float **out)
{
	float *p;

	if (f->n_converted == f->cap_converted) {
		size_t cap = f->cap_converted ? 2 * f->cap_converted : 64;
		float **list = mem_realloc(f->converted, cap, sizeof(*list));

		if (!list)
			return ERR_MEM;
		f->converted = list;
		f->cap_converted = cap;
	}
	p = mem_aligned(n, sizeof(*p));
	if (!p)
		return ERR_MEM;
	f->converted[f->n_converted++] = p;
	*out = p;
	return OK;
}

static enum err tensor_check(
        const struct loader *l, const char *name, const struct tensor *t, size_t rows, size_t cols)
{
	bool fits = cols ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols
	                 : t->n_dims == 1 && t->shape[0] == rows;

	if (!fits)
		return why_set(l->why, ERR_FORMAT,
		        cols ? "%s: tensor %s is not shaped (%zu, %zu)" : "%s: tensor %s is not shaped (%zu)",
		        l->dir, name, rows, cols);
	if (t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16)
		return why_set(
		        l->why, ERR_UNSUPPORTED, "%s: tensor %s is neither F32, F16 nor BF16", l->dir, name);
	return OK;
}

/* A tensor (rows, cols), or (rows) when cols is 0; with `transposed` it is stored (cols, rows). */
static enum err tensor_load(
        struct loader *l, const char *name, size_t rows, size_t cols, bool transposed, const float **out)
{
	const struct tensor *t = tensor_lookup(l, name);
	size_t n = rows * (cols ? cols : 1);
	float *own, *raw;
	enum err e;

	if (!t)
		return why_set(l->why, ERR_FORMAT, "%s: tensor %s is missing", l->dir, name);
	e = transposed ? tensor_check(l, name, t, cols, rows) : tensor_check(l, name, t, rows, cols);
	if (e)
		return e;
	l->n_params += n;
	tensor_hash(l->hash, name, t);
	if (!transposed && t->type == TENSOR_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
		*out = (const float *)t->data;
		return OK;
	}
	e = converted_new(l->files, n, &own);
	if (e)
		return e;
	*out = own;
	if (!transposed)
		return tensor_read_f32(t, 0, n, own);
	raw = mem_aligned(n, sizeof(*raw));
	if (!raw)
		return ERR_MEM;
	e = tensor_read_f32(t, 0, n, raw);
	if (!e)
		vec_transpose(cols, rows, raw, own);
	mem_free(raw);
	return e;
}

__attribute__((format(printf, 2, 3))) static void name_format(char *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, TENSOR_NAME_SIZE, fmt, ap);
	va_end(ap);
}

static enum err linear_load(struct loader *l, size_t layer, enum module module, size_t n_out, size_t n_in,
        bool bias, struct linear *out)
{
	const struct family *f = l->arch->family;
	char name[TENSOR_NAME_SIZE];
	enum err e;

	out->n_in = n_in;
	out->n_out = n_out;
	name_format(name, "%s%s.%zu.%s.weight", f->prefix, f->layers, layer, f->modules[module]);
	e = tensor_load(l, name, n_out, n_in, l->arch->transposed, &out->w);
	if (e || !bias)
		return e;
	name_format(name, "%s%s.%zu.%s.bias", f->prefix, f->layers, layer, f->modules[module]);
	return tensor_load(l, name, n_out, 0, false, &out->b);
}

/* path is below the family's prefix: "h.0.ln_1". */
static enum err norm_load(struct loader *l, const char *path, struct norm *out)
{
	char name[TENSOR_NAME_SIZE];
	enum err e;

	name_format(name, "%s%s.weight", l->arch->family->prefix, path);
	e = tensor_load(l, name, l->arch->width, 0, false, &out->w);
	if (e || l->arch->norm == NORM_RMS)
		return e;
	name_format(name, "%s%s.bias", l->arch->family->prefix, path);
	return tensor_load(l, name, l->arch->width, 0, false, &out->b);
}

static enum err layer_load(struct loader *l, size_t i, struct layer *out)
{
	const struct arch *a = l->arch;
	const struct family *f = a->family;
	size_t C = a->width, F = a->ffn_width, O = a->n_heads * a->head_dim, KV = a->n_kv_heads * a->head_dim;
	char path[TENSOR_NAME_SIZE];
	enum err e;

	out->n_qkv = a->fused_qkv ? 1 : 3;
	if (a->fused_qkv) {
		e = linear_load(l, i, MODULE_QKV, O + 2 * KV, C, a->qkv_bias, &out->qkv[0]);
	} else {
		e = linear_load(l, i, MODULE_Q, O, C, a->qkv_bias, &out->qkv[0]);
		if (!e)
			e = linear_load(l, i, MODULE_K, KV, C, a->qkv_bias, &out->qkv[1]);
		if (!e)
			e = linear_load(l, i, MODULE_V, KV, C, a->qkv_bias, &out->qkv[2]);
	}
	if (!e)
		e = linear_load(l, i, MODULE_ATTN_OUT, C, O, a->attn_out_bias, &out->attn_out);
	if (!e && a->gated)
		e = linear_load(l, i, MODULE_FFN_GATE, F, C, a->ffn_bias, &out->gate);
	if (!e)
		e = linear_load(l, i, MODULE_FFN_UP, F, C, a->ffn_bias, &out->up);
	if (!e)
		e = linear_load(l, i, MODULE_FFN_DOWN, C, F, a->ffn_bias, &out->down);
	name_format(path, "%s.%zu.%s", f->layers, i, f->modules[MODULE_NORM1]);
	if (!e)
		e = norm_load(l, path, &out->norm1);
	name_format(path, "%s.%zu.%s", f->layers, i, f->modules[MODULE_NORM2]);
	if (!e)
		e = norm_load(l, path, &out->norm2);
	return e;
}

static enum err head_load(struct loader *l, struct weights *w)
{
	const struct arch *a = l->arch;
	char name[TENSOR_NAME_SIZE];

	w->head.n_in = a->width;
	w->head.n_out = a->vocab_size;
	w->head.w = w->embedding;
	if (a->tied_head)
		return OK;
	name_format(name, "%s.weight", a->family->head);
	return tensor_load(l, name, a->vocab_size, a->width, false, &w->head.w);
}

static enum err tensors_load(struct loader *l, struct weights *w)
{
	const struct arch *a = l->arch;
	const struct family *f = a->family;
	char name[TENSOR_NAME_SIZE];
	enum err e;

	name_format(name, "%s%s.weight", f->prefix, f->embedding);
	e = tensor_load(l, name, a->vocab_size, a->width, false, &w->embedding);
	if (!e && a->positions == POSITIONS_LEARNED) {
		name_format(name, "%s%s.weight", f->prefix, f->position_embedding);
		e = tensor_load(l, name, a->max_positions, a->width, false, &w->positions);
	}
	for (size_t i = 0; !e && i < a->n_layers; i++)
		e = layer_load(l, i, &w->layers[i]);
	if (!e)
		e = norm_load(l, f->final_norm, &w->final_norm);
	return e ? e : head_load(l, w);
}

enum err weights_open(
        const char *dir, const struct arch *arch, struct weights *out, struct hash *hash, struct why *why)
{
	struct weights w = {0};
	struct loader l = {.dir = dir, .arch = arch, .hash = hash, .why = why};
	enum err e = ERR_MEM;

	w.files = mem_calloc(1, sizeof(*w.files));
	w.layers = mem_calloc(arch->n_layers, sizeof(*w.layers));
	if (!w.files || !w.layers)
		goto fail;
	l.files = w.files;
	e = shards_open(dir, &w.files->shards, why);
	if (!e)
		e = tensors_load(&l, &w);
	if (e)
		goto fail;
	w.n_params = l.n_params;
	*out = w;
	return OK;
fail:
	weights_close(&w);
	return e;
}

void weights_close(struct weights *w)
{
	struct weight_files *f = w->files;

	if (f) {
		shards_close(f->shards);
		for (size_t i = 0; i < f->n_converted; i++)
			mem_free(f->converted[i]);
		mem_free(f->converted);
		mem_free(f);
	}
	mem_free(w->layers);
	memset(w, 0, sizeof(*w));
}
