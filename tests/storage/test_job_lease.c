/* The queue: claims fair by tenant, leases, recovery, progress. */
#include "tests/storage/queue.h"

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
	        STORE_TEST(test_claim_honours_the_limit_of_running_jobs),
	        STORE_TEST(test_recover_requeues_only_expired_leases),
	        STORE_TEST(test_requeued_job_keeps_its_place_and_its_start),
	        STORE_TEST(test_progress_is_kept_while_running_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
