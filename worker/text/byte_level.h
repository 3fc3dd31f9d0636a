/*
 * GPT-2's way of writing any byte as a printable character: what prints stands for itself, the others are
 * numbered from U+0100 in order. Thread: any.
 */
#ifndef REDD_TEXT_BYTE_LEVEL_H
#define REDD_TEXT_BYTE_LEVEL_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The expression that splits text into words where a file asks for "use_regex". */
#define BYTE_LEVEL_PATTERN                                                                                   \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* The character for byte b: below 0x144. */
static inline uint32_t byte_level_char(unsigned char b)
{
	if (b <= 0x20)
		return 0x100u + b;
	if (b >= 0x7f && b <= 0xa0)
		return 0x121u + (b - 0x7fu);
	return b == 0xad ? 0x143 : b;
}

/* The byte that character c stands for, or -1. */
static inline int byte_level_byte(uint32_t c)
{
	if (c < 0x100)
		return byte_level_char((unsigned char)c) == c ? (int)c : -1;
	if (c <= 0x120)
		return (int)c - 0x100;
	if (c <= 0x142)
		return (int)c - 0x121 + 0x7f;
	return c == 0x143 ? 0xad : -1;
}

/* Append the characters for n bytes. */
enum err byte_level_encode(const char *p, size_t n, struct buf *out);

#endif
