/*
 * The frozen numbers of a base: tensors of a Hugging Face directory found by name, checked by shape, and
 * given to the transformer as float32 rows. Float32 tensors stored (out,in) stay in the mapping, shared with
 * the page cache; others are converted into memory of our own. Internal to model/. Constant after
 * weights_open().
 */
#ifndef REDD_MODEL_WEIGHTS_H
#define REDD_MODEL_WEIGHTS_H

#include "core/hash.h"
#include "worker/model/arch.h"

/* y = x w^T + b. */
struct linear {
	const float *w; /* (n_out, n_in) */
	const float *b; /* (n_out) or NULL */
	size_t n_in, n_out;
};

struct norm {
	const float *w; /* (C) */
	const float *b; /* (C) or NULL */
};

struct layer {
	struct norm norm1, norm2;
	struct linear qkv[3]; /* one fused, or q, k, v: their outputs side by side are the row [q | k | v] */
	size_t n_qkv;
	struct linear attn_out;
	struct linear gate; /* gated only */
	struct linear up, down;
};

struct weights {
	const float *embedding; /* (V,C) */
	const float *positions; /* (P,C); learned positions only */
	struct norm final_norm;
	struct linear head;   /* (V,C) */
	struct layer *layers; /* (n_layers), owned */
	uint64_t n_params;
	struct weight_files *files; /* owned: mappings and converted tensors */
};

/* Map DIR/model.safetensors, or the shards of model.safetensors.index.json. hash (MODEL_HASH_SIZE):
 * fingerprint of every tensor's name, type, shape and content (of large ones, evenly spaced samples), added
 * to what `hash` has seen. ERR_NOT_FOUND, ERR_FORMAT, ERR_UNSUPPORTED, ERR_IO, ERR_MEM; why names file and
 * tensor. */
enum err weights_open(
        const char *dir, const struct arch *arch, struct weights *out, struct hash *hash, struct why *why);
void weights_close(struct weights *w);

#endif
