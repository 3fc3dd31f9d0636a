/*
 * UTF-8: reading code points, and replacing what is not UTF-8 by U+FFFD, one for each maximal part of a
 * character, as the Unicode standard recommends and Rust does. Thread: any; the stream has one owner.
 */
#ifndef REDD_TEXT_UTF8_H
#define REDD_TEXT_UTF8_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the character that p (n > 0 bytes) starts with; 0 when it is not one. *part is then the length of
 * the maximal part of a character there (at least 1) and *open whether more bytes could complete it. */
size_t utf8_char(const char *p, size_t n, size_t *part, bool *open);

/* Length of the longest prefix that is UTF-8; n when all of it is. */
size_t utf8_valid(const char *p, size_t n);

/* Bytes of the character whose first byte is c, in text known to be UTF-8. */
static inline size_t utf8_len(char c)
{
	unsigned char u = (unsigned char)c;

	return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

/* The code point at p, in text known to be UTF-8. */
uint32_t utf8_get(const char *p);
/* Write code point c to out; returns its bytes. */
size_t utf8_put(uint32_t c, char out[4]);

/* Append p with every part that is not UTF-8 replaced. */
enum err utf8_append_lossy(struct buf *out, const char *p, size_t n);

/* The same for bytes that come in pieces: what may yet become a character is held back. Zero-initialise. */
struct utf8_stream {
	char held[4];
	size_t n_held;
};
enum err utf8_stream_push(struct utf8_stream *s, const char *p, size_t n, struct buf *out);
enum err utf8_stream_finish(struct utf8_stream *s, struct buf *out);

/* Unicode's White_Space. */
bool utf8_is_space(uint32_t c);
/* A "\w" of Unicode's regular expressions: letters, marks, decimal digits, connectors, joiners. */
bool utf8_is_word(uint32_t c);

/* Bytes of white space that p starts or ends with. */
size_t utf8_leading_space(const char *p, size_t n);
size_t utf8_trailing_space(const char *p, size_t n);
/* The last character of p (n > 0). */
uint32_t utf8_last(const char *p, size_t n);

#endif
