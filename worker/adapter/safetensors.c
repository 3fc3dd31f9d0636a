/* See safetensors.h. The JSON tree is kept for its strings: names and metadata point into it. */
#include "worker/adapter/safetensors.h"

#include "core/mem.h"
#include "worker/math/vec.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8
#define METADATA_KEY "__metadata__"

static const struct {
	const char *name;
	size_t bytes;
} type_table[] = {
#define X(type, name, bytes) {name, bytes},
        TENSOR_TYPE_LIST(X)
#undef X
};

struct safetensors {
	json_t *header;         /* owned */
	const json_t *meta;     /* borrowed from header; NULL when absent */
	struct tensor *tensors; /* owned, by name */
	size_t n;
};

const char *tensor_type_name(enum tensor_type type)
{
	return type_table[type].name;
}

size_t tensor_type_bytes(enum tensor_type type)
{
	return type_table[type].bytes;
}

static enum err read_header(
        const unsigned char *data, size_t n, json_t **out, size_t *header_bytes, struct why *why)
{
	uint64_t length = 0;
	json_error_t je;
	json_t *j;

	if (n < LENGTH_BYTES)
		return why_set(why, ERR_FORMAT, "%zu bytes are too few for a safetensors file", n);
	for (size_t i = 0; i < LENGTH_BYTES; i++)
		length |= (uint64_t)data[i] << (8 * i);
	if (length > SAFETENSORS_MAX_HEADER_BYTES)
		return why_set(why, ERR_FORMAT,
		        "a header of %llu bytes is announced, more than the %u allowed",
		        (unsigned long long)length, SAFETENSORS_MAX_HEADER_BYTES);
	if (length > n - LENGTH_BYTES)
		return why_set(why, ERR_FORMAT,
		        "a header of %llu bytes is announced, but only %zu bytes follow",
		        (unsigned long long)length, n - LENGTH_BYTES);
	j = json_loadb((const char *)data + LENGTH_BYTES, (size_t)length, JSON_REJECT_DUPLICATES, &je);
	if (!j && json_error_code(&je) == json_error_out_of_memory)
		return ERR_MEM;
	if (!j)
		return why_set(why, ERR_FORMAT, "header: %s (at byte %d)", je.text, je.position);
	if (!json_is_object(j)) {
		json_decref(j);
		return why_set(why, ERR_FORMAT, "header is not a JSON object");
	}
	*out = j;
	*header_bytes = (size_t)length;
	return OK;
}

static enum err check_metadata(const json_t *meta, struct why *why)
{
	const char *key;
	json_t *value;

	if (meta && !json_is_object(meta))
		return why_set(why, ERR_FORMAT, METADATA_KEY " is not an object");
	json_object_foreach ((json_t *)meta, key, value)
		if (!json_is_string(value))
			return why_set(why, ERR_FORMAT, METADATA_KEY ".%.60s is not a string", key);
	return OK;
}

static enum err read_type(const json_t *j, struct tensor *t, struct why *why)
{
	const char *name = json_string_value(j);

	if (!name)
		return why_set(why, ERR_FORMAT, "tensor %.100s: dtype is not a string", t->name);
	for (size_t i = 0; i < sizeof(type_table) / sizeof(type_table[0]); i++)
		if (strcmp(type_table[i].name, name) == 0) {
			t->type = (enum tensor_type)i;
			return OK;
		}
	return why_set(why, ERR_UNSUPPORTED, "tensor %.100s: dtype %.20s is not known", t->name, name);
}

/* A JSON integer >= 0, or false. */
static bool read_size(const json_t *j, size_t *out)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || v < 0 || (unsigned long long)v > SIZE_MAX)
		return false;
	*out = (size_t)v;
	return true;
}

static enum err read_shape(const json_t *j, struct tensor *t, struct why *why)
{
	if (!json_is_array(j))
		return why_set(why, ERR_FORMAT, "tensor %.100s: shape is not an array", t->name);
	t->n_dims = json_array_size(j);
	if (t->n_dims > TENSOR_MAX_DIMS)
		return why_set(why, ERR_UNSUPPORTED, "tensor %.100s: %zu dimensions, more than %d", t->name,
		        t->n_dims, TENSOR_MAX_DIMS);
	t->n_elements = 1;
	for (size_t i = 0; i < t->n_dims; i++) {
		if (!read_size(json_array_get(j, i), &t->shape[i]))
			return why_set(
			        why, ERR_FORMAT, "tensor %.100s: shape[%zu] is not a size", t->name, i);
		if (!mem_mul(t->n_elements, t->shape[i], &t->n_elements))
			return why_set(
			        why, ERR_FORMAT, "tensor %.100s: the shape's product overflows", t->name);
	}
	if (!mem_mul(t->n_elements, type_table[t->type].bytes, &t->n_bytes))
		return why_set(why, ERR_FORMAT, "tensor %.100s: the size in bytes overflows", t->name);
	return OK;
}

static enum err read_tensor(const char *name, const json_t *j, const unsigned char *data, size_t n_data,
        struct tensor *t, struct why *why)
{
	const json_t *offsets = json_object_get(j, "data_offsets");
	size_t begin, end;
	enum err e;

