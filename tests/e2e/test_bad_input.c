/*
 * Bad input, over the wire and at the start: each is refused in words that name what to mend, nothing is
 * lost, and the daemon goes on answering.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE GOLDEN_DIR "llama3"

struct place {
	struct daemon daemon;
	char key[128];
};

static int place_open(void **state)
{
	static struct place p;
	const char *args[] = {"--model", BASE, "--max-body", "64K", "--max-file", "1M", NULL};

	daemon_init(&p.daemon);
	daemon_start(&p.daemon, args);
	must_tenant(&p.daemon, "clumsy", p.key);
	*state = &p;
	return 0;
}

static int place_close(void **state)
{
	struct place *p = *state;

	daemon_stop(&p->daemon);
	daemon_fini(&p->daemon);
	return 0;
}

/* The answer is `status` with a full error body whose message holds `words` (NULL = any). */
static void expect_refusal(struct answer a, long status, const char *words)
{
	const json_t *error = json_object_get(a.json, "error");
	const char *message = json_string_value(json_object_get(error, "message"));

	if (a.status != status || !message || (words && !strstr(message, words)))
		fail_msg("status %ld, expected %ld with \"%s\": %.1000s", a.status, status,
		        words ? words : "", a.text);
	assert_non_null(json_object_get(error, "type"));
	assert_non_null(json_object_get(error, "param"));
	assert_non_null(json_object_get(error, "code"));
	assert_non_null(strstr(a.content_type, "application/json"));
	answer_fini(&a);
}

/* A job on a file of this content is refused with these words. */
static void expect_bad_file(struct place *p, const char *content, const char *words)
{
	char file[64];
	json_t *body;

	assert_int_equal(http_upload(&p->daemon, p->key, "bad.jsonl", content, strlen(content), file), 200);
	body = json_pack("{s:s, s:s}", "model", "llama3", "training_file", file);
	expect_refusal(http_call(&p->daemon, p->key, "POST", "/v1/fine_tuning/jobs", body), 400, words);
	json_decref(body);
}

