/* See buf.h. */
#include "core/buf.h"

#include "core/mem.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BUF_MIN_CAP 64

enum err buf_reserve(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : BUF_MIN_CAP;
	char *data;

	if (n > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
		return ERR_MEM;
	if (b->cap && b->len + n + 1 <= b->cap)
		return OK;
	while (cap < b->len + n + 1)
		cap *= 2;
	data = mem_realloc(b->data, cap, 1);
	if (!data)
		return ERR_MEM;
	if (!b->data)
		data[0] = '\0';
	b->data = data;
	b->cap = cap;
	return OK;
}

enum err buf_append(struct buf *b, const void *p, size_t n)
{
	enum err e = buf_reserve(b, n);

	if (e)
		return e;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = '\0';
	return OK;
}

enum err buf_puts(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

enum err buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	enum err e;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return ERR_INVALID;
	e = buf_reserve(b, (size_t)n);
	if (e)
		return e;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return OK;
}

void buf_consume(struct buf *b, size_t n)
{
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

enum err buf_read_file(struct buf *b, const char *path, size_t max_bytes)
{
	char chunk[65536];
	size_t start = b->len;
	FILE *f = fopen(path, "rbe");
	enum err e = OK;
	size_t n;

	if (!f)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	while (!e && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		e = b->len - start + n > max_bytes ? ERR_TOO_LARGE : buf_append(b, chunk, n);
	if (!e && ferror(f))
		e = ERR_IO;
	if (!e)
		e = buf_reserve(b, 0);
	fclose(f);
	if (e && b->data) {
		b->len = start;
		b->data[start] = '\0';
	}
	return e;
}

void buf_fini(struct buf *b)
{
	if (!b)
		return;
	mem_free(b->data);
	memset(b, 0, sizeof(*b));
}
