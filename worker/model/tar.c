/* See tar.h. */
#include "worker/model/tar.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512
#define OCTAL_MAX ((uint64_t)1 << 33) /* eleven octal digits */

/* The header block, field by field as POSIX lays it out. */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], time[12], checksum[8], type, link[100], magic[6],
	        version[2], user[32], group[32], major[8], minor[8], prefix[155], padding[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static enum err flush(struct tar *t)
{
	const unsigned char *at = t->buffer;

	while (t->n_buffered) {
		ssize_t n = write(t->fd, at, t->n_buffered);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		at += n;
		t->n_buffered -= (size_t)n;
	}
	return OK;
}

static enum err put(struct tar *t, const void *p, size_t n)
{
	const unsigned char *from = p;
	enum err e = OK;

	while (!e && n) {
		size_t room = TAR_BUFFER_BYTES - t->n_buffered, piece = n < room ? n : room;

		memcpy(t->buffer + t->n_buffered, from, piece);
		t->n_buffered += piece;
		from += piece;
		n -= piece;
		if (t->n_buffered == TAR_BUFFER_BYTES)
			e = flush(t);
	}
	return e;
}

static enum err put_zeros(struct tar *t, size_t n)
{
	static const unsigned char zeros[BLOCK];
	enum err e = OK;

	for (; !e && n; n -= n < BLOCK ? n : BLOCK)
		e = put(t, zeros, n < BLOCK ? n : BLOCK);
	return e;
}

/* Octal as everybody reads it, or big-endian binary behind a mark. */
static void set_size(char field[12], uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%011llo", (unsigned long long)(n % OCTAL_MAX));
	memcpy(field, text, 12);
	if (n < OCTAL_MAX)
		return;
	memset(field, 0, 12);
	field[0] = (char)0x80;
	for (size_t i = 0; i < sizeof(n); i++)
		field[11 - i] = (char)(n >> (8 * i));
}

enum err tar_begin(struct tar *t, const char *name, uint64_t n)
{
	struct header h = {.mode = "0000644",
	        .uid = "0000000",
	        .gid = "0000000",
	        .checksum = "       ",
	        .type = '0',
	        .magic = "ustar",
	        .version = {'0', '0'}};
	unsigned sum = 0;
	enum err e = put_zeros(t, t->n_padding);

	assert(!t->n_left && strlen(name) < sizeof(h.name));
	if (e)
		return e;
	memcpy(h.name, name, strlen(name));
	set_size(h.size, n);
	set_size(h.time, (uint64_t)(t->time < 0 ? 0 : t->time));
	h.checksum[7] = ' ';
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((const unsigned char *)&h)[i];
	snprintf(h.checksum, sizeof(h.checksum), "%06o", sum % 01000000);
	h.checksum[7] = ' ';
	t->n_left = n;
	t->n_padding = (size_t)((BLOCK - n % BLOCK) % BLOCK);
	return put(t, &h, sizeof(h));
}

enum err tar_write(struct tar *t, const void *p, size_t n)
{
	assert(n <= t->n_left);
	t->n_left -= n;
	return put(t, p, n);
}

enum err tar_end(struct tar *t)
{
	enum err e = put_zeros(t, t->n_padding + 2 * (size_t)BLOCK);

	assert(!t->n_left);
	t->n_padding = 0;
	return e ? e : flush(t);
}
