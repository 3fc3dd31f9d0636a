/*
 * A file read line by line, whatever the lines' length up to a limit. Knows nothing of JSON. One owner.
 */
#ifndef REDD_TEXT_JSONL_H
#define REDD_TEXT_JSONL_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define JSONL_MAX_LINE ((size_t)16 << 20)

struct jsonl {
	int fd; /* borrowed */
	off_t offset;
	struct buf buf; /* owned; read and not yet handed out, from `start` */
	size_t start;
	size_t line; /* the number of the line handed out last */
	bool eof;
};

void jsonl_init(struct jsonl *r, int fd);
void jsonl_fini(struct jsonl *r);

/* The next line, without its end, valid until the next call; r->line is its number.
 * ERR_EMPTY: there is none.  ERR_TOO_LARGE: it is longer than JSONL_MAX_LINE; it has been skipped.  ERR_IO:
 * errno says why.  ERR_MEM. */
enum err jsonl_next(struct jsonl *r, const char **p, size_t *n);

#endif
