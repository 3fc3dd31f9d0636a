/* Bases other than decoders behind the same engine: encoders that classify, encoder-decoders. */
#include "tests/worker/serve/fake_model.h"
#include "worker/serve/serve.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/worker/serve/answer.h"

#define N 12
#define START 5

static struct serve *start(enum model_kind kind, size_t max_batch)
{
	const struct serve_options options = {.model = &fake,
	        .tokenizer = NULL,
	        .max_batch = max_batch,
	        .max_queue = 100,
	        .kv_bytes = 64 * FAKE_CONTEXT * FAKE_KV_BYTES,
	        .prefill_rows = 8};
	struct serve *s;

	fake.info.kind = kind;
	fake.info.decoder_start_id = START;
	atomic_store(&fake.classified, 0);
	atomic_store(&fake.max_classified, 0);
	assert_int_equal(serve_start(&options, &s, NULL), OK);
	return s;
}

static int restore(void **state)
{
	(void)state;
	fake.info.kind = MODEL_CAUSAL;
	return 0;
}

/* ---- encoders ---- */

/* A head's outputs as they came, by answer_on_done()'s place. */
struct scored {
	struct answer answer;
	float outputs[8];
};

static void on_outputs(void *arg, const struct serve_result *r)
{
	struct scored *s = arg;

	assert_true(r->n_outputs <= 8);
	if (r->outputs)
		memcpy(s->outputs, r->outputs, r->n_outputs * sizeof(*r->outputs));
	answer_on_done(arg, r);
}

static void scored_init(struct scored *s, size_t n_prompt, size_t n_labels, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	answer_init(&s->answer, n_prompt, 0, seed);
	s->answer.adapter.n_labels = n_labels;
	s->answer.request.classify = true;
	s->answer.request.on_done = on_outputs;
}

static void assert_outputs(const struct scored *s)
{
	uint64_t h =
	        fake_mix(fake_tokens(s->answer.prompt, s->answer.request.n_prompt), s->answer.adapter.seed);

	assert_int_equal(s->answer.result.finish, FINISH_STOP);
	assert_int_equal(s->answer.result.n_outputs, s->answer.adapter.n_labels);
	assert_int_equal(s->answer.result.n_prompt, s->answer.request.n_prompt);
	assert_int_equal(s->answer.result.n_generated, 0);
	for (size_t k = 0; k < s->answer.adapter.n_labels; k++)
		assert_true(s->outputs[k] == (float)(fake_mix(h, k) >> 40));
}

static void test_heads_of_one_size_are_run_together(void **state)
{
	static struct scored s[N];
	struct serve *engine = start(MODEL_ENCODER, 4 * N);
	struct serve_stats stats;

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < N; i++) {
		scored_init(&s[i], 3 + i % 4, i % 3 == 2 ? 5 : 2, i + 1);
		answer_submit(&s[i].answer, engine);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < N; i++) {
		answer_wait(&s[i].answer);
		assert_outputs(&s[i]);
	}
	assert_true(atomic_load(&fake.max_classified) >= 3);
	assert_true(atomic_load(&fake.classified) < N);
	serve_stats(engine, &stats);
	assert_int_equal(stats.generated_tokens, 0);
	serve_stop(engine, 0);
}

static void test_long_texts_wait_for_the_next_run(void **state)
{
	static struct scored s[3];
	struct serve *engine = start(MODEL_ENCODER, 8);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		scored_init(&s[i], FAKE_CONTEXT, 2, i + 1);
		answer_submit(&s[i].answer, engine);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		answer_wait(&s[i].answer);
		assert_outputs(&s[i]);
	}
	assert_int_equal(atomic_load(&fake.max_classified), 1);
	serve_stop(engine, 0);
}

