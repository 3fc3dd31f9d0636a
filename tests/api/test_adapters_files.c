/*
 * Adapters over HTTP as files: those of PyTorch come in and answer as their goldens do, those that do not fit
 * are refused, and a folded checkpoint, served as a base of its own, answers as the adapter did.
 */
#include "tests/api/adapter_place.h"

/* The prompt's and the answer's log-probabilities under `model`. */
static json_t *logprobs(const struct place *p, const char *model, const json_t *prompt, int max_tokens)
{
	json_t *body = json_pack("{s:s, s:O, s:i, s:f, s:b, s:i}", "model", model, "prompt", prompt,
	        "max_tokens", max_tokens, "temperature", 0.0, "echo", 1, "logprobs", 1);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
	json_t *numbers = json_incref(json_object_get(json_object_get(choice, "logprobs"), "token_logprobs"));

	assert_true(json_array_size(numbers) > 8);
	json_decref(body);
	json_decref(answer);
	return numbers;
}

/* The first log-probability after the golden's text, and the greedy ids, are those of the tuned model. */
static void check_tuned(const struct place *p, const char *model, const json_t *tuned, double tolerance)
{
	json_t *body = json_pack("{s:s, s:O, s:i, s:f, s:i}", "model", model, "prompt",
	        json_object_get(tuned, "text"), "max_tokens", 1, "temperature", 0.0, "logprobs", 3);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
	json_t *got =
	        json_array_get(json_object_get(json_object_get(choice, "logprobs"), "token_logprobs"), 0);
	json_t *top = json_array_get(json_object_get(tuned, "last_logprob_top3"), 0);

	assert_true(fabs(json_number_value(got) - json_number_value(json_array_get(top, 1))) < tolerance);
	json_decref(body);
	json_decref(answer);
}

static void check_imports(const char *family, const char *const *files, double tolerance)
{
	json_t *golden = golden_open(family), *tuned = json_object_get(golden, "tuned");
	char dir[128], id[256];
	struct place p;

	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	place_open(&p, dir);
	for (; *files; files++) {
		must_import(&p, *files, "name=mine", id);
		assert_int_equal(strncmp(id, "ft:base:ann:mine:", 17), 0);
		check_tuned(&p, id, tuned, tolerance);
	}
	place_close(&p);
	json_decref(golden);
}

static void test_pytorchs_adapters_answer_as_the_goldens_do(void **state)
{
	static const char *const gpt2[] = {PTH_DIR "gpt2-f32.pth", PTH_DIR "gpt2-f32-legacy.pth",
	        GOLDEN_DIR "gpt2/adapter_expected.safetensors", NULL};
	static const char *const llama2[] = {PTH_DIR "llama2-f64-views.pth", NULL};
	static const char *const llama3[] = {PTH_DIR "llama3-bf16-parameters.pth", NULL};

	(void)state;
	check_imports("gpt2", gpt2, LOGPROB_TOLERANCE);
	check_imports("llama2", llama2, LOGPROB_TOLERANCE);
	check_imports("llama3", llama3, 0.05);
}

static void test_an_import_is_a_model_with_a_manifest_and_survives_a_restart(void **state)
{
	static const char *const args[] = {"--model", GOLDEN_DIR "gpt2", "--model-name", "base", NULL};
	struct place p;
	char id[256], path[320];
	json_t *model, *adapter;
	struct answer a;

	(void)state;
	place_open(&p, GOLDEN_DIR "gpt2");
	must_import(&p, PTH_DIR "gpt2-f32-protocol4.pth", NULL, id);
	assert_int_equal(strncmp(id, "ft:base:ann::", 13), 0);
	daemon_signal(&p.daemon, 9);
	daemon_start(&p.daemon, args);
	snprintf(path, sizeof(path), "/v1/models/%s", id);
	model = must_call(&p.daemon, p.key, "GET", path, NULL);
	adapter = json_object_get(model, "adapter");
	assert_string_equal(json_string_value(json_object_get(model, "parent")), "base");
	assert_string_equal(json_string_value(json_object_get(adapter, "base")), "base");
	assert_int_equal(json_string_length(json_object_get(adapter, "base_hash")), 64);
	assert_string_equal(json_string_value(json_object_get(adapter, "method")), "red");
	assert_string_equal(json_string_value(json_object_get(adapter, "layers")), "all");
	assert_int_equal(json_array_size(json_object_get(adapter, "parts")), 2);
	assert_string_equal(
	        json_string_value(json_array_get(json_object_get(adapter, "positions"), 0)), "ffn");
	assert_string_equal(
	        json_string_value(json_object_get(adapter, "imported_from")), "gpt2-f32-protocol4.pth");
	json_decref(model);
	snprintf(path, sizeof(path), "/v1/adapters/%s/content", id);
	a = http_call(&p.daemon, p.key, "GET", path, NULL);
	assert_int_equal(a.status, 200);
	assert_true(a.length > 3 * 2 * 64 * 4);
	answer_fini(&a);
	place_close(&p);
}

