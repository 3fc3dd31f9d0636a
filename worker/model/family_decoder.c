/*
 * The decoders: a table each, and the function that reads its spelling of config.json.
 * Both spellings of transformers are understood: 4.x (rope_theta, rope_scaling) and 5.x (rope_parameters).
 */
#include "worker/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- GPT-2 (Radford et al., 2019) ---- */

static enum err gpt2_configure(const json_t *c, struct arch *a, struct why *why)
{
	bool scale_attn = true, cross = false;
	double eps = 0;
	enum err e;

	a->norm = NORM_LAYER;
	a->positions = POSITIONS_LEARNED;
	a->fused_qkv = a->transposed = true;
	a->qkv_bias = a->attn_out_bias = a->ffn_bias = true;
	if ((e = config_size(c, "n_embd", 768, &a->width, why)) ||
	        (e = config_size(c, "n_layer", 12, &a->stacks[0].n_layers, why)) ||
	        (e = config_size(c, "n_head", 12, &a->n_heads, why)) ||
	        (e = config_size(c, "n_positions", 1024, &a->max_positions, why)) ||
	        (e = config_size(c, "vocab_size", 50257, &a->vocab_size, why)) ||
	        (e = config_size(c, "n_inner", 4 * a->width, &a->ffn_width, why)) ||
	        (e = config_number(c, "layer_norm_epsilon", 1e-5, &eps, why)) ||
	        (e = config_activation(c, "activation_function", "gelu_new", &a->activation, why)) ||
	        (e = config_bool(c, "tie_word_embeddings", true, &a->tied_head, why)) ||
	        (e = config_bool(c, "scale_attn_weights", true, &scale_attn, why)) ||
	        (e = config_bool(
	                 c, "scale_attn_by_inverse_layer_idx", false, &a->attn_scale_by_layer, why)) ||
	        (e = config_bool(c, "add_cross_attention", false, &cross, why)))
		return e;
	if (cross)
		return why_param(why, ERR_UNSUPPORTED, "add_cross_attention",
		        "cross-attention is not supported in GPT-2");
	if (a->width % a->n_heads)
		return why_param(why, ERR_FORMAT, "n_head", "width %zu is not a multiple of %zu heads",
		        a->width, a->n_heads);
	a->norm_eps = (float)eps;
	a->n_kv_heads = a->n_heads;
	a->head_dim = a->width / a->n_heads;
	a->attn_scale = scale_attn ? (float)(1 / sqrt((double)a->head_dim)) : 1;
	return OK;
}

static const char *const gpt2_types[] = {"gpt2", NULL};
const struct family family_gpt2 = {
        .name = "gpt2",
        .model_types = gpt2_types,
        .kind = MODEL_CAUSAL,
        .prefix = "transformer.",
        .stacks[0] = {.layers = "h",
                .modules = {[MODULE_NORM] = "ln_1",
                        [MODULE_QKV] = "attn.c_attn",
                        [MODULE_ATTN_OUT] = "attn.c_proj",
                        [MODULE_ATTN_RES] = "attn_residual",
                        [MODULE_FFN_NORM] = "ln_2",
                        [MODULE_FFN_UP] = "mlp.c_fc",
                        [MODULE_FFN_DOWN] = "mlp.c_proj",
                        [MODULE_FFN_RES] = ""},
                .final_norm = "ln_f"},
        .embedding = "wte",
        .position_embedding = "wpe",
        .head = "lm_head",
        .configure = gpt2_configure,
};

/* ---- LLaMA 1, 2, 3 (Touvron et al., 2023; Grattafiori et al., 2024) ---- */

/* The scaling block of either spelling: rope_parameters, or rope_scaling beside rope_theta. */
static enum err rope_scaling_parse(const json_t *c, const json_t *block, struct arch *a, struct why *why)
{
	struct rope_params *r = &a->rope;
	const json_t *kind = json_object_get(block, "rope_type");
	const char *type;
	enum err e;

