/* See utf8.h. The table of well-formed sequences is Unicode's (chapter 3, table 3-7). */
#include "worker/text/utf8.h"

#include <string.h>
#include <utf8proc.h>

size_t utf8_char(const char *p, size_t n, size_t *part, bool *open)
{
	const unsigned char *s = (const unsigned char *)p;
	unsigned char low = 0x80, high = 0xbf;
	size_t len, i;

	*part = 1;
	*open = false;
	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = utf8_len(p[0]);
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	for (i = 1; i < len; i++) {
		*part = i;
		if (i == n) {
			*open = true;
			return 0;
		}
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

size_t utf8_valid(const char *p, size_t n)
{
	size_t i = 0, len, part;
	uint64_t word;
	bool open;

	while (i < n) {
		if (n - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if (!(word & 0x8080808080808080u)) {
				i += sizeof(word);
				continue;
			}
		}
		len = utf8_char(p + i, n - i, &part, &open);
		if (!len)
			return i;
		i += len;
	}
	return n;
}

uint32_t utf8_get(const char *p)
{
	const unsigned char *s = (const unsigned char *)p;

	switch (utf8_len(p[0])) {
	case 1:
		return s[0];
	case 2:
		return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
	case 3:
		return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
	default:
		return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 |
		       (uint32_t)(s[2] & 0x3f) << 6 | (s[3] & 0x3f);
	}
}

size_t utf8_put(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

enum err utf8_append_lossy(struct buf *out, const char *p, size_t n)
{
	struct utf8_stream s = {0};
	enum err e = utf8_stream_push(&s, p, n, out);

	return e ? e : utf8_stream_finish(&s, out);
}

/* Append p up to an unfinished character at its end; *used is what was consumed. */
static enum err append_certain(const char *p, size_t n, struct buf *out, size_t *used)
{
	size_t i = 0, len, part;
	bool open;
	enum err e;

	while (i < n) {
		len = utf8_valid(p + i, n - i);
		e = buf_append(out, p + i, len);
		if (e)
			return e;
		i += len;
		if (i == n)
			break;
		utf8_char(p + i, n - i, &part, &open);
		if (open)
			break;
		e = buf_puts(out, UTF8_REPLACEMENT);
		if (e)
			return e;
		i += part;
	}
	*used = i;
	return OK;
}

enum err utf8_stream_push(struct utf8_stream *s, const char *p, size_t n, struct buf *out)
{
	size_t used;
	enum err e;

	while (s->n_held && n) {
		s->held[s->n_held++] = *p++;
		n--;
		e = append_certain(s->held, s->n_held, out, &used);
		if (e)
			return e;
		memmove(s->held, s->held + used, s->n_held - used);
		s->n_held -= used;
	}
	if (!n)
		return OK;
	e = append_certain(p, n, out, &used);
	if (e)
		return e;
	s->n_held = n - used;
	memcpy(s->held, p + used, s->n_held);
	return OK;
}

enum err utf8_stream_finish(struct utf8_stream *s, struct buf *out)
{
	if (!s->n_held)
		return OK;
	s->n_held = 0;
	return buf_puts(out, UTF8_REPLACEMENT);
}

bool utf8_is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
	       c == 0x3000;
}

bool utf8_is_word(uint32_t c)
{
	if (c == 0x200c || c == 0x200d)
		return true;
	/* Symbols that are Alphabetic: circled and squared Latin letters. */
	if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
	        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189))
		return true;
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_PC:
		return true;
	default:
		return false;
	}
}

size_t utf8_leading_space(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && utf8_is_space(utf8_get(p + i)))
		i += utf8_len(p[i]);
	return i;
}

static size_t last_start(const char *p, size_t n)
{
	do
		n--;
	while (n && ((unsigned char)p[n] & 0xc0) == 0x80);
	return n;
}

uint32_t utf8_last(const char *p, size_t n)
{
	return utf8_get(p + last_start(p, n));
}

size_t utf8_trailing_space(const char *p, size_t n)
{
	size_t end = n;

	while (end) {
		size_t start = last_start(p, end);

		if (!utf8_is_space(utf8_get(p + start)))
			break;
		end = start;
	}
	return n - end;
}
