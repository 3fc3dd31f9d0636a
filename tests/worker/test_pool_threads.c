/* The pool with real jobs on a tiny base: whatever happens around a job, its adapter has the same bytes. */
#include "worker/pool.h"

#include "tests/worker/fixture.h"

#include <stdatomic.h>

/* Of an undisturbed short job: claimed, loaded, 15 steps, 3 evaluations, finished. */
#define LISTENER_CALLS 21

static struct pool *start(struct fixture *f, size_t n_threads)
{
	const struct pool_options options = {.env = &f->env, .n_threads = n_threads, .max_jobs = 4};
	struct pool *p = NULL;
	struct why why = {0};
	size_t n;

	assert_int_equal(store_job_recover(f->store, true, &n), OK);
	fixture_must(pool_start(&options, &p, &why), &why);
	return p;
}

static void move_job(struct fixture *f, const char *id, enum job_status to, enum err want)
{
	const struct job_transition t = {.to = to};

	assert_int_equal(store_job_transition(f->store, NULL, id, &t, NULL), want);
}

static void sha256_of(struct fixture *f, const char *id, char out[HASH_HEX_SIZE])
{
	struct job job;

	get_job(f, id, &job);
	memcpy(out, job.adapter_sha256, HASH_HEX_SIZE);
	job_fini(&job);
}

/* What the short job gives, undisturbed, on one thread, with nothing kept. */
static void reference(struct fixture *f, char sha256[HASH_HEX_SIZE])
{
	const struct ask ask = {.tenant = &f->ann, .valid = true};
	struct pool *p;
	char id[STORE_ID_SIZE];

	f->env.stems = NULL;
	make_job(f, &ask, id);
	p = start(f, 1);
	await_status(f, id, JOB_SUCCEEDED);
	pool_stop(p);
	f->env.stems = &f->stems;
	sha256_of(f, id, sha256);
}

static void test_threads_and_neighbours_do_not_show(void **state)
{
	struct fixture *f = *state;
	char expected[HASH_HEX_SIZE], sha256[HASH_HEX_SIZE];

	reference(f, expected);
	for (size_t n_threads = 2; n_threads <= 3; n_threads++) {
		const struct ask mine = {.tenant = &f->ann, .valid = true};
		const struct ask other = {
		        .tenant = &f->bob, .request = "{\"hyperparameters\":{\"n_epochs\":4}}"};
		char id[STORE_ID_SIZE], other_id[STORE_ID_SIZE];
		struct pool *p;

		make_job(f, &mine, id);
		make_job(f, &other, other_id);
		p = start(f, n_threads);
		await_status(f, id, JOB_SUCCEEDED);
		await_status(f, other_id, JOB_SUCCEEDED);
		pool_stop(p);
		sha256_of(f, id, sha256);
		assert_string_equal(sha256, expected);
		assert_int_equal(atomic_load(&f->stems.left), FIXTURE_STEM_BYTES);
	}
}

static void test_poke_brings_a_new_job_in(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {.tenant = &f->ann};
	struct pool *p = start(f, 1);
	struct pool_stats stats;
	char id[STORE_ID_SIZE];

	make_job(f, &ask, id);
	pool_poke(p, id);
	await_status(f, id, JOB_SUCCEEDED);
	pool_stats(p, &stats);
	/* The last step counts once its turn is over, which publishes the job first. */
	assert_in_range(stats.steps, 14, 15);
	assert_true(stats.tokens > 0 && stats.tokens_per_second > 0);
	pool_stop(p);
}

/* Something done to a job, from the pool's own thread, after a number of listener calls. */
struct interruption {
	struct pool *pool;
	char id[STORE_ID_SIZE];
	enum job_status to;
	atomic_int countdown;
	atomic_bool moved;
	atomic_bool over;
};

static void interrupt_job(struct fixture *f, const char *job_id)
{
	struct interruption *i = f->on_change_arg;
	const struct job_transition t = {.to = i->to};

	if (strcmp(job_id, i->id) != 0 || atomic_fetch_sub(&i->countdown, 1) != 1)
		return;
	if (store_job_transition(f->store, NULL, i->id, &t, NULL) == OK)
		atomic_store(&i->moved, true);
	pool_poke(i->pool, i->id);
	atomic_store(&i->over, true);
}

/* Run the short job, its neighbour beside it, and interrupt it at the n-th call. */
static bool interrupted_run(struct fixture *f, struct interruption *i, int n, enum job_status to)
{
	const struct ask ask = {.tenant = &f->ann, .valid = true};

	memset(i, 0, sizeof(*i));
	i->to = to;
	i->pool = start(f, 2);
	i->countdown = n;
	make_job(f, &ask, i->id);
	f->on_change_arg = i;
	f->on_change = interrupt_job;
	pool_poke(i->pool, i->id);
	pthread_mutex_lock(&f->lock);
	while (!i->over)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	return i->moved;
}

static void test_cancel_at_any_moment_is_final(void **state)
{
	struct fixture *f = *state;

	for (int n = 1; n <= LISTENER_CALLS; n += 10) {
		struct interruption i;
		struct page page = {.limit = 10};
		struct adapter_record *adapters;
		const struct ask next = {.tenant = &f->ann};
		char next_id[STORE_ID_SIZE];
		size_t n_adapters;
		bool more, moved = interrupted_run(f, &i, n, JOB_CANCELLED);

		/* The pool goes on with the next one, and the cancelled stays so. */
		make_job(f, &next, next_id);
		pool_poke(i.pool, next_id);
		await_status(f, next_id, JOB_SUCCEEDED);
		f->on_change = NULL;
		pool_stop(i.pool);
		await_status(f, i.id, moved ? JOB_CANCELLED : JOB_SUCCEEDED);
		assert_int_equal(
		        store_adapter_list(f->store, f->ann.id, false, &page, &adapters, &n_adapters, &more),
		        OK);
		adapter_record_list_free(adapters, n_adapters);
		assert_int_equal(n_adapters, moved ? 1 : 2);
		store_tenant_delete(f->store, f->ann.id);
		assert_int_equal(store_tenant_create(f->store, "ann", NULL, &f->ann), OK);
	}
}