	if (!kind)
		kind = json_object_get(block, "type");
	type = kind ? json_string_value(kind) : "default";
	if (!type)
		return why_param(why, ERR_FORMAT, "rope_type", "rope_type must be a string");
	if (strcmp(type, "default") == 0)
		return OK;
	if (strcmp(type, "linear") == 0) {
		r->scaling = ROPE_LINEAR;
		return config_number(block, "factor", 0, &r->factor, why);
	}
	if (strcmp(type, "llama3") != 0)
		return why_param(
		        why, ERR_UNSUPPORTED, "rope_type", "rope scaling \"%.40s\" is not supported", type);
	r->scaling = ROPE_LLAMA3;
	e = config_number(c, "original_max_position_embeddings", (double)a->max_positions,
	        &r->original_max_positions, why);
	if (e || (e = config_number(block, "factor", 0, &r->factor, why)) ||
	        (e = config_number(block, "low_freq_factor", 0, &r->low_freq_factor, why)) ||
	        (e = config_number(block, "high_freq_factor", 0, &r->high_freq_factor, why)) ||
	        (e = config_number(block, "original_max_position_embeddings", r->original_max_positions,
	                 &r->original_max_positions, why)))
		return e;
	if (r->high_freq_factor <= r->low_freq_factor)
		return why_param(
		        why, ERR_FORMAT, "high_freq_factor", "high_freq_factor must exceed low_freq_factor");
	return OK;
}

static enum err rope_parse(const json_t *c, struct arch *a, struct why *why)
{
	const json_t *params = json_object_get(c, "rope_parameters");
	const json_t *scaling = json_object_get(c, "rope_scaling");
	double partial = 1;
	enum err e;

	a->positions = POSITIONS_ROPE;
	e = config_number(c, "rope_theta", 10000, &a->rope.theta, why);
	if (!e && json_is_object(params))
		e = config_number(params, "rope_theta", a->rope.theta, &a->rope.theta, why);
	if (!e)
		e = config_number(c, "partial_rotary_factor", 1, &partial, why);
	if (!e && json_is_object(params))
		e = config_number(params, "partial_rotary_factor", partial, &partial, why);
	if (e)
		return e;
	if (partial != 1)
		return why_param(why, ERR_UNSUPPORTED, "partial_rotary_factor",
		        "partial rotary positions are not supported");
	if (params && !json_is_null(params))
		return json_is_object(params) ? rope_scaling_parse(c, params, a, why)
		                              : why_param(why, ERR_FORMAT, "rope_parameters",
		                                        "rope_parameters must be an object");
	if (scaling && !json_is_null(scaling))
		return json_is_object(scaling)
		               ? rope_scaling_parse(c, scaling, a, why)
		               : why_param(why, ERR_FORMAT, "rope_scaling", "rope_scaling must be an object");
	return OK;
}

/* The fields that LLaMA and its descendants share; biases, windows and the default number of positions are
 * the caller's. */
static enum err llama_shape(const json_t *c, size_t positions, struct arch *a, struct why *why)
{
	double eps = 0;
	enum err e;

	a->norm = NORM_RMS;
	a->gated = true;
	if ((e = config_size(c, "hidden_size", 0, &a->width, why)) ||
	        (e = config_size(c, "num_hidden_layers", 0, &a->stacks[0].n_layers, why)) ||
	        (e = config_size(c, "num_attention_heads", 0, &a->n_heads, why)) ||
	        (e = config_size(c, "num_key_value_heads", a->n_heads, &a->n_kv_heads, why)) ||
	        (e = config_size(c, "intermediate_size", 0, &a->ffn_width, why)) ||
	        (e = config_size(c, "vocab_size", 0, &a->vocab_size, why)) ||
	        (e = config_size(c, "max_position_embeddings", positions, &a->max_positions, why)) ||
	        (e = config_number(c, "rms_norm_eps", 1e-6, &eps, why)) ||
	        (e = config_activation(c, "hidden_act", "silu", &a->activation, why)) ||
	        (e = config_bool(c, "tie_word_embeddings", false, &a->tied_head, why)) ||
	        (e = rope_parse(c, a, why)))
		return e;
	if (!json_is_integer(json_object_get(c, "head_dim")) && a->width % a->n_heads)
		return why_param(why, ERR_FORMAT, "num_attention_heads",
		        "width %zu is not a multiple of %zu heads", a->width, a->n_heads);
	a->norm_eps = (float)eps;
	e = config_size(c, "head_dim", a->width / a->n_heads, &a->head_dim, why);
	a->attn_scale = e ? 0 : (float)(1 / sqrt((double)a->head_dim));
	return e;
}

