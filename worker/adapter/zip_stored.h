/*
 * A reader of zip archives whose entries are stored, not compressed, over memory the caller holds; nothing is
 * copied. That is all torch.save writes, and all that is needed: with no decompression there is nothing to
 * blow up, so this is our own rather than libzip's. Zip64 is understood; several disks, encryption and
 * compression are refused. Checksums are not looked at: PyTorch can leave them out.
 * Thread: any; immutable once open.
 */
#ifndef REDD_ADAPTER_ZIP_STORED_H
#define REDD_ADAPTER_ZIP_STORED_H

#include "core/err.h"

#include <stddef.h>

struct zip_entry {
	const char *name; /* borrowed from the archive; not terminated */
	size_t n_name;
	const void *data; /* borrowed from the archive */
	size_t n_bytes;
};

struct zip_stored;

/* data (n) is borrowed for the reader's life. ERR_FORMAT, ERR_UNSUPPORTED with the entry's name, ERR_MEM. */
enum err zip_stored_new(const void *data, size_t n, struct zip_stored **out, struct why *why);
void zip_stored_free(struct zip_stored *z);
size_t zip_stored_count(const struct zip_stored *z);
/* By name in byte order. */
const struct zip_entry *zip_stored_at(const struct zip_stored *z, size_t i);
/* NULL when there is none of that name. */
const struct zip_entry *zip_stored_find(const struct zip_stored *z, const char *name);

#endif
