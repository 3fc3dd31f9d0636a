/* What a request says: text, stop strings, ends, log-probabilities, scoring; over a fake model that says what
 * it is told. */
#include "tests/worker/serve/answer.h"
#include "worker/math/loss.h"
#include "worker/serve/logprob.h"

#include <math.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static struct serve *engine;

static int start_engine(void **state)
{
	struct serve_options options = {
	        .model = &fake,
	        .max_batch = 2,
	        .kv_bytes = 2 * FAKE_CONTEXT * FAKE_KV_BYTES,
	        .prefill_rows = 8,
	};

	(void)state;
	return serve_start(&options, &engine, NULL);
}

static int stop_engine(void **state)
{
	(void)state;
	serve_stop(engine, 0);
	return 0;
}

static void run(struct answer *a)
{
	answer_submit(a, engine);
	answer_wait(a);
}

/* Let the model say script; n_stops strings follow. */
static void say(struct answer *a, const int32_t *script, size_t n, size_t n_stops, const char *const *stops)
{
	answer_init(a, 3, 40, 1);
	answer_script(a, script, n);
	a->request.n_stops = n_stops;
	for (size_t i = 0; i < n_stops; i++)
		a->request.stops[i] = stops[i];
	run(a);
}

/* ---- ends ---- */

static void test_end_of_text_stops_and_does_not_count(void **state)
{
	static const int32_t script[] = {1, 2, 3};
	struct answer a;

	(void)state;
	say(&a, script, 3, 0, NULL);
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_int_equal(a.result.n_prompt, 3);
	assert_int_equal(a.result.n_generated, 3);
	assert_int_equal(a.n_tokens, 3);
	assert_string_equal(a.text, "abc");
}

static void test_end_of_text_at_once_is_an_empty_answer(void **state)
{
	struct answer a;

	(void)state;
	say(&a, (const int32_t[]){FAKE_EOS}, 1, 0, NULL);
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_int_equal(a.n_tokens, 0);
	assert_string_equal(a.text, "");
}

static void test_end_of_text_can_be_ignored(void **state)
{
	static const int32_t script[] = {1, FAKE_EOS, 2};
	struct answer a;

	(void)state;
	answer_init(&a, 3, 5, 1);
	answer_script(&a, script, LENGTH(script));
	a.request.ignore_eos = true;
	run(&a);
	assert_int_equal(a.result.finish, FINISH_LENGTH);
	assert_int_equal(a.result.n_generated, 5);
	assert_string_equal(a.text, "ab");
}

static void test_length_ends_at_max_tokens_and_at_the_context(void **state)
{
	struct answer a;

	(void)state;
	for (size_t n = 1; n <= 3; n++) {
		answer_init(&a, 5, n, 1);
		a.request.ignore_eos = true;
		run(&a);
		assert_int_equal(a.result.finish, FINISH_LENGTH);
		assert_int_equal(a.result.n_generated, n);
	}
	for (size_t n = 1; n <= 3; n++) {
		answer_init(&a, FAKE_CONTEXT - n, 1000, 1);
		a.request.ignore_eos = true;
		run(&a);
		assert_int_equal(a.result.finish, FINISH_LENGTH);
		assert_int_equal(a.result.n_generated, n);
	}
}

static void test_an_unfinished_character_comes_at_the_end(void **state)
{
	static const int32_t whole[] = {1, FAKE_C3, FAKE_A9, 2}, cut[] = {1, FAKE_C3};
	struct answer a;

	(void)state;
	say(&a, whole, LENGTH(whole), 0, NULL);
	assert_string_equal(a.text, "a\xC3\xA9"
	                            "b");
	assert_int_equal(a.tokens[1].n_text, 0);
	assert_int_equal(a.tokens[2].n_text, 2);
	say(&a, cut, LENGTH(cut), 0, NULL);
	assert_string_equal(a.text, "a\xEF\xBF\xBD");
	assert_int_equal(a.n_streamed, 1);
	assert_int_equal(a.result.n_generated, 2);
}

/* ---- stop strings ---- */

static void test_a_stop_string_cuts_the_text_before_it(void **state)
{
	static const int32_t script[] = {1, FAKE_END, 2, 3};
	struct answer a;

	(void)state;
	say(&a, script, LENGTH(script), 1, (const char *const[]){"END"});
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_int_equal(a.result.n_generated, 2);
	assert_string_equal(a.text, "a");
	say(&a, script, LENGTH(script), 1, (const char *const[]){"N"});
	assert_string_equal(a.text, "aE");
	assert_int_equal(a.n_streamed, 2);
}

