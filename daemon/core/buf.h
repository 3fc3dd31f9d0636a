/*
 * A growing byte buffer that the caller owns. Zero-initialise, append, buf_fini(). The bytes are always
 * followed by a NUL that does not count, so `data` is a C string when no NUL was appended.
 * After a failed append the buffer is unmodified. Thread: the owner.
 */
#ifndef REDD_CORE_BUF_H
#define REDD_CORE_BUF_H

#include "core/err.h"

#include <stddef.h>

struct buf {
	char *data; /* owned; NULL while nothing was appended */
	size_t len;
	size_t cap;
};

enum err buf_append(struct buf *b, const void *p, size_t n);
enum err buf_puts(struct buf *b, const char *s);
__attribute__((format(printf, 2, 3))) enum err buf_printf(struct buf *b, const char *fmt, ...);
/* Make room for n more bytes without changing len. */
enum err buf_reserve(struct buf *b, size_t n);
/* Drop the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* Read the whole file at path, refusing more than max_bytes with ERR_TOO_LARGE; ERR_NOT_FOUND, ERR_IO. */
enum err buf_read_file(struct buf *b, const char *path, size_t max_bytes);
void buf_fini(struct buf *b);

#endif
