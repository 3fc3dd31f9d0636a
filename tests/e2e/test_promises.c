/*
 * The promises of the design, kept by a real daemon: same input, same bytes, whatever the threads, the
 * neighbours or a kill -9; alone or together, the same answer; accepted means kept; no tenant sees another.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BASE GOLDEN_DIR "llama3"
#define DATA BASE "/train.jsonl"
#define SHA_SIZE 65

static json_t *request(const char *file, int epochs, int seed)
{
	return json_pack("{s:s, s:s, s:i, s:{s:s, s:{s:{s:i, s:i, s:f, s:b}}}}", "model", "llama3",
	        "training_file", file, "seed", seed, "method", "type", "supervised", "supervised",
	        "hyperparameters", "n_epochs", epochs, "batch_size", 5, "learning_rate", 0.02, "shuffle", 1);
}

static void start(struct daemon *d, const char *threads)
{
	const char *args[] = {"--model", BASE, "--train-threads", threads, "--checkpoint-every", "7", NULL};

	daemon_start(d, args);
}

static void submit(const struct daemon *d, const char *key, int epochs, int seed, char job[64])
{
	char file[64];
	json_t *body;

	must_upload(d, key, DATA, file);
	body = request(file, epochs, seed);
	assert_non_null(body);
	must_job(d, key, body, job);
	json_decref(body);
}

static void finished_sha(const struct daemon *d, const char *key, const char *job, char sha[SHA_SIZE])
{
	json_t *done = must_finish(d, key, job);

	assert_string_equal(json_string_value(json_object_get(done, "status")), "succeeded");
	snprintf(sha, SHA_SIZE, "%s", json_string_value(json_object_get(done, "adapter_sha256")));
	assert_int_equal(strlen(sha), SHA_SIZE - 1);
	json_decref(done);
}

/* What the job of the tests below must give: from one thread, alone. */
static void reference_sha(char sha[SHA_SIZE])
{
	struct daemon d;
	char key[128], job[64];

	daemon_init(&d);
	start(&d, "1");
	must_tenant(&d, "alone", key);
	submit(&d, key, 8, 42, job);
	finished_sha(&d, key, job, sha);
	daemon_stop(&d);
	daemon_fini(&d);
}

static void test_the_adapter_does_not_depend_on_threads(void **state)
{
	static const char *const threads[] = {"2", "3"};
	char reference[SHA_SIZE], sha[SHA_SIZE], key[128], job[64];

	(void)state;
	reference_sha(reference);
	for (size_t i = 0; i < 2; i++) {
		struct daemon d;

		daemon_init(&d);
		start(&d, threads[i]);
		must_tenant(&d, "many", key);
		submit(&d, key, 8, 42, job);
		finished_sha(&d, key, job, sha);
		assert_string_equal(sha, reference);
		daemon_stop(&d);
		daemon_fini(&d);
	}
}

static void test_the_adapter_does_not_depend_on_neighbours(void **state)
{
	char reference[SHA_SIZE], mine[SHA_SIZE], other[SHA_SIZE], key[128], key2[128], job[64], job2[64];
	struct daemon d;

	(void)state;
	reference_sha(reference);
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "one", key);
	must_tenant(&d, "two", key2);
	submit(&d, key2, 12, 7, job2);
	submit(&d, key, 8, 42, job);
	finished_sha(&d, key, job, mine);
	finished_sha(&d, key2, job2, other);
	assert_string_equal(mine, reference);
	assert_string_not_equal(other, reference);
	daemon_stop(&d);
	daemon_fini(&d);
}

struct until {
	size_t events, limit;
};

static bool count_metrics(void *arg, const char *data)
{
	struct until *u = arg;

	if (strstr(data, "\"train_loss\""))
		u->events++;
	return u->events < u->limit;
}

static void test_a_killed_job_resumes_to_the_same_bytes(void **state)
{
	char reference[SHA_SIZE], sha[SHA_SIZE], key[128], job[64], path[128];
	struct daemon d;
	double steps[512];
	size_t total;

	(void)state;
	reference_sha(reference);
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "mortal", key);
	submit(&d, key, 8, 42, job);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", job);
	for (size_t kills = 0; kills < 3; kills++) {
		struct until u = {0, 4 + 9 * kills};

		http_stream(&d, key, "GET", path, NULL, count_metrics, &u);
		daemon_signal(&d, SIGKILL);
		start(&d, kills % 2 ? "1" : "3");
	}
	finished_sha(&d, key, job, sha);
	assert_string_equal(sha, reference);
	/* Every step left one event, replayed or not. */
	total = job_metrics(&d, key, job, "train_loss", steps, 512);
	assert_int_equal(total, 8 * 5);
	daemon_stop(&d);
	daemon_fini(&d);
}

static void test_a_stopped_job_goes_on_after_restart(void **state)
{
	char reference[SHA_SIZE], sha[SHA_SIZE], key[128], job[64], path[128];
	struct daemon d;
	struct until u = {0, 10};

	(void)state;
	reference_sha(reference);
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "patient", key);
	submit(&d, key, 8, 42, job);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", job);
	http_stream(&d, key, "GET", path, NULL, count_metrics, &u);
	daemon_stop(&d);
	start(&d, "2");
	finished_sha(&d, key, job, sha);
	assert_string_equal(sha, reference);
	daemon_stop(&d);
	daemon_fini(&d);
}

