/*
 * See pool.h.
 *
 *   thread        owns                       is woken by                          stops when
 *   train (N)     a workspace; an item, or   `work`: items begun, a seat taken,   `stopping`, and every seat
 *                 the turn of one job        a poke, stop                         is empty
 *   claimer (1)   nothing                    `claim`: a poke, a seat free, stop;  `closing`
 *                                            every LEASE_MS / 3 for the leases
 *
 * One lock guards all seats. It is never held while computing or waiting for the store: a thread that takes a
 * job's turn marks its place `driven`, and until that is over nobody else touches what lies behind it.
 */
#include "worker/pool.h"

#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/background.h"
#include "worker/job_turn.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LEASE_MS 30000

/* What a tenant with jobs in the pool has had of it. */
struct share {
	char tenant_id[STORE_ID_SIZE];
	size_t n_seats;  /* 0 = unused */
	uint64_t served; /* tokens */
};

/* A place for a job. */
struct place {
	bool taken;
	bool driven; /* a thread takes a turn: job, seat and error are its own */
	bool look;   /* poked: the store knows something new */
	unsigned n_claims;
	size_t in_flight; /* items being computed */
	enum err error;   /* of an item */
	uint64_t served;  /* tokens */
	struct share *share;
	char job_id[STORE_ID_SIZE];
	struct job job; /* owned; as claimed last, until it is loaded */
	struct job_seat seat;
};

struct trainer {
	struct pool *pool;
	pthread_t thread;
	bool started;
	struct train_workspace *workspace; /* owned; NULL while there is no work */
	size_t max_rows;
};

struct pool {
	struct pool_options options;
	char owner[STORE_ID_SIZE];
	struct trainer *trainers; /* owned, (options.n_threads) */
	pthread_t claimer;
	bool claimer_started;

	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t claim;
	/* under lock */
	bool closing, stopping, may_claim;
	struct place *places; /* owned, (options.max_jobs) */
	struct share *shares; /* owned, (options.max_jobs) */
	size_t n_taken;
	uint64_t n_steps;
	uint64_t n_tokens, busy_ns; /* of items, over all threads */
};

/* ---- places and shares; under lock ---- */

static struct place *find_place(struct pool *p, const char *job_id)
{
	for (size_t i = 0; i < p->options.max_jobs; i++)
		if (p->places[i].taken && strcmp(p->places[i].job_id, job_id) == 0)
			return &p->places[i];
	return NULL;
}

/* The tenant's share. One that comes in anew starts level with the least served, not with a claim on the
 * past. */
static struct share *take_share(struct pool *p, const char *tenant_id)
{
	struct share *unused = NULL;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < p->options.max_jobs; i++) {
		struct share *s = &p->shares[i];

		if (s->n_seats && strcmp(s->tenant_id, tenant_id) == 0) {
			s->n_seats++;
			return s;
		}
		if (!s->n_seats)
			unused = s;
		else if (s->served < least)
			least = s->served;
	}
	assert(unused); /* there are as many shares as places, and a place is free */
	*unused = (struct share){.n_seats = 1, .served = least == UINT64_MAX ? 0 : least};
	snprintf(unused->tenant_id, sizeof(unused->tenant_id), "%s", tenant_id);
	return unused;
}

/* Take in a job that was just claimed; a place is free. A job that is on its way out of its old place goes on
 * there. */
static void seat_job(struct pool *p, struct job *job)
{
	struct place *place = find_place(p, job->id);

	if (place) {
		job_fini(&place->job);
		place->job = *job;
		place->n_claims++;
		place->look = true;
		return;
	}
	for (place = p->places; place->taken; place++)
		;
	/* It looks once more: between claim and here a poke found nobody. */
	*place = (struct place){
	        .taken = true, .look = true, .share = take_share(p, job->tenant_id), .job = *job};
	memcpy(place->job_id, job->id, sizeof(place->job_id));
	p->n_taken++;
}

static void clear_place(struct pool *p, struct place *place)
{
	place->share->n_seats--;
	job_fini(&place->job);
	memset(place, 0, sizeof(*place));
	p->n_taken--;
	p->may_claim = true;
	pthread_cond_signal(&p->claim);
}

/* ---- training threads ---- */

enum work { WORK_NONE, WORK_TURN, WORK_ITEM };

static bool served_less(const struct place *a, const struct place *b)
{
	if (a->share->served != b->share->served)
		return a->share->served < b->share->served;
	return a->served < b->served;
}

/* Turns first, they make items for all; then an item of the tenant that has had least. Under lock. */
static enum work pick(struct pool *p, struct place **out)
{
	struct place *best = NULL;

