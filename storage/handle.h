/*
 * What a struct store is made of, for this room's own eyes, and what its subjects share: pages and the clock.
 * Thread: see each part.
 */
#ifndef REDD_STORAGE_HANDLE_H
#define REDD_STORAGE_HANDLE_H

#include "storage/contents.h"
#include "storage/db.h"
#include "storage/readers.h"
#include "storage/store.h"
#include "storage/writer.h"

#define STORE_ID_CHARS 24 /* random ones, behind the prefix */
#define STORE_PAGE_MAX 1000

struct store {
	int lock_fd; /* DIR/lock, flock()ed */
	struct contents contents;
	struct readers readers;
	struct writer *writer; /* owned */
};

/* Unix seconds. */
int64_t store_now(void);
/* sql gives the seq of the item ?1 of owner ?2. *before is that of page->after, or beyond all. ERR_INVALID:
 * the limit. */
enum err page_start(
        struct db *db, const char *sql, const char *owner, const struct page *page, int64_t *before);
/* Whether the string is there and fits an array of size. */
bool text_fits(const char *s, size_t size);

#endif
