/*
 * Writing a tar archive (POSIX ustar) to a descriptor, piece by piece; sizes beyond 8 GiB as GNU and star do.
 * Internal to model/. Thread: the owner.
 */
#ifndef REDD_MODEL_TAR_H
#define REDD_MODEL_TAR_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

#define TAR_BUFFER_BYTES ((size_t)64 << 10)

struct tar {
	int fd;       /* borrowed */
	int64_t time; /* of every entry, unix seconds */
	size_t n_buffered;
	uint64_t n_left;  /* of the entry's content */
	size_t n_padding; /* behind the entry */
	unsigned char buffer[TAR_BUFFER_BYTES];
};

/* A regular file of n bytes follows; name has fewer than 100 characters. The former entry is complete.
 * ERR_IO. */
enum err tar_begin(struct tar *t, const char *name, uint64_t n);
/* Some of its content; never more than was announced. */
enum err tar_write(struct tar *t, const void *p, size_t n);
/* The archive is complete. */
enum err tar_end(struct tar *t);

#endif