static void test_failure_is_told_to_those_of_the_run(void **state)
{
	static struct scored s[2];
	struct serve *engine = start(MODEL_ENCODER, 8);

	(void)state;
	scored_init(&s[0], 4, 2, 1);
	scored_init(&s[1], 4, 2, 2);
	atomic_store(&fake.fail_decode, 1);
	answer_submit(&s[0].answer, engine);
	answer_wait(&s[0].answer);
	assert_int_equal(s[0].answer.result.finish, FINISH_ERROR);
	assert_int_equal(s[0].answer.result.error, ERR_MEM);
	answer_submit(&s[1].answer, engine);
	answer_wait(&s[1].answer);
	assert_outputs(&s[1]);
	serve_stop(engine, 0);
}

static void test_cancelled_and_stopped_before_their_run(void **state)
{
	static struct scored s[2];
	struct serve *engine = start(MODEL_ENCODER, 1);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 2; i++) {
		scored_init(&s[i], 4, 2, i + 1);
		answer_submit(&s[i].answer, engine);
	}
	serve_cancel(engine, s[1].answer.id);
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&s[0].answer);
	answer_wait(&s[1].answer);
	assert_outputs(&s[0]);
	assert_int_equal(s[1].answer.result.finish, FINISH_CANCELLED);
	assert_null(s[1].answer.result.outputs);
	serve_stop(engine, 0);
}

/* ---- who does what ---- */

static void refused(struct serve *s, const struct answer *a, enum err e, const char *word)
{
	struct why why = {0};
	uint64_t id;

	assert_int_equal(serve_submit(s, &a->request, &id, &why), e);
	if (!strstr(why.message, word))
		fail_msg("%s", why.message);
}

static void test_each_kind_refuses_the_others_work(void **state)
{
	static struct scored s;
	struct answer text;
	struct serve *engine = start(MODEL_ENCODER, 8);

	(void)state;
	answer_init(&text, 4, 4, 1);
	refused(engine, &text, ERR_INVALID, "/v1/classify");
	scored_init(&s, 4, 0, 1);
	refused(engine, &s.answer, ERR_INVALID, "no classification head");
	s.answer.request.adapter.layout = NULL;
	refused(engine, &s.answer, ERR_INVALID, "no classification head");
	scored_init(&s, FAKE_CONTEXT + 1, 2, 1);
	refused(engine, &s.answer, ERR_TOO_LONG, "tokens");
	serve_stop(engine, 0);

	engine = start(MODEL_CAUSAL, 8);
	scored_init(&s, 4, 2, 1);
	refused(engine, &s.answer, ERR_INVALID, "/v1/completions");
	serve_stop(engine, 0);

	engine = start(MODEL_SEQ2SEQ, 8);
	refused(engine, &s.answer, ERR_INVALID, "/v1/completions");
	text.request.echo_logprobs = true;
	refused(engine, &text, ERR_INVALID, "encoder");
	serve_stop(engine, 0);
}

/* ---- encoder-decoders ---- */

/* What the fake says after a source, token by token. */
static void assert_follows_source(const struct answer *a, size_t n)
{
	struct kv *kv;
	struct edit_run run = {.n_rows = 1, .layout = &a->adapter, .strength = 1};
	float logits[FAKE_VOCAB];
	int32_t token = START;

	assert_int_equal(a->n_tokens, n);
	assert_int_equal(kv_new(&fake, a->request.n_prompt + n, &kv), OK);
	fake_read_source(kv, a->prompt, a->request.n_prompt);
	assert_int_equal(kv_extend(kv, n), OK);
	for (size_t i = 0; i < n; i++) {
		int32_t best = 0;

		fake_append(kv, token, i == 0);
		fake_logits(kv, &run, logits);
		for (int32_t j = 1; j < FAKE_VOCAB; j++)
			if (logits[j] > logits[best])
				best = j;
		assert_int_equal(a->tokens[i].id, best);
		token = best;
	}
	kv_free(kv);
}

