/*
 * The goldens through the public HTTP API: tokens, log-probabilities, greedy text, every training step, the
 * adapter and what it answers. Whatever passes here passes for anyone who asks over the wire.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"
#include "worker/adapter/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LOGPROB_TOLERANCE 1e-4
#define LOSS_TOLERANCE 1e-4 /* relative */
#define NORM_TOLERANCE 1e-4 /* relative */
#define ADAPTER_TOLERANCE 1e-4
#define SUM_TOLERANCE 1e-3 /* over a vector: a keys' bias moves by what softmax hardly sees */
#define PROB_TOLERANCE 1e-4
#define MAX_STEPS 64
#define MAX_TENSOR 8192

struct place;

/* What a golden's "task" lets one ask over the wire. */
struct task {
	const char *name;
	const char *greedy; /* in "tuned" */
	bool continues;     /* a completion's text continues its prompt's */
	/* The model that training begins from, into parent. */
	void (*find_parent)(const struct place *p, char parent[256]);
	void (*check_forward)(const struct place *p);
	void (*check_tuned)(const struct place *p, const char *model, const json_t *tuned);
};

struct place {
	struct daemon daemon;
	const char *family;
	const struct task *task;
	char key[128];
	char parent[256];
	json_t *golden;
};

static const struct task *task_named(const char *name);

static void place_open(struct place *p, const char *family)
{
	char dir[128];
	const char *args[] = {"--model", dir, "--train-threads", "2", NULL};

	memset(p, 0, sizeof(*p));
	p->family = family;
	p->golden = golden_open(family);
	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	daemon_init(&p->daemon);
	daemon_start(&p->daemon, args);
	must_tenant(&p->daemon, "golden", p->key);
	p->task = task_named(json_string_value(json_object_get(p->golden, "task")));
	p->task->find_parent(p, p->parent);
}

static void place_close(struct place *p)
{
	daemon_stop(&p->daemon);
	daemon_fini(&p->daemon);
	json_decref(p->golden);
}

/* expected[i] is a number or null, as got[i] must be. */
static void assert_near(const char *what, const json_t *got, const json_t *expected, double tolerance)
{
	assert_int_equal(json_array_size(got), json_array_size(expected));
	for (size_t i = 0; i < json_array_size(expected); i++) {
		const json_t *a = json_array_get(got, i), *b = json_array_get(expected, i);

		if (json_is_null(b) != json_is_null(a))
			fail_msg("%s[%zu]: one of the two is null", what, i);
		if (!json_is_null(b) && !(fabs(json_number_value(a) - json_number_value(b)) < tolerance))
			fail_msg("%s[%zu]: %.9g, expected %.9g", what, i, json_number_value(a),
			        json_number_value(b));
	}
}

static char *detokenize(const struct place *p, const json_t *ids)
{
	json_t *body = json_pack("{s:s, s:O}", "model", p->family, "tokens", ids);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/detokenize", body);
	char *text = mem_strdup(json_string_value(json_object_get(answer, "prompt")));

	assert_non_null(text);
	json_decref(body);
	json_decref(answer);
	return text;
}

static void check_tokenizer(const struct place *p)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(p->golden, "tokenizer"), i, c) {
		json_t *body =
		        json_pack("{s:s, s:O}", "model", p->family, "prompt", json_object_get(c, "text"));
		json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/tokenize", body);
		char *text;

		assert_true(json_equal(json_object_get(answer, "tokens"), json_object_get(c, "ids")));
		assert_int_equal(json_integer_value(json_object_get(answer, "count")),
		        json_array_size(json_object_get(c, "ids")));
		if (json_array_size(json_object_get(c, "ids"))) {
			text = detokenize(p, json_object_get(c, "ids"));
			assert_string_equal(text, json_string_value(json_object_get(c, "decoded")));
			mem_free(text);
		}
		json_decref(body);
		json_decref(answer);
	}
}

/* What `ids` add to the text of the prompt (ids or text); mem_free() it. */
static char *added_text(const struct place *p, json_t *prompt, json_t *ids)
{
	json_t *body = NULL, *answer = NULL, *all;
	char *before, *after, *added;

	if (!p->task->continues)
		return detokenize(p, ids);
	if (json_is_string(prompt)) {
		body = json_pack("{s:s, s:O}", "model", p->family, "prompt", prompt);
		answer = must_call(&p->daemon, p->key, "POST", "/v1/tokenize", body);
		prompt = json_object_get(answer, "tokens");
	}
	all = json_copy(prompt);
	json_array_extend(all, ids);
	before = detokenize(p, prompt);
	after = detokenize(p, all);
	added = mem_strdup(after + strlen(before));
	mem_free(before);
	mem_free(after);
	json_decref(all);
	json_decref(body);
	json_decref(answer);
	return added;
}

