/* See json_get.h. */
#include "worker/text/json_get.h"

#include "worker/text/utf8.h"

#include <string.h>

json_t *json_get_any(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_null(v) ? NULL : v;
}

static enum err wrong(struct why *why, const json_t *o, const char *key, const char *what)
{
	if (!json_is_object(o))
		return why_set(why, ERR_FORMAT, "not a JSON object");
	return why_set(why, ERR_FORMAT, "\"%s\" %s", key, json_get_any(o, key) ? what : "is missing");
}

enum err json_get_text(const json_t *o, const char *key, struct json_text *out, struct why *why)
{
	const json_t *v = json_get_any(o, key);

	if (!json_is_string(v))
		return wrong(why, o, key, "must be a string");
	*out = (struct json_text){json_string_value(v), json_string_length(v)};
	return OK;
}

enum err json_get_text_optional(const json_t *o, const char *key, struct json_text *out, struct why *why)
{
	return json_get_any(o, key) ? json_get_text(o, key, out, why) : OK;
}

enum err json_get_char(const json_t *o, const char *key, struct json_text *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(o, key, &t, why);

	if (e)
		return e;
	if (!t.n || utf8_len(t.p[0]) != t.n)
		return wrong(why, o, key, "must be one character");
	*out = t;
	return OK;
}

enum err json_get_object(const json_t *o, const char *key, json_t **out, struct why *why)
{
	json_t *v = json_get_any(o, key);

	if (!json_is_object(v))
		return wrong(why, o, key, "must be an object");
	*out = v;
	return OK;
}

enum err json_get_array(const json_t *o, const char *key, json_t **out, struct why *why)
{
	json_t *v = json_get_any(o, key);

	if (!json_is_array(v))
		return wrong(why, o, key, "must be an array");
	*out = v;
	return OK;
}

bool json_out_of_memory(const json_error_t *error)
{
	enum json_error_code code = json_error_code(error);

	return code == json_error_out_of_memory || code == json_error_unknown;
}

bool json_id(const json_t *v, int32_t *out)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > TOKENIZER_MAX_ID)
		return false;
	*out = (int32_t)json_integer_value(v);
	return true;
}

enum err json_get_id(const json_t *o, const char *key, int32_t *out, struct why *why)
{
	if (!json_id(json_get_any(o, key), out))
		return wrong(why, o, key, "must be an id from 0 to 4194303");
	return OK;
}

enum err json_get_bool(const json_t *o, const char *key, bool *out, struct why *why)
{
	const json_t *v = json_get_any(o, key);

	if (!v)
		return OK;
	if (!json_is_boolean(v))
		return wrong(why, o, key, "must be true or false");
	*out = json_is_true(v);
	return OK;
}

enum err json_get_size(const json_t *o, const char *key, size_t *out, struct why *why)
{
	const json_t *v = json_get_any(o, key);

	if (!v)
		return OK;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return wrong(why, o, key, "must be a non-negative integer");
	*out = (size_t)json_integer_value(v);
	return OK;
}

enum err json_get_choice(
        const json_t *o, const char *key, const char *const *names, int *out, struct why *why)
{
	struct json_text t = {0};
	enum err e = json_get_text_optional(o, key, &t, why);

	if (e || !t.p)
		return e;
	for (int i = 0; names[i]; i++) {
		if (strlen(names[i]) == t.n && memcmp(names[i], t.p, t.n) == 0) {
			*out = i;
			return OK;
		}
	}
	return why_set(why, ERR_UNSUPPORTED, "\"%s\": \"%.60s\" is not known", key, t.p);
}