	for (size_t i = 0; i < p->options.max_jobs; i++) {
		struct place *place = &p->places[i];
		bool halted, handed_out;

		if (!place->taken || place->driven)
			continue;
		halted = p->stopping || place->look || place->error != OK;
		handed_out = place->seat.next_item == place->seat.n_items;
		if (place->in_flight == 0 && (halted || handed_out)) {
			*out = place;
			return WORK_TURN;
		}
		if (!halted && !handed_out && (!best || served_less(place, best)))
			best = place;
	}
	*out = best;
	return best ? WORK_ITEM : WORK_NONE;
}

/* Lock held on entry and on return. */
static void take_turn(struct pool *p, struct place *place)
{
	struct turn_orders orders = {
	        .stopping = p->stopping, .look = place->look, .item_error = place->error};
	uint64_t n_steps = place->seat.n_steps;
	unsigned n_claims = place->n_claims;
	struct job job = {0};
	enum turn turn;

	place->driven = true;
	place->look = false;
	place->error = OK;
	if (!place->seat.runner) { /* taken out: another claim may leave a new one meanwhile */
		job = place->job;
		memset(&place->job, 0, sizeof(place->job));
		orders.job = &job;
	}
	pthread_mutex_unlock(&p->lock);
	turn = job_take_turn(p->options.env, place->job_id, &orders, &place->seat);
	job_fini(&job);
	pthread_mutex_lock(&p->lock);
	place->driven = false;
	p->n_steps += place->seat.n_steps - n_steps;
	/* One that was claimed again while it was leaving stays, to be loaded anew. */
	if (turn == TURN_LEFT && (place->n_claims == n_claims || p->stopping))
		clear_place(p, place);
	pthread_cond_broadcast(&p->work);
}

static enum err fit_workspace(struct trainer *t, size_t n_rows)
{
	const struct pool_options *o = &t->pool->options;
	enum err e;

	if (t->workspace && t->max_rows >= n_rows)
		return OK;
	train_workspace_free(t->workspace);
	t->workspace = NULL;
	e = train_workspace_new(o->env->model, n_rows, o->train_bytes / o->n_threads, &t->workspace);
	t->max_rows = e == OK ? n_rows : 0;
	return e;
}

/* Lock held on entry and on return. */
static void compute_item(struct pool *p, struct trainer *t, struct place *place)
{
	struct runner *runner = place->seat.runner;
	size_t item = place->seat.next_item++, n_tokens = runner_item_tokens(runner, item);
	int64_t start;
	enum err e;

	/* Charged before it is computed, so that the next thread looks elsewhere. */
	place->in_flight++;
	place->served += n_tokens;
	place->share->served += n_tokens;
	pthread_mutex_unlock(&p->lock);
	start = clock_mono_ns();
	e = fit_workspace(t, runner_max_rows(runner));
	if (e == OK)
		e = runner_item(runner, item, t->workspace);
	start = clock_mono_ns() - start;
	pthread_mutex_lock(&p->lock);
	place->in_flight--;
	if (e != OK && place->error == OK)
		place->error = e;
	p->n_tokens += n_tokens;
	p->busy_ns += (uint64_t)start;
}

/* Wait for work; memory is not kept meanwhile. Lock held on entry and on return. */
static void wait_for_work(struct pool *p, struct trainer *t)
{
	if (t->workspace && p->n_taken == 0) {
		pthread_mutex_unlock(&p->lock);
		train_workspace_free(t->workspace);
		t->workspace = NULL;
		pthread_mutex_lock(&p->lock);
		return;
	}
	pthread_cond_wait(&p->work, &p->lock);
}

static void *trainer_main(void *arg)
{
	struct trainer *t = arg;
	struct pool *p = t->pool;

	background_enter(); /* serving and the loop come first */
	pthread_mutex_lock(&p->lock);
	while (!p->stopping || p->n_taken > 0) {
		struct place *place;

		switch (pick(p, &place)) {
		case WORK_TURN:
			take_turn(p, place);
			break;
		case WORK_ITEM:
			compute_item(p, t, place);
			break;
		case WORK_NONE:
			wait_for_work(p, t);
			break;
		}
	}
	pthread_mutex_unlock(&p->lock);
	train_workspace_free(t->workspace);
	t->workspace = NULL;
	return NULL;
}

/* ---- the claimer ---- */

