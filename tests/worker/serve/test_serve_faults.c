/* Requests that must be refused, models and heaps that fail: each ends its request, never the engine. */
#include "tests/worker/serve/answer.h"

#include <math.h>

static const struct serve_options usual = {
        .model = &fake,
        .max_batch = 4,
        .max_queue = 4,
        .kv_bytes = 4 * FAKE_CONTEXT * FAKE_KV_BYTES,
        .prefill_rows = 8,
};

static struct serve *start(void)
{
	struct serve *s = NULL;

	assert_int_equal(serve_start(&usual, &s, NULL), OK);
	return s;
}

static void assert_still_answers(struct serve *s)
{
	struct answer a;

	answer_init(&a, 10, 6, 1);
	a.request.ignore_eos = true;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.result.finish, FINISH_LENGTH);
	assert_int_equal(a.result.n_generated, 6);
}

/* ---- refusals ---- */

static void assert_refused(struct serve *s, struct answer *a, enum err e, const char *param)
{
	struct why why = {0};

	assert_int_equal(serve_submit(s, &a->request, &a->id, &why), e);
	assert_string_equal(why.param, param);
	assert_true(why.message[0] != '\0');
	assert_int_equal(a->n_done + a->n_released, 0);
}

static void test_a_prompt_without_room_is_too_long(void **state)
{
	struct serve *s = start();
	struct why why = {0};
	struct answer a;

	(void)state;
	answer_init(&a, FAKE_CONTEXT, 1, 1);
	assert_refused(s, &a, ERR_TOO_LONG, "");
	answer_init(&a, FAKE_CONTEXT + 1, 0, 1);
	assert_int_equal(serve_submit(s, &a.request, &a.id, &why), ERR_TOO_LONG);
	assert_string_equal(why.code, "context_length_exceeded");
	assert_non_null(strstr(why.message, "96"));
	assert_non_null(strstr(why.message, "97"));
	serve_stop(s, 0);
}

static void test_what_memory_holds_is_the_context(void **state)
{
	struct serve_options options = usual;
	struct why why = {0};
	struct serve *s;
	struct answer a;

	(void)state;
	options.kv_bytes = 20 * FAKE_KV_BYTES + 1;
	assert_int_equal(serve_start(&options, &s, NULL), OK);
	answer_init(&a, 20, 1, 1);
	assert_refused(s, &a, ERR_TOO_LONG, "");
	answer_init(&a, 15, 100, 1);
	a.request.ignore_eos = true;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.result.n_generated, 5);
	serve_stop(s, 0);
	options.kv_bytes = FAKE_KV_BYTES;
	assert_int_equal(serve_start(&options, &s, &why), ERR_LIMIT);
	assert_non_null(strstr(why.message, "keys and values"));
	options = usual;
	options.max_batch = 0;
	assert_int_equal(serve_start(&options, &s, &why), ERR_INVALID);
}

static void test_malformed_requests_are_named(void **state)
{
	struct serve *s = start();
	struct answer a;

	(void)state;
	answer_init(&a, 0, 1, 1);
	assert_refused(s, &a, ERR_INVALID, "prompt");
	answer_init(&a, 3, 1, 1);
	a.prompt[2] = FAKE_VOCAB;
	assert_refused(s, &a, ERR_INVALID, "prompt");
	a.prompt[2] = -1;
	assert_refused(s, &a, ERR_INVALID, "prompt");
	answer_init(&a, 3, 1, 1);
	a.request.strength = INFINITY;
	assert_refused(s, &a, ERR_INVALID, "adapter_strength");
	answer_init(&a, 3, 1, 1);
	a.request.n_top_logprobs = SERVE_MAX_LOGPROBS + 1;
	assert_refused(s, &a, ERR_INVALID, "top_logprobs");
	answer_init(&a, 3, 1, 1);
	a.request.n_stops = SERVE_MAX_STOPS + 1;
	assert_refused(s, &a, ERR_INVALID, "stop");
	a.request.n_stops = 1;
	a.request.stops[0] = "";
	assert_refused(s, &a, ERR_INVALID, "stop");
	answer_init(&a, 3, 1, 1);
	a.request.sample.temperature = -1;
	assert_refused(s, &a, ERR_INVALID, "temperature");
	assert_still_answers(s);
	serve_stop(s, 0);
}

/* ---- failing steps ---- */

static void test_a_failing_decode_step_ends_those_in_it(void **state)
{
	struct serve *s = start();
	struct answer a[3];

	(void)state;
	atomic_store(&fake.fail_decode, 5);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 3, 60, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		answer_wait(&a[i]);
		assert_int_equal(a[i].result.finish, FINISH_ERROR);
		assert_int_equal(a[i].result.error, ERR_MEM);
		assert_in_range(a[i].result.n_generated, 1, 5);
		assert_int_equal(a[i].n_tokens, a[i].result.n_generated);
		assert_true(a[i].n_text > 0); /* what came before is not lost */
	}
	assert_still_answers(s);
	serve_stop(s, 0);
}

