/*
 * See writer.h.
 *
 *   thread  runs           owns                            woken by        stops
 *   writer  writer_main()  db, the batch it took from the  work: a queued  after `stopping`, once the queue
 *                          queue, all writes to the files  write or stop   is empty; writer_stop() joins it
 *
 * One lock guards the queue; it is never held while the database works. Who waits for an answer waits on a
 * semaphore of its own, so that a batch that is done does not send all its callers to the lock at once.
 */
#include "storage/writer.h"

#include "core/clock.h"
#include "core/mem.h"

#include <pthread.h>

#define WRITER_BATCH_MAX 512  /* writes in a transaction: bounds what one caller waits for others */
#define WRITER_LATER_MAX 8192 /* writes queued without waiting */

struct writer {
	struct db *db; /* owned by the thread while it runs */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t room;
	/* Under lock. */
	struct write *head, **tail;
	size_t n_later;
	size_t n_waiting;
	enum err later_err;
	bool stopping;
	int64_t since_ns; /* when the transaction under way began, 0 = none is */
	struct writer_stats stats;
};

const double store_latency_bounds[STORE_LATENCY_BUCKETS - 1] = {
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5};

static enum err run_sql(struct db *db, const char *sql)
{
	struct query q;

	query_start(&q, db, sql);
	return query_run(&q);
}

/* Run one write so that it happens entirely or not at all, and leave in it how it went. False when the
 * transaction must not be committed: SQLite has given it up, or holds half a write that it cannot take back.
 */
static bool write_run(struct db *db, struct write *op)
{
	op->err = run_sql(db, "SAVEPOINT one");
	if (op->err)
		return db_in_transaction(db);
	if (op->run)
		op->err = op->run(db, op->arg);
	if (!db_in_transaction(db))
		return false;
	if (op->err && run_sql(db, "ROLLBACK TO one"))
		return false;
	return !run_sql(db, "RELEASE one");
}

/* What cannot be done inside a transaction. */
static void batch_after(struct db *db, struct write *first, const struct write *end)
{
	for (; first != end; first = first->next)
		if (!first->run && !first->err)
			first->err = db_empty_log(db);
}

static void batch_lost(struct write *first, const struct write *end, enum err err)
{
	for (; first != end; first = first->next)
		if (!first->err)
			first->err = err;
}

/* BEGIN, after what an earlier batch could not roll back for want of memory. */
static enum err batch_begin(struct db *db)
{
	enum err err = db_in_transaction(db) ? run_sql(db, "ROLLBACK") : OK;

	return err ? err : run_sql(db, "BEGIN IMMEDIATE");
}

/* Run the writes of a batch as one transaction and leave in each how it went. Where the transaction is lost
 * in the middle, so are those before; what comes behind goes into the next one. False when one was lost. */
static bool batch_run(struct db *db, struct write *batch)
{
	bool whole = true;

	while (batch) {
		struct write *op = batch;
		bool good = true;

		if (batch_begin(db)) {
			batch_lost(batch, NULL, ERR_DB);
			return false;
		}
		for (; op && good; op = op->next)
			good = write_run(db, op);
		if (!good || run_sql(db, "COMMIT")) {
			batch_lost(batch, op, ERR_DB);
			whole = false;
		}
		if (db_in_transaction(db))
			(void)run_sql(db, "ROLLBACK");
		batch_after(db, batch, op);
		batch = op;
	}
	return whole;
}

/* With lock: take the oldest writes off the queue. */
static struct write *batch_take(struct writer *w)
{
	struct write *batch = w->head, *last = batch;
	size_t n = 1;

	for (; last->next && n < WRITER_BATCH_MAX; n++)
		last = last->next;
	w->n_waiting -= n;
	w->stats.writes += n;
	w->head = last->next;
	if (!w->head)
		w->tail = &w->head;
	last->next = NULL;
	return batch;
}

