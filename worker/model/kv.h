/*
 * Keys and values of one sequence: per decoder layer `capacity` rows of each, the source's first and then the
 * decoder's own. Internal to model/; the public half of its face is in model.h. Thread: the owner of the kv.
 */
#ifndef REDD_MODEL_KV_H
#define REDD_MODEL_KV_H

#include "worker/model/transformer.h"

struct kv {
	size_t capacity;
	size_t n_layers; /* of the last stack */
	size_t n_source; /* rows that cross-attention looks at */
	size_t length;   /* the decoder's, behind them */
	size_t width;    /* KV*D */
	float *data;     /* owned: per layer keys (capacity, KV*D), then values */
};

/* Rows of a layer, counted within the last stack, that an attention looks at: (n_source or length, KV*D), its
 * row distance width. */
float *kv_keys(const struct kv *kv, size_t layer, enum attention_kind kind);
float *kv_values(const struct kv *kv, size_t layer, enum attention_kind kind);

#endif
