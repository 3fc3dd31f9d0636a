/*
 * Tensors by name from a Hugging Face directory. See weights.h.
 * Vectors stored as they are wanted are used where they lie in the mapping; the rest is converted once.
 */
#include "worker/model/weights.h"

#include "core/mem.h"
#include "worker/math/cpu.h"
#include "worker/model/pack.h"
#include "worker/model/relative.h"
#include "worker/model/shards.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TENSOR_NAME_SIZE 160
/* Of a tensor larger than all samples together, so many evenly spaced pieces enter the fingerprint. */
#define HASH_SAMPLES 16
#define HASH_SAMPLE_BYTES 4096
/* Matrices are packed by as many threads at most: more wait for memory. */
#define MAX_PACK_THREADS 16

struct weight_files {
	struct shards *shards; /* owned */
	void **converted;      /* owned list of owned arrays */
	size_t n_converted, cap_converted;
};

/* While loading. */
struct loader {
	const char *dir;
	const struct arch *arch;
	struct weight_files *files;
	enum matrix_format format;
	struct pack *pack;
	struct hash *hash;
	uint64_t n_params, n_bytes;
	struct why *why;
};

__attribute__((format(printf, 2, 3))) static void name_format(char *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, TENSOR_NAME_SIZE, fmt, ap);
	va_end(ap);
}

const struct tensor *weights_find(const struct shards *shards, const struct family *f, const char *name)
{
	const struct tensor *t = shards_find(shards, name);
	size_t n = strlen(f->prefix);
	char wrapped[TENSOR_NAME_SIZE];

	if (!t && n && strncmp(name, f->prefix, n) == 0)
		t = shards_find(shards, name + n);
	if (!t && f->wrapper) {
		name_format(wrapped, "%s%s", f->wrapper, name);
		t = shards_find(shards, wrapped);
	}
	return t;
}

