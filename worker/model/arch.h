/*
 * The architecture of one base, read from config.json by the table of its family. Internal to model/.
 * Everything the one transformer asks about a model is a field here; it never asks which family it is.
 * Thread: constant after arch_parse().
 */
#ifndef REDD_MODEL_ARCH_H
#define REDD_MODEL_ARCH_H

#include "core/err.h"
#include "worker/math/activation.h"
#include "worker/math/rope.h"
#include "worker/model/model.h"

#include <jansson.h>

enum norm_kind { NORM_LAYER, NORM_RMS };
enum position_kind { POSITIONS_LEARNED, POSITIONS_ROPE };

struct family;

struct arch {
	const struct family *family;
	size_t n_layers, width, n_heads, n_kv_heads, head_dim, ffn_width, vocab_size, max_positions;
	enum norm_kind norm;
	float norm_eps;
	enum position_kind positions;
	struct rope_params rope;
	enum activation activation;
	bool gated;      /* down(f(gate) * up) rather than down(f(up)) */
	bool fused_qkv;  /* one module gives q, k and v */
	bool transposed; /* weights are stored (in,out) */
	bool tied_head;  /* the output head is the embedding */
	bool qkv_bias, attn_out_bias, ffn_bias;
	float attn_scale;
	bool attn_scale_by_layer; /* further divided by layer + 1 */
	size_t window;            /* 0 = full attention */
	int32_t bos_id;
	int32_t eos_ids[MODEL_MAX_EOS];
	size_t n_eos;
};

/* Modules of a layer, for tensor and site names. */
enum module {
	MODULE_NORM1,
	MODULE_QKV,
	MODULE_Q,
	MODULE_K,
	MODULE_V,
	MODULE_ATTN_OUT,
	MODULE_NORM2,
	MODULE_FFN_GATE,
	MODULE_FFN_UP,
	MODULE_FFN_DOWN,
	MODULE_COUNT
};

/* What a family adds to the one transformer: names, and how its config.json is read. */
struct family {
	const char *name;
	const char *const *model_types;    /* ends with NULL */
	const char *prefix;                /* before every module path below, and optional in files */
	const char *layers;                /* "h" in "transformer.h.0.attn.c_proj" */
	const char *modules[MODULE_COUNT]; /* path below the layer; NULL = the family has none */
	/* Switches of config.json that give biases to all modules of attention, or of the feed-forward part,
	 * where weights have none; NULL = there is no such switch. */
	const char *attn_bias_key, *ffn_bias_key;
	const char *embedding, *position_embedding, *final_norm, *head;
	enum err (*configure)(const json_t *config, struct arch *arch, struct why *why);
};

/* The family of a model_type, or NULL. */
const struct family *family_find(const char *model_type);
/* "gpt2, llama, ...": every model_type known, for messages. */
void family_list(char *out, size_t size);

/* Read config.json's text. ERR_FORMAT, ERR_UNSUPPORTED, ERR_MEM; *out untouched on error. */
enum err arch_parse(const char *config_json, struct arch *out, struct why *why);
/* Add generation_config.json's end-of-text ids, which are what its maker meant generation to stop at. */
enum err arch_parse_generation(const char *json, struct arch *arch, struct why *why);

/* Width of the row [q | k | v]. */
static inline size_t arch_qkv_width(const struct arch *a)
{
	return (a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
}

/* Modules that can be edited in each layer, in the order of the forward pass, and how many. */
#define ARCH_MAX_LAYER_SITES 5
struct layer_site {
	enum module module;
	enum position position;
	size_t width;
	size_t column; /* of a QKV site: where its output lies in the row [q | k | v] */
};
size_t arch_layer_sites(const struct arch *a, struct layer_site out[ARCH_MAX_LAYER_SITES]);
/* All sites of the base, mem_free(*out). ERR_MEM. */
enum err arch_sites(const struct arch *a, struct site **out, size_t *n);

/* ---- for the configure functions: fields of config.json with types, ranges and defaults ---- */
/* A size in 1 .. max. `fallback` 0 = required. */
enum err config_size(const json_t *config, const char *key, size_t fallback, size_t *out, struct why *why);
enum err config_bool(const json_t *config, const char *key, bool fallback, bool *out, struct why *why);
/* A finite number > 0. fallback 0 = required. */
enum err config_number(const json_t *config, const char *key, double fallback, double *out, struct why *why);
enum err config_activation(
        const json_t *config, const char *key, const char *fallback, enum activation *out, struct why *why);

#endif
