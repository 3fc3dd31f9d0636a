/*
 * The encoders: a table each, and the function that reads its spelling of config.json.
 * Checkpoints of the bare model, or inside one with a head, which is ignored.
 */
#include "worker/model/arch.h"

#include <math.h>
#include <string.h>

/* The fields that BERT and its descendants share. */
static enum err bert_shape(const json_t *c, struct arch *a, struct why *why)
{
	const char *kind = NULL;
	bool decoder = false;
	double eps = 0;
	enum err e;

	a->norm = NORM_LAYER;
	a->post_norm = true;
	a->positions = POSITIONS_LEARNED;
	a->qkv_bias = a->attn_out_bias = a->ffn_bias = true;
	if ((e = config_size(c, "hidden_size", 768, &a->width, why)) ||
	        (e = config_size(c, "num_hidden_layers", 12, &a->stacks[0].n_layers, why)) ||
	        (e = config_size(c, "num_attention_heads", 12, &a->n_heads, why)) ||
	        (e = config_size(c, "intermediate_size", 3072, &a->ffn_width, why)) ||
	        (e = config_size(c, "max_position_embeddings", 512, &a->max_positions, why)) ||
	        (e = config_size(c, "type_vocab_size", 2, &a->n_types, why)) ||
	        (e = config_number(c, "layer_norm_eps", 1e-12, &eps, why)) ||
	        (e = config_activation(c, "hidden_act", "gelu", &a->activation, why)) ||
	        (e = config_bool(c, "is_decoder", false, &decoder, why)) ||
	        (e = config_string(c, "position_embedding_type", "absolute", &kind, why)))
		return e;
	if (strcmp(kind, "absolute") != 0)
		return why_param(why, ERR_UNSUPPORTED, "position_embedding_type",
		        "position_embedding_type \"%.40s\" is not supported", kind);
	if (decoder)
		return why_param(why, ERR_UNSUPPORTED, "is_decoder",
		        "an encoder's form used as a decoder is not supported");
	if (a->width % a->n_heads)
		return why_param(why, ERR_FORMAT, "num_attention_heads",
		        "width %zu is not a multiple of %zu heads", a->width, a->n_heads);
	a->norm_eps = (float)eps;
	a->n_kv_heads = a->n_heads;
	a->head_dim = a->width / a->n_heads;
	a->attn_scale = (float)(1 / sqrt((double)a->head_dim));
	return OK;
}

#define BERT_TABLE                                                                                           \
	.kind = MODEL_ENCODER, .prefix = "",                                                                 \
	.stacks[0] = {.layers = "encoder.layer",                                                             \
	        .modules = {[MODULE_NORM] = "attention.output.LayerNorm",                                    \
	                [MODULE_Q] = "attention.self.query",                                                 \
	                [MODULE_K] = "attention.self.key",                                                   \
	                [MODULE_V] = "attention.self.value",                                                 \
	                [MODULE_ATTN_OUT] = "attention.output.dense",                                        \
	                [MODULE_ATTN_RES] = "attention.output",                                              \
	                [MODULE_FFN_NORM] = "output.LayerNorm",                                              \
	                [MODULE_FFN_UP] = "intermediate.dense",                                              \
	                [MODULE_FFN_DOWN] = "output.dense",                                                  \
	                [MODULE_FFN_RES] = "output"}},                                                       \
	.embedding = "embeddings.word_embeddings", .position_embedding = "embeddings.position_embeddings",   \
	.type_embedding = "embeddings.token_type_embeddings", .embedding_norm = "embeddings.LayerNorm"

/* ---- BERT (Devlin et al., 2019) ---- */

static enum err bert_configure(const json_t *c, struct arch *a, struct why *why)
{
	enum err e = bert_shape(c, a, why);

	return e ? e : config_size(c, "vocab_size", 30522, &a->vocab_size, why);
}

static const char *const bert_types[] = {"bert", NULL};
const struct family family_bert = {.name = "bert",
        .model_types = bert_types,
        BERT_TABLE,
        .wrapper = "bert.",
        .configure = bert_configure};

/* ---- RoBERTa (Liu et al., 2019), and what is built the same ---- */

/* Positions are counted from behind the padding's. */
static enum err roberta_configure(const json_t *c, struct arch *a, struct why *why)
{
	int32_t pad = 1;
	enum err e = bert_shape(c, a, why);

	if (!e)
		e = config_size(c, "vocab_size", 50265, &a->vocab_size, why);
	if (!e && json_object_get(c, "pad_token_id"))
		e = config_token(c, "pad_token_id", a->vocab_size, &pad, why);
	if (e)
		return e;
	a->position_offset = (size_t)(pad + 1);
	if (a->max_positions <= a->position_offset)
		return why_param(why, ERR_FORMAT, "max_position_embeddings",
		        "max_position_embeddings must exceed %zu, where positions begin", a->position_offset);
	a->max_positions -= a->position_offset;
	return OK;
}

static const char *const roberta_types[] = {"roberta", "xlm-roberta", "camembert", NULL};
const struct family family_roberta = {.name = "roberta",
        .model_types = roberta_types,
        BERT_TABLE,
        .wrapper = "roberta.",
        .configure = roberta_configure};