static const struct tensor *tensor_lookup(const struct loader *l, const char *name)
{
	return weights_find(l->files->shards, l->arch->family, name);
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

/* An array of n elements that lives as long as the weights. */
static enum err converted_new(struct weight_files *f, size_t n, size_t size, void **out)
{
	void *p;

	if (f->n_converted == f->cap_converted) {
		size_t cap = f->cap_converted ? 2 * f->cap_converted : 64;
		void **list = mem_realloc(f->converted, cap, sizeof(*list));

		if (!list)
			return ERR_MEM;
		f->converted = list;
		f->cap_converted = cap;
	}
	p = mem_huge(n, size);
	if (!p)
		return ERR_MEM;
	f->converted[f->n_converted++] = p;
	*out = p;
	return OK;
}

static enum err floats_new(struct weight_files *f, size_t n, float **out)
{
	void *p;
	enum err e = converted_new(f, n, sizeof(**out), &p);

	if (!e)
		*out = p;
	return e;
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

/* Find, check, count and fingerprint a tensor (rows, cols), or (rows) when cols is 0. */
static enum err tensor_take(
        struct loader *l, const char *name, size_t rows, size_t cols, const struct tensor **out)
{
	const struct tensor *t = tensor_lookup(l, name);
	enum err e;

	if (!t)
		return why_set(l->why, ERR_FORMAT, "%s: tensor %s is missing", l->dir, name);
	e = tensor_check(l, name, t, rows, cols);
	if (e)
		return e;
	l->n_params += t->n_elements;
	tensor_hash(l->hash, name, t);
	*out = t;
	return OK;
}

/* As float32 numbers. */
static enum err floats_load(struct loader *l, const char *name, size_t rows, size_t cols, const float **out)
{
	const struct tensor *t;
	float *own;
	enum err e = tensor_take(l, name, rows, cols, &t);

	if (e)
		return e;
	if (t->type == TENSOR_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
		*out = t->data;
		return OK;
	}
	e = floats_new(l->files, t->n_elements, &own);
	if (e)
		return e;
	*out = own;
	e = tensor_read_f32(t, 0, t->n_elements, own);
	shards_forget(t);
	return e;
}

/* ---- matrices ---- */

/* A matrix (rows, cols) from a tensor that was taken; with `transposed` it is stored (cols, rows). Filled at
 * the end of loading at the latest. */
static enum err matrix_from(struct loader *l, const struct tensor *t, size_t rows, size_t cols,
        bool transposed, struct matrix *out)
{
	struct matrix m = {.format = l->format, .n_out = rows, .n_in = cols};
	size_t n_bytes = matrix_bytes(m.format, rows, cols);
	void *data;
	enum err e = converted_new(l->files, n_bytes, 1, &data);

	if (e)
		return e;
	m.data = data;
	l->n_bytes += n_bytes;
	*out = m;
	return pack_add(l->pack, t, transposed, &m, data);
}

static enum err matrix_load(
        struct loader *l, const char *name, size_t rows, size_t cols, bool transposed, struct matrix *out)
{
	const struct tensor *t;
	enum err e = tensor_take(l, name, transposed ? cols : rows, transposed ? rows : cols, &t);

	return e ? e : matrix_from(l, t, rows, cols, transposed, out);
}

/* ---- what the tensors are called ---- */

static const char *module_path(const struct loader *l, size_t layer, enum module module)
{
	const struct arch *a = l->arch;
	const char *const *modules = arch_stack(a, layer)->names->modules;

	if (module == MODULE_FFN_UP && !a->gated && modules[MODULE_FFN_UP_ALONE])
		return modules[MODULE_FFN_UP_ALONE];
	return modules[module];
}

/* "h.3.attn.c_proj", below the family's prefix. */
static void path_format(const struct loader *l, size_t layer, const char *module, char *out)
{
	const struct stack *s = arch_stack(l->arch, layer);

	name_format(out, "%s.%zu.%s", s->names->layers, layer - s->first_layer, module);
}

static enum err linear_load(struct loader *l, size_t layer, enum module module, size_t n_out, size_t n_in,
        bool bias, struct linear *out)
{
	char path[TENSOR_NAME_SIZE], name[TENSOR_NAME_SIZE];
	enum err e;

	path_format(l, layer, module_path(l, layer, module), path);
	name_format(name, "%s%s.weight", l->arch->family->prefix, path);
	e = matrix_load(l, name, n_out, n_in, l->arch->transposed, &out->w);
	if (e || !bias)
		return e;
	name_format(name, "%s%s.bias", l->arch->family->prefix, path);
	return floats_load(l, name, n_out, 0, &out->b);
}

/* One vector of a norm: by its name, or by the one it had in TensorFlow's checkpoints. */
static enum err norm_vector_load(
        struct loader *l, const char *path, const char *name, const char *old, const float **out)
{
	const char *prefix = l->arch->family->prefix;
	char full[TENSOR_NAME_SIZE], legacy[TENSOR_NAME_SIZE];

	name_format(full, "%s%s.%s", prefix, path, name);
	name_format(legacy, "%s%s.%s", prefix, path, old);
	return floats_load(l, !tensor_lookup(l, full) && tensor_lookup(l, legacy) ? legacy : full,
	        l->arch->width, 0, out);
}

/* path is below the family's prefix: "h.0.ln_1". */
static enum err norm_load(struct loader *l, const char *path, struct norm *out)
{
	enum err e = norm_vector_load(l, path, "weight", "gamma", &out->w);

	return e || l->arch->norm == NORM_RMS ? e : norm_vector_load(l, path, "bias", "beta", &out->b);
}

static enum err layer_norm_load(struct loader *l, size_t layer, enum module module, struct norm *out)
{
	char path[TENSOR_NAME_SIZE];

	path_format(l, layer, module_path(l, layer, module), path);
	return norm_load(l, path, out);
}

/* The table of buckets (n,H), spread out over distances as attention wants it. */
static enum err relative_load(struct loader *l, size_t layer, const float **out)
{
	const struct arch *a = l->arch;
	const struct stack *s = arch_stack(a, layer);
	char path[TENSOR_NAME_SIZE], name[TENSOR_NAME_SIZE];
	const float *table;
	float *spread;
	enum err e;

	path_format(l, layer, s->names->relative_bias, path);
	name_format(name, "%s%s.weight", a->family->prefix, path);
	e = floats_load(l, name, a->relative_buckets, a->n_heads, &table);
	if (!e)
		e = floats_new(l->files, a->n_heads * (2 * a->relative_distance + 1), &spread);
	if (e)
		return e;
	relative_spread(a->n_heads, a->relative_buckets, a->relative_distance, !s->causal, table, spread);
	*out = spread;
	return OK;
}

static enum err attention_load(
        struct loader *l, size_t layer, enum attention_kind kind, struct attention_weights *out)
{
	const struct arch *a = l->arch;
	size_t C = a->width, O = a->n_heads * a->head_dim, KV = a->n_kv_heads * a->head_dim;
	enum err e;

	out->n_qkv = a->fused_qkv ? 1 : 3;
	if (a->fused_qkv) {
		e = linear_load(
		        l, layer, module_of(kind, MODULE_QKV), O + 2 * KV, C, a->qkv_bias, &out->qkv[0]);
	} else {
		e = linear_load(l, layer, module_of(kind, MODULE_Q), O, C, a->qkv_bias, &out->qkv[0]);
		if (!e)
			e = linear_load(
			        l, layer, module_of(kind, MODULE_K), KV, C, a->qkv_bias, &out->qkv[1]);
		if (!e)
			e = linear_load(
			        l, layer, module_of(kind, MODULE_V), KV, C, a->qkv_bias, &out->qkv[2]);
	}
	if (!e)
		e = linear_load(
		        l, layer, module_of(kind, MODULE_ATTN_OUT), C, O, a->attn_out_bias, &out->out);
	return e ? e : layer_norm_load(l, layer, module_of(kind, MODULE_NORM), &out->norm);
}

static enum err layer_load(struct loader *l, size_t i, struct layer *layers)
{
	const struct arch *a = l->arch;
	const struct stack *s = arch_stack(a, i);
	struct layer *out = &layers[i];
	size_t C = a->width, F = a->ffn_width;
	enum err e = attention_load(l, i, ATTENTION_SELF, &out->attn[ATTENTION_SELF]);

	if (!e && s->cross)
		e = attention_load(l, i, ATTENTION_CROSS, &out->attn[ATTENTION_CROSS]);
	if (!e && a->gated)
		e = linear_load(l, i, MODULE_FFN_GATE, F, C, a->ffn_bias, &out->ffn.gate);
	if (!e)
		e = linear_load(l, i, MODULE_FFN_UP, F, C, a->ffn_bias, &out->ffn.up);
	if (!e)
		e = linear_load(l, i, MODULE_FFN_DOWN, C, F, a->ffn_bias, &out->ffn.down);
	if (!e)
		e = layer_norm_load(l, i, MODULE_FFN_NORM, &out->ffn.norm);
	if (e || a->positions != POSITIONS_RELATIVE)
		return e;
	if (a->relative_every_layer || i == s->first_layer)
		return relative_load(l, i, &out->attn[ATTENTION_SELF].rel_bias);
	out->attn[ATTENTION_SELF].rel_bias = layers[s->first_layer].attn[ATTENTION_SELF].rel_bias;
	return OK;
}

/* Scaling what the head reads is scaling the norm before it. */
static enum err head_scale(struct loader *l, struct norm *norm)
{
	size_t C = l->arch->width;
	float *scaled;
	enum err e = floats_new(l->files, C, &scaled);

	if (e)
		return e;
	for (size_t i = 0; i < C; i++)
		scaled[i] = (float)((double)norm->w[i] / sqrt((double)C));
	norm->w = scaled;
	return OK;
}

static enum err head_load(struct loader *l, struct weights *w)
{
	const struct arch *a = l->arch;
	char name[TENSOR_NAME_SIZE];

	if (a->family->kind == MODEL_ENCODER)
		return OK;
	name_format(name, "%s.weight", a->family->head);
	if (a->head_in_files ? !tensor_lookup(l, name) : a->tied_head)
		return matrix_from(l, w->embedding, a->vocab_size, a->width, false, &w->head.w);
	return matrix_load(l, name, a->vocab_size, a->width, false, &w->head.w);
}

static enum err embedding_load(struct loader *l, struct weights *w)
{
	const struct arch *a = l->arch;
	const struct family *f = a->family;
	char name[TENSOR_NAME_SIZE];
	enum err e;

	name_format(name, "%s%s.weight", f->prefix, f->embedding);
	e = tensor_take(l, name, a->vocab_size, a->width, &w->embedding);
	if (!e && a->positions == POSITIONS_LEARNED) {
		name_format(name, "%s%s.weight", f->prefix, f->position_embedding);
		e = floats_load(l, name, a->position_offset + a->max_positions, a->width, &w->positions);
		if (!e)
			w->positions += a->position_offset * a->width;
	}
	if (!e && a->n_types) {
		name_format(name, "%s%s.weight", f->prefix, f->type_embedding);
		e = floats_load(l, name, a->n_types, a->width, &w->types);
	}
	return e || !f->embedding_norm ? e : norm_load(l, f->embedding_norm, &w->embedding_norm);
}

static enum err tensors_load(struct loader *l, struct weights *w)
{
	const struct arch *a = l->arch;
	enum err e = embedding_load(l, w);

	for (size_t i = 0; !e && i < a->n_layers; i++)
		e = layer_load(l, i, w->layers);
	for (size_t k = 0; !e && !a->post_norm && k < a->n_stacks; k++)
		e = norm_load(l, a->stacks[k].names->final_norm, &w->final_norm[k]);
	if (!e && a->scaled_head)
		e = head_scale(l, &w->final_norm[a->n_stacks - 1]);
	return e ? e : head_load(l, w);
}

enum err weights_open(const char *dir, const struct arch *arch, enum matrix_format format,
        struct weights *out, struct hash *hash, struct why *why)
{
	struct weights w = {.format = format};
	struct loader l = {.dir = dir, .arch = arch, .format = format, .hash = hash, .why = why};
	enum err e = ERR_MEM;

	w.files = mem_calloc(1, sizeof(*w.files));
	w.layers = mem_calloc(arch->n_layers, sizeof(*w.layers));
	if (!w.files || !w.layers)
		goto fail;
	l.files = w.files;
	e = shards_open(dir, &w.files->shards, why);
	if (!e)
		e = pack_start(cpu_count() < MAX_PACK_THREADS ? cpu_count() : MAX_PACK_THREADS, &l.pack);
	if (!e)
		e = tensors_load(&l, &w);
	if (!e)
		e = pack_finish(l.pack);
	pack_stop(l.pack);
	if (e)
		goto fail;
	w.n_params = l.n_params;
	w.n_bytes = l.n_bytes;
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
