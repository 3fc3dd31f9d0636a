/* The state machine: every pair of states, and what a step leaves behind. */
#include "tests/storage/fixture.h"

#define N_STATUS (JOB_CANCELLED + 1)

/* The drawing in store.h, once more: rows from, columns to, in the order of enum job_status. */
static const char *const allowed[N_STATUS] = {
        /* vqrpSFC */
        ".x...xx", /* validating */
        "..x..xx", /* queued */
        ".x.xxxx", /* running */
        ".x...xx", /* paused */
        ".......", /* succeeded */
        ".......", /* failed */
        ".......", /* cancelled */
};

static void force_status(const struct fixture *f, const char *id, enum job_status status)
{
	char text[160];

	snprintf(text, sizeof(text), "UPDATE job SET status = '%s' WHERE id = '%s'", job_status_name(status),
	        id);
	sql(f, text);
}

static void test_every_pair_of_states_follows_the_drawing(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE];

	for (int from = 0; from < N_STATUS; from++) {
		for (int to = 0; to < N_STATUS; to++) {
			struct job_transition t = {.to = (enum job_status)to};
			bool may = allowed[from][to] == 'x';
			int64_t n_events;

			make_job(f, id);
			force_status(f, id, (enum job_status)from);
			n_events = sql(f, "SELECT count(*) FROM event");
			assert_int_equal(
			        store_job_transition(f->s, f->ann.id, id, &t, NULL), may ? OK : ERR_STATE);
			assert_int_equal(status_of(f, id), may ? to : from);
			assert_int_equal(sql(f, "SELECT count(*) FROM event"), n_events + may);
		}
	}
}

static void test_terminal_states_are_the_last_three(void **state)
{
	(void)state;
	for (int s = 0; s < N_STATUS; s++) {
		assert_int_equal(job_status_terminal((enum job_status)s), !strchr(allowed[s], 'x'));
		assert_non_null(job_status_name((enum job_status)s));
	}
	assert_string_equal(job_status_name(JOB_VALIDATING), "validating_files");
	assert_string_equal(job_status_name(JOB_CANCELLED), "cancelled");
}

static void test_transition_finds_only_the_tenants_job(void **state)
{
	struct fixture *f = *state;
	struct job_transition t = {.to = JOB_CANCELLED};
	struct job job = {.step = 77};
	char id[STORE_ID_SIZE];

	make_job(f, id);
	assert_int_equal(store_job_transition(f->s, f->bob.id, id, &t, &job), ERR_NOT_FOUND);
	assert_int_equal(store_job_transition(f->s, NULL, "ftjob-unknown", &t, &job), ERR_NOT_FOUND);
	assert_int_equal(job.step, 77);
	assert_int_equal(status_of(f, id), JOB_QUEUED);
	assert_int_equal(store_job_transition(f->s, NULL, id, &t, &job), OK);
	assert_int_equal(job.status, JOB_CANCELLED);
	job_fini(&job);
}