static void test_bad_training_files_name_the_line(void **state)
{
	struct place *p = *state;
	char *row = mem_calloc(8000, 1);

	expect_bad_file(p, "{\"prompt\":\"a\",\"completion\":\"b\"}\nnot json\n", "line 2");
	expect_bad_file(p, "{\"prompt\":\"a\",\"completion\":\"b\"}\n\n{\"prompt\":1,\"completion\":\"b\"}\n",
	        "line 3");
	expect_bad_file(p, "{\"prompt\":\"a\"}\n", "line 1");
	expect_bad_file(p, "[1,2]\n", "line 1");
	expect_bad_file(p, "{\"messages\":[]}\n", "line 1");
	expect_bad_file(p, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n", "line 1");
	expect_bad_file(p, "\n\n", "");
	expect_bad_file(p, "{\"prompt\":\"\xff\",\"completion\":\"b\"}\n", "line 1");
	strcpy(row, "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"a\",\"completion\":\"");
	for (int i = 0; i < 300; i++)
		strcat(row, "zebra ");
	strcat(row, "\"}\n");
	expect_bad_file(p, row, "line 2");
	mem_free(row);
}

static void test_bad_uploads_are_refused(void **state)
{
	struct place *p = *state;
	char file[64];
	char *large = mem_calloc(1, (1 << 20) + 4096);

	memset(large, 'x', (1 << 20) + 4096);
	assert_int_equal(http_upload(&p->daemon, p->key, "empty.jsonl", "", 0, file), 400);
	assert_int_equal(http_upload(&p->daemon, p->key, "large.jsonl", large, (1 << 20) + 4096, file), 413);
	expect_refusal(
	        http_raw(&p->daemon, p->key, "POST", "/v1/files", "application/json", "{}", 2), 400, NULL);
	expect_refusal(http_raw(&p->daemon, p->key, "POST", "/v1/files", "multipart/form-data; boundary=x",
	                       "--x--\r\n", 7),
	        400, NULL);
	mem_free(large);
}

static void test_bad_bodies_are_refused(void **state)
{
	struct place *p = *state;
	char *large = mem_calloc(1, 70000);

	memset(large, ' ', 70000);
	expect_refusal(
	        http_raw(&p->daemon, p->key, "POST", "/v1/completions", "application/json", "{\"model\":", 9),
	        400, NULL);
	expect_refusal(http_raw(&p->daemon, p->key, "POST", "/v1/completions", "application/json", "[]", 2),
	        400, NULL);
	expect_refusal(
	        http_raw(&p->daemon, p->key, "POST", "/v1/completions", "application/json", large, 70000),
	        413, NULL);
	expect_refusal(
	        http_raw(&p->daemon, p->key, "POST", "/v1/fine_tuning/jobs", "application/json", "{}", 2),
	        400, "model");
	mem_free(large);
}

static void expect_bad_completion(struct place *p, const char *json, long status, const char *words)
{
	expect_refusal(http_raw(&p->daemon, p->key, "POST", "/v1/completions", "application/json", json,
	                       strlen(json)),
	        status, words);
}

static void test_bad_completions_name_the_field(void **state)
{
	struct place *p = *state;

	expect_bad_completion(p, "{\"model\":\"llama3\"}", 400, "prompt");
	expect_bad_completion(p, "{\"model\":\"nobody\",\"prompt\":\"a\"}", 404, "nobody");
	expect_bad_completion(
	        p, "{\"model\":\"llama3\",\"prompt\":\"a\",\"temperature\":\"hot\"}", 400, "temperature");
	expect_bad_completion(
	        p, "{\"model\":\"llama3\",\"prompt\":\"a\",\"temperature\":-1}", 400, "temperature");
	expect_bad_completion(p, "{\"model\":\"llama3\",\"prompt\":[1,600]}", 400, NULL);
	expect_bad_completion(p, "{\"model\":\"llama3\",\"prompt\":[1,-1]}", 400, NULL);
	expect_bad_completion(
	        p, "{\"model\":\"llama3\",\"prompt\":\"a\",\"max_tokens\":0.5}", 400, "max_tokens");
	expect_bad_completion(p, "{\"model\":\"llama3\",\"prompt\":\"a\",\"n\":1000000}", 400, "n");
	expect_bad_completion(
	        p, "{\"model\":\"llama3\",\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", 400, "logit_bias");
}

static void test_a_prompt_longer_than_the_context_is_refused(void **state)
{
	struct place *p = *state;
	json_t *ids = json_array(), *body;
	struct answer a;

	for (int i = 0; i < 200; i++)
		json_array_append_new(ids, json_integer(i));
	body = json_pack("{s:s, s:o}", "model", "llama3", "prompt", ids);
	a = http_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	assert_string_equal(json_string_value(json_object_get(json_object_get(a.json, "error"), "code")),
	        "context_length_exceeded");
	expect_refusal(a, 400, "160");
	json_decref(body);
}

static void test_wrong_keys_and_unknown_things(void **state)
{
	struct place *p = *state;

	expect_refusal(http_call(&p->daemon, NULL, "GET", "/v1/models", NULL), 401, NULL);
	expect_refusal(http_call(&p->daemon, "sk-nobody", "GET", "/v1/models", NULL), 401, NULL);
	expect_refusal(http_call(&p->daemon, p->key, "POST", "/v1/admin/tenants", NULL), 403, NULL);
	expect_refusal(http_call(&p->daemon, p->key, "GET", "/v1/nothing", NULL), 404, NULL);
	expect_refusal(http_call(&p->daemon, p->key, "GET", "/v1/files/file-none", NULL), 404, NULL);
	expect_refusal(
	        http_call(&p->daemon, p->key, "GET", "/v1/fine_tuning/jobs/ftjob-none", NULL), 404, NULL);
	expect_refusal(http_call(&p->daemon, p->key, "DELETE", "/v1/models/llama3", NULL), 403, NULL);
}

static void expect_bad_job(struct place *p, const char *file, const char *extra, const char *words)
{
	char *text = mem_printf("{\"model\":\"llama3\",\"training_file\":\"%s\",%s}", file, extra);

	expect_refusal(http_raw(&p->daemon, p->key, "POST", "/v1/fine_tuning/jobs", "application/json", text,
	                       strlen(text)),
	        400, words);
	mem_free(text);
}

static void test_bad_hyperparameters_name_the_field(void **state)
{
	struct place *p = *state;
	char file[64];

	must_upload(&p->daemon, p->key, BASE "/train.jsonl", file);
	expect_bad_job(p, file, "\"hyperparameters\":{\"batch_size\":0}", "batch_size");
	expect_bad_job(p, file, "\"hyperparameters\":{\"batch_size\":\"many\"}", "batch_size");
	expect_bad_job(p, file, "\"hyperparameters\":{\"learning_rate\":-1}", "learning_rate");
	expect_bad_job(p, file, "\"hyperparameters\":{\"n_epochs\":1e9}", "n_epochs");
	expect_bad_job(p, file, "\"hyperparameters\":{\"lr_scheduler\":\"magic\"}", "lr_scheduler");
	expect_bad_job(p, file, "\"adapter\":{\"type\":\"lora\"}", "type");
	expect_bad_job(p, file, "\"adapter\":{\"type\":\"red\",\"positions\":[\"head\"]}", "positions");
	expect_bad_job(p, file, "\"adapter\":{\"type\":\"red\",\"layers\":[7]}", "layer");
	expect_bad_job(p, file, "\"method\":{\"type\":\"dpo\"}", "method");
	expect_bad_job(p, file, "\"validation_file\":\"file-none\"", "file-none");
}

static void test_the_daemon_still_answers(void **state)
{
	struct place *p = *state;
	json_t *models = must_call(&p->daemon, p->key, "GET", "/v1/models", NULL);

	assert_int_equal(json_array_size(json_object_get(models, "data")), 1);
	json_decref(models);
}

/* ---- at the start ---- */

static void expect_no_start(const char *const *args, int status, const char *words)
{
	struct daemon d;
	char said[4096];

	daemon_init(&d);
	assert_int_equal(daemon_refuses(&d, args, said, sizeof(said)), status);
	if (!strstr(said, words))
		fail_msg("expected \"%s\" in: %s", words, said);
	daemon_fini(&d);
}

static void test_a_broken_base_stops_the_start(void **state)
{
	const char *missing[] = {"--model", "tests/goldens/nothing", NULL};
	char dir[] = "/tmp/redd-broken-XXXXXX", command[512];
	const char *truncated[] = {"--model", dir, NULL};

	(void)state;
	expect_no_start(missing, 1, "config.json");
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof(command), "cp " BASE "/* %s/ && truncate -s 5000 %s/model.safetensors", dir,
	        dir);
	assert_int_equal(system(command), 0);
	expect_no_start(truncated, 1, "model.safetensors");
	snprintf(command, sizeof(command),
	        "cp " BASE "/model.safetensors %s/ && truncate -s 300 %s/tokenizer.json", dir, dir);
	assert_int_equal(system(command), 0);
	expect_no_start(truncated, 1, "tokenizer.json");
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
}

/* Status 2: starting again is no use, and the unit does not. */
static void test_wrong_settings_stop_the_start_for_good(void **state)
{
	char path[] = "/tmp/redd-conf-XXXXXX";
	const char *option[] = {"--nonsense", NULL}, *file[] = {"--config", path, NULL};
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(write(fd, "nonsense = 1\n", 13), 13);
	close(fd);
	expect_no_start(option, 2, "--nonsense");
	expect_no_start(file, 2, "unknown key \"nonsense\"");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_bad_training_files_name_the_line),
	        cmocka_unit_test(test_bad_uploads_are_refused),
	        cmocka_unit_test(test_bad_bodies_are_refused),
	        cmocka_unit_test(test_bad_completions_name_the_field),
	        cmocka_unit_test(test_a_prompt_longer_than_the_context_is_refused),
	        cmocka_unit_test(test_wrong_keys_and_unknown_things),
	        cmocka_unit_test(test_bad_hyperparameters_name_the_field),
	        cmocka_unit_test(test_the_daemon_still_answers),
	        cmocka_unit_test(test_a_broken_base_stops_the_start),
	        cmocka_unit_test(test_wrong_settings_stop_the_start_for_good),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
