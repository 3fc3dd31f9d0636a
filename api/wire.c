/* See wire.h. */
#include "api/wire.h"

#include "core/mem.h"

#include <string.h>

size_t wire_utf8_length(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;

	if ((s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	        (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

json_t *wire_string(const char *s)
{
	json_t *json = s ? json_string(s) : json_null();
	size_t n, step;
	char *copy;

	if (json)
		return json;
	copy = mem_strdup(s);
	if (!copy)
		return NULL;
	n = strlen(copy);
	for (size_t i = 0; i < n; i += step) {
		step = wire_utf8_length(copy + i, n - i);
		if (!step) {
			copy[i] = '?';
			step = 1;
		}
	}
	json = json_string(copy);
	mem_free(copy);
	return json;
}

json_t *wire_string_or_null(const char *s)
{
	return wire_string(s && *s ? s : NULL);
}

json_t *wire_time(int64_t unix_seconds)
{
	return unix_seconds ? json_integer(unix_seconds) : json_null();
}

json_t *wire_parsed(const char *json)
{
	json_t *v = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;

	return v ? v : json_null();
}

static json_t *item_id(const json_t *data, size_t i)
{
	json_t *id = json_object_get(json_array_get(data, i), "id");

	return id ? json_incref(id) : json_null();
}

json_t *wire_list(json_t *data, bool has_more)
{
	size_t n = json_array_size(data);

	return json_pack("{s:s, s:o, s:b, s:o, s:o}", "object", "list", "data", data, "has_more",
	        (int)has_more, "first_id", item_id(data, 0), "last_id", item_id(data, n ? n - 1 : 0));
}

json_t *wire_deleted(const char *id, const char *object)
{
	return json_pack("{s:o, s:s, s:b}", "id", wire_string(id), "object", object, "deleted", 1);
}

enum err wire_get_string(
        const json_t *object, const char *name, const char *fallback, const char **out, struct why *why)
{
	const json_t *v = json_object_get(object, name);

	if (v && !json_is_null(v) && !json_is_string(v))
		return why_param(why, ERR_INVALID, name, "'%s' must be a string.", name);
	*out = json_is_string(v) ? json_string_value(v) : fallback;
	return OK;
}

enum err wire_require_string(const json_t *object, const char *name, const char **out, struct why *why)
{
	const char *v;
	enum err e = wire_get_string(object, name, NULL, &v, why);

	if (e)
		return e;
	if (!v || !*v)
		return why_param(why, ERR_INVALID, name, "'%s' is required.", name);
	*out = v;
	return OK;
}
