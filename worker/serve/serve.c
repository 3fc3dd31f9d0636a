/*
 * The engine around the batch: who may come in, who is next, who is told.
 *
 *   thread   runs             owns                        woken by                 stops
 *   serving  serving_main()   batch, keys and values,     submit, cancel, stop     once stopping and nothing
 * is all callbacks               through `work`           left; joined by serve_stop()
 *
 * A sequence is in `waiting`, then in `running`, then in neither, unless it is put off and waits once more;
 * it moves under the lock, by the serving thread. Sequences in `running` are those of the batch. No callback
 * and nothing of the model is called under the lock.
 */
#include "worker/serve/serve.h"

#include "core/clock.h"
#include "core/mem.h"
#include "worker/serve/batch.h"
#include "worker/serve/sequence.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

struct sequence_list {
	struct sequence *first, *last;
	size_t n;
	size_t n_rows; /* of the batch, they take or will take */
};

struct serve {
	/* constant once started */
	struct serve_options options;
	pthread_t thread;

	/* any thread */
	atomic_bool busy;

	pthread_mutex_t lock;
	pthread_cond_t work; /* something is waiting, cancelled, or to be stopped */
	pthread_cond_t idle; /* both lists became empty */
	/* under lock */
	struct sequence_list waiting, running;
	uint64_t last_id;
	bool stopping;
	bool waiting_cancelled; /* someone in waiting is cancelled */
	struct serve_stats stats;

	/* the serving thread's */
	struct batch *batch; /* owned */
};

static void list_append(struct sequence_list *l, struct sequence *q)
{
	q->prev = l->last;
	q->next = NULL;
	if (l->last)
		l->last->next = q;
	else
		l->first = q;
	l->last = q;
	l->n++;
	l->n_rows += q->n_rows;
}

static void list_prepend(struct sequence_list *l, struct sequence *q)
{
	q->prev = NULL;
	q->next = l->first;
	if (l->first)
		l->first->prev = q;
	else
		l->last = q;
	l->first = q;
	l->n++;
	l->n_rows += q->n_rows;
}

static void list_remove(struct sequence_list *l, struct sequence *q)
{
	if (q->prev)
		q->prev->next = q->next;
	else
		l->first = q->next;
	if (q->next)
		q->next->prev = q->prev;
	else
		l->last = q->prev;
	l->n--;
	l->n_rows -= q->n_rows;
}

static struct sequence *list_find(const struct sequence_list *l, uint64_t id)
{
	struct sequence *q = l->first;

	while (q && q->id != id)
		q = q->next;
	return q;
}

static void list_cancel(struct sequence_list *l)
{
	for (struct sequence *q = l->first; q; q = q->next)
		atomic_store(&q->cancelled, true);
}

static bool is_empty(const struct serve *s)
{
	return s->waiting.n == 0 && s->running.n == 0;
}

/* ---- the serving thread ---- */

/* False when it is time to end. */
static bool wait_for_work(struct serve *s)
{
	bool found;

	pthread_mutex_lock(&s->lock);
	while (is_empty(s) && !s->stopping)
		pthread_cond_wait(&s->work, &s->lock);
	found = !is_empty(s);
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* Tell the requester. q is in no list any more. */
static void dismiss(struct serve *s, struct sequence *q)
{
	sequence_done(q);
	pthread_mutex_lock(&s->lock);
	if (is_empty(s))
		pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
}

/* A waiting sequence that was cancelled, taken out; NULL when there is none. */
static struct sequence *take_cancelled(struct serve *s)
{
	struct sequence *q = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->waiting_cancelled) {
		q = s->waiting.first;
		while (q && !atomic_load(&q->cancelled))
			q = q->next;
		if (q)
			list_remove(&s->waiting, q);
		else
			s->waiting_cancelled = false;
	}
	pthread_mutex_unlock(&s->lock);
	return q;
}

