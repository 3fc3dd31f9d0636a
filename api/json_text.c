/* See json_text.h. */
#include "api/json_text.h"

#include "api/wire.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void put(struct json_text *t, const char *p, size_t n)
{
	if (!t->err)
		t->err = buf_append(&t->buf, p, n);
}

/* What stands before a value: a comma, unless it is the first, and its name. */
static void begin(struct json_text *t, const char *name)
{
	char last = t->buf.len ? t->buf.data[t->buf.len - 1] : '[';

	if (last != '{' && last != '[')
		put(t, ",", 1);
	if (!name)
		return;
	put(t, "\"", 1);
	put(t, name, strlen(name));
	put(t, "\":", 2);
}

void json_text_open(struct json_text *t, const char *name, char bracket)
{
	begin(t, name);
	put(t, &bracket, 1);
}

void json_text_close(struct json_text *t, char bracket)
{
	put(t, &bracket, 1);
}

/* Bytes from s on that a JSON string holds as they are. */
static size_t plain_length(const char *s)
{
	size_t n = 0, step;

	while (s[n]) {
		unsigned char c = (unsigned char)s[n];

		if (c < 0x20 || c == '"' || c == '\\')
			break;
		step = c < 0x80 ? 1 : wire_utf8_length(s + n, strnlen(s + n, 4));
		if (!step)
			break;
		n += step;
	}
	return n;
}

static void put_special(struct json_text *t, unsigned char c)
{
	char text[8];
	int n = c < 0x20 ? snprintf(text, sizeof(text), "\\u%04x", (unsigned)c)
	                 : snprintf(text, sizeof(text), "\\%c", c);

	if (c < 0x80)
		put(t, text, (size_t)n);
	else
		put(t, "?", 1);
}

void json_text_string(struct json_text *t, const char *name, const char *s)
{
	if (!s) {
		json_text_null(t, name);
		return;
	}
	begin(t, name);
	put(t, "\"", 1);
	while (*s) {
		size_t n = plain_length(s);

		put(t, s, n);
		s += n;
		if (*s)
			put_special(t, (unsigned char)*s++);
	}
	put(t, "\"", 1);
}

void json_text_int(struct json_text *t, const char *name, int64_t v)
{
	char text[24];

	begin(t, name);
	put(t, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v));
}

void json_text_null(struct json_text *t, const char *name)
{
	begin(t, name);
	put(t, "null", 4);
}

static int put_dumped(const char *p, size_t n, void *arg)
{
	struct json_text *t = arg;

	put(t, p, n);
	return t->err ? -1 : 0;
}

void json_text_tree(struct json_text *t, const char *name, json_t *tree)
{
	begin(t, name);
	if (!tree || json_dump_callback(tree, put_dumped, t, JSON_COMPACT | JSON_ENCODE_ANY))
		t->err = ERR_MEM;
	json_decref(tree);
}

void json_text_raw(struct json_text *t, const char *name, const char *json, size_t n)
{
	begin(t, name);
	put(t, json, n);
}
