/* Checkpoints, the end of a job that worked, and adapters. */
#include "tests/storage/fixture.h"

static struct checkpoint_new checkpoint_of(const char *job_id, int64_t step, const char *name)
{
	return (struct checkpoint_new){.job_id = job_id,
	        .step = step,
	        .state = "st\0te",
	        .n_state = 5,
	        .name = name,
	        .parent = "base",
	        .metrics = "{\"train_loss\":1.5}",
	        .manifest = "{\"v\":1}",
	        .content = "w\0ights",
	        .n_content = 7};
}

static struct job_success success_of(const char *job_id)
{
	return (struct job_success){.job_id = job_id,
	        .name = "ft:base:ann::1",
	        .parent = "base",
	        .manifest = "{\"v\":2}",
	        .content = "final",
	        .n_content = 5,
	        .result_csv = "step\n1\n",
	        .n_result_csv = 7,
	        .trained_tokens = 42};
}

static void test_checkpoint_replaces_the_state(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE];
	struct checkpoint_new c = checkpoint_of(id, 1, NULL);
	void *data;
	size_t n;

	make_running(f, id);
	assert_int_equal(store_job_state_get(f->s, id, &data, &n), ERR_EMPTY);
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	c.state = "second";
	c.n_state = 6;
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	fixture_reopen(f);
	assert_int_equal(store_job_state_get(f->s, id, &data, &n), OK);
	assert_int_equal(n, 6);
	assert_memory_equal(data, "second", 6);
	mem_free(data);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 0);
}

