/* config.json to struct arch: what all families share. The tables are in family.c. */
#include "worker/model/arch.h"

#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_MAX_SIZE ((size_t)1 << 28)

static const json_t *config_get(const json_t *config, const char *key)
{
	const json_t *v = json_object_get(config, key);

	return v && !json_is_null(v) ? v : NULL;
}

enum err config_size(const json_t *config, const char *key, size_t fallback, size_t *out, struct why *why)
{
	const json_t *v = config_get(config, key);
	json_int_t n;

	if (!v && fallback) {
		*out = fallback;
		return OK;
	}
	if (!v)
		return why_param(why, ERR_FORMAT, key, "%s is missing", key);
	n = json_is_integer(v) ? json_integer_value(v) : 0;
	if (n < 1 || n > (json_int_t)CONFIG_MAX_SIZE)
		return why_param(
		        why, ERR_FORMAT, key, "%s must be an integer from 1 to %zu", key, CONFIG_MAX_SIZE);
	*out = (size_t)n;
	return OK;
}

enum err config_bool(const json_t *config, const char *key, bool fallback, bool *out, struct why *why)
{
	const json_t *v = config_get(config, key);

	if (v && !json_is_boolean(v))
		return why_param(why, ERR_FORMAT, key, "%s must be true or false", key);
	*out = v ? json_is_true(v) : fallback;
	return OK;
}

enum err config_number(const json_t *config, const char *key, double fallback, double *out, struct why *why)
{
	const json_t *v = config_get(config, key);
	double x;

	if (!v && fallback > 0) {
		*out = fallback;
		return OK;
	}
	if (!v)
		return why_param(why, ERR_FORMAT, key, "%s is missing", key);
	x = json_is_number(v) ? json_number_value(v) : 0;
	if (!isfinite(x) || x <= 0)
		return why_param(why, ERR_FORMAT, key, "%s must be a number above 0", key);
	*out = x;
	return OK;
}

enum err config_activation_named(const char *key, const char *name, enum activation *out, struct why *why)
{
	static const struct {
		const char *name;
		enum activation f;
	} names[] = {
	        {"gelu", ACT_GELU},
	        {"gelu_new", ACT_GELU_TANH},
	        {"gelu_fast", ACT_GELU_TANH},
	        {"gelu_pytorch_tanh", ACT_GELU_TANH},
	        {"silu", ACT_SILU},
	        {"swish", ACT_SILU},
	        {"relu", ACT_RELU},
	        {"tanh", ACT_TANH},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i].name) == 0) {
			*out = names[i].f;
			return OK;
		}
	}
	return why_param(why, ERR_UNSUPPORTED, key, "%s \"%.40s\" is not supported", key, name);
}

enum err config_string(
        const json_t *config, const char *key, const char *fallback, const char **out, struct why *why)
{
	const json_t *v = config_get(config, key);

	if (v && !json_is_string(v))
		return why_param(why, ERR_FORMAT, key, "%s must be a string", key);
	*out = v ? json_string_value(v) : fallback;
	return OK;
}

enum err config_activation(
        const json_t *config, const char *key, const char *fallback, enum activation *out, struct why *why)
{
	const char *name = fallback;
	enum err e = config_string(config, key, fallback, &name, why);

	return e ? e : config_activation_named(key, name, out, why);
}

enum err config_token(const json_t *config, const char *key, size_t vocab, int32_t *out, struct why *why)
{
	const json_t *v = config_get(config, key);

	if (json_is_array(v))
		v = json_array_get(v, 0);
	if (v && (!json_is_integer(v) || json_integer_value(v) < -1 ||
	                 json_integer_value(v) >= (json_int_t)vocab))
		return why_param(why, ERR_FORMAT, key, "%s is not a token id below %zu", key, vocab);
	*out = v ? (int32_t)json_integer_value(v) : -1;
	return OK;
}

static enum err arch_add_eos(struct arch *a, const json_t *id, struct why *why)
{
	json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;