/* ---- sixteen prompts under sixteen adapters ---- */

enum { N_ASKERS = 16 };

struct asker {
	const struct daemon *daemon;
	const char *key;
	char model[256];
	char prompt[64];
	char *alone, *together; /* owned */
	pthread_t thread;
};

static char *ask(const struct asker *a)
{
	json_t *body = json_pack("{s:s, s:s, s:i, s:f, s:b}", "model", a->model, "prompt", a->prompt,
	        "max_tokens", 40, "temperature", 0.0, "ignore_eos", 1);
	struct answer answer = http_call(a->daemon, a->key, "POST", "/v1/completions", body);
	const json_t *choice = json_array_get(json_object_get(answer.json, "choices"), 0);
	char *text = mem_strdup(json_string_value(json_object_get(choice, "text")));

	json_decref(body);
	answer_fini(&answer);
	return text;
}

static void *ask_thread(void *arg)
{
	struct asker *a = arg;

	a->together = ask(a);
	return NULL;
}

static void test_sixteen_adapters_answer_together_as_alone(void **state)
{
	struct asker askers[N_ASKERS];
	struct daemon d;
	char key[128];
	size_t differ = 0;

	(void)state;
	memset(askers, 0, sizeof(askers));
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "choir", key);
	for (int i = 0; i < N_ASKERS; i++) {
		struct asker *a = &askers[i];
		char job[64];
		json_t *done;

		submit(&d, key, 2, 100 + i, job);
		done = must_finish(&d, key, job);
		snprintf(a->model, sizeof(a->model), "%s",
		        json_string_value(json_object_get(done, "fine_tuned_model")));
		json_decref(done);
		snprintf(a->prompt, sizeof(a->prompt), "The baker number %d has", i);
		a->daemon = &d;
		a->key = key;
		a->alone = ask(a);
		assert_non_null(a->alone);
	}
	for (int i = 0; i < N_ASKERS; i++)
		assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_thread, &askers[i]), 0);
	for (int i = 0; i < N_ASKERS; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_non_null(askers[i].together);
		assert_string_equal(askers[i].together, askers[i].alone);
		differ += i && strcmp(askers[i].alone, askers[0].alone) != 0;
	}
	assert_true(differ > 0);
	for (int i = 0; i < N_ASKERS; i++) {
		mem_free(askers[i].alone);
		mem_free(askers[i].together);
	}
	daemon_stop(&d);
	daemon_fini(&d);
}

static void test_tenants_do_not_see_each_other(void **state)
{
	char key[128], key2[128], job[64], file[64], path[256];
	struct daemon d;
	struct answer a;
	json_t *done, *body;

	(void)state;
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "mine", key);
	must_tenant(&d, "theirs", key2);
	submit(&d, key, 1, 1, job);
	done = must_finish(&d, key, job);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s", job);
	a = http_call(&d, key2, "GET", path, NULL);
	assert_int_equal(a.status, 404);
	answer_fini(&a);
	must_upload(&d, key, DATA, file);
	snprintf(path, sizeof(path), "/v1/files/%s/content", file);
	a = http_call(&d, key2, "GET", path, NULL);
	assert_int_equal(a.status, 404);
	answer_fini(&a);
	body = json_pack("{s:O, s:s, s:i}", "model", json_object_get(done, "fine_tuned_model"), "prompt",
	        "The", "max_tokens", 2);
	a = http_call(&d, key2, "POST", "/v1/completions", body);
	assert_int_equal(a.status, 404);
	assert_string_equal(json_string_value(json_object_get(json_object_get(a.json, "error"), "code")),
	        "model_not_found");
	answer_fini(&a);
	json_decref(body);
	body = request(file, 1, 1);
	a = http_call(&d, key2, "POST", "/v1/fine_tuning/jobs", body);
	assert_true(a.status == 400 || a.status == 404);
	answer_fini(&a);
	json_decref(body);
	json_decref(done);
	daemon_stop(&d);
	daemon_fini(&d);
}

static void test_a_cancelled_job_stays_cancelled(void **state)
{
	char key[128], job[64], path[128];
	struct daemon d;
	struct until u = {0, 3};
	json_t *cancelled, *done;

	(void)state;
	daemon_init(&d);
	start(&d, "2");
	must_tenant(&d, "fickle", key);
	submit(&d, key, 50, 5, job);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", job);
	http_stream(&d, key, "GET", path, NULL, count_metrics, &u);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/cancel", job);
	cancelled = must_call(&d, key, "POST", path, NULL);
	assert_string_equal(json_string_value(json_object_get(cancelled, "status")), "cancelled");
	daemon_signal(&d, SIGKILL);
	start(&d, "2");
	done = must_finish(&d, key, job);
	assert_string_equal(json_string_value(json_object_get(done, "status")), "cancelled");
	json_decref(cancelled);
	json_decref(done);
	daemon_stop(&d);
	daemon_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_adapter_does_not_depend_on_threads),
	        cmocka_unit_test(test_the_adapter_does_not_depend_on_neighbours),
	        cmocka_unit_test(test_a_killed_job_resumes_to_the_same_bytes),
	        cmocka_unit_test(test_a_stopped_job_goes_on_after_restart),
	        cmocka_unit_test(test_sixteen_adapters_answer_together_as_alone),
	        cmocka_unit_test(test_tenants_do_not_see_each_other),
	        cmocka_unit_test(test_a_cancelled_job_stays_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