/* Greedy text of `model` after a prompt (ids or text) equals the golden's ids up to the first end of text. */
static void check_greedy(const struct place *p, const char *model, json_t *prompt, const json_t *greedy)
{
	json_t *body = json_pack("{s:s, s:O, s:i, s:f}", "model", model, "prompt", prompt, "max_tokens",
	        (int)json_array_size(greedy), "temperature", 0.0);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
	size_t n = (size_t)json_integer_value(
	        json_object_get(json_object_get(answer, "usage"), "completion_tokens"));
	const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
	json_t *ids = json_array();
	char *text;

	if (n < json_array_size(greedy))
		assert_string_equal(finish, "stop");
	else
		assert_string_equal(finish, "length");
	for (size_t i = 0; i < n; i++)
		json_array_append(ids, json_array_get(greedy, i));
	text = added_text(p, prompt, ids);
	assert_string_equal(json_string_value(json_object_get(choice, "text")), text);
	mem_free(text);
	json_decref(ids);
	json_decref(body);
	json_decref(answer);
}

/* A golden's [[id, logprob], ...] against one entry of top_logprobs {"token": logprob}. */
static void check_top(const struct place *p, const json_t *expected, const json_t *got)
{
	const json_t *pair;
	size_t i;

	json_array_foreach (expected, i, pair) {
		double want = json_number_value(json_array_get(pair, 1));
		bool found = false;
		const char *token;
		json_t *value;

		json_object_foreach ((json_t *)got, token, value)
			found = found || fabs(json_number_value(value) - want) < LOGPROB_TOLERANCE;
		if (!found)
			fail_msg("%s: no token has the log-probability %.9g", p->family, want);
	}
}

static void check_causal(const struct place *p)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(p->golden, "forward"), i, c) {
		json_t *body = json_pack("{s:s, s:O, s:i, s:f, s:i, s:b}", "model", p->family, "prompt",
		        json_object_get(c, "ids"), "max_tokens", 1, "temperature", 0.0, "logprobs", 5, "echo",
		        1);
		json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
		const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
		const json_t *logprobs = json_object_get(choice, "logprobs");
		const json_t *tops = json_object_get(logprobs, "top_logprobs");
		size_t n = json_array_size(json_object_get(c, "ids"));
		json_t *echoed = json_array();

		for (size_t k = 0; k < n; k++)
			json_array_append(
			        echoed, json_array_get(json_object_get(logprobs, "token_logprobs"), k));
		assert_near(
		        "logprob_of_next", echoed, json_object_get(c, "logprob_of_next"), LOGPROB_TOLERANCE);
		if (json_array_size(tops) > n)
			check_top(p, json_object_get(c, "last_top5"), json_array_get(tops, n));
		check_greedy(p, p->family, json_object_get(c, "ids"), json_object_get(c, "greedy_24"));
		json_decref(echoed);
		json_decref(body);
		json_decref(answer);
	}
}

/* The decoder's greedy tokens and what each was worth, after the encoder has read ids. */
static void check_seq2seq(const struct place *p)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(p->golden, "forward"), i, c) {
		const json_t *greedy = json_object_get(c, "greedy_12"),
		             *want = json_object_get(c, "logprobs_of_greedy");
		json_t *body = json_pack("{s:s, s:O, s:i, s:f, s:i}", "model", p->family, "prompt",
		        json_object_get(c, "ids"), "max_tokens", (int)json_array_size(greedy), "temperature",
		        0.0, "logprobs", 1);
		json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
		const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
		const json_t *got = json_object_get(json_object_get(choice, "logprobs"), "token_logprobs");
		json_t *expected = json_array();

		assert_true(json_array_size(got) > 0);
		for (size_t k = 0; k < json_array_size(got); k++)
			json_array_append(expected, json_array_get(want, k));
		assert_near("logprobs_of_greedy", got, expected, LOGPROB_TOLERANCE);
		check_greedy(p, p->family, json_object_get(c, "ids"), greedy);
		json_decref(expected);
		json_decref(body);
		json_decref(answer);
	}
}

