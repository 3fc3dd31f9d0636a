/* The room as a whole: from a directory and a store to a job whose adapter answers at once. */
#include "worker/worker.h"

#include "tests/worker/fixture.h"

static struct worker *open_worker(struct fixture *f, const char *name)
{
	const struct worker_options options = {
	        .model_dir = BASE_DIR, .model_name = name, .n_train_threads = 2, .kv_bytes = 1 << 22};
	struct worker *w = NULL;
	struct why why = {0};

	fixture_must(worker_open(&options, f->store, &w, &why), &why);
	return w;
}

static struct job_spec spec_of(const char *request)
{
	json_t *body = json_loads(request, 0, NULL);
	struct job_spec spec;
	struct why why = {0};

	fixture_must(job_spec_from_request(body, &spec, &why), &why);
	json_decref(body);
	return spec;
}

static void test_base_is_named_after_its_directory(void **state)
{
	struct fixture *f = *state;
	struct worker *w = open_worker(f, NULL);

	assert_string_equal(worker_base_name(w), "llama2");
	assert_true(worker_base_created(w) > 0);
	worker_close(w);
	w = open_worker(f, "org/model:v1 (new)");
	assert_string_equal(worker_base_name(w), "org-model-v1--new-");
	worker_close(w);
}

static void test_directory_without_a_model_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct worker_options options = {.model_dir = f->dir};
	struct worker *w = NULL;
	struct why why = {0};

	assert_int_not_equal(worker_open(&options, f->store, &w, &why), OK);
	assert_null(w);
	assert_non_null(strstr(why.message, "config.json"));
}

static void test_check_counts_and_resolves(void **state)
{
	struct fixture *f = *state;
	struct worker *w = open_worker(f, "base");
	struct job_spec spec = spec_of("{\"hyperparameters\":{\"n_epochs\":2}}");
	struct job_check check;
	struct why why = {0};
	char file[STORE_ID_SIZE];

	put_file(f, &f->ann, f->rows.data, file);
	fixture_must(worker_job_check(w, f->ann.id, "base", file, NULL, &spec, &check, &why), &why);
	assert_int_equal(check.n_rows, 24);
	assert_true(check.n_tokens > check.n_trained_tokens && check.n_trained_tokens > 24);
	assert_true(spec.resolved);
	assert_int_equal(spec.train.batch_size, 1);
	assert_int_equal(check.n_steps, 48);
	assert_true(check.estimated_seconds > 0);
	job_check_fini(&check);
	worker_close(w);
}

/* Check with these files ("" = one that is not there) and expect a fault of this parameter. */
static void check_fault(struct fixture *f, struct worker *w, const char *train, const char *valid,
        const char *request, const char *param)
{
	struct job_spec spec = spec_of(request);
	struct job_check check;
	struct why why = {0};
	char files[2][STORE_ID_SIZE] = {"file-none", "file-none"};

	if (*train)
		put_file(f, &f->ann, train, files[0]);
	if (*valid)
		put_file(f, &f->ann, valid, files[1]);
	assert_int_equal(
	        worker_job_check(w, f->ann.id, "base", files[0], files[1], &spec, &check, &why), ERR_INVALID);
	assert_string_equal(why.param, param);
	assert_false(spec.resolved);
	job_check_fini(&check);
}

static void test_check_names_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct worker *w = open_worker(f, "base");
	const char *good = f->rows.data;

	check_fault(f, w, "", good, "{}", "training_file");
	check_fault(f, w, good, "", "{}", "validation_file");
	check_fault(f, w, "nonsense\n", good, "{}", "training_file");
	check_fault(f, w, good, "nonsense\n", "{}", "validation_file");
	check_fault(f, w, good, good, "{\"hyperparameters\":{\"max_length\":100000}}",
	        "hyperparameters.max_length");
	check_fault(f, w, good, good, "{\"adapter\":{\"layers\":[99]}}", "adapter.layers");
	worker_close(w);
}

static void test_check_sees_only_the_tenants_files(void **state)
{
	struct fixture *f = *state;
	struct worker *w = open_worker(f, "base");
	struct job_spec spec = spec_of("{}");
	struct job_check check;
	struct why why = {0};
	char file[STORE_ID_SIZE];

	put_file(f, &f->bob, f->rows.data, file);
	assert_int_equal(
	        worker_job_check(w, f->ann.id, "base", file, NULL, &spec, &check, &why), ERR_INVALID);
	assert_string_equal(why.param, "training_file");
	job_check_fini(&check);
	worker_close(w);
}

struct answer {
	struct fixture *f;
	struct serve_result result;
	bool done; /* under f->lock */
};

static void on_done(void *arg, const struct serve_result *result)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->f->lock);
	a->result = *result;
	a->done = true;
	pthread_cond_broadcast(&a->f->changed);
	pthread_mutex_unlock(&a->f->lock);
}

static void test_trained_adapter_answers_at_once(void **state)
{
	struct fixture *f = *state;
	struct worker *w = open_worker(f, "base");
	const struct ask ask = {.tenant = &f->ann};
	struct answer answer = {.f = f};
	struct serve_request request = {.n_prompt = 1,
	        .strength = 1,
	        .sample = {.top_p = 1, .repetition_penalty = 1},
	        .max_tokens = 4,
	        .ignore_eos = true,
	        .on_done = on_done,
	        .arg = &answer};
	int32_t prompt[1] = {1};
	struct worker_stats stats;
	struct why why = {0};
	struct job job;
	char id[STORE_ID_SIZE];
	uint64_t serial;

	worker_set_listener(w, fixture_listener, f);
	fixture_must(worker_start(w, &why), &why);
	make_job(f, &ask, id);
	worker_job_poke(w, id);
	await_status(f, id, JOB_SUCCEEDED);
	get_job(f, id, &job);
	request.prompt = prompt;
	assert_int_equal(worker_adapter_acquire(w, f->bob.id, job.fine_tuned_model, &request.adapter, &why),
	        ERR_NOT_FOUND);
	fixture_must(
	        worker_adapter_acquire(w, f->ann.id, job.fine_tuned_model, &request.adapter, &why), &why);
	fixture_must(worker_submit(w, &request, &serial, &why), &why);
	pthread_mutex_lock(&f->lock);
	while (!answer.done)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	assert_int_equal(answer.result.finish, FINISH_LENGTH);
	assert_int_equal(answer.result.n_generated, 4);
	worker_stats(w, &stats);
	assert_int_equal(stats.n_train_threads, 2);
	assert_int_equal(stats.adapters_resident, 1);
	assert_int_equal(stats.serve.generated_tokens, 4);
	worker_adapter_forget(w, f->ann.id, job.fine_tuned_model);
	worker_stop(w, 1000);
	worker_stats(w, &stats);
	assert_int_equal(stats.adapters_resident, 0);
	worker_close(w);
	job_fini(&job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORKER_TEST(test_base_is_named_after_its_directory),
	        WORKER_TEST(test_directory_without_a_model_is_refused),
	        WORKER_TEST(test_check_counts_and_resolves),
	        WORKER_TEST(test_check_names_what_is_wrong),
	        WORKER_TEST(test_check_sees_only_the_tenants_files),
	        WORKER_TEST(test_trained_adapter_answers_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
