/*
 * See crew.h.
 *
 *   thread   runs          owns                     woken by                  stops
 *   member   member_main() its number               a new ticket: watched for once `stopping`; joined by
 *                                                   a while, then `work`      crew_stop()
 *
 * A run is one ticket, a single atomic word: how many items there are and how many have been taken. Taking an
 * item is adding one to it, so whoever holds an item knows that the run it belongs to is not over, and that
 * what `work` and `arg` say belongs to it. The run is over when as many items are done as there are.
 *
 * Nobody is woken in vain: a sleeper counts itself before it looks at the ticket for the last time, and who
 * writes the ticket looks at that count afterwards; both in one order that all threads agree on (seq_cst).
 */
#include "worker/math/crew.h"

#include "core/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Looks at the ticket before a member sleeps: about as long as lies between two tokens. */
#define WATCH_ROUNDS 20000
/* Looks at what is done before the caller sleeps. */
#define WAIT_ROUNDS 20000

#define TICKET_BITS 32

struct member {
	struct crew *crew; /* borrowed */
	size_t number;
	pthread_t thread;
};

struct crew {
	/* constant once started */
	size_t n_threads;
	struct member members[CREW_MAX_THREADS];

	/* whoever holds an item, and the owner between runs */
	void (*work)(void *arg, size_t item, size_t thread);
	void *arg;

	/* any thread */
	_Alignas(64) _Atomic uint64_t ticket; /* items << TICKET_BITS | taken */
	_Alignas(64) atomic_size_t done;
	_Alignas(64) atomic_size_t n_asleep; /* members */
	atomic_bool owner_asleep, stopping;

	pthread_mutex_t lock; /* guards nothing: orders sleeping and waking */
	pthread_cond_t has_work, is_done;
};

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static uint64_t n_items_of(uint64_t ticket)
{
	return ticket >> TICKET_BITS;
}

static uint64_t n_taken_of(uint64_t ticket)
{
	return ticket & ((UINT64_C(1) << TICKET_BITS) - 1);
}

static bool has_items(struct crew *c)
{
	uint64_t ticket = atomic_load(&c->ticket);

	return n_taken_of(ticket) < n_items_of(ticket);
}

/* Take items until there are none. */
static void take_part(struct crew *c, size_t thread)
{
	uint64_t ticket = atomic_load(&c->ticket);

	while (n_taken_of(ticket) < n_items_of(ticket)) {
		if (!atomic_compare_exchange_weak(&c->ticket, &ticket, ticket + 1))
			continue;
		c->work(c->arg, n_taken_of(ticket), thread);
		if (atomic_fetch_add(&c->done, 1) + 1 == n_items_of(ticket) &&
		        atomic_load(&c->owner_asleep)) {
			pthread_mutex_lock(&c->lock);
			pthread_cond_signal(&c->is_done);
			pthread_mutex_unlock(&c->lock);
		}
		ticket = atomic_load(&c->ticket);
	}
}

static void sleep_until_work(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	atomic_fetch_add(&c->n_asleep, 1);
	while (!has_items(c) && !atomic_load(&c->stopping))
		pthread_cond_wait(&c->has_work, &c->lock);
	atomic_fetch_sub(&c->n_asleep, 1);
	pthread_mutex_unlock(&c->lock);
}

static void *member_main(void *arg)
{
	struct member *m = arg;
	struct crew *c = m->crew;

	while (!atomic_load(&c->stopping)) {
		for (int i = 0; i < WATCH_ROUNDS && !has_items(c); i++)
			relax();
		if (has_items(c))
			take_part(c, m->number);
		else
			sleep_until_work(c);
	}
	return NULL;
}

enum err crew_start(size_t n_threads, struct crew **out)
{
	struct crew *c = mem_aligned(1, sizeof(*c));
	enum err e = OK;

	assert(n_threads >= 1 && n_threads <= CREW_MAX_THREADS);
	if (!c)
		return ERR_MEM;
	*c = (struct crew){.n_threads = 1};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->has_work, NULL);
	pthread_cond_init(&c->is_done, NULL);
	for (size_t i = 1; !e && i < n_threads; i++) {
		struct member *m = &c->members[i];

		*m = (struct member){.crew = c, .number = i};
		if (pthread_create(&m->thread, NULL, member_main, m)) {
			e = ERR_LIMIT;
			break;
		}
		pthread_setname_np(m->thread, "serve-crew");
		c->n_threads++;
	}
	if (e) {
		crew_stop(c);
		return e;
	}
	*out = c;
	return OK;
}

void crew_stop(struct crew *c)
{
	if (!c)
		return;
	atomic_store(&c->stopping, true);
	pthread_mutex_lock(&c->lock);
	pthread_cond_broadcast(&c->has_work);
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 1; i < c->n_threads; i++)
		pthread_join(c->members[i].thread, NULL);
	pthread_cond_destroy(&c->has_work);
	pthread_cond_destroy(&c->is_done);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

size_t crew_size(const struct crew *c)
{
	return c ? c->n_threads : 1;
}

static void wait_until_done(struct crew *c, size_t n_items)
{
	for (int i = 0; i < WAIT_ROUNDS; i++) {
		if (atomic_load(&c->done) == n_items)
			return;
		relax();
	}
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->owner_asleep, true);
	while (atomic_load(&c->done) != n_items)
		pthread_cond_wait(&c->is_done, &c->lock);
	atomic_store(&c->owner_asleep, false);
	pthread_mutex_unlock(&c->lock);
}

void crew_run(struct crew *c, size_t n_items, void (*work)(void *arg, size_t item, size_t thread), void *arg)
{
	assert(n_items <= CREW_MAX_ITEMS);
	if (!c || c->n_threads == 1 || n_items < 2) {
		for (size_t i = 0; i < n_items; i++)
			work(arg, i, 0);
		return;
	}
	c->work = work;
	c->arg = arg;
	atomic_store(&c->done, 0);
	atomic_store(&c->ticket, (uint64_t)n_items << TICKET_BITS);
	if (atomic_load(&c->n_asleep)) {
		pthread_mutex_lock(&c->lock);
		pthread_cond_broadcast(&c->has_work);
		pthread_mutex_unlock(&c->lock);
	}
	take_part(c, 0);
	wait_until_done(c, n_items);
}

struct parts {
	size_t n, size;
	void (*work)(void *arg, size_t begin, size_t end);
	void *arg;
};

static void parts_item(void *arg, size_t item, size_t thread)
{
	const struct parts *p = arg;
	size_t begin = item * p->size, end = p->n - begin < p->size ? p->n : begin + p->size;

	(void)thread;
	p->work(p->arg, begin, end);
}

void crew_run_parts(
        struct crew *c, size_t n, size_t size, void (*work)(void *arg, size_t begin, size_t end), void *arg)
{
	struct parts p = {n, c ? size : n, work, arg};

	if (n)
		crew_run(c, (n + p.size - 1) / p.size, parts_item, &p);
}