	t->name = name;
	if (!json_is_object(j))
		return why_set(why, ERR_FORMAT, "tensor %.100s: not an object", name);
	e = read_type(json_object_get(j, "dtype"), t, why);
	if (!e)
		e = read_shape(json_object_get(j, "shape"), t, why);
	if (e)
		return e;
	if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &begin) ||
	        !read_size(json_array_get(offsets, 1), &end) || begin > end)
		return why_set(why, ERR_FORMAT,
		        "tensor %.100s: data_offsets is not [begin, end] with begin <= end", name);
	if (end > n_data)
		return why_set(why, ERR_FORMAT, "tensor %.100s: ends at byte %zu of %zu bytes of data", name,
		        end, n_data);
	if (end - begin != t->n_bytes)
		return why_set(why, ERR_FORMAT, "tensor %.100s: %zu bytes for a shape and dtype of %zu", name,
		        end - begin, t->n_bytes);
	t->data = data + begin;
	return OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* In the order of the data; among equal starts the empty ones first, so that they do not count as overlaps.
 */
static int by_place(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->data != y->data)
		return (const char *)x->data < (const char *)y->data ? -1 : 1;
	return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Tensors must follow one another without overlap or hole and end where the data ends. */
static enum err check_cover(struct safetensors *s, const unsigned char *data, size_t n_data, struct why *why)
{
	const unsigned char *at = data;

	if (s->n)
		qsort(s->tensors, s->n, sizeof(*s->tensors), by_place);
	for (size_t i = 0; i < s->n; i++) {
		const struct tensor *t = &s->tensors[i];

		if (t->data != at)
			return why_set(why, ERR_FORMAT, "tensor %.100s: %s", t->name,
			        (const unsigned char *)t->data < at ? "overlaps another"
			                                            : "leaves a hole before it");
		at += t->n_bytes;
	}
	if (at != data + n_data)
		return why_set(why, ERR_FORMAT, "%zu bytes of data belong to no tensor",
		        (size_t)(data + n_data - at));
	return OK;
}

enum err safetensors_new(const void *data, size_t n, struct safetensors **out, struct why *why)
{
	struct safetensors *s = mem_calloc(1, sizeof(*s));
	const unsigned char *body;
	size_t header_bytes = 0;
	const char *name;
	json_t *value;
	enum err e = ERR_MEM;

	if (!s)
		goto fail;
	e = read_header(data, n, &s->header, &header_bytes, why);
	if (e)
		goto fail;
	body = (const unsigned char *)data + LENGTH_BYTES + header_bytes;
	s->meta = json_object_get(s->header, METADATA_KEY);
	e = check_metadata(s->meta, why);
	if (e)
		goto fail;
	e = ERR_MEM;
	s->tensors = mem_calloc(json_object_size(s->header), sizeof(*s->tensors));
	if (!s->tensors)
		goto fail;
	json_object_foreach (s->header, name, value) {
		if (value == s->meta)
			continue;
		e = read_tensor(name, value, body, n - LENGTH_BYTES - header_bytes, &s->tensors[s->n], why);
		if (e)
			goto fail;
		s->n++;
	}
	e = check_cover(s, body, n - LENGTH_BYTES - header_bytes, why);
	if (e)
		goto fail;
	if (s->n)
		qsort(s->tensors, s->n, sizeof(*s->tensors), by_name);
	*out = s;
	return OK;
fail:
	safetensors_free(s);
	return e;
}

void safetensors_free(struct safetensors *s)
{
	if (!s)
		return;
	mem_free(s->tensors);
	json_decref(s->header);
	mem_free(s);
}

size_t safetensors_count(const struct safetensors *s)
{
	return s->n;
}

const struct tensor *safetensors_at(const struct safetensors *s, size_t i)
{
	return &s->tensors[i];
}

enum err safetensors_list(const struct safetensors *s, const struct tensor ***out)
{
	const struct tensor **list = mem_calloc(s->n, sizeof(const struct tensor *));

	if (!list)
		return ERR_MEM;
	for (size_t i = 0; i < s->n; i++)
		list[i] = &s->tensors[i];
	*out = list;
	return OK;
}

const struct tensor *safetensors_find(const struct safetensors *s, const char *name)
{
	struct tensor key = {.name = name};

	return s->n ? bsearch(&key, s->tensors, s->n, sizeof(key), by_name) : NULL;
}

const char *safetensors_metadata(const struct safetensors *s, const char *key)
{
	return json_string_value(json_object_get(s->meta, key));
}

static void from_f64(size_t n, const unsigned char *src, float *dst)
{
	double v;

	for (size_t i = 0; i < n; i++) {
		memcpy(&v, src + i * sizeof(v), sizeof(v));
		dst[i] = (float)v;
	}
}

enum err tensor_read_f32(const struct tensor *t, size_t first, size_t n, float *dst)
{
	const unsigned char *src = (const unsigned char *)t->data + first * type_table[t->type].bytes;

	switch (t->type) {
	case TENSOR_F32:
		memcpy(dst, src, n * sizeof(*dst));
		return OK;
	case TENSOR_F16:
		vec_from_f16(n, src, dst);
		return OK;
	case TENSOR_BF16:
		vec_from_bf16(n, src, dst);
		return OK;
	case TENSOR_F64:
		from_f64(n, src, dst);
		return OK;
	default:
		return ERR_UNSUPPORTED;
	}
}
