/* Adapter specs and their wire form. See adapter.h. */
#include "worker/adapter/adapter.h"
#include "worker/adapter/method.h"

#include <string.h>

static const struct {
	const char *name;
	unsigned bit;
} positions[] = {{"ffn", POSITION_FFN}, {"attn", POSITION_ATTN}, {"qkv", POSITION_QKV}};

#define N_POSITIONS (sizeof(positions) / sizeof(positions[0]))

static unsigned all_parts(const struct method *m)
{
	unsigned bits = 0;

	for (size_t i = 0; i < m->n_parts; i++)
		bits |= m->parts[i].bit;
	return bits;
}

void adapter_spec_default(struct adapter_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	spec->method = METHOD_RED;
	spec->positions = POSITION_FFN;
	spec->parts = all_parts(method_get(METHOD_RED));
	spec->all_layers = true;
}

static unsigned position_bit(const char *name)
{
	for (size_t i = 0; i < N_POSITIONS; i++)
		if (strcmp(positions[i].name, name) == 0)
			return positions[i].bit;
	return 0;
}

static unsigned part_bit(const struct method *m, const char *name)
{
	for (size_t i = 0; i < m->n_parts; i++)
		if (strcmp(m->parts[i].name, name) == 0)
			return m->parts[i].bit;
	return 0;
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
			        "adapter.positions[%zu] is none of \"ffn\", \"attn\", \"qkv\"", i);
		bits |= bit;
	}
	if (!bits)
		return why_param(why, ERR_INVALID, "adapter.positions",
		        "adapter.positions must be an array of one or more of \"ffn\", \"attn\", \"qkv\"");
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
	json_array_foreach (j, i, item) {
		bit = json_is_string(item) ? part_bit(m, json_string_value(item)) : 0;
		if (!bit)
			return why_param(why, ERR_INVALID, "adapter.parts",
			        "adapter.parts[%zu] is none of \"scale\", \"bias\"", i);
		bits |= bit;
	}
	if (!bits)
		return why_param(why, ERR_INVALID, "adapter.parts",
		        "adapter.parts must be an array of one or both of \"scale\", \"bias\"");
	spec->parts = bits;
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

static enum err check_keys(const json_t *json, struct why *why)
{
	static const char *const known[] = {"type", "positions", "parts", "layers"};
	json_t *object = (json_t *)json; /* iteration asks for it */
	json_t *value;
	const char *key;

	json_object_foreach (object, key, value) {
		bool found = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found = found || strcmp(known[i], key) == 0;
		if (!found)
			return why_param(why, ERR_INVALID, "adapter",
			        "adapter knows \"type\", \"positions\", \"parts\" and \"layers\", not \"%s\"",
			        key);
	}
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
	e = check_keys(json, why);
	if (!e)
		e = parse_type(json_object_get(json, "type"), &s, why);
	if (!e)
		e = parse_positions(json_object_get(json, "positions"), &s, why);
	if (!e)
		e = parse_parts(json_object_get(json, "parts"), &s, why);
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

json_t *adapter_spec_json(const struct adapter_spec *spec)
{
	const struct method *m = method_get(spec->method);
	json_t *places = json_array(), *parts = json_array();
	int failed = 0;

	for (size_t i = 0; i < N_POSITIONS; i++)
		if (spec->positions & positions[i].bit)
			failed |= json_array_append_new(places, json_string(positions[i].name));
	for (size_t i = 0; i < m->n_parts; i++)
		if (spec->parts & m->parts[i].bit)
			failed |= json_array_append_new(parts, json_string(m->parts[i].name));
	if (failed) {
		json_decref(places);
		json_decref(parts);
		return NULL;
	}
	return json_pack("{s:s, s:o, s:o, s:o}", "type", m->type, "positions", places, "parts", parts,
	        "layers", layers_json(spec));
}
