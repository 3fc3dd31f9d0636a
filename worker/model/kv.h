/*
 * Keys and values in pages of some tokens each, from one pool. A page holds all layers of its tokens: per
 * layer keys (page_tokens, KV*D), then values. Caches, and others that ask for it, hold pages; one that has
 * several holders is never written to. Internal to model/; the public half of its face is in model.h. It
 * knows a model by kv_shape_of() alone. Thread: pool, caches and pages belong to one.
 */
#ifndef REDD_MODEL_KV_H
#define REDD_MODEL_KV_H

#include "worker/math/attention.h"
#include "worker/model/model.h"

struct kv_shape {
	size_t n_layers; /* of the last stack */
	size_t width;    /* KV*D */
	size_t page_tokens;
};

struct kv_pool {
	struct kv_shape shape;
	size_t page_floats;
	size_t n_pages, n_free;
	float *data; /* owned (n_pages, page_floats); pages cost memory once touched */
	size_t data_bytes;
	uint32_t *free;    /* owned (n_pages): the first n_free; the one freed last goes first */
	uint32_t *holders; /* owned (n_pages) */
	bool *kept;        /* owned (n_pages): one of the holders only keeps it */
	size_t n_idle;     /* kept, and held by nobody else */
};

struct kv {
	struct kv_pool *pool; /* borrowed, or owned */
	bool owns_pool;
	size_t capacity;
	size_t n_source;     /* rows that cross-attention looks at */
	size_t length;       /* the decoder's own */
	size_t source_pages; /* held, the first in pages */
	size_t own_pages;    /* held, behind them; they hold length tokens and may hold more */
	size_t max_pages;    /* of both */
	uint32_t pages[];    /* (max_pages) */
};

/* What a model's pages are like. */
struct kv_shape kv_shape_of(const struct model *m);

/* Take pages for n source rows; there are none yet. ERR_TOO_LONG, ERR_LIMIT. */
enum err kv_begin_source(struct kv *kv, size_t n);
/* The keys, or the values, of a layer counted within the last stack that an attention looks at. */
struct paged_rows kv_keys(const struct kv *kv, size_t layer, bool source);
struct paged_rows kv_values(const struct kv *kv, size_t layer, bool source);
/* Where a row of them lies. */
float *kv_row(const struct paged_rows *rows, size_t row);

#endif
