/* Creating, reading and listing jobs. */
#include "tests/storage/fixture.h"

static void test_create_keeps_what_was_asked(void **state)
{
	struct fixture *f = *state;
	struct job_new in = new_job(f);
	struct job job, again;
	bool existed = true;

	in.metadata = "{\"a\":\"b\"}";
	in.validation_file = f->file;
	assert_int_equal(store_job_create(f->s, &in, &job, &existed), OK);
	assert_false(existed);
	assert_int_equal(strncmp(job.id, "ftjob-", 6), 0);
	assert_int_equal(strlen(job.id), 30);
	fixture_reopen(f);
	assert_int_equal(store_job_get(f->s, f->ann.id, job.id, &again), OK);
	assert_string_equal(again.id, job.id);
	assert_string_equal(again.tenant_id, f->ann.id);
	assert_string_equal(again.model, "base");
	assert_string_equal(again.training_file, f->file);
	assert_string_equal(again.validation_file, f->file);
	assert_string_equal(again.result_file, "");
	assert_string_equal(again.spec, "{\"seed\":1}");
	assert_string_equal(again.metadata, "{\"a\":\"b\"}");
	assert_int_equal(again.status, JOB_QUEUED);
	assert_int_equal(again.created_at, NOW_MS / 1000);
	assert_int_equal(again.started_at, 0);
	assert_int_equal(again.finished_at, 0);
	assert_string_equal(again.fine_tuned_model, "");
	assert_null(again.error_code);
	job_fini(&job);
	job_fini(&again);
}

static void test_create_leaves_its_first_event(void **state)
{
	struct fixture *f = *state;
	struct event *events;
	char id[STORE_ID_SIZE], wanted[128];
	size_t n;

	make_job(f, id);
	assert_int_equal(store_event_since(f->s, id, 0, 10, &events, &n), OK);
	assert_int_equal(n, 1);
	snprintf(wanted, sizeof(wanted), "Created fine-tuning job: %s", id);
	assert_string_equal(events[0].message, wanted);
	assert_string_equal(events[0].level, "info");
	assert_string_equal(events[0].type, "message");
	assert_null(events[0].data);
	event_list_free(events, n);
}

static void test_create_refuses_a_file_of_another_tenant(void **state)
{
	struct fixture *f = *state;
	struct job_new in = new_job(f);
	struct job job = {.step = 77};

	in.tenant_id = f->bob.id;
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_NOT_FOUND);
	in = new_job(f);
	in.validation_file = "file-unknown";
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_NOT_FOUND);
	in = new_job(f);
	in.tenant_id = "tenant-unknown";
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_NOT_FOUND);
	assert_int_equal(job.step, 77);
	assert_int_equal(sql(f, "SELECT count(*) FROM job"), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
}

static void test_create_refuses_a_model_name_too_long(void **state)
{
	struct fixture *f = *state;
	struct job_new in = new_job(f);
	char model[STORE_MODEL_SIZE + 1];
	struct job job;

	memset(model, 'm', sizeof(model));
	model[STORE_MODEL_SIZE] = '\0';
	in.model = model;
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_INVALID);
	model[STORE_MODEL_SIZE - 1] = '\0';
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	assert_string_equal(job.model, model);
	job_fini(&job);
}

static void test_create_again_with_the_same_key_gives_the_same_job(void **state)
{
	struct fixture *f = *state;
	struct job_new in = new_job(f);
	struct job first, second;
	bool existed;
	char bobs[STORE_ID_SIZE];

	in.idempotency_key = "once";
	in.max_queued = 1;
	assert_int_equal(store_job_create(f->s, &in, &first, &existed), OK);
	assert_false(existed);
	in.model = "another";
	assert_int_equal(store_job_create(f->s, &in, &second, &existed), OK);
	assert_true(existed);
	assert_string_equal(second.id, first.id);
	assert_string_equal(second.model, "base");
	job_fini(&second);
	/* The key is the tenant's own. */
	put_file(f, f->bob.id, "x", 0, bobs);
	in.tenant_id = f->bob.id;
	in.training_file = bobs;
	assert_int_equal(store_job_create(f->s, &in, &second, &existed), OK);
	assert_false(existed);
	assert_string_not_equal(second.id, first.id);
	job_fini(&first);
	job_fini(&second);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 2);
}