/* With lock: tell everybody in the batch. A caller's write is gone from its stack once it knows. */
static void batch_answer(struct writer *w, struct write *batch)
{
	while (batch) {
		struct write *op = batch;

		batch = op->next;
		if (op->later) {
			if (!w->later_err)
				w->later_err = op->err;
			w->n_later--;
			mem_free(op);
		} else {
			sem_post(&op->answer);
		}
	}
	pthread_cond_broadcast(&w->room);
}

/* With lock: how long the transaction took, and how it went. */
static void batch_note(struct writer *w, bool whole)
{
	double seconds = (double)(clock_mono_ns() - w->since_ns) / 1e9;
	size_t i = 0;

	while (i < STORE_LATENCY_BUCKETS - 1 && seconds > store_latency_bounds[i])
		i++;
	w->stats.latency[i]++;
	w->stats.latency_sum_s += seconds;
	w->stats.commits++;
	w->stats.failures += !whole;
	w->stats.failing = !whole;
	w->since_ns = 0;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct write *batch;
		bool whole;

		while (!w->head && !w->stopping)
			pthread_cond_wait(&w->work, &w->lock);
		if (!w->head)
			break;
		batch = batch_take(w);
		w->since_ns = clock_mono_ns();
		pthread_mutex_unlock(&w->lock);
		whole = batch_run(w->db, batch);
		pthread_mutex_lock(&w->lock);
		batch_note(w, whole);
		batch_answer(w, batch);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

enum err writer_start(struct db *db, struct writer **out)
{
	struct writer *w = mem_calloc(1, sizeof(*w));

	if (!w)
		goto fail;
	w->db = db;
	w->tail = &w->head;
	w->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	w->work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
	w->room = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
	if (pthread_create(&w->thread, NULL, writer_main, w))
		goto fail;
	*out = w;
	return OK;
fail:
	mem_free(w);
	db_close(db);
	return ERR_MEM;
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	db_close(w->db);
	mem_free(w);
}

/* With lock. */
static void writer_append(struct writer *w, struct write *op)
{
	op->next = NULL;
	*w->tail = op;
	w->tail = &op->next;
	w->n_waiting++;
	pthread_cond_signal(&w->work);
}

void writer_stats(struct writer *w, struct writer_stats *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->stats;
	out->waiting = w->n_waiting;
	out->busy_ms = w->since_ns ? (clock_mono_ns() - w->since_ns) / 1000000 : 0;
	pthread_mutex_unlock(&w->lock);
}

enum err writer_call(struct writer *w, write_fn *run, void *arg)
{
	struct write op = {.run = run, .arg = arg};

	sem_init(&op.answer, 0, 0);
	pthread_mutex_lock(&w->lock);
	writer_append(w, &op);
	pthread_mutex_unlock(&w->lock);
	while (sem_wait(&op.answer))
		; /* a signal came in between */
	sem_destroy(&op.answer);
	return op.err;
}

void writer_later(struct writer *w, struct write *op, write_fn *run)
{
	op->run = run;
	op->arg = op;
	op->later = true;
	pthread_mutex_lock(&w->lock);
	while (w->n_later == WRITER_LATER_MAX)
		pthread_cond_wait(&w->room, &w->lock);
	w->n_later++;
	writer_append(w, op);
	pthread_mutex_unlock(&w->lock);
}

void writer_note(struct writer *w, enum err err)
{
	pthread_mutex_lock(&w->lock);
	if (!w->later_err)
		w->later_err = err;
	pthread_mutex_unlock(&w->lock);
}

enum err writer_empty_log(struct writer *w)
{
	return writer_call(w, NULL, NULL);
}

static enum err write_nothing(struct db *db, void *arg)
{
	(void)db;
	(void)arg;
	return OK;
}

enum err writer_flush(struct writer *w)
{
	enum err err = writer_call(w, write_nothing, NULL), later;

	pthread_mutex_lock(&w->lock);
	later = w->later_err;
	w->later_err = OK;
	pthread_mutex_unlock(&w->lock);
	return later ? later : err;
}
