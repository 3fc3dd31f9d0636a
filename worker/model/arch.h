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
enum position_kind { POSITIONS_LEARNED, POSITIONS_ROPE, POSITIONS_RELATIVE };

/* What an attention looks at: its own sequence, or what the stack before gave. */
enum attention_kind { ATTENTION_SELF, ATTENTION_CROSS };

/* Modules of a layer, for tensor and site names. */
enum module {
	MODULE_NORM,
	MODULE_QKV,
	MODULE_Q,
	MODULE_K,
	MODULE_V,
	MODULE_ATTN_OUT,
	MODULE_ATTN_RES, /* what gives the stream after the branch has joined it */
	/* The same seven again, of cross-attention. */
	MODULE_CROSS_NORM,
	MODULE_CROSS_QKV,
	MODULE_CROSS_Q,
	MODULE_CROSS_K,
	MODULE_CROSS_V,
	MODULE_CROSS_OUT,
	MODULE_CROSS_RES,
	MODULE_FFN_NORM,
	MODULE_FFN_GATE,
	MODULE_FFN_UP,
	MODULE_FFN_UP_ALONE, /* what "up" is called where there is no gate, if not the same */
	MODULE_FFN_DOWN,
	MODULE_FFN_RES,
	MODULE_COUNT
};

/* An attention module's twin of a kind: MODULE_Q of ATTENTION_CROSS is MODULE_CROSS_Q. */
static inline enum module module_of(enum attention_kind kind, enum module self)
{
	return kind == ATTENTION_CROSS ? self + (MODULE_CROSS_NORM - MODULE_NORM) : self;
}

/* A module that can be edited in each layer of a stack. */
struct layer_site {
	enum module module;
	enum position position;
	size_t width;
	size_t column; /* of q, k, v: where its output lies in the row [q | k | v] */
};
#define ARCH_MAX_LAYER_SITES 12

/* Layers of one form; an encoder-decoder has two stacks. Layers and sites are numbered through all. */
struct stack {
	size_t first_layer, n_layers;
	bool causal;
	bool cross; /* its layers also look at what the stack before gave */
	const struct stack_names *names;
	struct layer_site sites[ARCH_MAX_LAYER_SITES]; /* in the order of the forward pass */
	size_t n_layer_sites, first_site;
};
#define ARCH_MAX_STACKS 2

struct family;

struct arch {
	const struct family *family;
	const char *model_type; /* of the family's table */
	struct stack stacks[ARCH_MAX_STACKS];
	size_t n_stacks;
	size_t n_layers; /* of all stacks */
	size_t n_sites;  /* likewise */
	size_t width, n_heads, n_kv_heads, head_dim, ffn_width, vocab_size, max_positions;
	enum norm_kind norm;
	float norm_eps;
	bool post_norm; /* norms follow the residual sums; no final norm */
	enum position_kind positions;
	size_t position_offset; /* learned: rows of the table before that of position 0 */
	struct rope_params rope;
	size_t relative_buckets, relative_distance; /* relative: of the learned table; where it ends */
	bool relative_every_layer;                  /* rather than the first layer's table for all */
	size_t n_types;                             /* segment embeddings, 0 = none */
	enum activation activation;
	bool gated;         /* down(f(gate) * up) rather than down(f(up)) */
	bool fused_qkv;     /* one module gives q, k and v */
	bool transposed;    /* weights are stored (in,out) */
	bool tied_head;     /* the output head is the embedding */
	bool head_in_files; /* if they hold one; tied_head or not */
	bool qkv_bias, attn_out_bias, ffn_bias;
	float attn_scale;
	bool attn_scale_by_layer; /* further divided by layer + 1 */
	bool scaled_head;         /* the output head's input is divided by sqrt(width) */
	size_t window;            /* 0 = full attention */
	size_t window_from;       /* the first layer that has the window */
	int32_t bos_id, decoder_start_id;
	int32_t eos_ids[MODEL_MAX_EOS];
	size_t n_eos;
};

/* What a family adds to the one transformer: names, and how its config.json is read. */
struct stack_names {
	const char *layers; /* "h" in "transformer.h.0.attn.c_proj" */
	/* Path below the layer, "" = the layer itself; NULL = the family has none. Where no module gives the
	 * stream after a branch, RES is a name of ours. */
	const char *modules[MODULE_COUNT];
	const char *relative_bias; /* likewise */
	const char *final_norm;
};

struct family {
	const char *name;
	const char *const *model_types; /* ends with NULL */
	enum model_kind kind;
	const char *prefix;  /* before every module path below, and optional in files */
	const char *wrapper; /* may come before the prefix in files of models with a head, or NULL */
	struct stack_names stacks[ARCH_MAX_STACKS];
	const char *embedding, *position_embedding, *type_embedding, *embedding_norm, *head;
	/* Switches of config.json that give biases to all modules of attention, or of the feed-forward part,
	 * where weights have none; NULL = there is no such switch. */
	const char *attn_bias_key, *ffn_bias_key;
	/* Fills the zeroed arch, the stacks' n_layers included. */
	enum err (*configure)(const json_t *config, struct arch *arch, struct why *why);
};

extern const struct family family_gpt2, family_llama, family_mistral, family_qwen2;
extern const struct family family_roberta, family_bert;
extern const struct family family_t5;

/* The family of a model_type, and the type as its table has it; NULL when there is none. */
const struct family *family_find(const char *model_type, const char **type);
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

/* The stack of a layer. */
static inline const struct stack *arch_stack(const struct arch *a, size_t layer)
{
	return &a->stacks[layer >= a->stacks[0].n_layers];
}

/* The site of a module in a layer; n_sites when there is none. A RES follows the OUT or DOWN of its branch.
 */
size_t arch_site(const struct arch *a, size_t layer, enum module module);
/* The whole path of a module that the family has. */
void arch_module_path(const struct arch *a, size_t layer, enum module module, char path[SITE_NAME_SIZE]);
/* All sites of the base, mem_free(*out). ERR_MEM. */
enum err arch_sites(const struct arch *a, struct site **out, size_t *n);

/* ---- for the configure functions: fields of config.json with types, ranges and defaults ---- */
/* A size in 1 .. max. `fallback` 0 = required. */
enum err config_size(const json_t *config, const char *key, size_t fallback, size_t *out, struct why *why);
enum err config_bool(const json_t *config, const char *key, bool fallback, bool *out, struct why *why);
/* Token ids: one, or -1 when it is null or absent; a list gives its first. */
enum err config_token(const json_t *config, const char *key, size_t vocab, int32_t *out, struct why *why);
/* A finite number > 0. fallback 0 = required. */
enum err config_number(const json_t *config, const char *key, double fallback, double *out, struct why *why);
/* *out is borrowed from config or is the fallback. */
enum err config_string(
        const json_t *config, const char *key, const char *fallback, const char **out, struct why *why);
enum err config_activation(
        const json_t *config, const char *key, const char *fallback, enum activation *out, struct why *why);
enum err config_activation_named(const char *key, const char *name, enum activation *out, struct why *why);

#endif
