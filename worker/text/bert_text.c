/* See bert_text.h. */
#include "worker/text/bert_text.h"

#include "worker/text/utf8.h"

#include <utf8proc.h>

static bool is_control(uint32_t c)
{
	if (c == '\t' || c == '\n' || c == '\r')
		return false;
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CO:
		return true;
	default:
		return false;
	}
}

/* The blocks as Hugging Face has them, its slip in the last but two included. */
static bool is_chinese(uint32_t c)
{
	return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
	       (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
	       (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
	       (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static enum err put_char(const char *p, size_t len, bool clean, bool chinese, struct buf *out)
{
	uint32_t c = utf8_get(p);
	enum err e;

	if (clean && (c == 0 || c == 0xfffd || is_control(c)))
		return OK;
	if (clean && utf8_is_space(c))
		return buf_puts(out, " ");
	if (!chinese || !is_chinese(c))
		return buf_append(out, p, len);
	e = buf_puts(out, " ");
	if (!e)
		e = buf_append(out, p, len);
	return e ? e : buf_puts(out, " ");
}

enum err bert_text_clean(const char *p, size_t n, bool clean, bool chinese, struct buf *out)
{
	enum err e = OK;

	for (size_t i = 0, len; !e && i < n; i += len) {
		for (len = 0; i + len < n && p[i + len] >= ' ' && p[i + len] < 0x7f;)
			len++;
		if (len) {
			e = buf_append(out, p + i, len);
		} else {
			len = utf8_len(p[i]);
			e = put_char(p + i, len, clean, chinese, out);
		}
	}
	return e;
}

bool bert_text_is_punctuation(uint32_t c)
{
	if (c < 0x80)
		return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
		       (c >= '{' && c <= '~');
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_PC:
	case UTF8PROC_CATEGORY_PD:
	case UTF8PROC_CATEGORY_PE:
	case UTF8PROC_CATEGORY_PF:
	case UTF8PROC_CATEGORY_PI:
	case UTF8PROC_CATEGORY_PO:
	case UTF8PROC_CATEGORY_PS:
		return true;
	default:
		return false;
	}
}
