/*
 * A reader of safetensors files over memory the caller holds (a mapping or a buffer); nothing is copied. The
 * header may come from a stranger: every length, offset, type and shape is checked before a tensor is handed
 * out, by the format's own rules: the tensors' bytes neither overlap nor leave holes and fill the file to its
 * end. Thread: any; a reader is immutable from birth.
 */
#ifndef REDD_ADAPTER_SAFETENSORS_H
#define REDD_ADAPTER_SAFETENSORS_H

#include "core/err.h"

#include <stddef.h>

#define SAFETENSORS_MAX_HEADER_BYTES 100000000u
#define TENSOR_MAX_DIMS 8

/* X(enum, the name in files, bytes per element) */
#define TENSOR_TYPE_LIST(X)                                                                                  \
	X(TENSOR_F32, "F32", 4)                                                                              \
	X(TENSOR_F16, "F16", 2)                                                                              \
	X(TENSOR_BF16, "BF16", 2)                                                                            \
	X(TENSOR_F64, "F64", 8)                                                                              \
	X(TENSOR_F8_E4M3, "F8_E4M3", 1)                                                                      \
	X(TENSOR_F8_E5M2, "F8_E5M2", 1)                                                                      \
	X(TENSOR_I64, "I64", 8)                                                                              \
	X(TENSOR_I32, "I32", 4)                                                                              \
	X(TENSOR_I16, "I16", 2)                                                                              \
	X(TENSOR_I8, "I8", 1)                                                                                \
	X(TENSOR_U64, "U64", 8)                                                                              \
	X(TENSOR_U32, "U32", 4)                                                                              \
	X(TENSOR_U16, "U16", 2)                                                                              \
	X(TENSOR_U8, "U8", 1)                                                                                \
	X(TENSOR_BOOL, "BOOL", 1)

enum tensor_type {
#define X(type, name, bytes) type,
	TENSOR_TYPE_LIST(X)
#undef X
};

struct tensor {
	const char *name; /* borrowed from the reader */
	enum tensor_type type;
	size_t n_dims; /* 0 for a scalar */
	size_t shape[TENSOR_MAX_DIMS];
	size_t n_elements; /* the product of shape */
	const void *data;  /* borrowed from the caller's memory; little-endian, of any alignment */
	size_t n_bytes;
};

struct safetensors;

/* Read the header of a file of n bytes; data is borrowed for the reader's life. ERR_FORMAT when it is
 * malformed, with the reason and the tensor in why->message; ERR_UNSUPPORTED for an element type or a number
 * of dimensions not known here; ERR_MEM. */
enum err safetensors_new(const void *data, size_t n, struct safetensors **out, struct why *why);
void safetensors_free(struct safetensors *s);

size_t safetensors_count(const struct safetensors *s);
/* The i-th tensor (i < count), by name in byte order. It lives as long as s. */
const struct tensor *safetensors_at(const struct safetensors *s, size_t i);
/* All of them in that order; mem_free(*out). ERR_MEM. */
enum err safetensors_list(const struct safetensors *s, const struct tensor ***out);
/* NULL when there is none of that name. */
const struct tensor *safetensors_find(const struct safetensors *s, const char *name);
/* A value of __metadata__, borrowed from s; NULL when it is not there. */
const char *safetensors_metadata(const struct safetensors *s, const char *key);

/* "F32" and so on. */
const char *tensor_type_name(enum tensor_type type);
/* Of one element. */
size_t tensor_type_bytes(enum tensor_type type);
/* Elements first .. first + n - 1 as float32 into dst (n): exactly, but F64 rounded to the nearest, infinite
 * where it is too large. ERR_UNSUPPORTED when t is none of F32, F16, BF16, F64. */
enum err tensor_read_f32(const struct tensor *t, size_t first, size_t n, float *dst);

#endif
