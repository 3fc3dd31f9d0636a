/* The queue: claims fair by tenant, leases, recovery, progress. */
#include "tests/storage/fixture.h"

/* The i-th has (i + 1) * work to train on. */
static void make_work_of(
        struct fixture *f, const struct tenant *t, int64_t work, size_t n, char ids[][STORE_ID_SIZE])
{
	char file[STORE_ID_SIZE];
	struct job_new in = new_job(f);

	put_file(f, t->id, "data", 0, file);
	in.tenant_id = t->id;
	in.training_file = file;
	for (size_t i = 0; i < n; i++) {
		struct job job;

		in.work_tokens = (int64_t)(i + 1) * work;
		assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
		memcpy(ids[i], job.id, STORE_ID_SIZE);
		job_fini(&job);
	}
}

static void make_jobs_of(struct fixture *f, const struct tenant *t, size_t n, char ids[][STORE_ID_SIZE])
{
	make_work_of(f, t, 0, n, ids);
}

static void assert_claims(struct fixture *f, int64_t max_running, const char *id)
{
	struct job job;

	assert_int_equal(store_job_claim(f->s, "me", 1000, max_running, &job), OK);
	assert_string_equal(job.id, id);
	assert_int_equal(job.status, JOB_RUNNING);
	job_fini(&job);
}

static void assert_position(struct fixture *f, const char *id, int64_t wanted)
{
	struct job_place place = {.position = 77};

	assert_int_equal(store_job_place(f->s, id, &place), OK);
	assert_int_equal(place.position, wanted);
}

static void test_claim_takes_turns_between_tenants(void **state)
{
	struct fixture *f = *state;
	char anns[3][STORE_ID_SIZE], bobs[2][STORE_ID_SIZE];
	struct job job = {.step = 77};

	make_jobs_of(f, &f->ann, 3, anns);
	make_jobs_of(f, &f->bob, 2, bobs);
	assert_claims(f, 0, anns[0]);
	assert_claims(f, 0, bobs[0]);
	assert_claims(f, 0, anns[1]);
	assert_claims(f, 0, bobs[1]);
	assert_claims(f, 0, anns[2]);
	assert_int_equal(store_job_claim(f->s, "me", 1000, 0, &job), ERR_EMPTY);
	assert_int_equal(job.step, 77);
}

static void test_queue_position_foretells_the_claims(void **state)
{
	struct fixture *f = *state;
	char anns[4][STORE_ID_SIZE], bobs[2][STORE_ID_SIZE], carls[1][STORE_ID_SIZE];
	const char *order[7];
	struct tenant carl;

	assert_int_equal(store_tenant_create(f->s, "carl", NULL, &carl), OK);
	make_jobs_of(f, &f->ann, 4, anns);
	make_jobs_of(f, &f->bob, 2, bobs);
	make_jobs_of(f, &carl, 1, carls);
	order[0] = anns[0], order[1] = bobs[0], order[2] = carls[0];
	order[3] = anns[1], order[4] = bobs[1], order[5] = anns[2], order[6] = anns[3];
	for (size_t claimed = 0; claimed < 7; claimed++) {
		for (size_t i = 0; i < 7; i++)
			assert_position(f, order[i], i < claimed ? -1 : (int64_t)(i - claimed));
		assert_claims(f, 0, order[claimed]);
	}
	assert_position(f, "ftjob-unknown", -1);
}

static void test_queue_position_is_right_in_a_long_queue(void **state)
{
	struct fixture *f = *state;
	static char anns[450][STORE_ID_SIZE];
	char bobs[2][STORE_ID_SIZE];

	make_jobs_of(f, &f->ann, 450, anns);
	make_jobs_of(f, &f->bob, 2, bobs);
	/* Both of bob's come before ann's third, and so before all behind it. */
	assert_position(f, anns[1], 2);
	for (size_t i = 2; i < 450; i += 7)
		assert_position(f, anns[i], (int64_t)i + 2);
	assert_position(f, bobs[0], 1);
	assert_position(f, bobs[1], 3);
}

