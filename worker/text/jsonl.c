/* See jsonl.h. */
#include "worker/text/jsonl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)

void jsonl_init(struct jsonl *r, int fd)
{
	*r = (struct jsonl){.fd = fd};
}

void jsonl_fini(struct jsonl *r)
{
	if (r)
		buf_fini(&r->buf);
}

/* Read more behind what is there. */
static enum err fill(struct jsonl *r)
{
	ssize_t n;
	enum err e;

	buf_consume(&r->buf, r->start);
	r->start = 0;
	e = buf_reserve(&r->buf, READ_BYTES);
	if (e)
		return e;
	do
		n = pread(r->fd, r->buf.data + r->buf.len, READ_BYTES, r->offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return ERR_IO;
	r->offset += n;
	r->buf.len += (size_t)n;
	r->buf.data[r->buf.len] = '\0';
	r->eof = n == 0;
	return OK;
}

enum err jsonl_next(struct jsonl *r, const char **p, size_t *n)
{
	size_t searched = 0;
	bool too_long = false;
	enum err e;

	for (;;) {
		size_t have = r->buf.len - r->start;
		const char *line = have ? r->buf.data + r->start : NULL;
		const char *end = have > searched ? memchr(line + searched, '\n', have - searched) : NULL;

		if (end || (r->eof && (have || too_long))) {
			*p = line;
			*n = end ? (size_t)(end - line) : have;
			r->start += *n + (end != NULL);
			r->line++;
			return too_long || *n > JSONL_MAX_LINE ? ERR_TOO_LARGE : OK;
		}
		if (r->eof)
			return ERR_EMPTY;
		searched = have;
		if (have > JSONL_MAX_LINE) {
			too_long = true;
			r->start = r->buf.len;
			searched = 0;
		}
		e = fill(r);
		if (e)
			return e;
	}
}
