/*
 * Inference that fails: refusals, a full queue, an engine that breaks or stops, clients that leave, and every
 * shortage of memory. Each is answered exactly once and lets go of all it held.
 */
#include "tests/api/inference_scene.h"

/* A body that is refused before anything is submitted. */
static void expect_refused(
        const char *path, const char *body, unsigned status, const char *param, const char *code)
{
	struct scene *s = scene_new();

	world_exchange_init(&s->x, &s->worker, body);
	assert_int_equal(call(&s->x, path), EXCHANGE_DONE);
	assert_int_equal(s->x.status, status);
	assert_string_equal(error_field(s, "param"), param);
	assert_string_equal(error_field(s, "code"), code);
	assert_int_equal(s->worker.n_requests, 0);
	s->x.n_answers = 1; /* given by the handler itself */
	scene_close(s);
}

static void test_refusals_come_before_any_work(void **state)
{
	(void)state;
	expect_refused(COMPLETION, "{", 400, "", "");
	expect_refused(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"a\",\"n\":0}", 400, "n", "");
	expect_refused(COMPLETION, "{\"model\":\"who\",\"prompt\":\"a\"}", 404, "model", "model_not_found");
	expect_refused(CHAT, "{\"model\":\"tuned\",\"messages\":[]}", 400, "messages", "");
	expect_refused(COMPLETION,
	        "{\"model\":\"tuned\",\"prompt\":"
	        "\"0123456789012345678901234567890123456789012345678901234567890123\"}",
	        400, "prompt", "context_length_exceeded");
}

static void test_a_full_queue_takes_back_what_was_submitted(void **state)
{
	static const char *const bodies[] = {"{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":3}",
	        "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":3,\"stream\":true}"};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct scene *s = scene_new();
		size_t n = i / 2 ? 2 : 0;

		s->worker.busy_at = n;
		world_exchange_init(&s->x, &s->worker, bodies[i % 2]);
		assert_int_equal(call(&s->x, COMPLETION), EXCHANGE_LATER);
		assert_int_equal(s->worker.n_requests, n);
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(s->x.n_answers, 0); /* those in the engine still point at us */
			assert_true(s->worker.cancelled[k]);
			world_play_token(&s->worker, k, 'x', -1, "x");
			world_play_done(&s->worker, k, FINISH_CANCELLED, OK, "");
		}
		assert_int_equal(s->x.status, 503);
		assert_string_equal(error_field(s, "message"), "the queue is full");
		assert_false(s->x.streaming);
		scene_close(s);
	}
}

static void test_one_failing_choice_fails_the_answer(void **state)
{
	struct scene *s = scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2}");

	(void)state;
	world_play_done(&s->worker, 1, FINISH_ERROR, ERR_MEM, "");
	assert_true(s->worker.cancelled[0]);
	assert_int_equal(s->x.n_answers, 0);
	world_play_done(&s->worker, 0, FINISH_CANCELLED, OK, "");
	assert_int_equal(s->x.status, 500);
	scene_close(s);
}

static void test_output_that_is_not_finite_blames_the_adapter(void **state)
{
	struct scene *s =
	        scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\",\"adapter_strength\":9}");

	(void)state;
	world_play_done(&s->worker, 0, FINISH_ERROR, ERR_STATE, "");
	assert_int_equal(s->x.status, 422);
	assert_non_null(strstr(error_field(s, "message"), "tuned at strength 9"));
	scene_close(s);
}

static void test_a_stream_that_fails_says_so_and_is_not_done(void **state)
{
	struct scene *s =
	        scene_open(CHAT, CHAT_HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
	json_t *json;

	(void)state;
	world_play_token(&s->worker, 0, 'o', -1, "o");
	world_play_done(&s->worker, 0, FINISH_ERROR, ERR_IO, "");
	assert_int_equal(n_events(s), 3);
	json = event(s, 2);
	assert_non_null(json_object_get(json, "error"));
	json_decref(json);
	assert_null(strstr(s->x.stream.data, "[DONE]"));
	scene_close(s);
}

static void test_an_engine_that_stops_asks_to_come_again(void **state)
{
	struct scene *s = scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\"}");

	(void)state;
	world_play_done(&s->worker, 0, FINISH_CANCELLED, OK, "");
	assert_int_equal(s->x.status, 503);
	scene_close(s);
}

static void test_when_the_client_goes_all_its_requests_are_cancelled(void **state)
{
	static const char *const bodies[] = {"{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":3}",
	        "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":3,\"stream\":true}"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct scene *s = scene_open(COMPLETION, bodies[i]);

		world_play_token(&s->worker, 0, 'a', -1, "a");
		world_client_leaves(&s->x);
		for (size_t k = 0; k < 3; k++)
			assert_true(s->worker.cancelled[k]);
		world_play_token(&s->worker, 1, 'b', -1, "b"); /* under way already */
		for (size_t k = 0; k < 3; k++) {
			assert_int_equal(s->x.n_answers, 0);
			world_play_done(&s->worker, k, FINISH_CANCELLED, OK, "");
		}
		assert_true(!s->x.stream.data || !strstr(s->x.stream.data, "[DONE]"));
		scene_close(s);
	}
}