/* As each of them says when asked alone. */
static void assert_listed_as_alone(struct fixture *f, const char *tenant, size_t limit, size_t wanted)
{
	char after[STORE_ID_SIZE];
	struct page page = {.limit = limit};
	size_t seen = 0;
	bool more = true;

	while (more) {
		struct job *items;
		struct job_place *places;
		size_t n;

		assert_int_equal(store_job_list(f->s, tenant, &page, &items, &places, &n, &more), OK);
		for (size_t i = 0; i < n; i++) {
			struct job_place alone = {.position = 77};

			assert_int_equal(store_job_place(f->s, items[i].id, &alone), OK);
			assert_int_equal(places[i].position, alone.position);
			assert_int_equal(places[i].tokens_left, alone.tokens_left);
			assert_true(places[i].tokens_per_second == alone.tokens_per_second);
			memcpy(after, items[i].id, sizeof(after));
		}
		seen += n;
		page.after = after;
		job_list_free(items, n);
		mem_free(places);
	}
	assert_int_equal(seen, wanted);
}

static void test_lists_say_where_each_job_stands(void **state)
{
	struct fixture *f = *state;
	static char anns[300][STORE_ID_SIZE];
	char bobs[3][STORE_ID_SIZE];
	struct job_progress p = {
	        .step = 4, .total_steps = 10, .trained_tokens = 400, .tokens_per_second = 50};

	make_work_of(f, &f->ann, 10, 300, anns);
	make_work_of(f, &f->bob, 100, 3, bobs);
	assert_listed_as_alone(f, f->ann.id, 1000, 300);
	assert_claims(f, 0, anns[0]);
	assert_claims(f, 0, bobs[0]);
	assert_int_equal(store_job_transition(
	                         f->s, NULL, anns[150], &(struct job_transition){.to = JOB_CANCELLED}, NULL),
	        OK);
	store_job_progress_later(f->s, anns[0], &p);
	assert_int_equal(store_flush(f->s), OK);
	assert_listed_as_alone(f, f->ann.id, 1000, 300);
	assert_listed_as_alone(f, f->ann.id, 7, 300);
	assert_listed_as_alone(f, f->bob.id, 2, 3);
}

static void test_a_job_is_shown_with_its_place(void **state)
{
	struct fixture *f = *state;
	char ids[2][STORE_ID_SIZE];
	struct job_place place = {.position = 77};
	struct job job = {.step = 77};

	make_work_of(f, &f->ann, 1000, 2, ids);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[1], &job, &place), OK);
	assert_string_equal(job.id, ids[1]);
	assert_int_equal(place.position, 1);
	assert_int_equal(place.tokens_left, 3000);
	job_fini(&job);
	assert_claims(f, 0, ids[0]);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[1], &job, &place), OK);
	assert_int_equal(place.position, 0);
	job_fini(&job);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[0], &job, &place), OK);
	assert_int_equal(job.status, JOB_RUNNING);
	assert_int_equal(place.position, -1);
	assert_int_equal(place.tokens_left, 0);
	job_fini(&job);
	job.step = place.position = 77;
	assert_int_equal(store_job_show(f->s, f->bob.id, ids[1], &job, &place), ERR_NOT_FOUND);
	assert_int_equal(job.step, 77);
	assert_int_equal(place.position, 77);
}

static void assert_left(struct fixture *f, const char *id, int64_t wanted, double rate)
{
	struct job_place place = {.tokens_left = 77};

	assert_int_equal(store_job_place(f->s, id, &place), OK);
	assert_int_equal(place.tokens_left, wanted);
	assert_true(place.tokens_per_second == rate);
}

static void move(struct fixture *f, const char *id, enum job_status to)
{
	assert_int_equal(store_job_transition(f->s, NULL, id, &(struct job_transition){.to = to}, NULL), OK);
}