static void test_the_decoder_starts_afresh_after_its_source(void **state)
{
	static struct answer a[N];
	struct serve *s = start(MODEL_SEQ2SEQ, 4);

	(void)state;
	for (size_t i = 0; i < N; i++) {
		answer_init(&a[i], 1 + 7 * i, 5, i + 1);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	for (size_t i = 0; i < N; i++) {
		answer_wait(&a[i]);
		assert_int_equal(a[i].result.finish, FINISH_LENGTH);
		assert_int_equal(a[i].result.n_prompt, 1 + 7 * i);
		assert_follows_source(&a[i], 5);
	}
	serve_stop(s, 0);
}

/* The source takes nothing of the answer's room, nor the answer of the source's. */
static void test_source_and_answer_have_a_context_each(void **state)
{
	static struct answer a, long_one;
	struct serve *s = start(MODEL_SEQ2SEQ, 4);

	(void)state;
	answer_init(&a, FAKE_CONTEXT, SIZE_MAX, 1);
	a.request.ignore_eos = true;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.result.finish, FINISH_LENGTH);
	assert_int_equal(a.result.n_generated, FAKE_CONTEXT - 1);
	answer_init(&long_one, FAKE_CONTEXT + 1, 1, 1);
	refused(s, &long_one, ERR_TOO_LONG, "context");
	serve_stop(s, 0);
}

static void test_beams_share_a_source(void **state)
{
	static struct answer one, beams;
	struct serve *s = start(MODEL_SEQ2SEQ, 8);
	int32_t script[] = {3, 1, 20, 5};

	(void)state;
	/* Of a script one path is certain, so beams find what greedy finds. */
	answer_init(&one, 9, 8, 1);
	answer_script(&one, script, 4);
	one.adapter.n_prompt = 1;
	answer_init(&beams, 9, 8, 1);
	answer_script(&beams, script, 4);
	beams.adapter.n_prompt = 1;
	beams.request.beams.n_beams = 3;
	beams.request.beams.length_penalty = 1;
	answer_submit(&one, s);
	answer_submit(&beams, s);
	answer_wait(&one);
	answer_wait(&beams);
	assert_string_equal(one.text, beams.text);
	assert_int_equal(one.result.n_generated, 4);
	assert_int_equal(beams.result.n_generated, 4);
	serve_stop(s, 0);
}

/* A penalty this hard keeps anything from being said twice; what the source says is not said yet. */
static void test_penalties_look_at_what_the_decoder_wrote(void **state)
{
	static struct answer a;
	struct serve *s = start(MODEL_SEQ2SEQ, 8);
	int32_t script[] = {3, 3};

	(void)state;
	answer_init(&a, 3, 2, 1);
	a.prompt[1] = 3;
	answer_script(&a, script, 2);
	a.adapter.n_prompt = 1;
	a.request.ignore_eos = true;
	a.request.sample.repetition_penalty = 1000;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.tokens[0].id, 3);
	assert_int_not_equal(a.tokens[1].id, 3);
	serve_stop(s, 0);
}

static void test_a_source_that_cannot_be_read_ends_its_request(void **state)
{
	static struct answer a;
	struct serve *s = start(MODEL_SEQ2SEQ, 8);

	(void)state;
	atomic_store(&fake.fail_prefill, 1);
	answer_init(&a, 3, 4, 1);
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.result.finish, FINISH_ERROR);
	serve_stop(s, 0);
}

#define KIND_TEST(fn) cmocka_unit_test_teardown(fn, restore)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        KIND_TEST(test_heads_of_one_size_are_run_together),
	        KIND_TEST(test_long_texts_wait_for_the_next_run),
	        KIND_TEST(test_failure_is_told_to_those_of_the_run),
	        KIND_TEST(test_cancelled_and_stopped_before_their_run),
	        KIND_TEST(test_each_kind_refuses_the_others_work),
	        KIND_TEST(test_the_decoder_starts_afresh_after_its_source),
	        KIND_TEST(test_source_and_answer_have_a_context_each),
	        KIND_TEST(test_beams_share_a_source),
	        KIND_TEST(test_penalties_look_at_what_the_decoder_wrote),
	        KIND_TEST(test_a_source_that_cannot_be_read_ends_its_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
