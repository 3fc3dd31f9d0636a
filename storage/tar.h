/*
 * Archives in the ustar format, as far as backups need it: plain files with short names, one after the other,
 * written to and read from a descriptor that need not seek. Sizes beyond 8 GiB are GNU tar's. Thread: the
 * owner.
 */
#ifndef REDD_STORAGE_TAR_H
#define REDD_STORAGE_TAR_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

#define TAR_NAME_SIZE 101

/* An entry of size bytes from in_fd, which holds at least so many behind its offset. mtime in unix seconds.
 * ERR_IO: reading or writing failed, or in_fd held less. */
enum err tar_write_fd(int out, const char *name, int64_t size, int64_t mtime, int in_fd);
enum err tar_write_text(int out, const char *name, int64_t mtime, const char *text);
/* What stands behind the last entry. */
enum err tar_write_end(int out);

/* The next entry; its content, padded, must be read with tar_read_fd() or tar_skip() before the one after it.
 * ERR_EMPTY behind the last; ERR_FORMAT: not an archive, an entry that is no plain file, or it ends too soon;
 * ERR_IO. */
enum err tar_next(int in, char name[TAR_NAME_SIZE], int64_t *size);
/* Copy the content to out_fd. ERR_FORMAT: it ends too soon; ERR_IO. */
enum err tar_read_fd(int in, int64_t size, int out_fd);
enum err tar_skip(int in, int64_t size);

#endif