	if (n < 0 || n >= (json_int_t)a->vocab_size)
		return why_param(why, ERR_FORMAT, "eos_token_id", "eos_token_id is not a token id below %zu",
		        a->vocab_size);
	for (size_t i = 0; i < a->n_eos; i++)
		if (a->eos_ids[i] == (int32_t)n)
			return OK;
	if (a->n_eos == MODEL_MAX_EOS)
		return why_param(
		        why, ERR_UNSUPPORTED, "eos_token_id", "more than %d end-of-text ids", MODEL_MAX_EOS);
	a->eos_ids[a->n_eos++] = (int32_t)n;
	return OK;
}

static enum err arch_parse_eos(const json_t *config, struct arch *a, struct why *why)
{
	const json_t *v = config_get(config, "eos_token_id");
	const json_t *id;
	enum err e = OK;
	size_t i;

	if (!v)
		return OK;
	if (!json_is_array(v))
		return arch_add_eos(a, v, why);
	json_array_foreach (v, i, id) {
		e = arch_add_eos(a, id, why);
		if (e)
			return e;
	}
	return OK;
}

static void add_site(struct stack *s, enum module module, enum position position, size_t width, size_t column)
{
	s->sites[s->n_layer_sites++] = (struct layer_site){module, position, width, column};
}

static void add_attention_sites(const struct arch *a, struct stack *s, enum attention_kind kind)
{
	size_t q = a->n_heads * a->head_dim, kv = a->n_kv_heads * a->head_dim;

	if (a->fused_qkv) {
		add_site(s, module_of(kind, MODULE_QKV), POSITION_QKV, q + 2 * kv, 0);
	} else {
		add_site(s, module_of(kind, MODULE_Q), POSITION_QKV, q, 0);
		add_site(s, module_of(kind, MODULE_K), POSITION_QKV, kv, q);
		add_site(s, module_of(kind, MODULE_V), POSITION_QKV, kv, q + kv);
	}
	add_site(s, module_of(kind, MODULE_ATTN_OUT), POSITION_ATTN, a->width, 0);
	add_site(s, module_of(kind, MODULE_ATTN_RES), POSITION_ATTN_RES, a->width, 0);
}

/* What follows from the kind of model and the number of layers in each stack. */
static void arch_fill_stacks(struct arch *a)
{
	enum model_kind kind = a->family->kind;

	a->n_stacks = kind == MODEL_SEQ2SEQ ? 2 : 1;
	for (size_t k = 0; k < a->n_stacks; k++) {
		struct stack *s = &a->stacks[k];

		s->names = &a->family->stacks[k];
		s->causal = kind == MODEL_CAUSAL || k == 1;
		s->cross = k == 1;
		s->first_layer = a->n_layers;
		s->first_site = a->n_sites;
		add_attention_sites(a, s, ATTENTION_SELF);
		if (s->cross)
			add_attention_sites(a, s, ATTENTION_CROSS);
		add_site(s, MODULE_FFN_DOWN, POSITION_FFN, a->width, 0);
		add_site(s, MODULE_FFN_RES, POSITION_FFN_RES, a->width, 0);
		a->n_layers += s->n_layers;
		a->n_sites += s->n_layers * s->n_layer_sites;
	}
}

static enum err arch_check(const struct arch *a, struct why *why)
{
	if (a->n_layers > ADAPTER_MAX_LAYERS)
		return why_set(why, ERR_UNSUPPORTED, "%zu layers; at most %d are supported", a->n_layers,
		        ADAPTER_MAX_LAYERS);
	if (a->n_heads % a->n_kv_heads)
		return why_set(why, ERR_FORMAT, "%zu heads cannot share %zu key/value heads", a->n_heads,
		        a->n_kv_heads);
	if (a->positions == POSITIONS_ROPE && a->head_dim % 2)
		return why_set(
		        why, ERR_FORMAT, "rotary positions need an even head width, not %zu", a->head_dim);
	return OK;
}