/* Claim until the queue is empty or the places are taken. Without lock. */
static void claim_jobs(struct pool *p)
{
	const struct pool_options *o = &p->options;

	for (;;) {
		struct job job;
		bool room;
		enum err e;

		pthread_mutex_lock(&p->lock);
		room = p->n_taken < o->max_jobs && !p->closing;
		pthread_mutex_unlock(&p->lock);
		if (!room)
			return;
		e = store_job_claim(o->env->store, p->owner, LEASE_MS, o->max_running_per_tenant, &job);
		if (e != OK && e != ERR_EMPTY)
			log_warn("claim_failed", "error=%s", err_name(e));
		if (e != OK)
			return;
		if (o->env->on_job)
			o->env->on_job(o->env->on_job_arg, job.id);
		pthread_mutex_lock(&p->lock);
		seat_job(p, &job);
		pthread_cond_broadcast(&p->work);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Wait for a reason to claim, at most until `due`. False when the pool closes. */
static bool wait_to_claim(struct pool *p, int64_t due_ns)
{
	const struct timespec until = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
	bool open;

	pthread_mutex_lock(&p->lock);
	while (!p->closing && !p->may_claim && clock_mono_ns() < due_ns)
		pthread_cond_timedwait(&p->claim, &p->lock, &until);
	p->may_claim = false;
	open = !p->closing;
	pthread_mutex_unlock(&p->lock);
	return open;
}

static void *claimer_main(void *arg)
{
	struct pool *p = arg;
	const int64_t period_ns = (int64_t)LEASE_MS * 1000000 / 3;
	int64_t due = clock_mono_ns() + period_ns;

	do {
		if (clock_mono_ns() >= due) {
			size_t n;

			store_job_renew_later(p->options.env->store, p->owner, LEASE_MS);
			(void)store_job_recover(p->options.env->store, false, &n);
			due = clock_mono_ns() + period_ns;
		}
		claim_jobs(p);
	} while (wait_to_claim(p, due));
	return NULL;
}

/* ---- the face ---- */

static enum err start_thread(
        pthread_t *thread, void *(*run)(void *), void *arg, const char *name, struct why *why)
{
	int rc = pthread_create(thread, NULL, run, arg);

	if (rc != 0)
		return why_set(why, ERR_LIMIT, "cannot start thread %s: %s", name, strerror(rc));
	(void)pthread_setname_np(*thread, name);
	return OK;
}

static void init_locks(struct pool *p)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->claim, &attr);
	pthread_condattr_destroy(&attr);
}

enum err pool_start(const struct pool_options *options, struct pool **out, struct why *why)
{
	struct pool *p = mem_calloc(1, sizeof(*p));
	enum err e = ERR_MEM;

	if (!p)
		return e;
	init_locks(p);
	p->options = *options;
	p->trainers = mem_calloc(options->n_threads, sizeof(*p->trainers));
	p->places = mem_calloc(options->max_jobs, sizeof(*p->places));
	p->shares = mem_calloc(options->max_jobs, sizeof(*p->shares));
	if (!p->trainers || !p->places || !p->shares)
		goto fail;
	e = random_id("worker-", 16, p->owner);
	for (size_t i = 0; e == OK && i < options->n_threads; i++) {
		struct trainer *t = &p->trainers[i];
		char name[16];

		snprintf(name, sizeof(name), "train-%u", (unsigned)i % 1000);
		t->pool = p;
		e = start_thread(&t->thread, trainer_main, t, name, why);
		t->started = e == OK;
	}
	if (e == OK)
		e = start_thread(&p->claimer, claimer_main, p, "claimer", why);
	if (e != OK)
		goto fail;
	p->claimer_started = true;
	*out = p;
	return OK;
fail:
	pool_stop(p);
	return e;
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_broadcast(&p->claim);
	pthread_mutex_unlock(&p->lock);
	if (p->claimer_started)
		pthread_join(p->claimer, NULL);
	/* Only now: nobody seats another job. */
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; p->trainers && i < p->options.n_threads; i++)
		if (p->trainers[i].started)
			pthread_join(p->trainers[i].thread, NULL);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->claim);
	pthread_mutex_destroy(&p->lock);
	mem_free(p->trainers);
	mem_free(p->places);
	mem_free(p->shares);
	mem_free(p);
}

void pool_poke(struct pool *p, const char *job_id)
{
	struct place *place;

	pthread_mutex_lock(&p->lock);
	place = find_place(p, job_id);
	if (place)
		place->look = true;
	p->may_claim = true;
	pthread_cond_signal(&p->claim);
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void pool_stats(struct pool *p, struct pool_stats *out)
{
	pthread_mutex_lock(&p->lock);
	*out = (struct pool_stats){
	        .running_jobs = p->n_taken,
	        .steps = p->n_steps,
	        .tokens = p->n_tokens,
	};
	if (p->busy_ns)
		out->tokens_per_second =
		        (double)p->n_tokens * 1e9 / (double)p->busy_ns * (double)p->options.n_threads;
	pthread_mutex_unlock(&p->lock);
}