static void test_checkpoint_with_a_name_can_be_served(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE];
	struct checkpoint_new c = checkpoint_of(id, 5, "ft:ckpt-step-5");
	struct page page = {.limit = 10};
	struct adapter_record a;
	struct checkpoint *items;
	bool more;
	size_t n;

	make_running(f, id);
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	/* A replayed step: the state is new, the checkpoint stays what it was. */
	c.content = "another";
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	assert_int_equal(store_checkpoint_list(f->s, f->ann.id, id, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_int_equal(strncmp(items[0].id, "ftckpt_", 7), 0);
	assert_string_equal(items[0].job_id, id);
	assert_string_equal(items[0].model, "ft:ckpt-step-5");
	assert_int_equal(items[0].step, 5);
	assert_int_equal(items[0].created_at, NOW_MS / 1000);
	assert_string_equal(items[0].metrics, "{\"train_loss\":1.5}");
	checkpoint_list_free(items, n);
	assert_int_equal(store_checkpoint_list(f->s, f->bob.id, id, &page, &items, &n, &more), ERR_NOT_FOUND);
	assert_int_equal(store_adapter_get(f->s, f->ann.id, "ft:ckpt-step-5", &a), OK);
	assert_true(a.checkpoint);
	assert_int_equal(a.step, 5);
	assert_int_equal(a.bytes, 7);
	assert_memory_equal(a.content, "w\0ights", 7);
	adapter_record_fini(&a);
}

static void test_checkpoints_page(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], name[32], after[STORE_ID_SIZE];
	struct page page = {.limit = 2};
	struct checkpoint *items;
	bool more;
	size_t n;

	make_running(f, id);
	for (int step = 1; step <= 3; step++) {
		struct checkpoint_new c = checkpoint_of(id, step, name);

		snprintf(name, sizeof(name), "ft:ckpt-step-%d", step);
		assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	}
	assert_int_equal(store_checkpoint_list(f->s, f->ann.id, id, &page, &items, &n, &more), OK);
	assert_int_equal(n, 2);
	assert_true(more);
	assert_int_equal(items[0].step, 3);
	memcpy(after, items[1].id, sizeof(after));
	checkpoint_list_free(items, n);
	page.after = after;
	assert_int_equal(store_checkpoint_list(f->s, f->ann.id, id, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	assert_int_equal(items[0].step, 1);
	checkpoint_list_free(items, n);
}

static void test_checkpoint_of_an_ended_job_is_refused(void **state)
{
	struct fixture *f = *state;
	struct job_transition cancel = {.to = JOB_CANCELLED};
	char id[STORE_ID_SIZE];
	struct checkpoint_new c = checkpoint_of(id, 1, "ft:ckpt-step-1");

	make_running(f, id);
	assert_int_equal(store_job_transition(f->s, NULL, id, &cancel, NULL), OK);
	assert_int_equal(store_checkpoint_put(f->s, &c), ERR_STATE);
	c.job_id = "ftjob-unknown";
	assert_int_equal(store_checkpoint_put(f->s, &c), ERR_NOT_FOUND);
	assert_int_equal(
	        sql(f, "SELECT (SELECT count(*) FROM adapter) + (SELECT count(*) FROM job_state)"), 0);
}

static void test_success_tells_everything_at_once(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], csv[16] = "";
	struct checkpoint_new c = checkpoint_of(id, 5, NULL);
	struct job_success in = success_of(id);
	struct adapter_record a;
	struct event *events;
	struct file file;
	struct job job;
	size_t n;
	void *data;
	int fd;

	make_running(f, id);
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	clock_set_ms(NOW_MS + 9000);
	assert_int_equal(store_job_succeed(f->s, &in, &job), OK);
	assert_int_equal(job.status, JOB_SUCCEEDED);
	assert_int_equal(job.finished_at, NOW_MS / 1000 + 9);
	assert_int_equal(job.trained_tokens, 42);
	assert_string_equal(job.fine_tuned_model, "ft:base:ann::1");
	assert_int_equal(store_adapter_get(f->s, f->ann.id, "ft:base:ann::1", &a), OK);
	assert_string_equal(a.sha256, job.adapter_sha256);
	assert_string_equal(a.job_id, id);
	assert_string_equal(a.parent, "base");
	assert_string_equal(a.manifest, "{\"v\":2}");
	assert_false(a.checkpoint);
	assert_memory_equal(a.content, "final", 5);
	adapter_record_fini(&a);
	assert_int_equal(store_file_get(f->s, f->ann.id, job.result_file, &file), OK);
	assert_string_equal(file.purpose, "fine-tune-results");
	assert_int_equal(file.bytes, 7);
	file_fini(&file);
	assert_int_equal(store_file_open(f->s, f->ann.id, job.result_file, &fd), OK);
	assert_int_equal(read(fd, csv, sizeof(csv)), 7);
	assert_string_equal(csv, "step\n1\n");
	close(fd);
	assert_int_equal(store_job_state_get(f->s, id, &data, &n), ERR_EMPTY);
	assert_int_equal(store_event_since(f->s, id, 0, 10, &events, &n), OK);
	assert_int_equal(n, 4);
	assert_string_equal(events[2].message, "New fine-tuned model created: ft:base:ann::1");
	assert_string_equal(events[3].message, "The job has successfully completed");
	event_list_free(events, n);
	job_fini(&job);
}

static void test_success_of_a_job_cancelled_meanwhile_does_nothing(void **state)
{
	struct fixture *f = *state;
	struct job_transition cancel = {.to = JOB_CANCELLED};
	char id[STORE_ID_SIZE];
	struct job_success in = success_of(id);
	struct job job = {.step = 77};

	make_running(f, id);
	assert_int_equal(store_job_transition(f->s, NULL, id, &cancel, NULL), OK);
	assert_int_equal(store_job_succeed(f->s, &in, &job), ERR_STATE);
	assert_int_equal(job.step, 77);
	assert_int_equal(status_of(f, id), JOB_CANCELLED);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM file"), 1);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
}

static void test_success_under_a_name_that_is_taken_does_nothing(void **state)
{
	struct fixture *f = *state;
	char first[STORE_ID_SIZE], second[STORE_ID_SIZE];
	struct job_success in = success_of(first);
	struct job job;

	make_running(f, first);
	assert_int_equal(store_job_succeed(f->s, &in, NULL), OK);
	make_running(f, second);
	in.job_id = second;
	assert_int_equal(store_job_succeed(f->s, &in, &job), ERR_EXISTS);
	assert_int_equal(status_of(f, second), JOB_RUNNING);
	assert_int_equal(count_entries(f, "files"), 2);
}

static void test_adapters_list_checkpoints_on_request(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], after[STORE_ID_SIZE];
	struct checkpoint_new c = checkpoint_of(id, 5, "ft:base:ann::1:ckpt-step-5");
	struct job_success in = success_of(id);
	struct page page = {.limit = 1};
	struct adapter_record *items;
	bool more;
	size_t n;

	make_running(f, id);
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	assert_int_equal(store_job_succeed(f->s, &in, NULL), OK);
	assert_int_equal(store_adapter_list(f->s, f->ann.id, false, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	assert_string_equal(items[0].name, "ft:base:ann::1");
	assert_null(items[0].content);
	memcpy(after, items[0].id, sizeof(after));
	adapter_record_list_free(items, n);
	assert_int_equal(store_adapter_list(f->s, f->ann.id, true, &page, &items, &n, &more), OK);
	assert_true(more);
	adapter_record_list_free(items, n);
	page.after = after;
	assert_int_equal(store_adapter_list(f->s, f->ann.id, true, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_string_equal(items[0].name, "ft:base:ann::1:ckpt-step-5");
	adapter_record_list_free(items, n);
	page.after = NULL;
	assert_int_equal(store_adapter_list(f->s, f->bob.id, true, &page, &items, &n, &more), OK);
	assert_int_equal(n, 0);
	adapter_record_list_free(items, n);
}

static void test_adapter_goes_with_its_checkpoints(void **state)
{
	struct fixture *f = *state;
	const char *steps[] = {"ft:base:ann::1:ckpt-step-5", "ft:base:ann::1:ckpt-step-6"};
	struct adapter_record a = {.step = 77};
	char id[STORE_ID_SIZE];
	struct job_success in = success_of(id);

	make_running(f, id);
	for (int i = 0; i < 2; i++) {
		struct checkpoint_new c = checkpoint_of(id, 5 + i, steps[i]);

		assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	}
	assert_int_equal(store_job_succeed(f->s, &in, NULL), OK);
	assert_int_equal(store_adapter_delete(f->s, f->bob.id, in.name), ERR_NOT_FOUND);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 3);
	assert_int_equal(store_adapter_delete(f->s, f->ann.id, steps[0]), OK);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 2);
	assert_int_equal(sql(f, "SELECT count(*) FROM checkpoint"), 1);
	assert_int_equal(store_adapter_delete(f->s, f->ann.id, in.name), OK);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM checkpoint"), 0);
	assert_int_equal(store_adapter_get(f->s, f->ann.id, in.name, &a), ERR_NOT_FOUND);
	assert_int_equal(store_adapter_delete(f->s, f->ann.id, in.name), ERR_NOT_FOUND);
	assert_int_equal(a.step, 77);
	assert_int_equal(status_of(f, id), JOB_SUCCEEDED);
}

static struct adapter_new import_of(const struct fixture *f)
{
	return (struct adapter_new){.tenant_id = f->ann.id,
	        .name = "ft:base:ann:mine:1",
	        .parent = "base",
	        .manifest = "{\"imported_from\":\"x.pth\"}",
	        .content = "w\0ights",
	        .n_content = 7};
}

static void test_an_added_adapter_is_durable_and_its_tenants_alone(void **state)
{
	struct fixture *f = *state;
	struct adapter_new in = import_of(f);
	struct adapter_record added, a;

	assert_int_equal(store_adapter_add(f->s, &in, &added), OK);
	assert_int_equal(strncmp(added.id, "adapter-", 8), 0);
	assert_string_equal(added.name, in.name);
	assert_int_equal(added.bytes, 7);
	assert_null(added.content);
	fixture_reopen(f);
	assert_int_equal(store_adapter_get(f->s, f->bob.id, in.name, &a), ERR_NOT_FOUND);
	assert_int_equal(store_adapter_get(f->s, f->ann.id, in.name, &a), OK);
	assert_string_equal(a.id, added.id);
	assert_string_equal(a.sha256, added.sha256);
	assert_string_equal(a.job_id, "");
	assert_string_equal(a.parent, "base");
	assert_string_equal(a.manifest, in.manifest);
	assert_false(a.checkpoint);
	assert_memory_equal(a.content, "w\0ights", 7);
	adapter_record_fini(&a);
	adapter_record_fini(&added);
	assert_int_equal(store_adapter_delete(f->s, f->ann.id, in.name), OK);
	assert_int_equal(store_adapter_get(f->s, f->ann.id, in.name, &a), ERR_NOT_FOUND);
}

static void test_adding_takes_no_name_that_is_taken_and_no_tenant_that_is_not(void **state)
{
	struct fixture *f = *state;
	struct adapter_new in = import_of(f);
	char name[STORE_MODEL_SIZE + 1];

	assert_int_equal(store_adapter_add(f->s, &in, NULL), OK);
	in.tenant_id = f->bob.id;
	assert_int_equal(store_adapter_add(f->s, &in, NULL), ERR_EXISTS);
	in.name = "ft:base:ann:mine:2";
	in.tenant_id = "tenant-nobody";
	assert_int_equal(store_adapter_add(f->s, &in, NULL), ERR_NOT_FOUND);
	memset(name, 'a', sizeof(name));
	name[STORE_MODEL_SIZE] = '\0';
	in.tenant_id = f->ann.id;
	in.name = name;
	assert_int_equal(store_adapter_add(f->s, &in, NULL), ERR_INVALID);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), 1);
}

