/*
 * T5 (Raffel et al., 2020) and its descendants: the table of the encoder-decoder, and the function that reads
 * its config.json. 1.1, mT5 and umT5 differ in fields alone.
 */
#include "worker/model/arch.h"

#include <string.h>

/* Relative positions have no end; what the config does not bound is bounded here. */
#define T5_POSITIONS 2048

/* "relu", "gelu", ... or "gated-" before one; "gated-gelu" means the tanh approximation. */
static enum err t5_activation(const json_t *c, const char *fallback, struct arch *a, struct why *why)
{
	static const char key[] = "feed_forward_proj", gated[] = "gated-";
	const char *name = fallback;
	enum err e = config_string(c, key, fallback, &name, why);

	if (e)
		return e;
	a->gated = strncmp(name, gated, strlen(gated)) == 0;
	if (strcmp(name, "gated-gelu") == 0)
		name = "gated-gelu_new";
	return config_activation_named(key, a->gated ? name + strlen(gated) : name, &a->activation, why);
}

/* Buckets are exact near by and logarithmic up to the distance; half of them lie on either side. */
static enum err t5_relative(const json_t *c, struct arch *a, struct why *why)
{
	static const char distance[] = "relative_attention_max_distance",
	                  buckets[] = "relative_attention_num_buckets";
	enum err e = config_size(c, buckets, 32, &a->relative_buckets, why);

	if (!e)
		e = config_size(c, distance, 128, &a->relative_distance, why);
	if (e)
		return e;
	if (a->relative_buckets < 4)
		return why_param(why, ERR_FORMAT, buckets, "%s must be 4 or more", buckets);
	if (a->relative_distance <= a->relative_buckets / 2 || a->relative_distance > T5_POSITIONS)
		return why_param(why, ERR_FORMAT, distance,
		        "%s must exceed half the buckets, and be at most %d", distance, T5_POSITIONS);
	a->positions = POSITIONS_RELATIVE;
	return OK;
}

static enum err t5_configure(const json_t *c, struct arch *a, struct why *why)
{
	bool first = strcmp(a->model_type, "t5") == 0;
	double eps = 0;
	int32_t pad = 0;
	enum err e;

	a->norm = NORM_RMS;
	a->attn_scale = 1;
	a->head_in_files = true;
	a->relative_every_layer = strcmp(a->model_type, "umt5") == 0;
	if ((e = config_size(c, "d_model", 512, &a->width, why)) ||
	        (e = config_size(c, "d_kv", 64, &a->head_dim, why)) ||
	        (e = config_size(c, "d_ff", first ? 2048 : 1024, &a->ffn_width, why)) ||
	        (e = config_size(c, "num_layers", first ? 6 : 8, &a->stacks[0].n_layers, why)) ||
	        (e = config_size(
	                 c, "num_decoder_layers", a->stacks[0].n_layers, &a->stacks[1].n_layers, why)) ||
	        (e = config_size(c, "num_heads", first ? 8 : 6, &a->n_heads, why)) ||
	        (e = config_size(c, "vocab_size", first ? 32128 : 250112, &a->vocab_size, why)) ||
	        (e = config_size(c, "n_positions", T5_POSITIONS, &a->max_positions, why)) ||
	        (e = config_number(c, "layer_norm_epsilon", 1e-6, &eps, why)) ||
	        (e = t5_activation(c, first ? "relu" : "gated-gelu", a, why)) ||
	        (e = t5_relative(c, a, why)) ||
	        (e = config_bool(c, "tie_word_embeddings", true, &a->tied_head, why)) ||
	        (e = config_bool(c, "scale_decoder_outputs", a->tied_head, &a->scaled_head, why)) ||
	        (e = config_token(c, "pad_token_id", a->vocab_size, &pad, why)) ||
	        (e = config_token(c, "decoder_start_token_id", a->vocab_size, &a->decoder_start_id, why)))
		return e;
	if (a->decoder_start_id < 0)
		a->decoder_start_id = pad < 0 ? 0 : pad;
	if (a->max_positions < T5_POSITIONS)
		a->max_positions = T5_POSITIONS; /* n_positions is how long T5's training rows were */
	a->norm_eps = (float)eps;
	a->n_kv_heads = a->n_heads;
	return OK;
}

static const char *const t5_types[] = {"t5", "mt5", "umt5", NULL};
const struct family family_t5 = {
        .name = "t5",
        .model_types = t5_types,
        .kind = MODEL_SEQ2SEQ,
        .prefix = "",
        .stacks = {{.layers = "encoder.block",
                           .modules = {[MODULE_NORM] = "layer.0.layer_norm",
                                   [MODULE_Q] = "layer.0.SelfAttention.q",
                                   [MODULE_K] = "layer.0.SelfAttention.k",
                                   [MODULE_V] = "layer.0.SelfAttention.v",
                                   [MODULE_ATTN_OUT] = "layer.0.SelfAttention.o",
                                   [MODULE_ATTN_RES] = "layer.0",
                                   [MODULE_FFN_NORM] = "layer.1.layer_norm",
                                   [MODULE_FFN_GATE] = "layer.1.DenseReluDense.wi_0",
                                   [MODULE_FFN_UP] = "layer.1.DenseReluDense.wi_1",
                                   [MODULE_FFN_UP_ALONE] = "layer.1.DenseReluDense.wi",
                                   [MODULE_FFN_DOWN] = "layer.1.DenseReluDense.wo",
                                   [MODULE_FFN_RES] = "layer.1"},
                           .relative_bias = "layer.0.SelfAttention.relative_attention_bias",
                           .final_norm = "encoder.final_layer_norm"},
                {.layers = "decoder.block",
                        .modules = {[MODULE_NORM] = "layer.0.layer_norm",
                                [MODULE_Q] = "layer.0.SelfAttention.q",
                                [MODULE_K] = "layer.0.SelfAttention.k",
                                [MODULE_V] = "layer.0.SelfAttention.v",
                                [MODULE_ATTN_OUT] = "layer.0.SelfAttention.o",
                                [MODULE_ATTN_RES] = "layer.0",
                                [MODULE_CROSS_NORM] = "layer.1.layer_norm",
                                [MODULE_CROSS_Q] = "layer.1.EncDecAttention.q",
                                [MODULE_CROSS_K] = "layer.1.EncDecAttention.k",
                                [MODULE_CROSS_V] = "layer.1.EncDecAttention.v",
                                [MODULE_CROSS_OUT] = "layer.1.EncDecAttention.o",
                                [MODULE_CROSS_RES] = "layer.1",
                                [MODULE_FFN_NORM] = "layer.2.layer_norm",
                                [MODULE_FFN_GATE] = "layer.2.DenseReluDense.wi_0",
                                [MODULE_FFN_UP] = "layer.2.DenseReluDense.wi_1",
                                [MODULE_FFN_UP_ALONE] = "layer.2.DenseReluDense.wi",
                                [MODULE_FFN_DOWN] = "layer.2.DenseReluDense.wo",
                                [MODULE_FFN_RES] = "layer.2"},
                        .relative_bias = "layer.0.SelfAttention.relative_attention_bias",
                        .final_norm = "decoder.final_layer_norm"}},
        .embedding = "shared",
        .head = "lm_head",
        .configure = t5_configure,
};