/* The one place that decides whose turn it is: the first to arrive, once there is a place in the batch and
 * memory; nobody overtakes it. Moved from waiting to running; NULL when nobody can begin. */
static struct sequence *take_next(struct serve *s)
{
	struct sequence *q;

	pthread_mutex_lock(&s->lock);
	q = s->waiting.first;
	if (q && !batch_has_room(s->batch, q))
		q = NULL;
	if (q) {
		list_remove(&s->waiting, q);
		list_append(&s->running, q);
	}
	pthread_mutex_unlock(&s->lock);
	return q;
}

/* Back to the head of the line: it came before all who wait. */
static void put_off(struct serve *s, struct sequence *q)
{
	pthread_mutex_lock(&s->lock);
	list_remove(&s->running, q);
	list_prepend(&s->waiting, q);
	if (atomic_load(&q->cancelled))
		s->waiting_cancelled = true;
	pthread_mutex_unlock(&s->lock);
}

static void retire(struct serve *s, struct sequence *q)
{
	pthread_mutex_lock(&s->lock);
	list_remove(&s->running, q);
	pthread_mutex_unlock(&s->lock);
	dismiss(s, q);
}

static void count(struct serve *s, const struct batch_work *work)
{
	struct batch_stats batch;

	batch_stats(s->batch, &batch);
	pthread_mutex_lock(&s->lock);
	s->stats.kv_pages = batch.pages;
	s->stats.kv_pages_used = batch.pages_used;
	s->stats.kv_pages_kept = batch.pages_kept;
	s->stats.prefix_hits = batch.prefix_hits;
	s->stats.prefix_tokens = batch.prefix_tokens;
	s->stats.put_off = batch.n_put_off;
	s->stats.first_token = batch.first_token;
	s->stats.next_token = batch.next_token;
	s->stats.prompt_tokens += work->prompt_tokens;
	s->stats.generated_tokens += work->generated_tokens;
	s->stats.steps += work->steps;
	s->stats.batch_rows += work->decode_rows;
	pthread_mutex_unlock(&s->lock);
}

static void *serving_main(void *arg)
{
	struct serve *s = arg;
	struct sequence *q;

	while (wait_for_work(s)) {
		struct batch_work work = {0};

		while ((q = take_cancelled(s))) {
			sequence_end(q, FINISH_CANCELLED, OK);
			dismiss(s, q);
		}
		while ((q = take_next(s)))
			batch_add(s->batch, q);
		atomic_store(&s->busy, batch_length(s->batch) > 0);
		batch_step(s->batch, &work);
		count(s, &work);
		while ((q = batch_take_ended(s->batch)))
			retire(s, q);
		while ((q = batch_take_put_off(s->batch)))
			put_off(s, q);
		if (batch_length(s->batch) == 0)
			count(s, &(struct batch_work){0}); /* what the last have given back */
		atomic_store(&s->busy, batch_length(s->batch) > 0);
	}
	return NULL;
}

/* ---- start and stop ---- */

static enum err resolve(struct serve *s, const struct serve_options *options, struct why *why)
{
	if (options->max_batch == 0)
		return why_set(why, ERR_INVALID, "the batch must have room for one sequence");
	s->options = *options;
	if (s->options.prefill_rows == 0)
		s->options.prefill_rows = batch_default_prefill_rows(model_info(options->model)->vocab_size);
	return OK;
}

static enum err open_batch(struct serve *s, struct why *why)
{
	const struct serve_options *o = &s->options;
	enum err e = batch_new(o, &s->batch);

	if (e == ERR_MEM)
		return why_set(why, e, "the batch (%zu sequences, chunks of %zu rows): %s", o->max_batch,
		        o->prefill_rows, err_text(e));
	/* ERR_LIMIT: they do not hold one page */
	if (e == ERR_LIMIT || batch_context(s->batch, 1) < 2)
		return why_set(why, ERR_LIMIT,
		        "%zu bytes for keys and values hold no sequence; two tokens need %zu", o->kv_bytes,
		        kv_bytes(o->model, 2));
	return e;
}