static void test_work_until_a_queued_job_is_done_is_summed(void **state)
{
	struct job_progress p = {
	        .step = 4, .total_steps = 10, .trained_tokens = 400, .tokens_per_second = 50};
	struct fixture *f = *state;
	char anns[3][STORE_ID_SIZE], bobs[2][STORE_ID_SIZE], unknown[1][STORE_ID_SIZE];

	make_work_of(f, &f->ann, 1000, 3, anns);
	make_work_of(f, &f->bob, 10, 2, bobs);
	assert_left(f, anns[0], 1000, 0);
	assert_claims(f, 0, anns[0]);
	assert_left(f, anns[0], 0, 0); /* runs */
	assert_left(f, bobs[0], 1000 + 10, 0);
	/* It is ann's second turn: both of bob's come before, for all that is known of them by their mean. */
	assert_left(f, anns[1], 1000 + 15 + 2000, 0);
	assert_left(f, bobs[1], 1000 + 10 + 20 + 2500, 0);
	assert_left(f, anns[2], 1000 + 30 + 2000 + 3000, 0);
	store_job_progress_later(f->s, anns[0], &p);
	assert_int_equal(store_flush(f->s), OK);
	assert_left(f, bobs[0], 600 + 10, 50);
	/* What goes back to the queue has the rest before it. */
	move(f, anns[0], JOB_QUEUED);
	assert_left(f, anns[0], 600, 0);
	assert_left(f, anns[1], 600 + 15 + 2000, 0);
	move(f, anns[0], JOB_CANCELLED);
	move(f, bobs[0], JOB_CANCELLED);
	assert_left(f, anns[1], 2000, 0);
	assert_left(f, bobs[1], 2500 + 20, 0);
	move(f, anns[1], JOB_CANCELLED);
	assert_left(f, bobs[1], 3000 + 20, 0);
	make_work_of(f, &f->bob, 0, 1, unknown);
	assert_left(f, unknown[0], 0, 0);
}

static void test_work_before_a_job_in_a_long_queue_is_their_mean(void **state)
{
	struct fixture *f = *state;
	static char anns[101][STORE_ID_SIZE];

	make_work_of(f, &f->ann, 1, 101, anns);
	assert_left(f, anns[31], 31 * 32 / 2 + 32, 0);
	assert_left(f, anns[100], 100 * 51 + 101, 0);
}

static void test_claim_honours_the_limit_of_running_jobs(void **state)
{
	struct fixture *f = *state;
	char anns[2][STORE_ID_SIZE], carls[2][STORE_ID_SIZE], dans[2][STORE_ID_SIZE];
	struct tenant_limits two = {.running_jobs = 2}, none = {.running_jobs = -1};
	struct tenant carl, dan;
	struct job job;

	assert_int_equal(store_tenant_create(f->s, "carl", &two, &carl), OK);
	assert_int_equal(store_tenant_create(f->s, "dan", &none, &dan), OK);
	make_jobs_of(f, &f->ann, 2, anns);
	assert_claims(f, 1, anns[0]);
	assert_int_equal(store_job_claim(f->s, "me", 1000, 1, &job), ERR_EMPTY);
	/* A limit of the tenant's own goes before the one given. */
	make_jobs_of(f, &carl, 2, carls);
	make_jobs_of(f, &dan, 2, dans);
	assert_claims(f, 1, carls[0]);
	assert_claims(f, 1, dans[0]);
	assert_claims(f, 1, carls[1]);
	assert_claims(f, 1, dans[1]);
	assert_int_equal(store_job_claim(f->s, "me", 1000, 1, &job), ERR_EMPTY);
	assert_claims(f, 0, anns[1]);
}

