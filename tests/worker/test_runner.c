/* One job, driven by hand: what it leaves behind, and what a crash in the middle changes (nothing). */
#include "worker/runner.h"

#include "tests/worker/fixture.h"

/* Claim the one queued job and load it. */
static struct runner *load(struct fixture *f, struct job *job)
{
	struct runner *r = NULL;
	struct why why = {0};
	size_t n;

	assert_int_equal(store_job_recover(f->store, true, &n), OK);
	assert_int_equal(store_job_claim(f->store, "test", 60000, 0, job), OK);
	fixture_must(runner_new(&f->env, job, &r, &why), &why);
	return r;
}

/* Up to n phases; false when the job is trained. */
static bool advance(struct fixture *f, struct runner *r, size_t n)
{
	struct train_workspace *w;
	struct why why = {0};
	size_t n_items;
	bool more = true;

	assert_int_equal(train_workspace_new(f->model, runner_max_rows(r), 0, &w), OK);
	for (size_t i = 0; i < n && more; i++) {
		enum err e = runner_begin(r, &n_items);

		more = e == OK;
		if (!more) {
			assert_int_equal(e, ERR_EMPTY);
			break;
		}
		for (size_t k = 0; k < n_items; k++)
			assert_int_equal(runner_item(r, k, w), OK);
		fixture_must(runner_end(r, &why), &why);
	}
	train_workspace_free(w);
	return more;
}

static void finish(struct fixture *f, struct runner *r, struct job *job)
{
	struct why why = {0};
	char id[STORE_ID_SIZE];

	memcpy(id, job->id, sizeof(id));
	assert_false(advance(f, r, SIZE_MAX));
	fixture_must(runner_finish(r, &why), &why);
	job_fini(job);
	get_job(f, id, job);
	assert_int_equal(job->status, JOB_SUCCEEDED);
}

static void test_job_leaves_events_checkpoints_and_result(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {.tenant = &f->ann, .valid = true};
	struct page page = {.limit = 100};
	struct checkpoint *checkpoints;
	struct adapter_record adapter;
	struct runner *r;
	struct job job;
	char id[STORE_ID_SIZE], prefix[] = "ft:base:ann::", tail[STORE_MODEL_SIZE + 16];
	size_t n;
	bool more;

	make_job(f, &ask, id);
	r = load(f, &job);
	finish(f, r, &job);
	runner_free(r);
	assert_int_equal(count_metrics(f, id, "train_loss"), 15); /* 24 rows by 5, three times */
	assert_int_equal(count_metrics(f, id, "valid_loss"), 3);
	assert_int_equal(job.step, 15);
	assert_int_equal(job.total_steps, 15);
	assert_true(job.epoch == 3);
	assert_true(job.trained_tokens > 0 && job.trained_tokens % 3 == 0);
	snprintf(tail, sizeof(tail), "%s%s", prefix, id + strlen(id) - 8);
	assert_string_equal(job.fine_tuned_model, tail);
	assert_int_equal(store_checkpoint_list(f->store, f->ann.id, id, &page, &checkpoints, &n, &more), OK);
	assert_int_equal(n, 3);
	assert_int_equal(checkpoints[0].step, 15);
	snprintf(tail, sizeof(tail), "%s:ckpt-step-15", job.fine_tuned_model);
	assert_string_equal(checkpoints[0].model, tail);
	assert_non_null(strstr(checkpoints[0].metrics, "valid_loss"));
	checkpoint_list_free(checkpoints, n);
	assert_int_equal(store_adapter_get(f->store, f->ann.id, job.fine_tuned_model, &adapter), OK);
	assert_non_null(strstr(adapter.manifest, model_info(f->model)->hash));
	assert_string_equal(adapter.parent, "base");
	adapter_record_fini(&adapter);
	job_fini(&job);
}

static void test_result_file_has_a_line_per_step(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {.tenant = &f->ann, .valid = true};
	struct runner *r;
	struct job job;
	char id[STORE_ID_SIZE], line[256];
	FILE *csv;
	int fd, n = 0, n_valid = 0, step;

	make_job(f, &ask, id);
	r = load(f, &job);
	finish(f, r, &job);
	runner_free(r);
	assert_int_equal(store_file_open(f->store, f->ann.id, job.result_file, &fd), OK);
	csv = fdopen(fd, "r");
	assert_non_null(csv);
	assert_non_null(fgets(line, sizeof(line), csv));
	assert_string_equal(line, "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n");
	while (fgets(line, sizeof(line), csv)) {
		double loss, accuracy, valid_loss, valid_accuracy;
		int got = sscanf(
		        line, "%d,%lf,%lf,%lf,%lf", &step, &loss, &accuracy, &valid_loss, &valid_accuracy);

		assert_int_equal(step, ++n);
		assert_int_equal(got, n % 5 == 0 ? 5 : 3);
		assert_true(loss > 0 && accuracy >= 0 && accuracy <= 1);
		n_valid += got == 5;
	}
	assert_int_equal(n, 15);
	assert_int_equal(n_valid, 3);
	fclose(csv);
	job_fini(&job);
}