static void test_pause_and_resume_at_any_moment_change_nothing(void **state)
{
	struct fixture *f = *state;
	char expected[HASH_HEX_SIZE], sha256[HASH_HEX_SIZE];

	reference(f, expected);
	for (int n = 1; n <= LISTENER_CALLS; n += 10) {
		struct interruption i;
		bool moved = interrupted_run(f, &i, n, JOB_PAUSED);

		/* At once, so that it may be claimed again while it is still leaving. */
		if (moved)
			move_job(f, i.id, JOB_QUEUED, OK);
		pool_poke(i.pool, i.id);
		await_status(f, i.id, JOB_SUCCEEDED);
		f->on_change = NULL;
		pool_stop(i.pool);
		assert_int_equal(count_metrics(f, i.id, "train_loss"), 15);
		sha256_of(f, i.id, sha256);
		assert_string_equal(sha256, expected);
	}
}

static void test_stop_saves_and_the_next_start_goes_on(void **state)
{
	struct fixture *f = *state;
	char expected[HASH_HEX_SIZE], sha256[HASH_HEX_SIZE];

	reference(f, expected);
	for (int n = 2; n <= LISTENER_CALLS; n += 8) {
		struct interruption i;
		struct pool *p;

		interrupted_run(f, &i, n, JOB_RUNNING); /* no such move: it only waits for the moment */
		pool_stop(i.pool);
		f->on_change = NULL;
		p = start(f, 1);
		await_status(f, i.id, JOB_SUCCEEDED);
		pool_stop(p);
		assert_int_equal(count_metrics(f, i.id, "train_loss"), 15);
		sha256_of(f, i.id, sha256);
		assert_string_equal(sha256, expected);
	}
}

static void test_bad_job_fails_with_words_and_harms_nobody(void **state)
{
	struct fixture *f = *state;
	const struct ask bad = {.tenant = &f->ann, .text = "{\"prompt\":\"a\",\"completion\":\"b\"}\n[1]x\n"};
	const struct ask good = {.tenant = &f->bob};
	char bad_id[STORE_ID_SIZE], good_id[STORE_ID_SIZE];
	struct pool *p;
	struct job job;

	make_job(f, &bad, bad_id);
	make_job(f, &good, good_id);
	p = start(f, 2);
	await_status(f, bad_id, JOB_FAILED);
	await_status(f, good_id, JOB_SUCCEEDED);
	pool_stop(p);
	get_job(f, bad_id, &job);
	assert_string_equal(job.error_code, "invalid_training_file");
	assert_string_equal(job.error_param, "training_file");
	assert_non_null(strstr(job.error_message, "line 2"));
	job_fini(&job);
}

/* The sequence numbers of a job's metrics, in order. */
static size_t metrics_of(struct fixture *f, const char *id, int64_t *seqs, size_t max)
{
	struct event *events;
	size_t n, n_seqs = 0;

	assert_int_equal(store_event_since(f->store, id, 0, 1000, &events, &n), OK);
	for (size_t i = 0; i < n; i++)
		if (strcmp(events[i].type, "metrics") == 0) {
			assert_true(n_seqs < max);
			seqs[n_seqs++] = events[i].seq;
		}
	event_list_free(events, n);
	return n_seqs;
}

static size_t count_within(const int64_t *seqs, size_t n, int64_t from, int64_t to)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += seqs[i] >= from && seqs[i] <= to;
	return count;
}

/* Whatever the one had done before the other came: of the time they share, each has its half. */
static void test_tenants_train_side_by_side_on_one_thread(void **state)
{
	struct fixture *f = *state;
	const char *request = "{\"seed\":3,\"hyperparameters\":{\"n_epochs\":12,\"batch_size\":12}}";
	const struct ask asks[] = {
	        {.tenant = &f->ann, .request = request}, {.tenant = &f->bob, .request = request}};
	char ids[2][STORE_ID_SIZE];
	int64_t seqs[2][24], from, to;
	size_t n_shared[2];
	struct pool *p;

	for (size_t i = 0; i < 2; i++)
		make_job(f, &asks[i], ids[i]);
	p = start(f, 1);
	for (size_t i = 0; i < 2; i++)
		await_status(f, ids[i], JOB_SUCCEEDED);
	pool_stop(p);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(metrics_of(f, ids[i], seqs[i], 24), 24);
	from = seqs[0][0] > seqs[1][0] ? seqs[0][0] : seqs[1][0];
	to = seqs[0][23] < seqs[1][23] ? seqs[0][23] : seqs[1][23];
	for (size_t i = 0; i < 2; i++)
		n_shared[i] = count_within(seqs[i], 24, from, to);
	assert_true(n_shared[0] >= 6);
	assert_in_range(n_shared[0] + 4 - n_shared[1], 0, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORKER_TEST(test_threads_and_neighbours_do_not_show),
	        WORKER_TEST(test_poke_brings_a_new_job_in),
	        WORKER_TEST(test_cancel_at_any_moment_is_final),
	        WORKER_TEST(test_pause_and_resume_at_any_moment_change_nothing),
	        WORKER_TEST(test_stop_saves_and_the_next_start_goes_on),
	        WORKER_TEST(test_bad_job_fails_with_words_and_harms_nobody),
	        WORKER_TEST(test_tenants_train_side_by_side_on_one_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