static void expect_refusal(const struct place *p, const char *path, const char *field, long status,
        const char *param, const char *words)
{
	struct buf file = read_file(path);
	struct answer a = post_adapter(p, "x.pth", &file, field);
	const json_t *error = json_object_get(a.json, "error");

	assert_int_equal(a.status, status);
	assert_string_equal(json_string_value(json_object_get(error, "param")), param);
	if (!strstr(json_string_value(json_object_get(error, "message")), words))
		fail_msg("%s", json_string_value(json_object_get(error, "message")));
	answer_fini(&a);
	buf_fini(&file);
}

static void test_what_does_not_fit_is_refused_with_the_reason(void **state)
{
	static const char evil[] = "\x80\x02"
	                           "cos\nsystem\nX\x04\0\0\0true\x85R.";
	struct place p;
	char path[128];
	FILE *f;

	(void)state;
	place_open(&p, GOLDEN_DIR "gpt2");
	expect_refusal(&p, PTH_DIR "llama2-f16.pth", NULL, 422, "file", "belongs to no module of this base");
	expect_refusal(&p, GOLDEN_DIR "gpt2/config.json", NULL, 400, "file", "header");
	expect_refusal(&p, PTH_DIR "gpt2-f32.pth", "name=a:b", 400, "name", "letters");
	expect_refusal(&p, PTH_DIR "gpt2-f32.pth", "classifier=x", 400, "classifier", "too few");
	/* The legacy format's first pickle, and then one that would run a command. */
	snprintf(path, sizeof(path), "%s/evil.pth", p.daemon.spawn.dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite("\x80\x02\x8a\x0al\xfc\x9c"
	                        "F\xf9 j\xa8P\x19.",
	                         1, 15, f),
	        15);
	assert_int_equal(fwrite(evil, 1, sizeof(evil) - 1, f), sizeof(evil) - 1);
	assert_int_equal(fclose(f), 0);
	expect_refusal(&p, path, NULL, 400, "file", "\"os system\"");
	place_close(&p);
}

static void assert_near(const json_t *a, const json_t *b)
{
	assert_int_equal(json_array_size(a), json_array_size(b));
	for (size_t i = 1; i < json_array_size(a); i++)
		if (!(fabs(json_number_value(json_array_get(a, i)) -
		              json_number_value(json_array_get(b, i))) < LOGPROB_TOLERANCE))
			fail_msg("[%zu]: %.9g and %.9g", i, json_number_value(json_array_get(a, i)),
			        json_number_value(json_array_get(b, i)));
}

static void check_folding(const char *family, unsigned parts)
{
	json_t *golden = golden_open(family), *tuned, *folded, *plain;
	json_t *forward = json_object_get(golden, "forward");
	json_t *ids = json_object_get(json_is_array(forward) ? json_array_get(forward, 0) : forward, "ids");
	struct place p, q;
	char base[128], dir[128], id[256];
	struct buf file;
	struct answer a;

	snprintf(base, sizeof(base), GOLDEN_DIR "%s", family);
	place_open(&p, base);
	file = rich_adapter(base, parts, 0);
	a = post_adapter(&p, "rich.safetensors", &file, NULL);
	assert_int_equal(a.status, 200);
	snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(a.json, "id")));
	tuned = logprobs(&p, id, ids, 8);
	plain = logprobs(&p, "base", ids, 8);
	snprintf(dir, sizeof(dir), "%s/folded", p.daemon.spawn.dir);
	must_fold(&p, id, dir);
	place_open(&q, dir);
	folded = logprobs(&q, "base", ids, 8);
	assert_near(tuned, folded);
	assert_true(fabs(json_number_value(json_array_get(tuned, 5)) -
	                    json_number_value(json_array_get(plain, 5))) > 1e-3);
	place_close(&q);
	place_close(&p);
	json_decref(tuned);
	json_decref(folded);
	json_decref(plain);
	json_decref(golden);
	answer_fini(&a);
	buf_fini(&file);
}

static void test_a_folded_checkpoint_answers_as_its_adapter(void **state)
{
	(void)state;
	check_folding("gpt2", PART_SCALE | PART_BIAS);
	check_folding("llama2", PART_SCALE | PART_BIAS);
	check_folding("llama3", PART_SCALE | PART_BIAS);
}

static void test_scales_alone_need_no_biases(void **state)
{
	(void)state;
	check_folding("llama3", PART_SCALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pytorchs_adapters_answer_as_the_goldens_do),
	        cmocka_unit_test(test_an_import_is_a_model_with_a_manifest_and_survives_a_restart),
	        cmocka_unit_test(test_what_does_not_fit_is_refused_with_the_reason),
	        cmocka_unit_test(test_a_folded_checkpoint_answers_as_its_adapter),
	        cmocka_unit_test(test_scales_alone_need_no_biases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
