/*
 * A pool of read connections: opened when wanted, kept for the next caller, never more than READERS_MAX; who
 * comes when all are out waits. Each sees what was committed before its statement began. Thread: any.
 */
#ifndef REDD_STORAGE_READERS_H
#define REDD_STORAGE_READERS_H

#include "storage/db.h"

#include <pthread.h>

#define READERS_MAX 16

struct readers {
	char *path; /* owned */
	pthread_mutex_t lock;
	pthread_cond_t returned;
	/* Under lock. */
	struct db *idle[READERS_MAX];
	size_t n_idle;
	size_t n_open;
};

/* path is copied. Nothing is opened yet. */
enum err readers_init(struct readers *r, const char *path);
/* All must have been given back. */
void readers_fini(struct readers *r);
enum err readers_take(struct readers *r, struct db **out);
void readers_give(struct readers *r, struct db *db);

#endif
