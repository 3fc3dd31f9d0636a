/*
 * The rest of RED over HTTP: heads in a file of their own, encoders and T5 folded, and jobs that train a
 * layer norm or edit after the residual, whose adapters come and go under the authors' names.
 */
#include "tests/api/adapter_place.h"
#include "worker/adapter/safetensors.h"

#define LABELS 3

static const char *text_at(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* POST a file from disk and, unless it is NULL, a classifier's. */
static struct answer post_files(const struct place *p, const char *file, const char *classifier)
{
	struct buf first = read_file(file), second = classifier ? read_file(classifier) : (struct buf){0};
	struct field fields[2] = {{"file", "delta_vector.pth", first.data, first.len},
	        {"classifier", "classifier.pth", second.data, second.len}};
	struct answer a = post_fields(p, fields, classifier ? 2 : 1);

	buf_fini(&first);
	buf_fini(&second);
	return a;
}

/* The probabilities of a text; json_decref() them. */
static json_t *probs(const struct place *p, const char *model, const char *text)
{
	json_t *body = json_pack("{s:s, s:s}", "model", model, "input", text);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/classify", body);
	json_t *list =
	        json_incref(json_object_get(json_array_get(json_object_get(answer, "data"), 0), "probs"));

	json_decref(body);
	json_decref(answer);
	return list;
}

static void assert_close(const json_t *got, const json_t *want)
{
	assert_true(json_array_size(got) == json_array_size(want) && json_array_size(got) > 0);
	for (size_t i = 0; i < json_array_size(want); i++)
		if (!(fabs(json_number_value(json_array_get(got, i)) -
		              json_number_value(json_array_get(want, i))) < LOGPROB_TOLERANCE))
			fail_msg("[%zu]: %.9g and %.9g", i, json_number_value(json_array_get(got, i)),
			        json_number_value(json_array_get(want, i)));
}

/* ---- heads ---- */

static void test_a_classifiers_file_joins_the_edits(void **state)
{
	json_t *golden = golden_open("roberta"), *tuned = json_object_get(golden, "tuned"), *got;
	struct place p;
	struct answer a, head;

	(void)state;
	place_open(&p, GOLDEN_DIR "roberta");
	a = post_files(&p, PTH_DIR "roberta-f32.pth", PTH_DIR "roberta-f32-classifier.pth");
	if (a.status != 200)
		fail_msg("%ld %s", a.status, a.text);
	got = probs(&p, text_at(a.json, "id"), text_at(tuned, "text"));
	assert_close(got, json_object_get(tuned, "probs"));
	json_decref(got);
	/* a head alone is an adapter, whatever its tensors are called */
	head = post_files(&p, PTH_DIR "roberta-f32-classifier.pth", NULL);
	assert_int_equal(head.status, 200);
	got = probs(&p, text_at(head.json, "id"), text_at(tuned, "text"));
	assert_int_equal(json_array_size(got), LABELS);
	json_decref(got);
	answer_fini(&a);
	answer_fini(&head);
	place_close(&p);
	json_decref(golden);
}

static void expect_refusal(const struct place *p, const char *file, const char *classifier, long status,
        const char *param, const char *words)
{
	struct answer a = post_files(p, file, classifier);
	const json_t *error = json_object_get(a.json, "error");

	if (a.status != status || strcmp(text_at(error, "param"), param) != 0 ||
	        !strstr(text_at(error, "message"), words))
		fail_msg("%ld %s", a.status, a.text);
	answer_fini(&a);
}

static void test_a_classifier_that_does_not_fit_is_refused(void **state)
{
	static const char head[] = PTH_DIR "roberta-f32-classifier.pth";
	struct place p;

	(void)state;
	place_open(&p, GOLDEN_DIR "roberta");
	expect_refusal(
	        &p, PTH_DIR "roberta-f32.pth", PTH_DIR "roberta-f32.pth", 422, "classifier", "no part of a");
	expect_refusal(
	        &p, PTH_DIR "roberta-f32.pth", GOLDEN_DIR "roberta/config.json", 400, "classifier", "header");
	expect_refusal(&p, head, head, 400, "file", "twice");
	place_close(&p);
	place_open(&p, GOLDEN_DIR "bert");
	expect_refusal(&p, PTH_DIR "options-roberta-ln.pth", head, 400, "file", "twice");
	place_close(&p);
	place_open(&p, GOLDEN_DIR "gpt2");
	expect_refusal(&p, PTH_DIR "gpt2-f32.pth", head, 422, "classifier", "does not classify");
	expect_refusal(&p, head, NULL, 422, "file", "does not classify");
	place_close(&p);
}

/* ---- folding ---- */

static struct answer post_made(const struct place *p, const char *dir, unsigned parts, size_t n_labels)
{
	struct buf file = rich_adapter(dir, parts, n_labels);
	struct answer a = post_adapter(p, "made.safetensors", &file, NULL);

	if (a.status != 200)
		fail_msg("%ld %s", a.status, a.text);
	buf_fini(&file);
	return a;
}

/* The last four tensors of an adapter's file, its head, as a file. */
static struct buf head_of(const struct place *p, const char *model)
{
	char path[512];
	struct buf out = {0}, header = {0}, data = {0};
	struct safetensors *s;
	unsigned char prefix[8];
	struct answer a;

	snprintf(path, sizeof(path), "/v1/adapters/%s/content?format=safetensors", model);
	a = http_call(&p->daemon, p->key, "GET", path, NULL);
	assert_int_equal(a.status, 200);
	assert_int_equal(safetensors_new(a.text, a.length, &s, NULL), OK);
	for (size_t i = 0; i < safetensors_count(s); i++) {
		const struct tensor *t = safetensors_at(s, i);

		if (strncmp(t->name, "classifier.", 11) != 0)
			continue;
		buf_printf(
		        &header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", header.len ? "," : "{", t->name);
		buf_printf(&header, t->n_dims == 2 ? "%zu,%zu" : "%zu", t->shape[0], t->shape[1]);
		buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", data.len, data.len + t->n_bytes);
		buf_append(&data, t->data, t->n_bytes);
	}
	buf_puts(&header, "}");
	for (size_t i = 0; i < 8; i++)
		prefix[i] = (unsigned char)(header.len >> (8 * i));
	buf_append(&out, prefix, 8);
	buf_append(&out, header.data, header.len);
	assert_int_equal(buf_append(&out, data.data, data.len), OK);
	safetensors_free(s);
	buf_fini(&header);
	buf_fini(&data);
	answer_fini(&a);
	return out;
}

static void check_encoder_folds(const char *family)
{
	static const char text[] = "The early watchmaker returned her small harbour";
	char base[128], dir[256];
	struct place p, q;
	struct answer a, b;
	struct buf head;
	json_t *tuned, *folded;

	snprintf(base, sizeof(base), GOLDEN_DIR "%s", family);
	place_open(&p, base);
	a = post_made(&p, base, PART_SCALE | PART_BIAS, LABELS);
	tuned = probs(&p, text_at(a.json, "id"), text);
	head = head_of(&p, text_at(a.json, "id"));
	snprintf(dir, sizeof(dir), "%s/folded", p.daemon.spawn.dir);
	must_fold(&p, text_at(a.json, "id"), dir);
	place_open(&q, dir);
	b = post_adapter(&q, "head.safetensors", &head, NULL);
	assert_int_equal(b.status, 200);
	folded = probs(&q, text_at(b.json, "id"), text);
	assert_close(folded, tuned);
	place_close(&q);
	place_close(&p);
	answer_fini(&a);
	answer_fini(&b);
	buf_fini(&head);
	json_decref(tuned);
	json_decref(folded);
}

static void test_a_folded_encoder_classifies_as_its_adapter(void **state)
{
	(void)state;
	check_encoder_folds("roberta");
	check_encoder_folds("bert");
}

/* The greedy answer's log-probabilities. */
static json_t *answered(const struct place *p, const char *model, double strength)
{
	json_t *body = json_pack("{s:s, s:s, s:i, s:f, s:i, s:f}", "model", model, "prompt",
	        "The early watchmaker returned", "max_tokens", 8, "temperature", 0.0, "logprobs", 1,
	        "adapter_strength", strength);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
	json_t *list = json_incref(json_object_get(json_object_get(choice, "logprobs"), "token_logprobs"));

	json_decref(body);
	json_decref(answer);
	return list;
}

static void expect_no_folding(const struct place *p, const char *model, const char *words)
{
	char path[512];
	struct answer a;

	snprintf(path, sizeof(path), "/v1/adapters/%s/content?format=folded", model);
	a = http_call(&p->daemon, p->key, "GET", path, NULL);
	if (a.status < 400 || a.status > 499 ||
	        !strstr(text_at(json_object_get(a.json, "error"), "message"), words))
		fail_msg("%ld %s", a.status, a.text);
	answer_fini(&a);
}

/* T5's modules have no bias and no switch for one: scales alone fold. */
static void test_t5_folds_scales_and_refuses_biases(void **state)
{
	struct place p, q;
	struct answer a, b;
	char dir[256];
	json_t *tuned, *folded;

	(void)state;
	place_open(&p, GOLDEN_DIR "t5");
	a = post_made(&p, GOLDEN_DIR "t5", PART_SCALE, 0);
	b = post_made(&p, GOLDEN_DIR "t5", PART_SCALE | PART_BIAS, 0);
	expect_no_folding(&p, text_at(b.json, "id"), "adds a bias to encoder.block.0");
	tuned = answered(&p, text_at(a.json, "id"), 1);
	snprintf(dir, sizeof(dir), "%s/folded", p.daemon.spawn.dir);
	must_fold(&p, text_at(a.json, "id"), dir);
	place_open(&q, dir);
	folded = answered(&q, "base", 1);
	assert_close(folded, tuned);
	place_close(&q);
	place_close(&p);
	answer_fini(&a);
	answer_fini(&b);
	json_decref(tuned);
	json_decref(folded);
}

/* ---- training ---- */

/* Train `model` on the family's golden data; adapter NULL = none is named. The job, json_decref() it. */
static json_t *train(
        const struct place *p, const char *model, const char *family, const char *adapter, double decay)
{
	char path[128], file[64], id[64];
	json_t *body, *job;

	snprintf(path, sizeof(path), GOLDEN_DIR "%s/train.jsonl", family);
	must_upload(&p->daemon, p->key, path, file);
	body = json_pack("{s:s, s:s, s:o, s:{s:i, s:i, s:f, s:f, s:s}}", "model", model, "training_file",
	        file, "adapter", adapter ? json_loads(adapter, 0, NULL) : json_null(), "hyperparameters",
	        "n_epochs", 2, "batch_size", 8, "learning_rate", 0.02, "weight_decay", decay,
	        "weight_decay_towards", "identity");
	must_job(&p->daemon, p->key, body, id);
	job = must_finish(&p->daemon, p->key, id);
	if (strcmp(text_at(job, "status"), "succeeded") != 0)
		fail_msg("%s", json_dumps(job, 0));
	json_decref(body);
	return job;
}

/* What was trained is said in the job, in the manifest and in the file, and comes back from it. */
static void check_round_trip(const struct place *p, const json_t *job, const char *tensor, size_t n_params)
{
	const char *model = text_at(job, "fine_tuned_model");
	char path[512];
	json_t *said, *manifest, *trained, *again, *plain;
	struct answer file, imported;
	struct buf content;

	snprintf(path, sizeof(path), "/v1/models/%s", model);
	said = must_call(&p->daemon, p->key, "GET", path, NULL);
	manifest = json_object_get(said, "adapter");
	assert_true(json_is_true(json_object_get(manifest, "ln")));
	assert_true(json_is_true(json_object_get(manifest, "res")));
	assert_int_equal(json_integer_value(json_object_get(manifest, "trainable_params")), n_params);
	snprintf(path, sizeof(path), "/v1/adapters/%s/content", model);
	file = http_call(&p->daemon, p->key, "GET", path, NULL);
	assert_int_equal(file.status, 200);
	assert_non_null(memmem(file.text, file.length, tensor, strlen(tensor)));
	content = (struct buf){.data = file.text, .len = file.length};
	imported = post_adapter(p, "again.safetensors", &content, NULL);
	assert_int_equal(imported.status, 200);
	assert_true(json_is_true(json_object_get(json_object_get(imported.json, "adapter"), "ln")));
	trained = answered(p, model, 1);
	again = answered(p, text_at(imported.json, "id"), 1);
	assert_true(json_equal(trained, again));
	json_decref(again);
	again = answered(p, model, 0);
	plain = answered(p, "base", 1);
	assert_true(json_equal(again, plain) && !json_equal(trained, plain));
	answer_fini(&file);
	answer_fini(&imported);
	json_decref(said);
	json_decref(trained);
	json_decref(again);
	json_decref(plain);
}

static void test_a_norm_after_the_residual_is_trained_served_and_exported(void **state)
{
	static const struct {
		const char *family, *tensor;
		size_t n_params;
	} cases[] = {
	        {"gpt2", "\"transformer.h.2.delta_vector.activation_ln.weight\"", 2 * 4 * 64},
	        {"llama3", "\"model.layers.2.delta_vector.activation_ln.bias\"", 2 * 4 * 64},
	        {"t5", "\"decoder.block.0.layer.2.delta_vector.activation_ln.bias\"", 4 * 4 * 64},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char dir[128];
		struct place p;
		json_t *job, *next;

		snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", cases[i].family);
		place_open(&p, dir);
		job = train(&p, "base", cases[i].family,
		        i == 2 ? "{\"ln\":true,\"res\":true,\"layers\":[0,1]}"
		               : "{\"ln\":true,\"res\":true,\"layers\":[0,2]}",
		        0.1);
		assert_true(json_is_true(json_object_get(json_object_get(job, "adapter"), "res")));
		assert_string_equal(
		        text_at(json_object_get(job, "hyperparameters"), "weight_decay_towards"), "identity");
		check_round_trip(&p, job, cases[i].tensor, cases[i].n_params);
		expect_no_folding(&p, text_at(job, "fine_tuned_model"), "cannot be folded");
		/* what goes on from it and names no adapter has its own */
		next = train(&p, text_at(job, "fine_tuned_model"), cases[i].family, NULL, 0.1);
		assert_true(json_equal(json_object_get(next, "adapter"), json_object_get(job, "adapter")));
		place_close(&p);
		json_decref(job);
		json_decref(next);
	}
}

static void test_an_encoder_trained_after_the_residual_folds(void **state)
{
	struct place p, q;
	char dir[256];
	json_t *job, *tuned, *folded;
	struct buf head;
	struct answer b;

	(void)state;
	place_open(&p, GOLDEN_DIR "roberta");
	job = train(&p, "base", "roberta", "{\"positions\":[\"ffn\",\"attn\"],\"res\":true}", 0);
	tuned = probs(&p, text_at(job, "fine_tuned_model"), "In Reykjavik");
	head = head_of(&p, text_at(job, "fine_tuned_model"));
	snprintf(dir, sizeof(dir), "%s/folded", p.daemon.spawn.dir);
	must_fold(&p, text_at(job, "fine_tuned_model"), dir);
	place_open(&q, dir);
	b = post_adapter(&q, "head.safetensors", &head, NULL);
	assert_int_equal(b.status, 200);
	folded = probs(&q, text_at(b.json, "id"), "In Reykjavik");
	assert_close(folded, tuned);
	place_close(&q);
	place_close(&p);
	answer_fini(&b);
	buf_fini(&head);
	json_decref(job);
	json_decref(tuned);
	json_decref(folded);
}

static void test_options_that_mean_nothing_are_refused(void **state)
{
	static const struct {
		const char *adapter, *param;
	} cases[] = {
	        {"{\"res\":true,\"positions\":[\"qkv\"]}", "adapter.res"},
	        {"{\"ln\":\"yes\"}", "adapter.ln"},
	        {"{\"norm\":true}", "adapter"},
	        {"{\"layers\":[3]}", "adapter.layers"},
	};
	struct place p;
	char file[64];

	(void)state;
	place_open(&p, GOLDEN_DIR "gpt2");
	must_upload(&p.daemon, p.key, GOLDEN_DIR "gpt2/train.jsonl", file);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *body = json_pack("{s:s, s:s, s:o}", "model", "base", "training_file", file, "adapter",
		        json_loads(cases[i].adapter, 0, NULL));
		struct answer a = http_call(&p.daemon, p.key, "POST", "/v1/fine_tuning/jobs", body);

		if (a.status != 400 ||
		        strcmp(text_at(json_object_get(a.json, "error"), "param"), cases[i].param) != 0)
			fail_msg("%s: %ld %s", cases[i].adapter, a.status, a.text);
		answer_fini(&a);
		json_decref(body);
	}
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_classifiers_file_joins_the_edits),
	        cmocka_unit_test(test_a_classifier_that_does_not_fit_is_refused),
	        cmocka_unit_test(test_a_folded_encoder_classifies_as_its_adapter),
	        cmocka_unit_test(test_t5_folds_scales_and_refuses_biases),
	        cmocka_unit_test(test_a_norm_after_the_residual_is_trained_served_and_exported),
	        cmocka_unit_test(test_an_encoder_trained_after_the_residual_folds),
	        cmocka_unit_test(test_options_that_mean_nothing_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