static void assert_last_event(struct fixture *f, const char *id, const char *level, const char *message)
{
	struct page page = {.limit = 1};
	struct event *events;
	bool more;
	size_t n;

	assert_int_equal(store_event_list(f->s, NULL, id, &page, &events, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_string_equal(events[0].level, level);
	assert_string_equal(events[0].message, message);
	event_list_free(events, n);
}

static void test_failing_keeps_the_reason(void **state)
{
	struct fixture *f = *state;
	struct job_transition t = {.to = JOB_FAILED,
	        .error_code = "invalid_training_file",
	        .error_message = "line 3 is not JSON",
	        .error_param = "training_file"};
	char id[STORE_ID_SIZE];
	struct job job;

	make_running(f, id);
	clock_set_ms(NOW_MS + 5000);
	assert_int_equal(store_job_transition(f->s, NULL, id, &t, &job), OK);
	assert_int_equal(job.started_at, NOW_MS / 1000);
	assert_int_equal(job.finished_at, NOW_MS / 1000 + 5);
	assert_string_equal(job.error_code, "invalid_training_file");
	assert_string_equal(job.error_message, "line 3 is not JSON");
	assert_string_equal(job.error_param, "training_file");
	assert_last_event(f, id, "error", "The job failed: line 3 is not JSON");
	job_fini(&job);
}

static void test_only_failing_takes_a_reason(void **state)
{
	struct fixture *f = *state;
	struct job_transition t = {.to = JOB_CANCELLED, .error_code = "x", .error_message = "y"};
	char id[STORE_ID_SIZE];
	struct job job;

	make_job(f, id);
	assert_int_equal(store_job_transition(f->s, NULL, id, &t, &job), OK);
	assert_null(job.error_code);
	assert_null(job.error_message);
	assert_int_equal(job.finished_at, NOW_MS / 1000);
	assert_last_event(f, id, "info", "Fine-tuning job cancelled");
	job_fini(&job);
}

static void test_transition_leaves_the_event_asked_for(void **state)
{
	struct fixture *f = *state;
	struct job_transition t = {.to = JOB_QUEUED, .event = "The daemon is shutting down"};
	char id[STORE_ID_SIZE];

	make_running(f, id);
	assert_last_event(f, id, "info", "Fine-tuning job started");
	assert_int_equal(store_job_transition(f->s, NULL, id, &t, NULL), OK);
	assert_last_event(f, id, "info", "The daemon is shutting down");
}

static void test_state_is_dropped_when_the_job_ends(void **state)
{
	struct fixture *f = *state;
	struct checkpoint_new c = {.step = 1, .state = "state", .n_state = 5};
	struct job_transition pause = {.to = JOB_PAUSED}, cancel = {.to = JOB_CANCELLED};
	char id[STORE_ID_SIZE];
	void *data;
	size_t n;

	make_running(f, id);
	c.job_id = id;
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	assert_int_equal(store_job_transition(f->s, NULL, id, &pause, NULL), OK);
	assert_int_equal(store_job_state_get(f->s, id, &data, &n), OK);
	mem_free(data);
	assert_int_equal(store_job_transition(f->s, NULL, id, &cancel, NULL), OK);
	assert_int_equal(store_job_state_get(f->s, id, &data, &n), ERR_EMPTY);
}

static void test_counts_of_a_tenant_agree_with_its_jobs(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE];

	for (int s = 0; s < N_STATUS; s++) {
		make_job(f, id);
		force_status(f, id, (enum job_status)s);
		make_job(f, id);
	}
	assert_int_equal(sql(f, "SELECT n_queued FROM tenant WHERE name = 'ann'"), N_STATUS + 1);
	assert_int_equal(sql(f, "SELECT n_running FROM tenant WHERE name = 'ann'"), 1);
	assert_int_equal(sql(f, "SELECT n_unfinished FROM tenant WHERE name = 'ann'"), N_STATUS + 4);
	sql(f, "DELETE FROM job WHERE status IN ('running', 'failed', 'paused')");
	assert_int_equal(sql(f, "SELECT n_queued FROM tenant WHERE name = 'ann'"), N_STATUS + 1);
	assert_int_equal(sql(f, "SELECT n_running FROM tenant WHERE name = 'ann'"), 0);
	assert_int_equal(sql(f, "SELECT n_unfinished FROM tenant WHERE name = 'ann'"), N_STATUS + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_every_pair_of_states_follows_the_drawing),
	        cmocka_unit_test(test_terminal_states_are_the_last_three),
	        STORE_TEST(test_transition_finds_only_the_tenants_job),
	        STORE_TEST(test_failing_keeps_the_reason),
	        STORE_TEST(test_only_failing_takes_a_reason),
	        STORE_TEST(test_transition_leaves_the_event_asked_for),
	        STORE_TEST(test_state_is_dropped_when_the_job_ends),
	        STORE_TEST(test_counts_of_a_tenant_agree_with_its_jobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
