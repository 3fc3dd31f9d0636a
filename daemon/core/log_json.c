/* See log_json.h. A member is written, and taken back when it turns out not to fit. */
#include "core/log_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct writer {
	char *line;
	size_t size; /* without the room for what closes a text and the object */
	size_t len;
	bool full;
};

static void put(struct writer *w, const char *text, size_t n)
{
	if (w->full || w->len + n > w->size) {
		w->full = true;
		return;
	}
	memcpy(w->line + w->len, text, n);
	w->len += n;
}

/* Bytes of the UTF-8 character at p, 0 when it is none. */
static size_t character(const char *p, size_t n)
{
	unsigned char c = (unsigned char)p[0];
	size_t length = c < 0x80                ? 1
	                : c >= 0xc2 && c < 0xe0 ? 2
	                : (c & 0xf0) == 0xe0    ? 3
	                : c >= 0xf0 && c < 0xf5 ? 4
	                                        : 0;
	unsigned char second = length > 1 && n > 1 ? (unsigned char)p[1] : 0;

	if (!length || length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) || (c == 0xf0 && second < 0x90) ||
	        (c == 0xf4 && second > 0x8f))
		return 0;
	return length;
}

static void put_text(struct writer *w, const char *text, size_t n)
{
	char escape[8];
	size_t step;

	put(w, "\"", 1);
	for (size_t i = 0; i < n; i += step) {
		step = character(text + i, n - i);
		if (!step) {
			put(w, "?", 1);
			step = 1;
		} else if (text[i] == '"' || text[i] == '\\') {
			escape[0] = '\\';
			escape[1] = text[i];
			put(w, escape, 2);
		} else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)text[i] & 0x7f);
			put(w, escape, 6);
		} else {
			put(w, text + i, step);
		}
	}
	put(w, "\"", 1);
}

static bool is_digits(const char **p, const char *end)
{
	const char *start = *p;

	while (*p < end && **p >= '0' && **p <= '9')
		++*p;
	return *p > start;
}

/* As JSON writes numbers: no sign +, no needless zero in front, no bare dot. */
static bool is_number(const char *p, size_t n)
{
	const char *end = p + n, *digits;

	if (n > 24)
		return false;
	p += p < end && *p == '-';
	digits = p;
	if (!is_digits(&p, end) || (*digits == '0' && p > digits + 1))
		return false;
	if (p < end && *p == '.') {
		p++;
		if (!is_digits(&p, end))
			return false;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		p += p < end && (*p == '-' || *p == '+');
		if (!is_digits(&p, end))
			return false;
	}
	return p == end;
}

static void put_member(
        struct writer *w, const char *key, size_t n_key, const char *value, size_t n, bool quoted)
{
	size_t before = w->len;

	put(w, before > 1 ? "," : "", before > 1);
	put_text(w, key, n_key);
	put(w, ":", 1);
	if (!quoted && is_number(value, n))
		put(w, value, n);
	else
		put_text(w, value, n);
	if (w->full)
		w->len = before;
}

/* Callers put values with blanks between quotes and escape nothing: the closing quote is one before a blank
 * or the end. */
static size_t quoted_length(const char *p)
{
	size_t n = 0;

	while (p[n] && !(p[n] == '"' && (p[n + 1] == ' ' || p[n + 1] == '\0')))
		n++;
	return n;
}

static size_t key_length(const char *p)
{
	size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return p[n] == '=' ? n : 0;
}

size_t log_json(
        char *line, size_t size, const char *time, const char *level, const char *event, const char *pairs)
{
	struct writer w = {.line = line, .size = size - 2};

	put(&w, "{", 1);
	put_member(&w, "time", 4, time, strlen(time), true);
	put_member(&w, "level", 5, level, strlen(level), true);
	put_member(&w, "event", 5, event, strlen(event), true);
	while (!w.full) {
		size_t n_key, n;

		pairs += strspn(pairs, " ");
		if (!*pairs)
			break;
		n_key = key_length(pairs);
		if (!n_key) { /* no pair: the rest is words */
			put_member(&w, "text", 4, pairs, strlen(pairs), true);
			break;
		}
		if (pairs[n_key + 1] == '"') {
			n = quoted_length(pairs + n_key + 2);
			put_member(&w, pairs, n_key, pairs + n_key + 2, n, true);
			pairs += n_key + 2 + n;
			pairs += *pairs == '"';
		} else {
			n = strcspn(pairs + n_key + 1, " ");
			put_member(&w, pairs, n_key, pairs + n_key + 1, n, false);
			pairs += n_key + 1 + n;
		}
	}
	line[w.len++] = '}';
	line[w.len] = '\0';
	return w.len;
}
