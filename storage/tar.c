/* See tar.h. */
#include "storage/tar.h"

#include "storage/contents.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512
#define COPY_BYTES 65536
#define OCTAL_MAX ((int64_t)077777777777)

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
	        version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

/* Read n bytes, or what there is: the count, < 0 on failure. */
static ssize_t read_full(int fd, void *to, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(fd, (char *)to + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

static size_t padding(int64_t size)
{
	return (size_t)(-size & (BLOCK - 1));
}

/* ---- writing ---- */

/* The sum of all bytes, the checksum's own taken as blanks. */
static unsigned header_sum(const struct header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= offsetof(struct header, checksum) && i < offsetof(struct header, type) ? ' '
		                                                                                   : p[i];
	return sum;
}

static enum err write_header(int out, const char *name, int64_t size, int64_t mtime)
{
	struct header h = {.type = '0', .magic = "ustar", .version = {'0', '0'}};

	if (strlen(name) >= sizeof(h.name))
		return ERR_IO;
	memcpy(h.name, name, strlen(name));
	memcpy(h.mode, "0000600", 8);
	memcpy(h.uid, "0000000", 8);
	memcpy(h.gid, "0000000", 8);
	if (size <= OCTAL_MAX) {
		snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)size);
	} else { /* base 256 */
		h.size[0] = (char)0x80;
		for (int i = 0; i < 8; i++)
			h.size[11 - i] = (char)((uint64_t)size >> (8 * i));
	}
	snprintf(h.mtime, sizeof(h.mtime), "%011llo", (unsigned long long)mtime & OCTAL_MAX);
	snprintf(h.checksum, sizeof(h.checksum), "%06o", header_sum(&h) & 0777777);
	h.checksum[7] = ' ';
	return contents_write(out, &h, sizeof(h));
}

static enum err write_padding(int out, int64_t size)
{
	static const char zeros[BLOCK];

	return contents_write(out, zeros, padding(size));
}

enum err tar_write_fd(int out, const char *name, int64_t size, int64_t mtime, int in_fd)
{
	char piece[COPY_BYTES];
	enum err err = write_header(out, name, size, mtime);

	for (int64_t left = size; left && !err;) {
		size_t wanted = left < COPY_BYTES ? (size_t)left : COPY_BYTES;

		if (read_full(in_fd, piece, wanted) != (ssize_t)wanted)
			return ERR_IO;
		err = contents_write(out, piece, wanted);
		left -= (int64_t)wanted;
	}
	return err ? err : write_padding(out, size);
}

enum err tar_write_text(int out, const char *name, int64_t mtime, const char *text)
{
	int64_t size = (int64_t)strlen(text);
	enum err err = write_header(out, name, size, mtime);

	if (!err)
		err = contents_write(out, text, (size_t)size);
	return err ? err : write_padding(out, size);
}

enum err tar_write_end(int out)
{
	static const char zeros[2 * BLOCK];

	return contents_write(out, zeros, sizeof(zeros));
}

/* ---- reading ---- */

static bool parse_octal(const char *p, size_t n, int64_t *value)
{
	int64_t v = 0;
	size_t i = 0;

	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (p[i] - '0');
	*value = v;
	return i == n || p[i] == '\0' || p[i] == ' ';
}

static bool parse_size(const struct header *h, int64_t *size)
{
	uint64_t v = 0;

	if (!(h->size[0] & 0x80))
		return parse_octal(h->size, sizeof(h->size), size);
	if (h->size[0] != (char)0x80 || h->size[1] || h->size[2] || h->size[3])
		return false;
	for (int i = 4; i < 12; i++)
		v = v << 8 | (unsigned char)h->size[i];
	*size = (int64_t)v;
	return v <= INT64_MAX - BLOCK;
}

enum err tar_next(int in, char name[TAR_NAME_SIZE], int64_t *size)
{
	struct header h;
	int64_t sum;
	ssize_t n = read_full(in, &h, sizeof(h));

	if (n < 0)
		return ERR_IO;
	if (n != sizeof(h))
		return ERR_FORMAT;
	if (!h.name[0])
		return ERR_EMPTY;
	if (!parse_octal(h.checksum, sizeof(h.checksum), &sum) || sum != header_sum(&h) ||
	        memcmp(h.magic, "ustar", 5) != 0 || h.type != '0' || h.prefix[0] || !parse_size(&h, size))
		return ERR_FORMAT;
	memcpy(name, h.name, sizeof(h.name));
	name[sizeof(h.name)] = '\0';
	return OK;
}

/* out < 0 = nowhere. */
static enum err read_content(int in, int64_t size, int out)
{
	char piece[COPY_BYTES];
	enum err err = OK;

	for (int64_t left = size; left && !err;) {
		size_t wanted = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
		ssize_t n = read_full(in, piece, wanted);

		if (n != (ssize_t)wanted)
			return n < 0 ? ERR_IO : ERR_FORMAT;
		if (out >= 0)
			err = contents_write(out, piece, wanted);
		left -= (int64_t)wanted;
	}
	if (!err && read_full(in, piece, padding(size)) != (ssize_t)padding(size))
		err = ERR_FORMAT;
	return err;
}

enum err tar_read_fd(int in, int64_t size, int out_fd)
{
	return read_content(in, size, out_fd);
}

enum err tar_skip(int in, int64_t size)
{
	return read_content(in, size, -1);
}
