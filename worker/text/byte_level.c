/* See byte_level.h. */
#include "worker/text/byte_level.h"

#include "worker/text/utf8.h"

enum err byte_level_encode(const char *p, size_t n, struct buf *out)
{
	enum err e = buf_reserve(out, 2 * n);
	size_t len = out->len;

	if (e)
		return e;
	for (size_t i = 0; i < n; i++) {
		uint32_t c = byte_level_char((unsigned char)p[i]);

		len += utf8_put(c, out->data + len);
	}
	out->data[len] = '\0';
	out->len = len;
	return OK;
}
