/*
 * The contents of files, as files: written under a throw-away name in DIR/tmp, then moved to DIR/files/ID,
 * and on disk under that name before any row speaks of them. A content without a row is litter, swept at the
 * next open. Thread: any; opened and closed by one.
 */
#ifndef REDD_STORAGE_CONTENTS_H
#define REDD_STORAGE_CONTENTS_H

#include "core/err.h"
#include "storage/store.h"

struct contents {
	int files_fd; /* DIR/files */
	int tmp_fd;   /* DIR/tmp, emptied at open */
};

/* Zero-initialised is not closed: start from CONTENTS_CLOSED. */
#define CONTENTS_CLOSED ((struct contents){-1, -1})

enum err contents_open(struct contents *c, int dir_fd, struct why *why);
void contents_close(struct contents *c);
/* A new empty file for writing and reading; name is what the next three want. */
enum err contents_create(const struct contents *c, char name[STORE_ID_SIZE], int *fd);
/* Put it on disk as the content of id. The file at fd stays open. On error it is still under name. */
enum err contents_publish(const struct contents *c, const char *name, int fd, const char *id);
/* Throw away what was not published. */
void contents_discard(const struct contents *c, const char *name);
/* Both in one call, for content that is in memory. */
enum err contents_put(const struct contents *c, const char *id, const void *p, size_t n);
/* Read-only. ERR_NOT_FOUND when it has just been removed. */
enum err contents_open_read(const struct contents *c, const char *id, int *fd);
/* Its space is free once nobody has it open. Nothing there is fine. */
enum err contents_remove(const struct contents *c, const char *id);
/* Remove every content that keep() does not know. */
enum err contents_sweep(
        const struct contents *c, enum err (*keep)(void *ctx, const char *id, bool *known), void *ctx);
/* Write all of p to fd. */
enum err contents_write(int fd, const void *p, size_t n);

#endif