/* An encoder's hidden states are not on the wire; an untrained base classifies nothing, and says so. */
static void check_encoder(const struct place *p)
{
	json_t *body = json_pack("{s:s, s:s}", "model", p->family, "input", "a text");
	struct answer a = http_call(&p->daemon, p->key, "POST", "/v1/classify", body);

	assert_int_equal(a.status, 400);
	answer_fini(&a);
	json_decref(body);
}

/* The request of a golden's run: its hyperparameters in the wire's names. */
static json_t *job_request(
        const struct place *p, const char *file, const json_t *golden_hyper, int epochs, const json_t *red)
{
	json_t *hyper = json_pack("{s:i, s:O, s:O, s:O, s:O, s:O, s:O, s:b}", "n_epochs", epochs,
	        "batch_size", json_object_get(golden_hyper, "batch_size"), "learning_rate",
	        json_object_get(golden_hyper, "learning_rate"), "lr_scheduler",
	        json_object_get(golden_hyper, "schedule"), "warmup_steps",
	        json_object_get(golden_hyper, "warmup_steps"), "weight_decay",
	        json_object_get(golden_hyper, "weight_decay"), "max_grad_norm",
	        json_object_get(golden_hyper, "max_grad_norm"), "shuffle", 0);
	json_t *adapter = json_pack("{s:s}", "type", "red");

	assert_non_null(hyper);
	if (red)
		json_object_update(adapter, (json_t *)red);
	return json_pack("{s:s, s:s, s:{s:s, s:{s:o}}, s:o}", "model", p->parent, "training_file", file,
	        "method", "type", "supervised", "supervised", "hyperparameters", hyper, "adapter", adapter);
}

/* The values of a field by step, as many as expected. */
static void read_metric(
        const struct place *p, const char *job, const char *field, size_t n, double got[MAX_STEPS])
{
	assert_int_equal(job_metrics(&p->daemon, p->key, job, field, got, MAX_STEPS), n);
}

static void check_metric(
        const struct place *p, const char *job, const char *field, const json_t *expected, double tolerance)
{
	double got[MAX_STEPS];
	size_t n = json_array_size(expected);

	read_metric(p, job, field, n, got);
	for (size_t i = 0; i < n; i++) {
		double want = json_number_value(json_array_get(expected, i));

		if (!(fabs(got[i] - want) <= tolerance * fabs(want)))
			fail_msg("%s: %s of step %zu: %.9g, expected %.9g", p->family, field, i + 1, got[i],
			        want);
	}
}

/* Run a job to its end; the finished job. */
static json_t *run_job(const struct place *p, json_t *request, char job[64])
{
	json_t *done;

	must_job(&p->daemon, p->key, request, job);
	json_decref(request);
	done = must_finish(&p->daemon, p->key, job);
	assert_string_equal(json_string_value(json_object_get(done, "status")), "succeeded");
	return done;
}

static struct answer adapter_content(const struct place *p, const json_t *job)
{
	char path[512];
	struct answer a;

	snprintf(path, sizeof(path), "/v1/adapters/%s/content?format=safetensors",
	        json_string_value(json_object_get(job, "fine_tuned_model")));
	a = http_call(&p->daemon, p->key, "GET", path, NULL);
	assert_int_equal(a.status, 200);
	return a;
}

static void check_adapter(const char *path, const struct answer *content)
{
	struct buf expected = {0};
	struct safetensors *want, *got;

	assert_int_equal(buf_read_file(&expected, path, 1 << 20), OK);
	assert_int_equal(safetensors_new(expected.data, expected.len, &want, NULL), OK);
	assert_int_equal(safetensors_new(content->text, content->length, &got, NULL), OK);
	assert_int_equal(safetensors_count(got), safetensors_count(want));
	for (size_t i = 0; i < safetensors_count(want); i++) {
		const struct tensor *w = safetensors_at(want, i), *g = safetensors_find(got, w->name);
		static float a[MAX_TENSOR], b[MAX_TENSOR];

		assert_non_null(g);
		assert_int_equal(g->type, TENSOR_F32);
		assert_int_equal(g->n_elements, w->n_elements);
		assert_true(w->n_elements <= MAX_TENSOR);
		assert_int_equal(tensor_read_f32(w, 0, w->n_elements, a), OK);
		assert_int_equal(tensor_read_f32(g, 0, g->n_elements, b), OK);
		for (size_t k = 0; k < w->n_elements; k++)
			if (!(fabsf(a[k] - b[k]) <= (float)ADAPTER_TOLERANCE))
				fail_msg("%s[%zu]: %.9g, expected %.9g", w->name, k, (double)b[k],
				        (double)a[k]);
	}
	safetensors_free(want);
	safetensors_free(got);
	buf_fini(&expected);
}