static void test_a_stop_string_over_several_tokens_is_held_back(void **state)
{
	static const int32_t script[] = {24, 1, 2, 3, 25};
	struct answer a;

	(void)state;
	say(&a, script, LENGTH(script), 2, (const char *const[]){"abc", "q"});
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_int_equal(a.result.n_generated, 4);
	assert_string_equal(a.text, "x");
	assert_int_equal(a.tokens[1].n_text + a.tokens[2].n_text + a.tokens[3].n_text, 0);
	say(&a, script, LENGTH(script), 1, (const char *const[]){"abd"});
	assert_string_equal(a.text, "xabcy");
	assert_int_equal(a.tokens[2].n_text, 0);
	assert_int_equal(a.tokens[3].n_text, 3);
}

static void test_text_held_back_comes_with_the_end(void **state)
{
	static const int32_t script[] = {24, 1, 2};
	struct answer a;

	(void)state;
	say(&a, script, LENGTH(script), 1, (const char *const[]){"abc"});
	assert_int_equal(a.result.finish, FINISH_STOP); /* by end of text */
	assert_int_equal(a.n_streamed, 1);
	assert_string_equal(a.text, "xab");
}

static void test_a_stop_string_of_several_bytes_over_tokens(void **state)
{
	static const int32_t script[] = {1, FAKE_C3, FAKE_A9, 2};
	struct answer a;

	(void)state;
	say(&a, script, LENGTH(script), 1, (const char *const[]){"\xC3\xA9"});
	assert_string_equal(a.text, "a");
	assert_int_equal(a.result.n_generated, 3);
}

static void test_a_stop_string_at_the_last_token_is_a_stop(void **state)
{
	static const int32_t script[] = {1, 2, 3};
	struct answer a;

	(void)state;
	answer_init(&a, 3, 2, 1);
	answer_script(&a, script, LENGTH(script));
	a.request.n_stops = 1;
	a.request.stops[0] = "b";
	run(&a);
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_string_equal(a.text, "a");
}

static void test_a_stop_string_in_the_last_unfinished_character(void **state)
{
	static const int32_t script[] = {1, FAKE_C3, 3};
	struct answer a;

	(void)state;
	answer_init(&a, 3, 2, 1);
	answer_script(&a, script, LENGTH(script));
	a.request.n_stops = 1;
	a.request.stops[0] = "\xEF\xBF\xBD";
	run(&a);
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_string_equal(a.text, "a");
}

/* ---- log-probabilities ---- */

/* The logits after the first n tokens of all, as the model gives them with chunks of 8 prompt rows. */
static void expected_logits(const struct answer *a, const int32_t *all, size_t n, float *logits)
{
	struct edit_run run = {.n_rows = 1, .layout = &a->adapter, .strength = a->request.strength};
	struct kv *kv;

	assert_int_equal(kv_new(&fake, n, &kv), OK);
	assert_int_equal(kv_extend(kv, n), OK);
	for (size_t i = 0; i < n; i++)
		fake_append(kv, all[i], i < a->request.n_prompt && i % 8 == 0);
	fake_logits(kv, &run, logits);
	kv_free(kv);
}

static void assert_token_scored(const struct answer *a, size_t i, const float *logits)
{
	const struct serve_token *t = &a->tokens[i];
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	double total = log_sum_exp(FAKE_VOCAB, logits);

	assert_true(t->has_logprob);
	assert_true(fabs((double)t->logprob - ((double)logits[t->id] - total)) < 1e-6);
	assert_int_equal(t->n_top, a->request.n_top_logprobs);
	logprob_top(FAKE_VOCAB, logits, total, t->n_top, top);
	assert_memory_equal(a->top[i], top, t->n_top * sizeof(top[0]));
}

