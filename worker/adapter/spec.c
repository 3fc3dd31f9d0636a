/* Adapter specs and their wire form. See adapter.h. */
#include "worker/adapter/adapter.h"
#include "worker/adapter/method.h"

#include <stdio.h>
#include <string.h>

/* Those after the residual are also ffn and attn of a spec that says "res":true. */
static const struct {
	const char *name;
	unsigned bit, after_residual;
} positions[] = {{"ffn", POSITION_FFN, POSITION_FFN_RES}, {"attn", POSITION_ATTN, POSITION_ATTN_RES},
        {"qkv", POSITION_QKV, 0}, {"res", POSITION_FFN_RES, 0}, {"attn_res", POSITION_ATTN_RES, 0}};
#define POSITION_NAMES "\"ffn\", \"attn\", \"qkv\", \"res\", \"attn_res\""

#define N_POSITIONS (sizeof(positions) / sizeof(positions[0]))

static unsigned default_parts(const struct method *m)
{
	unsigned bits = 0;

	for (size_t i = 0; i < m->n_parts; i++)
		if (!m->parts[i].option)
			bits |= m->parts[i].bit;
	return bits;
}

void adapter_spec_default(struct adapter_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	spec->method = METHOD_RED;
	spec->positions = POSITION_FFN;
	spec->parts = default_parts(method_get(METHOD_RED));
	spec->all_layers = true;
}

static unsigned position_bit(const char *name)
{
	for (size_t i = 0; i < N_POSITIONS; i++)
		if (strcmp(positions[i].name, name) == 0)
			return positions[i].bit;
	return 0;
}

const char *position_name(enum position p)
{
	for (size_t i = 0; i < N_POSITIONS; i++)
		if (positions[i].bit == (unsigned)p)
			return positions[i].name;
	return NULL;
}

static enum err parse_type(const json_t *j, struct adapter_spec *spec, struct why *why)
{
	if (!j)
		return OK;
	if (!json_is_string(j) || !method_find(json_string_value(j), &spec->method))
		return why_param(why, ERR_INVALID, "adapter.type", "adapter.type must be \"red\"");
	return OK;
}

static enum err parse_positions(const json_t *j, struct adapter_spec *spec, struct why *why)
{
	unsigned bits = 0, bit;
	const json_t *item;
	size_t i;

	if (!j)
		return OK;
	json_array_foreach (j, i, item) {
		bit = json_is_string(item) ? position_bit(json_string_value(item)) : 0;
		if (!bit)
			return why_param(why, ERR_INVALID, "adapter.positions",
			        "adapter.positions[%zu] is none of " POSITION_NAMES, i);
		bits |= bit;
	}
	if (!bits)
		return why_param(why, ERR_INVALID, "adapter.positions",
		        "adapter.positions must be an array of one or more of " POSITION_NAMES);
	spec->positions = bits;
	return OK;
}

static enum err parse_parts(const json_t *j, struct adapter_spec *spec, struct why *why)
{
	const struct method *m = method_get(spec->method);
	unsigned bits = 0, bit;
	const json_t *item;
	size_t i;

	if (!j)
		return OK;
	if (!json_is_array(j))
		return why_param(why, ERR_INVALID, "adapter.parts", "adapter.parts must be an array");
	json_array_foreach (j, i, item) {
		bit = json_is_string(item) ? method_parts_named(m, json_string_value(item)) : 0;
		if (!bit)
			return why_param(why, ERR_INVALID, "adapter.parts",
			        "adapter.parts[%zu] is none of \"scale\", \"bias\", \"ln\"", i);
		bits |= bit;
	}
	spec->parts = bits;
	return OK;
}

/* A boolean of the spec; *out is true only when it is there and true. */
static enum err parse_flag(const json_t *json, const char *key, bool *out, struct why *why)
{
	const json_t *j = json_object_get(json, key);
	char param[32];

	if (j && !json_is_boolean(j)) {
		snprintf(param, sizeof(param), "adapter.%s", key);
		return why_param(why, ERR_INVALID, param, "%s must be true or false", param);
	}
	*out = json_is_true(j);
	return OK;
}

/* The parts that are asked for outside of "parts". */
static enum err parse_options(const json_t *json, struct adapter_spec *spec, struct why *why)
{
	const struct method *m = method_get(spec->method);

	for (size_t i = 0; i < m->n_parts; i++) {
		bool wanted = false;
		enum err e = m->parts[i].option ? parse_flag(json, m->parts[i].name, &wanted, why) : OK;

		if (e)
			return e;
		spec->parts |= wanted ? m->parts[i].bit : 0;
	}
	return spec->parts ? OK
	                   : why_param(why, ERR_INVALID, "adapter.parts",
	                             "adapter.parts must name one or more of \"scale\", \"bias\", \"ln\"");
}

static enum err parse_residual(const json_t *json, struct adapter_spec *spec, struct why *why)
{
	unsigned bits = 0;
	bool after = false, any = false;
	enum err e = parse_flag(json, "res", &after, why);

	if (e || !after)
		return e;
	for (size_t i = 0; i < N_POSITIONS; i++) {
		unsigned bit = spec->positions & positions[i].bit;

		any = any || (bit && bit != POSITION_QKV);
		bits |= bit && positions[i].after_residual ? positions[i].after_residual : bit;
	}
	if (!any)
		return why_param(why, ERR_INVALID, "adapter.res",
		        "adapter.res needs \"ffn\" or \"attn\" among adapter.positions: no residual is "
		        "added to \"qkv\"");
	spec->positions = bits;
	return OK;
}