static void check_training(const struct place *p, const char *file)
{
	const json_t *train = json_object_get(p->golden, "train");
	const json_t *hyper = json_object_get(train, "hyperparameters");
	const json_t *tuned = json_object_get(p->golden, "tuned");
	char job[64];
	json_t *done = run_job(p,
	        job_request(p, file, hyper, (int)json_integer_value(json_object_get(hyper, "epochs")), NULL),
	        job);
	struct answer content = adapter_content(p, done);
	const json_t *n_labels = json_object_get(train, "label_tokens_per_step");
	double norms[MAX_STEPS];
	struct golden_run expected;

	read_metric(p, job, "grad_norm", json_array_size(n_labels), norms);
	golden_run_open(p->family, p->golden, norms, &expected);
	check_metric(p, job, "train_loss", expected.losses, LOSS_TOLERANCE);
	check_metric(p, job, "grad_norm", expected.grad_norms, NORM_TOLERANCE);
	check_metric(p, job, "label_tokens", n_labels, 0);
	check_adapter(expected.adapter, &content);
	golden_run_close(&expected);
	p->task->check_tuned(p, json_string_value(json_object_get(done, "fine_tuned_model")), tuned);
	answer_fini(&content);
	json_decref(done);
}

/* ---- what the tasks differ in ---- */

static void check_continuation(const struct place *p, const char *model, const json_t *tuned)
{
	check_greedy(p, model, json_object_get(tuned, "text"), json_object_get(tuned, p->task->greedy));
}

static void check_probs(const struct place *p, const char *model, const json_t *tuned)
{
	const json_t *want = json_object_get(tuned, "probs");
	json_t *body = json_pack(
	        "{s:s, s:[O, s]}", "model", model, "input", json_object_get(tuned, "text"), "another");
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/classify", body);
	const json_t *data = json_object_get(answer, "data"), *first = json_array_get(data, 0);
	const json_t *probs = json_object_get(first, "probs");
	char best[24];
	size_t k = 0;

	assert_int_equal(json_array_size(data), 2);
	assert_near("probs", probs, want, PROB_TOLERANCE);
	for (size_t i = 1; i < json_array_size(want); i++)
		if (json_number_value(json_array_get(want, i)) > json_number_value(json_array_get(want, k)))
			k = i;
	snprintf(best, sizeof(best), "%zu", k);
	assert_string_equal(json_string_value(json_object_get(first, "label")), best);
	assert_int_equal(json_integer_value(json_object_get(first, "num_classes")), json_array_size(want));
	json_decref(body);
	json_decref(answer);
}

static void parent_is_base(const struct place *p, char parent[256])
{
	snprintf(parent, 256, "%s", p->family);
}

/* The golden's own start of the head, imported as an adapter that edits nothing. */
static void parent_is_head(const struct place *p, char parent[256])
{
	static const char begin[] = "--x\r\nContent-Disposition: form-data; name=\"file\"; "
	                            "filename=\"head.safetensors\"\r\n\r\n";
	static const char end[] = "\r\n--x--\r\n";
	struct buf form = {0}, file = {0};
	struct answer a;
	char path[256];

	snprintf(path, sizeof(path), GOLDEN_DIR "%s/classifier_init.safetensors", p->family);
	assert_int_equal(buf_read_file(&file, path, 1 << 20), OK);
	assert_int_equal(buf_append(&form, begin, sizeof(begin) - 1), OK);
	assert_int_equal(buf_append(&form, file.data, file.len), OK);
	assert_int_equal(buf_append(&form, end, sizeof(end) - 1), OK);
	a = http_raw(&p->daemon, p->key, "POST", "/v1/adapters", "multipart/form-data; boundary=x", form.data,
	        form.len);
	if (a.status != 200)
		fail_msg("import: %ld %s", a.status, a.text);
	snprintf(parent, 256, "%s", json_string_value(json_object_get(a.json, "id")));
	answer_fini(&a);
	buf_fini(&form);
	buf_fini(&file);
}