static void test_log_probabilities_are_the_models_own(void **state)
{
	struct answer a;
	int32_t all[ANSWER_MAX];
	float logits[FAKE_VOCAB];

	(void)state;
	answer_init(&a, 11, 20, 4);
	a.request.logprobs = true;
	a.request.n_top_logprobs = 5;
	a.request.ignore_eos = true;
	a.request.sample.temperature = 1.7;
	a.request.sample.top_k = 6;
	a.request.sample.repetition_penalty = 1.5;
	a.request.sample.n_bias = 1;
	a.request.sample.bias[0].id = 9;
	a.request.sample.bias[0].bias = 3;
	run(&a);
	assert_int_equal(a.n_tokens, 20);
	memcpy(all, a.prompt, 11 * sizeof(*all));
	for (size_t i = 0; i < 20; i++) {
		expected_logits(&a, all, 11 + i, logits);
		assert_token_scored(&a, i, logits);
		all[11 + i] = a.tokens[i].id;
	}
}

static void assert_prompt_scored(const struct answer *a)
{
	float logits[FAKE_VOCAB];

	assert_int_equal(a->n_prompt_tokens, a->request.n_prompt);
	for (size_t i = 0; i < a->request.n_prompt; i++) {
		assert_true(a->tokens[i].is_prompt);
		assert_int_equal(a->tokens[i].id, a->prompt[i]);
		assert_int_equal(a->tokens[i].n_text, 0);
		if (i == 0) {
			assert_false(a->tokens[0].has_logprob);
			continue;
		}
		expected_logits(a, a->prompt, i, logits);
		assert_token_scored(a, i, logits);
	}
}

static void test_scoring_reports_every_prompt_token(void **state)
{
	static const size_t lengths[] = {1, 2, 7, 8, 9, 16, 17, FAKE_CONTEXT};
	struct answer a;

	(void)state;
	for (size_t i = 0; i < LENGTH(lengths); i++) {
		answer_init(&a, lengths[i], 0, i);
		a.request.echo_logprobs = true;
		a.request.n_top_logprobs = 3;
		run(&a);
		assert_int_equal(a.result.finish, FINISH_LENGTH);
		assert_int_equal(a.result.n_generated, 0);
		assert_int_equal(a.n_tokens, lengths[i]);
		assert_prompt_scored(&a);
	}
}

static void test_echo_comes_before_what_is_generated(void **state)
{
	struct answer a, plain;

	(void)state;
	answer_init(&a, 13, 6, 2);
	a.request.echo_logprobs = true;
	a.request.n_top_logprobs = 2;
	run(&a);
	assert_prompt_scored(&a);
	assert_false(a.tokens[13].has_logprob);
	assert_int_equal(a.tokens[13].n_top, 0);
	answer_init(&plain, 13, 6, 2);
	run(&plain);
	assert_int_equal(plain.n_prompt_tokens, 0);
	assert_int_equal(a.n_tokens, 13 + plain.n_tokens);
	for (size_t i = 0; i < plain.n_tokens; i++)
		assert_int_equal(a.tokens[13 + i].id, plain.tokens[i].id);
	assert_string_equal(a.text, plain.text);
}

static void test_strength_and_adapter_reach_the_model(void **state)
{
	struct answer a[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 8, 20, 6);
		a[i].request.ignore_eos = true;
	}
	a[1].request.strength = 0.25f;
	a[2].request.adapter.layout = NULL;
	for (size_t i = 0; i < 3; i++)
		run(&a[i]);
	assert_string_not_equal(a[0].text, a[1].text);
	assert_string_not_equal(a[0].text, a[2].text);
	assert_string_not_equal(a[1].text, a[2].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_end_of_text_stops_and_does_not_count),
	        cmocka_unit_test(test_end_of_text_at_once_is_an_empty_answer),
	        cmocka_unit_test(test_end_of_text_can_be_ignored),
	        cmocka_unit_test(test_length_ends_at_max_tokens_and_at_the_context),
	        cmocka_unit_test(test_an_unfinished_character_comes_at_the_end),
	        cmocka_unit_test(test_a_stop_string_cuts_the_text_before_it),
	        cmocka_unit_test(test_a_stop_string_over_several_tokens_is_held_back),
	        cmocka_unit_test(test_text_held_back_comes_with_the_end),
	        cmocka_unit_test(test_a_stop_string_of_several_bytes_over_tokens),
	        cmocka_unit_test(test_a_stop_string_at_the_last_token_is_a_stop),
	        cmocka_unit_test(test_a_stop_string_in_the_last_unfinished_character),
	        cmocka_unit_test(test_log_probabilities_are_the_models_own),
	        cmocka_unit_test(test_scoring_reports_every_prompt_token),
	        cmocka_unit_test(test_echo_comes_before_what_is_generated),
	        cmocka_unit_test(test_strength_and_adapter_reach_the_model),
	};

	return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