/* Deadlines are on the clock that is never set. */
static void init_sync(struct serve *s)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->idle, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void free_parts(struct serve *s)
{
	batch_free(s->batch);
	pthread_cond_destroy(&s->idle);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

enum err serve_start(const struct serve_options *options, struct serve **out, struct why *why)
{
	struct serve *s = mem_calloc(1, sizeof(*s));
	enum err e;

	if (!s)
		return why_set(why, ERR_MEM, "out of memory for the serving engine");
	init_sync(s);
	e = resolve(s, options, why);
	if (!e)
		e = open_batch(s, why);
	if (e)
		goto fail;
	if (pthread_create(&s->thread, NULL, serving_main, s)) {
		e = why_set(why, ERR_LIMIT, "the system allows no further thread");
		goto fail;
	}
	pthread_setname_np(s->thread, "serve");
	*out = s;
	return OK;
fail:
	free_parts(s);
	return e;
}

static struct timespec deadline_in(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

void serve_stop(struct serve *s, int drain_ms)
{
	struct timespec deadline = deadline_in(drain_ms > 0 ? drain_ms : 0);
	int rc = 0;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->work);
	while (drain_ms > 0 && !is_empty(s) && rc == 0)
		rc = pthread_cond_timedwait(&s->idle, &s->lock, &deadline);
	list_cancel(&s->waiting);
	list_cancel(&s->running);
	s->waiting_cancelled = true;
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	free_parts(s);
}

/* ---- any thread ---- */

/* Under the lock: into the waiting line, unless it is full. Free places of the batch do not count as waiting;
 * room is counted in rows. */
static enum err enqueue(struct serve *s, struct sequence *q, struct why *why)
{
	if (s->stopping)
		return why_set(why, ERR_BUSY, "the server is shutting down");
	if (s->waiting.n_rows + s->running.n_rows + q->n_rows > s->options.max_batch + s->options.max_queue)
		return why_set(why, ERR_BUSY, "%zu requests are running and %zu are waiting; try again later",
		        s->running.n, s->waiting.n);
	q->id = ++s->last_id;
	list_append(&s->waiting, q);
	return OK;
}

enum err serve_submit(struct serve *s, const struct serve_request *request, uint64_t *id, struct why *why)
{
	size_t n_rows = sequence_rows_of(request), context;
	struct sequence *q;
	enum err e;

	if (n_rows > s->options.max_batch)
		return why_param(why, ERR_INVALID, "num_beams",
		        "num_beams is %zu; this server decodes %zu rows at a time", n_rows,
		        s->options.max_batch);
	context = batch_context(s->batch, n_rows);
	e = sequence_check(request, model_info(s->options.model), context, why);
	if (e)
		return e;
	e = sequence_new(request, model_info(s->options.model), context, &q);
	if (e)
		return why_set(why, e, "out of memory for another request");
	q->submitted_ns = clock_mono_ns();
	pthread_mutex_lock(&s->lock);
	e = enqueue(s, q, why);
	if (e == OK) {
		*id = q->id;
		pthread_cond_signal(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
	if (e)
		sequence_free(q);
	return e;
}

void serve_cancel(struct serve *s, uint64_t id)
{
	struct sequence *q;

	pthread_mutex_lock(&s->lock);
	q = list_find(&s->waiting, id);
	if (q)
		s->waiting_cancelled = true;
	else
		q = list_find(&s->running, id);
	if (q)
		atomic_store(&q->cancelled, true);
	pthread_mutex_unlock(&s->lock);
}

void serve_stats(struct serve *s, struct serve_stats *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->stats;
	out->running = s->running.n;
	out->waiting = s->waiting.n;
	out->rows = s->running.n_rows;
	pthread_mutex_unlock(&s->lock);
}

bool serve_busy(struct serve *s)
{
	return atomic_load_explicit(&s->busy, memory_order_relaxed);
}