/* Killed after every number of phases: the state on disk is older than the events, and nothing shows it. */
static void test_crash_anywhere_changes_nothing(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {.tenant = &f->ann, .valid = true};
	char sha256[HASH_HEX_SIZE] = "";

	for (size_t stop = 0; stop <= 18; stop += 3) {
		char id[STORE_ID_SIZE];
		struct runner *r;
		struct job job;

		make_job(f, &ask, id);
		if (stop) {
			r = load(f, &job);
			advance(f, r, stop);
			runner_free(r);
			job_fini(&job);
		}
		r = load(f, &job);
		assert_true(stop < 6 || runner_steps_done(r) > 0);
		finish(f, r, &job);
		runner_free(r);
		assert_int_equal(count_metrics(f, id, "train_loss"), 15);
		assert_int_equal(count_metrics(f, id, "valid_loss"), 3);
		if (!sha256[0])
			memcpy(sha256, job.adapter_sha256, sizeof(sha256));
		assert_string_equal(job.adapter_sha256, sha256);
		job_fini(&job);
	}
}

static void test_same_input_gives_the_same_bytes_for_another_tenant(void **state)
{
	struct fixture *f = *state;
	const struct ask asks[] = {{.tenant = &f->ann, .request = "{\"suffix\":\"one\",\"seed\":9}"},
	        {.tenant = &f->bob, .request = "{\"suffix\":\"two\",\"seed\":9}"},
	        {.tenant = &f->bob, .request = "{\"suffix\":\"two\",\"seed\":10}"}};
	char sha256[3][HASH_HEX_SIZE];

	for (size_t i = 0; i < 3; i++) {
		char id[STORE_ID_SIZE];
		struct runner *r;
		struct job job;

		make_job(f, &asks[i], id);
		r = load(f, &job);
		finish(f, r, &job);
		runner_free(r);
		memcpy(sha256[i], job.adapter_sha256, HASH_HEX_SIZE);
		job_fini(&job);
	}
	assert_string_equal(sha256[0], sha256[1]);
	assert_string_not_equal(sha256[0], sha256[2]);
}

static void test_training_goes_on_from_an_adapter(void **state)
{
	struct fixture *f = *state;
	struct ask ask = {.tenant = &f->ann,
	        .request = "{\"seed\":1,\"hyperparameters\":{\"n_epochs\":1,\"batch_size\":12}}"};
	struct adapter_record record;
	struct runner *r;
	struct job first, job;
	struct why why = {0};
	char id[STORE_ID_SIZE];

	make_job(f, &ask, id);
	r = load(f, &first);
	finish(f, r, &first);
	runner_free(r);
	ask.model = first.fine_tuned_model;
	make_job(f, &ask, id);
	r = load(f, &job);
	finish(f, r, &job);
	runner_free(r);
	assert_string_not_equal(job.adapter_sha256, first.adapter_sha256);
	assert_int_equal(store_adapter_get(f->store, f->ann.id, job.fine_tuned_model, &record), OK);
	assert_string_equal(record.parent, first.fine_tuned_model);
	adapter_record_fini(&record);
	job_fini(&job);
	/* Not from one that edits something else, nor from another tenant's. */
	ask.request = "{\"adapter\":{\"positions\":[\"attn\"]}}";
	make_job(f, &ask, id);
	assert_int_equal(store_job_claim(f->store, "test", 60000, 0, &job), OK);
	assert_int_equal(runner_new(&f->env, &job, &r, &why), ERR_MISMATCH);
	assert_string_equal(why.param, "adapter");
	job_fini(&job);
	ask.request = NULL;
	ask.tenant = &f->bob;
	make_job(f, &ask, id);
	assert_int_equal(store_job_claim(f->store, "test", 60000, 0, &job), OK);
	assert_int_equal(runner_new(&f->env, &job, &r, &why), ERR_NOT_FOUND);
	job_fini(&job);
	job_fini(&first);
}

static void test_cancelled_job_publishes_nothing(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {.tenant = &f->ann};
	const struct job_transition cancel = {.to = JOB_CANCELLED};
	struct page page = {.limit = 10};
	struct adapter_record *adapters;
	struct why why = {0};
	struct runner *r;
	struct job job;
	char id[STORE_ID_SIZE];
	size_t n;
	bool more;

	make_job(f, &ask, id);
	r = load(f, &job);
	assert_false(advance(f, r, SIZE_MAX));
	assert_int_equal(store_job_transition(f->store, NULL, id, &cancel, NULL), OK);
	assert_int_equal(runner_finish(r, &why), ERR_CANCELLED);
	assert_int_equal(runner_save(r), ERR_CANCELLED);
	runner_free(r);
	assert_int_equal(store_adapter_list(f->store, f->ann.id, false, &page, &adapters, &n, &more), OK);
	assert_int_equal(n, 0);
	adapter_record_list_free(adapters, n);
	job_fini(&job);
}

static void test_bad_file_names_the_line(void **state)
{
	struct fixture *f = *state;
	const struct ask ask = {
	        .tenant = &f->ann, .text = "{\"prompt\":\"a\",\"completion\":\"b\"}\nnot json\n"};
	struct runner *r = NULL;
	struct why why = {0};
	struct job job;
	char id[STORE_ID_SIZE];

	make_job(f, &ask, id);
	assert_int_equal(store_job_claim(f->store, "test", 60000, 0, &job), OK);
	assert_int_equal(runner_new(&f->env, &job, &r, &why), ERR_INVALID);
	assert_null(r);
	assert_string_equal(why.param, "training_file");
	assert_non_null(strstr(why.message, "line 2"));
	job_fini(&job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORKER_TEST(test_job_leaves_events_checkpoints_and_result),
	        WORKER_TEST(test_result_file_has_a_line_per_step),
	        WORKER_TEST(test_crash_anywhere_changes_nothing),
	        WORKER_TEST(test_same_input_gives_the_same_bytes_for_another_tenant),
	        WORKER_TEST(test_training_goes_on_from_an_adapter),
	        WORKER_TEST(test_cancelled_job_publishes_nothing),
	        WORKER_TEST(test_bad_file_names_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