static void test_a_write_to_nobody_cancels_too(void **state)
{
	struct scene *s =
	        scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2,\"stream\":true}");

	(void)state;
	s->x.left = true; /* the loop has not been told yet */
	world_play_token(&s->worker, 0, 'a', -1, "a");
	assert_true(s->worker.cancelled[0] && s->worker.cancelled[1]);
	world_play_done(&s->worker, 0, FINISH_CANCELLED, OK, "");
	world_play_done(&s->worker, 1, FINISH_CANCELLED, OK, "");
	scene_close(s);
}

/* The client leaves between the first and the second submit. */
static void leave_at_first(struct worker *w, size_t i)
{
	struct scene *s = (struct scene *)w;

	if (i == 0)
		world_client_leaves(&s->x);
}

static void test_a_client_that_leaves_early_is_not_worked_for(void **state)
{
	struct scene *s = scene_new();

	(void)state;
	s->worker.quick = leave_at_first;
	world_exchange_init(
	        &s->x, &s->worker, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":3,\"stream\":true}");
	assert_int_equal(call(&s->x, COMPLETION), EXCHANGE_LATER);
	assert_int_equal(s->worker.n_requests, 1);
	assert_true(s->worker.cancelled[0]); /* though its id was not known when the client left */
	world_play_done(&s->worker, 0, FINISH_CANCELLED, OK, "");
	assert_false(s->x.streaming);
	scene_close(s);
}

/* A quick engine under the fault loop: two tokens, then the end. */
static void play_in_short(struct worker *w, size_t i)
{
	world_play_prompt(w, i);
	world_play_token(w, i, 'a', -1, "a");
	world_play_token(w, i, 0xc3, -1, "");
	world_play_done(w, i, FINISH_LENGTH, OK, "b");
}

static void expect_every_shortage_answered(const char *path, const char *body)
{
	size_t n_failures = 0;
	bool failed = true;

	for (long n = 1; failed; n++) {
		struct scene *s = scene_new();
		enum exchange_verdict verdict;

		s->worker.quick = play_in_short;
		world_exchange_init(&s->x, &s->worker, body);
		/* Before the fault: jansson's parser, unlike its encoder, does not survive a shortage of
		 * memory. */
		exchange_json(&s->x);
		mem_fail_at(n);
		verdict = call(&s->x, path);
		failed = mem_failed();
		mem_fail_at(0);
		if (verdict == EXCHANGE_DONE) {
			assert_true(failed);
			s->x.n_answers++;
		}
		assert_true(failed || s->x.streaming || s->x.status == 200);
		n_failures += failed;
		scene_close(s);
	}
	assert_true(n_failures > 50);
}

static void test_every_shortage_of_memory_is_answered_once(void **state)
{
	(void)state;
	expect_every_shortage_answered(COMPLETION, "{\"model\":\"tuned\",\"prompt\":[\"Hi\",[1,2]],"
	                                           "\"logprobs\":2,\"echo\":true,\"n\":1,\"best_of\":2}");
	expect_every_shortage_answered(COMPLETION,
	        "{\"model\":\"tuned\",\"prompt\":\"Hi\",\"logprobs\":2,\"echo\":true,\"stream\":true}");
	expect_every_shortage_answered(CHAT, CHAT_HI
	        ",\"stream\":true,\"n\":2,\"logprobs\":true,\"stream_options\":{\"include_usage\":true}}");
}

static void *json_malloc(size_t n)
{
	return mem_calloc(n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_refusals_come_before_any_work),
	        cmocka_unit_test(test_a_full_queue_takes_back_what_was_submitted),
	        cmocka_unit_test(test_one_failing_choice_fails_the_answer),
	        cmocka_unit_test(test_output_that_is_not_finite_blames_the_adapter),
	        cmocka_unit_test(test_a_stream_that_fails_says_so_and_is_not_done),
	        cmocka_unit_test(test_an_engine_that_stops_asks_to_come_again),
	        cmocka_unit_test(test_when_the_client_goes_all_its_requests_are_cancelled),
	        cmocka_unit_test(test_a_write_to_nobody_cancels_too),
	        cmocka_unit_test(test_a_client_that_leaves_early_is_not_worked_for),
	        cmocka_unit_test(test_every_shortage_of_memory_is_answered_once),
	};

	json_set_alloc_funcs(json_malloc, mem_free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