static enum err arch_from_json(const json_t *config, struct arch *a, struct why *why)
{
	const char *type = json_string_value(json_object_get(config, "model_type"));
	char known[256];
	enum err e;

	if (!type)
		return why_param(why, ERR_FORMAT, "model_type", "model_type is missing");
	a->family = family_find(type, &a->model_type);
	if (!a->family) {
		family_list(known, sizeof(known));
		return why_param(why, ERR_UNSUPPORTED, "model_type",
		        "model_type \"%.40s\" is not supported; supported are: %s", type, known);
	}
	if (config_get(config, "quantization_config"))
		return why_param(
		        why, ERR_UNSUPPORTED, "quantization_config", "quantised weights are not supported");
	e = a->family->configure(config, a, why);
	if (!e)
		arch_fill_stacks(a);
	if (!e)
		e = arch_check(a, why);
	if (!e)
		e = config_token(config, "bos_token_id", a->vocab_size, &a->bos_id, why);
	if (!e)
		e = arch_parse_eos(config, a, why);
	return e;
}

static enum err parse_object(const char *text, json_t **out, struct why *why)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		return why_set(why, ERR_FORMAT, "line %d: %s", error.line, error.text);
	if (!json_is_object(json)) {
		json_decref(json);
		return why_set(why, ERR_FORMAT, "not a JSON object");
	}
	*out = json;
	return OK;
}

enum err arch_parse(const char *config_json, struct arch *out, struct why *why)
{
	struct arch a = {.bos_id = -1, .decoder_start_id = -1};
	json_t *config;
	enum err e = parse_object(config_json, &config, why);

	if (e)
		return e;
	e = arch_from_json(config, &a, why);
	json_decref(config);
	if (!e)
		*out = a;
	return e;
}

enum err arch_parse_generation(const char *json, struct arch *arch, struct why *why)
{
	struct arch a = *arch;
	json_t *config;
	enum err e = parse_object(json, &config, why);

	if (e)
		return e;
	e = arch_parse_eos(config, &a, why);
	json_decref(config);
	if (!e)
		*arch = a;
	return e;
}

size_t arch_site(const struct arch *a, size_t layer, enum module module)
{
	const struct stack *s = arch_stack(a, layer);

	for (size_t i = 0; i < s->n_layer_sites; i++)
		if (s->sites[i].module == module)
			return s->first_site + (layer - s->first_layer) * s->n_layer_sites + i;
	return a->n_sites;
}

void arch_module_path(const struct arch *a, size_t layer, enum module module, char path[SITE_NAME_SIZE])
{
	const struct stack *s = arch_stack(a, layer);
	const char *name = s->names->modules[module];

	snprintf(path, SITE_NAME_SIZE, "%s%s.%zu%s%s", a->family->prefix, s->names->layers,
	        layer - s->first_layer, *name ? "." : "", name);
}

enum err arch_sites(const struct arch *a, struct site **out, size_t *n)
{
	struct site *sites = mem_calloc(a->n_sites, sizeof(*sites));

	if (!sites)
		return ERR_MEM;
	for (size_t k = 0; k < a->n_stacks; k++) {
		const struct stack *s = &a->stacks[k];

		for (size_t i = 0; i < s->n_layers * s->n_layer_sites; i++) {
			const struct layer_site *kind = &s->sites[i % s->n_layer_sites];
			struct site *site = &sites[s->first_site + i];

			site->position = kind->position;
			site->layer = i / s->n_layer_sites;
			site->width = kind->width;
			arch_module_path(a, s->first_layer + site->layer, kind->module, site->name);
		}
	}
	*out = sites;
	*n = a->n_sites;
	return OK;
}

enum err model_config_sites(const char *config_json, struct site **sites, size_t *n_sites, struct why *why)
{
	struct arch a;
	enum err e = arch_parse(config_json, &a, why);

	return e ? e : arch_sites(&a, sites, n_sites);
}