static void test_recover_requeues_only_expired_leases(void **state)
{
	struct fixture *f = *state;
	char ids[2][STORE_ID_SIZE];
	struct job job;
	size_t n = 77;

	make_jobs_of(f, &f->ann, 2, ids);
	assert_int_equal(store_job_claim(f->s, "dead", 1000, 0, &job), OK);
	job_fini(&job);
	assert_int_equal(store_job_claim(f->s, "alive", 1000, 0, &job), OK);
	job_fini(&job);
	clock_set_ms(NOW_MS + 999);
	assert_int_equal(store_job_recover(f->s, false, &n), OK);
	assert_int_equal(n, 0);
	store_job_renew_later(f->s, "alive", 1000);
	assert_int_equal(store_flush(f->s), OK);
	clock_set_ms(NOW_MS + 1000);
	assert_int_equal(store_job_recover(f->s, false, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(status_of(f, ids[0]), JOB_QUEUED);
	assert_int_equal(status_of(f, ids[1]), JOB_RUNNING);
	assert_int_equal(store_job_recover(f->s, true, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(status_of(f, ids[1]), JOB_QUEUED);
}

static void test_requeued_job_keeps_its_place_and_its_start(void **state)
{
	struct fixture *f = *state;
	char ids[2][STORE_ID_SIZE];
	struct event *events;
	struct job job;
	size_t n;

	make_jobs_of(f, &f->ann, 2, ids);
	assert_claims(f, 0, ids[0]);
	fixture_reopen(f);
	assert_int_equal(store_job_recover(f->s, true, NULL), OK);
	assert_position(f, ids[0], 0);
	clock_set_ms(NOW_MS + 50000);
	assert_int_equal(store_job_claim(f->s, "me", 1000, 0, &job), OK);
	assert_string_equal(job.id, ids[0]);
	assert_int_equal(job.started_at, NOW_MS / 1000);
	job_fini(&job);
	assert_int_equal(store_event_since(f->s, ids[0], 0, 10, &events, &n), OK);
	assert_int_equal(n, 4);
	assert_string_equal(events[1].message, "Fine-tuning job started");
	assert_string_equal(
	        events[2].message, "Fine-tuning job interrupted, it will go on from its last checkpoint");
	assert_string_equal(events[3].message, "Fine-tuning job goes on");
	event_list_free(events, n);
}

static void test_progress_is_kept_while_running_only(void **state)
{
	struct fixture *f = *state;
	struct job_progress p = {
	        .step = 3, .total_steps = 9, .trained_tokens = 100, .epoch = 0.25, .tokens_per_second = 12.5};
	struct job_transition cancel = {.to = JOB_CANCELLED};
	char id[STORE_ID_SIZE];
	struct job job;

	make_running(f, id);
	store_job_progress_later(f->s, id, &p);
	/* In order with all others: what comes after waits for it. */
	assert_int_equal(store_job_transition(f->s, NULL, id, &cancel, NULL), OK);
	p.step = 4;
	store_job_progress_later(f->s, id, &p);
	store_job_progress_later(f->s, "ftjob-unknown", &p);
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(store_job_get(f->s, NULL, id, &job), OK);
	assert_int_equal(job.step, 3);
	assert_int_equal(job.total_steps, 9);
	assert_int_equal(job.trained_tokens, 100);
	assert_true(job.epoch == 0.25);
	assert_true(job.tokens_per_second == 12.5);
	job_fini(&job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_claim_takes_turns_between_tenants),
	        STORE_TEST(test_queue_position_foretells_the_claims),
	        STORE_TEST(test_lists_say_where_each_job_stands),
	        STORE_TEST(test_a_job_is_shown_with_its_place),
	        STORE_TEST(test_queue_position_is_right_in_a_long_queue),
	        STORE_TEST(test_work_until_a_queued_job_is_done_is_summed),
	        STORE_TEST(test_work_before_a_job_in_a_long_queue_is_their_mean),
	        STORE_TEST(test_claim_honours_the_limit_of_running_jobs),
	        STORE_TEST(test_recover_requeues_only_expired_leases),
	        STORE_TEST(test_requeued_job_keeps_its_place_and_its_start),
	        STORE_TEST(test_progress_is_kept_while_running_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