static enum err llama_configure(const json_t *c, struct arch *a, struct why *why)
{
	bool attention_bias = false;
	enum err e = llama_shape(c, 2048, a, why);

	if (e || (e = config_bool(c, "attention_bias", false, &attention_bias, why)) ||
	        (e = config_bool(c, "mlp_bias", false, &a->ffn_bias, why)))
		return e;
	a->qkv_bias = a->attn_out_bias = attention_bias;
	return OK;
}

#define LLAMA_TABLE                                                                                          \
	.kind = MODEL_CAUSAL, .prefix = "model.",                                                            \
	.stacks[0] = {.layers = "layers",                                                                    \
	        .modules = {[MODULE_NORM] = "input_layernorm",                                               \
	                [MODULE_Q] = "self_attn.q_proj",                                                     \
	                [MODULE_K] = "self_attn.k_proj",                                                     \
	                [MODULE_V] = "self_attn.v_proj",                                                     \
	                [MODULE_ATTN_OUT] = "self_attn.o_proj",                                              \
	                [MODULE_ATTN_RES] = "attn_residual",                                                 \
	                [MODULE_FFN_NORM] = "post_attention_layernorm",                                      \
	                [MODULE_FFN_GATE] = "mlp.gate_proj",                                                 \
	                [MODULE_FFN_UP] = "mlp.up_proj",                                                     \
	                [MODULE_FFN_DOWN] = "mlp.down_proj",                                                 \
	                [MODULE_FFN_RES] = ""},                                                              \
	        .final_norm = "norm"},                                                                       \
	.embedding = "embed_tokens", .head = "lm_head"

static const char *const llama_types[] = {"llama", NULL};
const struct family family_llama = {.name = "llama",
        .model_types = llama_types,
        LLAMA_TABLE,
        .attn_bias_key = "attention_bias",
        .ffn_bias_key = "mlp_bias",
        .configure = llama_configure};

/* ---- Mistral 7B (Jiang et al., 2023) ---- */

static enum err mistral_configure(const json_t *c, struct arch *a, struct why *why)
{
	enum err e = llama_shape(c, 131072, a, why);

	/* a missing window is the first Mistral's; null is none */
	if (e || json_is_null(json_object_get(c, "sliding_window")))
		return e;
	return config_size(c, "sliding_window", 4096, &a->window, why);
}

static const char *const mistral_types[] = {"mistral", NULL};
const struct family family_mistral = {
        .name = "mistral", .model_types = mistral_types, LLAMA_TABLE, .configure = mistral_configure};

/* ---- Qwen2, Qwen2.5 (Yang et al., 2024) ---- */

static bool is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Windows in the layers from one on, said by layer_types or by max_window_layers. */
static enum err qwen2_window(const json_t *c, struct arch *a, struct why *why)
{
	const json_t *types = json_object_get(c, "layer_types");
	size_t n_layers = a->stacks[0].n_layers, first = 0;
	bool window = false;
	enum err e = config_bool(c, "use_sliding_window", false, &window, why);

	if (e || !window || json_is_null(json_object_get(c, "sliding_window")))
		return e;
	if (!json_is_array(types)) {
		const json_t *from = json_object_get(c, "max_window_layers");

		if (!json_is_integer(from) || json_integer_value(from) != 0)
			e = config_size(c, "max_window_layers", 28, &first, why);
	} else {
		while (first < n_layers && is_text(json_array_get(types, first), "full_attention"))
			first++;
		for (size_t i = first; i < n_layers; i++)
			if (!is_text(json_array_get(types, i), "sliding_attention"))
				return why_param(why, ERR_UNSUPPORTED, "layer_types",
				        "layer_types must be full_attention first, then sliding_attention");
	}
	a->window_from = first;
	return e || first >= n_layers ? e : config_size(c, "sliding_window", 4096, &a->window, why);
}

static enum err qwen2_configure(const json_t *c, struct arch *a, struct why *why)
{
	enum err e = llama_shape(c, 32768, a, why);

	a->qkv_bias = true;
	return e ? e : qwen2_window(c, a, why);
}

static const char *const qwen2_types[] = {"qwen2", NULL};
const struct family family_qwen2 = {
        .name = "qwen2", .model_types = qwen2_types, LLAMA_TABLE, .configure = qwen2_configure};
