/* See inference_refused.h: one table of fields, each with the values that ask for nothing. */
#include "api/inference_refused.h"

#include <stdbool.h>
#include <string.h>

/* null, false, 0, "", [] and {}. */
static bool is_nothing(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_NULL:
	case JSON_FALSE:
		return true;
	case JSON_TRUE:
		return false;
	case JSON_INTEGER:
	case JSON_REAL:
		return json_number_value(value) == 0;
	case JSON_STRING:
		return json_string_length(value) == 0;
	case JSON_ARRAY:
		return json_array_size(value) == 0;
	case JSON_OBJECT:
		return json_object_size(value) == 0;
	}
	return false;
}

static bool is_string(const json_t *value, const char *wanted)
{
	const char *s = json_string_value(value);

	return s && !strcmp(s, wanted);
}

static bool is_free_choice(const json_t *value)
{
	return json_is_null(value) || is_string(value, "none") || is_string(value, "auto");
}

static bool is_text_format(const json_t *value)
{
	return json_is_null(value) || is_string(json_object_get(value, "type"), "text");
}

static bool is_text_only(const json_t *value)
{
	return json_is_null(value) ||
	       (json_array_size(value) == 1 && is_string(json_array_get(value, 0), "text"));
}

static const struct {
	const char *field;
	bool (*asks_nothing)(const json_t *value);
	const char *reason;
} refused_fields[] = {
        {"tools", is_nothing, "tool calls are not supported"},
        {"tool_choice", is_free_choice, "tool calls are not supported"},
        {"functions", is_nothing, "function calls are not supported"},
        {"function_call", is_free_choice, "function calls are not supported"},
        {"response_format", is_text_format, "only {\"type\":\"text\"} is supported"},
        {"modalities", is_text_only, "only [\"text\"] is supported"},
        {"audio", is_nothing, "audio is not supported"},
        {"web_search_options", is_nothing, "web search is not supported"},
        {"suffix", is_nothing, "insertion is not supported; give the text before it as prompt"},
        {"use_beam_search", is_nothing, "say how many beams with num_beams"},
        {"min_tokens", is_nothing, "a minimum is not supported; see ignore_eos"},
};

enum err inference_refused_check(const json_t *body, struct why *why)
{
	for (size_t i = 0; i < sizeof(refused_fields) / sizeof(refused_fields[0]); i++) {
		const json_t *value = json_object_get(body, refused_fields[i].field);

		if (value && !refused_fields[i].asks_nothing(value))
			return why_param(why, ERR_INVALID, refused_fields[i].field, "%s: %s",
			        refused_fields[i].field, refused_fields[i].reason);
	}
	return OK;
}