static enum err parse_layers(const json_t *j, struct adapter_spec *spec, struct why *why)
{
	const json_t *item;
	size_t i;

	if (!j || (json_is_string(j) && strcmp(json_string_value(j), "all") == 0))
		return OK;
	if (!json_array_size(j))
		return why_param(why, ERR_INVALID, "adapter.layers",
		        "adapter.layers must be \"all\" or an array of one or more layer numbers");
	json_array_foreach (j, i, item) {
		json_int_t layer = json_integer_value(item);

		if (!json_is_integer(item) || layer < 0 || layer >= ADAPTER_MAX_LAYERS)
			return why_param(why, ERR_INVALID, "adapter.layers",
			        "adapter.layers[%zu] must be a layer number from 0 to %d", i,
			        ADAPTER_MAX_LAYERS - 1);
		spec->layers[layer] = 1;
	}
	spec->all_layers = false;
	return OK;
}

static bool known_key(const struct method *m, const char *key)
{
	static const char *const known[] = {"type", "positions", "parts", "layers", "res"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i], key) == 0)
			return true;
	for (size_t i = 0; i < m->n_parts; i++)
		if (m->parts[i].option && strcmp(m->parts[i].name, key) == 0)
			return true;
	return false;
}

static enum err check_keys(const json_t *json, const struct adapter_spec *spec, struct why *why)
{
	json_t *object = (json_t *)json; /* iteration asks for it */
	json_t *value;
	const char *key;

	json_object_foreach (object, key, value)
		if (!known_key(method_get(spec->method), key))
			return why_param(why, ERR_INVALID, "adapter",
			        "adapter knows \"type\", \"positions\", \"parts\", \"layers\", \"ln\" and "
			        "\"res\", not \"%s\"",
			        key);
	return OK;
}

enum err adapter_spec_parse(const json_t *json, struct adapter_spec *spec, struct why *why)
{
	struct adapter_spec s;
	enum err e;

	adapter_spec_default(&s);
	if (!json || json_is_null(json)) {
		*spec = s;
		return OK;
	}
	if (!json_is_object(json))
		return why_param(why, ERR_INVALID, "adapter", "adapter must be an object");
	e = parse_type(json_object_get(json, "type"), &s, why);
	if (!e)
		e = check_keys(json, &s, why);
	if (!e)
		e = parse_positions(json_object_get(json, "positions"), &s, why);
	if (!e)
		e = parse_parts(json_object_get(json, "parts"), &s, why);
	if (!e)
		e = parse_options(json, &s, why);
	if (!e)
		e = parse_residual(json, &s, why);
	if (!e)
		e = parse_layers(json_object_get(json, "layers"), &s, why);
	if (!e)
		*spec = s;
	return e;
}

static json_t *layers_json(const struct adapter_spec *spec)
{
	json_t *layers;

	if (spec->all_layers)
		return json_string("all");
	layers = json_array();
	for (size_t i = 0; i < ADAPTER_MAX_LAYERS; i++)
		if (spec->layers[i] && json_array_append_new(layers, json_integer((json_int_t)i))) {
			json_decref(layers);
			return NULL;
		}
	return layers;
}

static json_t *positions_json(const struct adapter_spec *spec, bool after_residual)
{
	json_t *names = json_array();
	int failed = 0;

	for (size_t i = 0; i < N_POSITIONS; i++) {
		unsigned after = after_residual ? positions[i].after_residual : 0;
		bool hidden = after_residual && (positions[i].bit & (POSITION_FFN_RES | POSITION_ATTN_RES));

		if ((spec->positions & (positions[i].bit | after)) && !hidden)
			failed |= json_array_append_new(names, json_string(positions[i].name));
	}
	if (failed) {
		json_decref(names);
		return NULL;
	}
	return names;
}

json_t *adapter_spec_json(const struct adapter_spec *spec)
{
	const struct method *m = method_get(spec->method);
	/* "res":true speaks for all positions that there are */
	bool after_residual = (spec->positions & (POSITION_FFN_RES | POSITION_ATTN_RES)) &&
	                      !(spec->positions & (POSITION_FFN | POSITION_ATTN));
	json_t *parts = json_array(), *json;
	int failed = !parts;

	json = json_pack("{s:s, s:o, s:O, s:o}", "type", m->type, "positions",
	        positions_json(spec, after_residual), "parts", parts, "layers", layers_json(spec));
	for (size_t i = 0; i < m->n_parts; i++) {
		const struct method_part *part = &m->parts[i];

		if (!(spec->parts & part->bit))
			continue;
		if (part->option)
			failed |= json_object_set_new(json, part->name, json_true());
		else
			failed |= json_array_append_new(parts, json_string(part->name));
	}
	if (after_residual)
		failed |= json_object_set_new(json, "res", json_true());
	json_decref(parts);
	if (failed) {
		json_decref(json);
		return NULL;
	}
	return json;
}

json_t *adapter_manifest(const struct adapter_layout *l)
{
	json_t *manifest = adapter_spec_json(adapter_layout_spec(l));
	json_int_t n = (json_int_t)adapter_layout_n_params(l);

	if (!manifest)
		return NULL;
	if (json_object_set(manifest, "method", json_object_get(manifest, "type")) ||
	        json_object_del(manifest, "type") ||
	        json_object_set_new(manifest, "trainable_params", json_integer(n))) {
		json_decref(manifest);
		return NULL;
	}
	return manifest;
}