static const struct task tasks[] = {
        {"causal", "greedy_16", true, parent_is_base, check_causal, check_continuation},
        {"seq2seq", "greedy_12", false, parent_is_base, check_seq2seq, check_continuation},
        {"classify", NULL, false, parent_is_head, check_encoder, check_probs},
};

static const struct task *task_named(const char *name)
{
	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
		if (strcmp(tasks[i].name, name) == 0)
			return &tasks[i];
	fail_msg("no task is called %s", name);
	return NULL;
}

/* Sums of a module's vectors after the last step; a part that is not trained is its start value. */
static void check_sums(const struct answer *content, const json_t *expected, const char *part, double start)
{
	struct safetensors *s;
	const char *module;
	json_t *want;

	assert_int_equal(safetensors_new(content->text, content->length, &s, NULL), OK);
	json_object_foreach ((json_t *)expected, module, want) {
		char name[256];
		const struct tensor *t;
		float values[1024];
		double sum = 0;

		snprintf(name, sizeof(name), "%s.delta_vector.%s", module, part);
		t = safetensors_find(s, name);
		if (!t) {
			assert_true(start == 0 ? json_number_value(want) == 0
			                       : fmod(json_number_value(want), 1) == 0);
			continue;
		}
		assert_int_equal(tensor_read_f32(t, 0, t->n_elements, values), OK);
		for (size_t i = 0; i < t->n_elements; i++)
			sum += (double)values[i];
		if (!(fabs(sum - json_number_value(want)) < SUM_TOLERANCE))
			fail_msg("sum of %s: %.9g, expected %.9g", name, sum, json_number_value(want));
	}
	safetensors_free(s);
}

static void check_variants(const struct place *p, const char *file)
{
	const json_t *variant;
	size_t i;

	json_array_foreach (json_object_get(p->golden, "variants"), i, variant) {
		char job[64];
		json_t *done = run_job(p,
		        job_request(p, file, json_object_get(variant, "hyperparameters"), 1,
		                json_object_get(variant, "red")),
		        job);
		struct answer content = adapter_content(p, done);

		check_metric(p, job, "train_loss", json_object_get(variant, "loss_per_step"), LOSS_TOLERANCE);
		check_sums(&content, json_object_get(variant, "sum_scale"), "activation_scaling", 1);
		check_sums(&content, json_object_get(variant, "sum_bias"), "activation_bias", 0);
		answer_fini(&content);
		json_decref(done);
	}
}

/* The first n lines of a golden's training file, uploaded. */
static void upload_lines(const struct place *p, size_t n, char id[64])
{
	char path[256];
	struct buf data = {0};
	size_t end = 0;

	snprintf(path, sizeof(path), GOLDEN_DIR "%s/train.jsonl", p->family);
	assert_int_equal(buf_read_file(&data, path, 1 << 20), OK);
	while (n && end < data.len)
		if (data.data[end++] == '\n')
			n--;
	assert_int_equal(http_upload(&p->daemon, p->key, "train.jsonl", data.data, end, id), 200);
	buf_fini(&data);
}

static void check_family(const char *family)
{
	struct place p;
	char all[64], twelve[64];

	place_open(&p, family);
	check_tokenizer(&p);
	p.task->check_forward(&p);
	upload_lines(&p, SIZE_MAX, all);
	upload_lines(&p, 12, twelve);
	check_training(&p, all);
	check_variants(&p, twelve);
	place_close(&p);
}

static void test_gpt2_over_http(void **state)
{
	(void)state;
	check_family("gpt2");
}

static void test_llama2_over_http(void **state)
{
	(void)state;
	check_family("llama2");
}

static void test_llama3_over_http(void **state)
{
	(void)state;
	check_family("llama3");
}

static void test_roberta_over_http(void **state)
{
	(void)state;
	check_family("roberta");
}

static void test_t5_over_http(void **state)
{
	(void)state;
	check_family("t5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_gpt2_over_http),
	        cmocka_unit_test(test_llama2_over_http),
	        cmocka_unit_test(test_llama3_over_http),
	        cmocka_unit_test(test_roberta_over_http),
	        cmocka_unit_test(test_t5_over_http),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