static void test_a_failing_prompt_ends_its_request_alone(void **state)
{
	struct serve *s = start();
	struct answer a[2];

	(void)state;
	pthread_mutex_lock(&fake.gate);
	atomic_store(&fake.fail_prefill, 2);
	for (size_t i = 0; i < 2; i++) {
		answer_init(&a[i], 3, 20, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&a[0]);
	answer_wait(&a[1]);
	assert_int_equal(a[0].result.finish, FINISH_LENGTH);
	assert_int_equal(a[1].result.finish, FINISH_ERROR);
	assert_int_equal(a[1].result.error, ERR_MEM);
	assert_int_equal(a[1].result.n_generated, 0);
	assert_still_answers(s);
	serve_stop(s, 0);
}

static void test_logits_that_are_not_finite_end_the_request(void **state)
{
	struct serve *s = start();
	struct answer a;

	(void)state;
	atomic_store(&fake.not_finite, true);
	for (size_t echo = 0; echo < 2; echo++) {
		answer_init(&a, 12, 5, 1);
		a.request.echo_logprobs = echo;
		answer_submit(&a, s);
		answer_wait(&a);
		assert_int_equal(a.result.finish, FINISH_ERROR);
		assert_int_equal(a.result.error, ERR_STATE);
		assert_int_equal(
		        a.n_tokens, echo); /* the first prompt token has no log-probability to fail */
	}
	atomic_store(&fake.not_finite, false);
	assert_still_answers(s);
	serve_stop(s, 0);
}

/* ---- failing memory ---- */

static void test_start_survives_every_failing_allocation(void **state)
{
	struct serve *s = NULL;
	enum err e = ERR_MEM;
	long n;

	(void)state;
	for (n = 1; e != OK; n++) {
		mem_fail_at(n);
		e = serve_start(&usual, &s, NULL);
		assert_int_equal(e, mem_failed() ? ERR_MEM : OK);
	}
	mem_fail_at(0);
	assert_true(n > 8);
	serve_stop(s, 0);
}

static void test_a_request_survives_every_failing_allocation(void **state)
{
	struct serve *s = start();
	bool failed = true;

	(void)state;
	for (long n = 1; failed; n++) {
		struct answer a;

		answer_init(&a, 12, 8, 1);
		a.request.ignore_eos = true;
		a.request.n_stops = 2;
		a.request.stops[0] = "stop";
		a.request.stops[1] = "ab";
		mem_fail_at(n);
		if (serve_submit(s, &a.request, &a.id, NULL) == OK) {
			answer_wait(&a);
			failed = mem_failed();
			assert_int_equal(a.result.finish == FINISH_ERROR, failed);
			assert_int_equal(a.result.error, failed ? ERR_MEM : OK);
		} else {
			assert_int_equal(a.n_done + a.n_released, 0);
			failed = mem_failed();
			assert_true(failed);
		}
		mem_fail_at(0);
	}
	assert_still_answers(s);
	serve_stop(s, 0);
}

static void fail_from_here(struct answer *a)
{
	if (a->n_tokens == a->request.n_prompt + 1)
		mem_fail_at(1);
}

static void test_steps_allocate_nothing(void **state)
{
	struct serve *s = start();
	struct answer a;

	(void)state;
	answer_init(&a, 5, 80, 1);
	a.request.ignore_eos = true;
	a.request.logprobs = a.request.echo_logprobs = true;
	a.request.n_top_logprobs = 20;
	a.request.sample.temperature = 1;
	a.request.sample.top_p = 0.9;
	a.request.sample.repetition_penalty = 1.2;
	a.request.n_stops = 1;
	a.request.stops[0] = "never said";
	a.at_token = fail_from_here;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_false(mem_failed());
	assert_int_equal(a.result.finish, FINISH_LENGTH);
	mem_fail_at(0);
	serve_stop(s, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_prompt_without_room_is_too_long),
	        cmocka_unit_test(test_what_memory_holds_is_the_context),
	        cmocka_unit_test(test_malformed_requests_are_named),
	        cmocka_unit_test(test_a_failing_decode_step_ends_those_in_it),
	        cmocka_unit_test(test_a_failing_prompt_ends_its_request_alone),
	        cmocka_unit_test(test_logits_that_are_not_finite_end_the_request),
	        cmocka_unit_test(test_start_survives_every_failing_allocation),
	        cmocka_unit_test(test_a_request_survives_every_failing_allocation),
	        cmocka_unit_test(test_steps_allocate_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
