/*
 * The writer thread and its queue. A write is a function and its argument, run on the writer's connection in
 * the order of queueing; what waits together is committed together, each write under a savepoint of its own,
 * so that one that fails takes no other with it. A write function must put what it makes where the caller can
 * still take it back: it may return OK and the commit fail. Thread: any but the writer itself.
 */
#ifndef REDD_STORAGE_WRITER_H
#define REDD_STORAGE_WRITER_H

#include "storage/db.h"
#include "storage/store.h"

#include <semaphore.h>

typedef enum err write_fn(struct db *db, void *arg);

/* One queued write; run NULL means empty the log. writer_call() has it on the caller's stack; for
 * writer_later() it is the first member of a mem_calloc()ed argument. */
struct write {
	write_fn *run;
	void *arg;
	/* The writer's. */
	struct write *next;
	bool later;
	enum err err;
	sem_t answer;
};

struct writer;

/* Takes over db, whether it starts or not. */
enum err writer_start(struct db *db, struct writer **out);
/* Does first what is queued. */
void writer_stop(struct writer *w);
/* Run it and wait until it is on disk. What run returned, or ERR_DB when the transaction failed. */
enum err writer_call(struct writer *w, write_fn *run, void *arg);
/* After all that was queued before: leave nothing in the log, where deleted rows would outlive their
 * deletion. */
enum err writer_empty_log(struct writer *w);
/* Queue it; the writer frees it with mem_free(). Waits only while too many are queued. run gets op as its
 * argument. */
void writer_later(struct writer *w, struct write *op, write_fn *run);
/* Remember that a write failed before it could be queued, for writer_flush(). */
void writer_note(struct writer *w, enum err err);
/* What the thread has done so far and is doing now; see store_stats. */
struct writer_stats {
	uint64_t commits, failures, writes;
	uint64_t latency[STORE_LATENCY_BUCKETS];
	double latency_sum_s;
	size_t waiting;
	int64_t busy_ms;
	bool failing;
};
void writer_stats(struct writer *w, struct writer_stats *out);
/* Wait until what was queued is on disk. The first error of writer_later() since the last flush. */
enum err writer_flush(struct writer *w);

#endif