static void test_scratch_can_be_read_back_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	char got[5];
	int fd;

	assert_int_equal(store_scratch_open(f->s, &fd), OK);
	assert_int_equal(count_entries(f, "tmp"), 0);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(pread(fd, got, 5, 0), 5);
	assert_memory_equal(got, "hello", 5);
	close(fd);
}

static void test_latest_checkpoint_is_that_of_the_highest_step(void **state)
{
	struct fixture *f = *state;
	static const int64_t steps[] = {9, 10, 2};
	char id[STORE_ID_SIZE], name[STORE_MODEL_SIZE], latest[STORE_MODEL_SIZE];

	make_running(f, id);
	assert_int_equal(store_adapter_latest(f->s, f->ann.id, "ft:x", latest), ERR_NOT_FOUND);
	for (size_t i = 0; i < 3; i++) {
		const struct checkpoint_new c = {.job_id = id,
		        .step = steps[i],
		        .state = "s",
		        .n_state = 1,
		        .name = name,
		        .parent = "base",
		        .metrics = "{}",
		        .manifest = "{}",
		        .content = "w",
		        .n_content = 1};

		snprintf(name, sizeof(name), "ft:x:ckpt-step-%lld", (long long)steps[i]);
		assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	}
	assert_int_equal(store_adapter_latest(f->s, f->ann.id, "ft:x", latest), OK);
	assert_string_equal(latest, "ft:x:ckpt-step-10");
	assert_int_equal(store_adapter_latest(f->s, f->ann.id, "ft:", latest), ERR_NOT_FOUND);
	assert_int_equal(store_adapter_latest(f->s, f->bob.id, "ft:x", latest), ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_latest_checkpoint_is_that_of_the_highest_step),
	        STORE_TEST(test_checkpoint_replaces_the_state),
	        STORE_TEST(test_checkpoint_with_a_name_can_be_served),
	        STORE_TEST(test_checkpoints_page),
	        STORE_TEST(test_checkpoint_of_an_ended_job_is_refused),
	        STORE_TEST(test_success_tells_everything_at_once),
	        STORE_TEST(test_success_of_a_job_cancelled_meanwhile_does_nothing),
	        STORE_TEST(test_success_under_a_name_that_is_taken_does_nothing),
	        STORE_TEST(test_adapters_list_checkpoints_on_request),
	        STORE_TEST(test_adapter_goes_with_its_checkpoints),
	        STORE_TEST(test_an_added_adapter_is_durable_and_its_tenants_alone),
	        STORE_TEST(test_adding_takes_no_name_that_is_taken_and_no_tenant_that_is_not),
	        STORE_TEST(test_scratch_can_be_read_back_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