static void test_create_counts_unfinished_jobs_against_the_limit(void **state)
{
	struct fixture *f = *state;
	struct job_transition cancel = {.to = JOB_CANCELLED};
	struct job_new in = new_job(f);
	char id[STORE_ID_SIZE];
	struct job job;

	make_running(f, id);
	in.max_queued = 2;
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	job_fini(&job);
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_LIMIT);
	assert_int_equal(store_job_transition(f->s, NULL, id, &cancel, NULL), OK);
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	job_fini(&job);
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_LIMIT);
	in.max_queued = 0;
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	job_fini(&job);
}

static void test_get_is_blind_to_other_tenants(void **state)
{
	struct fixture *f = *state;
	struct job job = {.step = 77};
	char id[STORE_ID_SIZE];

	make_job(f, id);
	assert_int_equal(store_job_get(f->s, f->bob.id, id, &job), ERR_NOT_FOUND);
	assert_int_equal(store_job_get(f->s, f->ann.id, "ftjob-unknown", &job), ERR_NOT_FOUND);
	assert_int_equal(job.step, 77);
	assert_int_equal(store_job_get(f->s, NULL, id, &job), OK);
	job_fini(&job);
}

static void test_list_pages_newest_first_without_gaps(void **state)
{
	struct fixture *f = *state;
	char ids[7][STORE_ID_SIZE];
	struct page page = {.limit = 3};
	char after[STORE_ID_SIZE], newer[STORE_ID_SIZE];
	size_t seen = 0;
	bool more = true;

	for (size_t i = 0; i < 7; i++)
		make_job(f, ids[i]);
	while (more) {
		struct job *items;
		size_t n;

		assert_int_equal(store_job_list(f->s, f->ann.id, &page, &items, NULL, &n, &more), OK);
		assert_int_equal(n, seen < 6 ? 3 : 1);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(items[i].id, ids[6 - seen - i]);
		seen += n;
		memcpy(after, items[n - 1].id, sizeof(after));
		page.after = after;
		job_list_free(items, n);
		/* What comes in between does not move the pages. */
		make_job(f, newer);
	}
	assert_int_equal(seen, 7);
}

static void test_list_of_exactly_a_page_has_no_more(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 2};
	char id[STORE_ID_SIZE];
	struct job *items;
	bool more = true;
	size_t n;

	make_job(f, id);
	make_job(f, id);
	assert_int_equal(store_job_list(f->s, f->ann.id, &page, &items, NULL, &n, &more), OK);
	assert_int_equal(n, 2);
	assert_false(more);
	job_list_free(items, n);
	assert_int_equal(store_job_list(f->s, f->bob.id, &page, &items, NULL, &n, &more), OK);
	assert_int_equal(n, 0);
	assert_false(more);
	job_list_free(items, n);
}

static void test_list_refuses_a_wrong_page(void **state)
{
	struct fixture *f = *state;
	struct page page = {.after = "ftjob-unknown", .limit = 2};
	char id[STORE_ID_SIZE];
	struct job *items;
	bool more;
	size_t n;

	make_job(f, id);
	assert_int_equal(store_job_list(f->s, f->ann.id, &page, &items, NULL, &n, &more), ERR_NOT_FOUND);
	page.after = id;
	assert_int_equal(store_job_list(f->s, f->bob.id, &page, &items, NULL, &n, &more), ERR_NOT_FOUND);
	page = (struct page){.limit = 0};
	assert_int_equal(store_job_list(f->s, f->ann.id, &page, &items, NULL, &n, &more), ERR_INVALID);
	page.limit = 1001;
	assert_int_equal(store_job_list(f->s, f->ann.id, &page, &items, NULL, &n, &more), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_create_keeps_what_was_asked),
	        STORE_TEST(test_create_leaves_its_first_event),
	        STORE_TEST(test_create_refuses_a_file_of_another_tenant),
	        STORE_TEST(test_create_refuses_a_model_name_too_long),
	        STORE_TEST(test_create_again_with_the_same_key_gives_the_same_job),
	        STORE_TEST(test_create_counts_unfinished_jobs_against_the_limit),
	        STORE_TEST(test_get_is_blind_to_other_tenants),
	        STORE_TEST(test_list_pages_newest_first_without_gaps),
	        STORE_TEST(test_list_of_exactly_a_page_has_no_more),
	        STORE_TEST(test_list_refuses_a_wrong_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
