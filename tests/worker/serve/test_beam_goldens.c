/*
 * Beams and greedy text under n-gram blocking, penalties and bias, token for token what transformers answers
 * (tests/goldens/beam.json), many together in one batch; some of them alone give the same bits.
 */
#include "core/mem.h"
#include "tests/support/golden.h"
#include "worker/serve/serve.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_CASES 128
#define MAX_CHOICES 4
#define MAX_TOKENS 32
#define BATCH_ROWS 24
#define ALONE_STRIDE 5

struct fixture {
	struct model *model;
	struct tokenizer *tokenizer;
	struct serve *serve;
};

/* A case with what came of it. */
struct question {
	const json_t *golden; /* borrowed */
	int32_t *prompt;      /* owned */
	struct serve_request request;
	size_t n_tokens[MAX_CHOICES];
	int32_t ids[MAX_CHOICES][MAX_TOKENS];
	float logprobs[MAX_CHOICES][MAX_TOKENS];
	struct serve_result results[MAX_CHOICES];
	sem_t done;
};

static void fixture_open(struct fixture *f, const char *family)
{
	struct serve_options options = {.max_batch = BATCH_ROWS, .max_queue = 100000, .prefill_rows = 16};
	struct why why = {0};
	char dir[128];

	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &f->model, &why) || tokenizer_open(dir, &f->tokenizer, &why))
		fail_msg("%s", why.message);
	options.model = f->model;
	options.tokenizer = f->tokenizer;
	options.kv_bytes = BATCH_ROWS * kv_bytes(f->model, model_info(f->model)->max_positions);
	if (serve_start(&options, &f->serve, &why))
		fail_msg("%s", why.message);
}

static void fixture_close(struct fixture *f)
{
	serve_stop(f->serve, 0);
	tokenizer_close(f->tokenizer);
	model_close(f->model);
}

static void on_token(void *arg, const struct serve_token *t)
{
	struct question *q = arg;
	size_t *n = &q->n_tokens[t->choice];

	assert_in_range(t->choice, 0, MAX_CHOICES - 1);
	assert_in_range(*n, 0, MAX_TOKENS - 1);
	q->ids[t->choice][*n] = t->id;
	q->logprobs[t->choice][(*n)++] = t->logprob;
}

static void on_done(void *arg, const struct serve_result *r)
{
	struct question *q = arg;

	q->results[r->choice] = *r;
	if (r->choice + 1 == q->request.n_choices)
		sem_post(&q->done);
}

static double number(const json_t *golden, const char *key)
{
	return json_number_value(json_object_get(golden, key));
}

static size_t size(const json_t *golden, const char *key)
{
	return (size_t)json_integer_value(json_object_get(golden, key));
}

static enum early_stopping early_stopping(const json_t *value)
{
	if (json_is_string(value))
		return EARLY_STOPPING_NEVER;
	return json_is_true(value) ? EARLY_STOPPING_FIRST : EARLY_STOPPING_GUESS;
}

static void question_init(struct question *q, const struct fixture *f, const json_t *golden)
{
	const struct model_info *info = model_info(f->model);
	size_t n_prompt;

	memset(q, 0, sizeof(*q));
	sem_init(&q->done, 0, 0);
	q->golden = golden;
	q->prompt = golden_ids(json_object_get(golden, "prompt"), &n_prompt);
	q->request = (struct serve_request){
	        .prompt = q->prompt,
	        .n_prompt = n_prompt,
	        .strength = 1,
	        .sample = {.top_p = 1,
	                .repetition_penalty = number(golden, "repetition_penalty"),
	                .no_repeat_ngram_size = size(golden, "no_repeat_ngram_size")},
	        .beams = {.n_beams = size(golden, "num_beams"),
	                .length_penalty = number(golden, "length_penalty"),
	                .early_stopping = early_stopping(json_object_get(golden, "early_stopping"))},
	        .n_choices = size(golden, "num_return"),
	        .max_tokens = size(golden, "max_tokens"),
	        .logprobs = true,
	        .on_token = on_token,
	        .on_done = on_done,
	        .arg = q,
	};
	q->request.sample.n_bias = 1;
	q->request.sample.bias[0].id = info->eos_ids[0];
	q->request.sample.bias[0].bias = (float)number(golden, "eos_bias");
}

static void question_submit(struct question *q, const struct fixture *f)
{
	struct why why = {0};
	uint64_t id;

	if (serve_submit(f->serve, &q->request, &id, &why))
		fail_msg("%s", why.message);
}

static void question_wait(struct question *q)
{
	while (sem_wait(&q->done))
		;
}

static void question_fini(struct question *q)
{
	sem_destroy(&q->done);
	mem_free(q->prompt);
}

static void assert_answers(const struct question *q, const char *family, size_t at, int32_t eos)
{
	const json_t *answers = json_object_get(q->golden, "answers");

	assert_int_equal(json_array_size(answers), q->request.n_choices);
	for (size_t k = 0; k < q->request.n_choices; k++) {
		const json_t *answer = json_array_get(answers, k);
		size_t n = json_array_size(answer), i = 0;
		bool ended;

		while (i < n && i < q->n_tokens[k] &&
		        q->ids[k][i] == json_integer_value(json_array_get(answer, i)))
			i++;
		if (i < n || q->n_tokens[k] != n)
			fail_msg("%s, case %zu, answer %zu: %zu tokens instead of %zu, the first %zu right",
			        family, at, k, q->n_tokens[k], n, i);
		ended = q->ids[k][n - 1] == eos;
		assert_int_equal(q->results[k].finish, ended ? FINISH_STOP : FINISH_LENGTH);
		assert_int_equal(q->results[k].n_generated, n - ended);
	}
}

static void assert_same(const struct question *a, const struct question *b)
{
	assert_memory_equal(a->n_tokens, b->n_tokens, sizeof(a->n_tokens));
	assert_memory_equal(a->ids, b->ids, sizeof(a->ids));
	assert_memory_equal(a->logprobs, b->logprobs, sizeof(a->logprobs));
}

static void check_family(const json_t *cases, const char *family)
{
	static struct question together[MAX_CASES], alone;
	struct fixture f;
	const json_t *c;
	size_t at, n = 0;
	int32_t eos;

	fixture_open(&f, family);
	eos = model_info(f.model)->eos_ids[0];
	json_array_foreach (cases, at, c) {
		if (strcmp(json_string_value(json_object_get(c, "family")), family))
			continue;
		assert_in_range(n, 0, MAX_CASES - 1);
		question_init(&together[n], &f, c);
		question_submit(&together[n++], &f);
	}
	assert_true(n > 60);
	for (size_t i = 0; i < n; i++) {
		question_wait(&together[i]);
		assert_answers(&together[i], family, i, eos);
	}
	for (size_t i = 0; i < n; i += ALONE_STRIDE) {
		question_init(&alone, &f, together[i].golden);
		question_submit(&alone, &f);
		question_wait(&alone);
		assert_same(&together[i], &alone);
		question_fini(&alone);
	}
	for (size_t i = 0; i < n; i++)
		question_fini(&together[i]);
	fixture_close(&f);
}

static void test_answers_are_those_of_transformers_in_a_batch_and_alone(void **state)
{
	json_error_t error;
	static const char *const families[] = {"gpt2", "llama2", "llama3"}; /* as make_beam.py has them */
	json_t *golden = json_load_file(GOLDEN_DIR "beam.json", 0, &error);

	(void)state;
	if (!golden)
		fail_msg("beam.json: %s", error.text);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		check_family(json_object_get(golden, "cases"), families[i]);
	json_decref(golden);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_answers_are_those_of_transformers_in_a_batch_and_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
