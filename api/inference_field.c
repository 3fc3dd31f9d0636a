/* See inference_field.h. */
#include "api/inference_field.h"

#include <string.h>

#define INFERENCE_MAX_STRENGTH 16.0

const json_t *inference_field(const json_t *body, const char *name)
{
	const json_t *value = json_object_get(body, name);

	return json_is_null(value) ? NULL : value;
}

enum err inference_field_bool(const json_t *body, const char *name, bool *out, struct why *why)
{
	const json_t *value = inference_field(body, name);

	if (!value)
		return OK;
	if (!json_is_boolean(value))
		return why_param(why, ERR_INVALID, name, "%s must be true or false", name);
	*out = json_is_true(value);
	return OK;
}

enum err inference_field_size(
        const json_t *body, const char *name, size_t min, size_t max, size_t *out, struct why *why)
{
	const json_t *value = inference_field(body, name);
	json_int_t number;

	if (!value)
		return OK;
	number = json_integer_value(value);
	if (!json_is_integer(value) || number < 0 || (uint64_t)number < min || (uint64_t)number > max)
		return why_param(
		        why, ERR_INVALID, name, "%s must be an integer from %zu to %zu", name, min, max);
	*out = (size_t)number;
	return OK;
}

enum err inference_field_number(
        const json_t *body, const char *name, double min, double max, double *out, struct why *why)
{
	const json_t *value = inference_field(body, name);
	double number;

	if (!value)
		return OK;
	number = json_number_value(value);
	if (!json_is_number(value) || !(number >= min && number <= max))
		return why_param(why, ERR_INVALID, name, "%s must be a number from %g to %g", name, min, max);
	*out = number;
	return OK;
}

enum err inference_field_string(const json_t *body, const char *name, const char **out, struct why *why)
{
	const json_t *value = inference_field(body, name);

	if (!value)
		return OK;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
		return why_param(why, ERR_INVALID, name, "%s must be a string", name);
	*out = json_string_value(value);
	return OK;
}

enum err inference_field_strength(const json_t *body, double *out, struct why *why)
{
	return inference_field_number(
	        body, "adapter_strength", -INFERENCE_MAX_STRENGTH, INFERENCE_MAX_STRENGTH, out, why);
}

enum err inference_field_blend(
        const json_t *body, struct blend_part parts[BLEND_MAX], size_t *n, struct why *why)
{
	const json_t *list = inference_field(body, "adapters");
	const json_t *item;
	size_t i;
	enum err e;

	if (list && (!json_is_array(list) || json_array_size(list) > BLEND_MAX))
		return why_param(why, ERR_INVALID, "adapters",
		        "adapters must be a list of at most %d objects {\"model\", \"weight\"}", BLEND_MAX);
	json_array_foreach (list, i, item) {
		parts[i] = (struct blend_part){.weight = 1};
		e = json_is_object(item) ? inference_field_string(item, "model", &parts[i].model, NULL)
		                         : ERR_INVALID;
		if (!e)
			e = inference_field_number(item, "weight", -INFERENCE_MAX_STRENGTH,
			        INFERENCE_MAX_STRENGTH, &parts[i].weight, NULL);
		if (e || !parts[i].model)
			return why_param(why, ERR_INVALID, "adapters",
			        "adapters[%zu] must be {\"model\": a model's name, \"weight\": a number from "
			        "%g to %g}",
			        i, -INFERENCE_MAX_STRENGTH, INFERENCE_MAX_STRENGTH);
	}
	*n = json_array_size(list);
	return OK;
}
