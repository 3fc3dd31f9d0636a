/*
 * The frozen numbers of a base: tensors of a Hugging Face directory found by name, checked by shape, and
 * given to the transformer: linear maps as matrices in one format for all, packed into memory of our own
 * once; embeddings as they lie in the files, shared with the page cache; the rest as float32. Pages of the
 * mapping that are not needed again are let go. Internal to model/. Constant after weights_open().
 */
#ifndef REDD_MODEL_WEIGHTS_H
#define REDD_MODEL_WEIGHTS_H

#include "core/hash.h"
#include "worker/math/matrix.h"
#include "worker/model/arch.h"
#include "worker/model/shards.h"

/* y = x w^T + b. */
struct linear {
	struct matrix w;
	const float *b; /* (w.n_out) or NULL */
};

struct norm {
	const float *w; /* (C) */
	const float *b; /* (C) or NULL */
};

struct attention_weights {
	struct norm norm;
	struct linear qkv[3]; /* one fused, or q, k, v: their outputs side by side are the row [q | k | v] */
	size_t n_qkv;
	struct linear out;
	const float *rel_bias; /* (H, 2 * relative_distance + 1), as struct attention has it, or NULL */
};

struct ffn_weights {
	struct norm norm;
	struct linear gate; /* gated only */
	struct linear up, down;
};

struct layer {
	struct attention_weights attn[2]; /* by enum attention_kind; cross only where the stack has it */
	struct ffn_weights ffn;
};

struct weights {
	enum matrix_format format;
	const struct tensor *embedding;          /* (V,C) of a type that tensor_read_f32() reads */
	const float *positions;                  /* (P,C) from position 0 on; learned positions only */
	const float *types;                      /* (n_types,C); segments only */
	struct norm embedding_norm;              /* w NULL = none */
	struct norm final_norm[ARCH_MAX_STACKS]; /* likewise; the last carries the head's scale */
	struct linear head;                      /* (V,C); not encoders */
	struct layer *layers;                    /* (n_layers), owned */
	uint64_t n_params;
	uint64_t n_bytes;           /* what the matrices take */
	struct weight_files *files; /* owned: mappings and converted tensors */
};

/* Map DIR/model.safetensors, or the shards of model.safetensors.index.json. hash (MODEL_HASH_SIZE):
 * fingerprint of every tensor's name, type, shape and content (of large ones, evenly spaced samples), added
 * to what `hash` has seen. ERR_NOT_FOUND, ERR_FORMAT, ERR_UNSUPPORTED, ERR_IO, ERR_MEM; why names file and
 * tensor. */
enum err weights_open(const char *dir, const struct arch *arch, enum matrix_format format,
        struct weights *out, struct hash *hash, struct why *why);
void weights_close(struct weights *w);

/* A tensor by its full name, without the family's prefix as checkpoints of the bare model have it, or with
 * what models with a head put before it. NULL when there is none. */
const struct tensor *weights_find(const struct shards *shards, const struct family *f, const char *name);

#endif
