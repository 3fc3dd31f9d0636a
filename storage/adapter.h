/* Adapters, for other subjects of this room. On the writer. */
#ifndef REDD_STORAGE_ADAPTER_H
#define REDD_STORAGE_ADAPTER_H

#include "storage/db.h"
#include "storage/store.h"

/* a's pointers are only read. ERR_EXISTS: the name is taken. */
enum err adapter_insert(struct db *db, const struct adapter_record *a);
/* Fill a new record: id, name, parent, time, bytes, sha256; content and manifest are borrowed. ERR_INVALID: a
 * name is too long. Anywhere. */
enum err adapter_describe(struct adapter_record *a, const char *name, const char *parent,
        const char *manifest, const void *content, size_t n_content);

#endif
