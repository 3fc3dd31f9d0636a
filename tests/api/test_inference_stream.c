/* Streams of the inference handlers: the order and content of events, however quick the engine is. */
#include "tests/api/inference_scene.h"

/* The i-th event's only choice must have this index, text and finish_reason (NULL = null). In a chat the text
 * is the delta's content, NULL = the delta has none. */
static void expect_piece(const struct scene *s, size_t i, int index, const char *text, const char *finish)
{
	json_t *json = event(s, i);
	json_t *choice = json_array_get(json_object_get(json, "choices"), 0);
	json_t *delta = json_object_get(choice, "delta");
	const char *got =
	        json_string_value(json_object_get(delta ? delta : choice, delta ? "content" : "text"));
	const char *reason = json_string_value(json_object_get(choice, "finish_reason"));

	assert_non_null(choice);
	assert_int_equal(json_integer_value(json_object_get(choice, "index")), index);
	assert_true(!got == !text);
	if (text)
		assert_string_equal(got, text);
	assert_true(!reason == !finish);
	if (finish)
		assert_string_equal(reason, finish);
	json_decref(json);
}

static void test_chat_streams_role_content_finish_usage_done(void **state)
{
	struct scene *s =
	        scene_open(CHAT, CHAT_HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
	json_t *json;

	(void)state;
	assert_true(s->x.streaming);
	assert_int_equal(n_events(s), 1); /* the role at once: the client sees that it is heard */
	world_play_token(&s->worker, 0, 'o', -1, "o");
	assert_int_equal(n_events(s), 2);
	world_play_token(&s->worker, 0, 0xc3, -1, "");
	assert_int_equal(n_events(s), 2); /* half a character is none */
	world_play_token(&s->worker, 0, 0xa9, -1, "\xc3\xa9");
	world_play_done(&s->worker, 0, FINISH_STOP, OK, "!");
	assert_int_equal(n_events(s), 7);
	json = event(s, 0);
	assert_string_equal(
	        json_string_value(json_object_get(
	                json_object_get(json_array_get(json_object_get(json, "choices"), 0), "delta"),
	                "role")),
	        "assistant");
	assert_true(json_is_null(json_object_get(json, "usage")));
	json_decref(json);
	expect_piece(s, 0, 0, "", NULL);
	expect_piece(s, 1, 0, "o", NULL);
	expect_piece(s, 2, 0, "\xc3\xa9", NULL);
	expect_piece(s, 3, 0, "!", NULL);
	expect_piece(s, 4, 0, NULL, "stop");
	json = event(s, 5);
	assert_int_equal(json_array_size(json_object_get(json, "choices")), 0);
	assert_int_equal(usage_of(json, "total_tokens"), 7);
	json_decref(json);
	assert_null(event(s, 6));
	scene_close(s);
}

static void test_completion_streams_choices_side_by_side(void **state)
{
	struct scene *s =
	        scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2,\"stream\":true}");
	json_t *json;

	(void)state;
	assert_int_equal(n_events(s), 0);
	world_play_token(&s->worker, 1, 'b', -1, "b");
	world_play_token(&s->worker, 0, 'a', -1, "a");
	world_play_done(&s->worker, 1, FINISH_LENGTH, OK, "c");
	assert_int_equal(s->x.n_answers, 0);
	world_play_done(&s->worker, 0, FINISH_STOP, OK, "");
	expect_piece(s, 0, 1, "b", NULL);
	expect_piece(s, 1, 0, "a", NULL);
	expect_piece(s, 2, 1, "c", "length");
	expect_piece(s, 3, 0, "", "stop");
	assert_null(event(s, 4));
	json = event(s, 0);
	assert_null(json_object_get(json, "usage"));
	json_decref(json);
	scene_close(s);
}

static void test_streamed_logprobs_lose_no_token(void **state)
{
	struct scene *s =
	        scene_open(COMPLETION, "{\"model\":\"base\",\"prompt\":\"p\",\"echo\":true,\"stream\":true,"
	                               "\"logprobs\":1,\"max_tokens\":3}");
	static const size_t n_tokens[] = {3, 2};
	size_t n = 0;

	(void)state;
	world_play_prompt(&s->worker, 0); /* <s>p */
	assert_int_equal(n_events(s), 0);
	world_play_token(&s->worker, 0, 'a', -1, "a");
	world_play_token(&s->worker, 0, 'b', -1, ""); /* held back, with its token */
	world_play_token(&s->worker, 0, 'c', -1, "");
	world_play_done(&s->worker, 0, FINISH_LENGTH, OK, "bc");
	expect_piece(s, 0, 0, "pa", NULL);
	expect_piece(s, 1, 0, "bc", "length");
	for (size_t i = 0; i < 2; i++) {
		json_t *json = event(s, i);
		json_t *logprobs =
		        json_object_get(json_array_get(json_object_get(json, "choices"), 0), "logprobs");

		n = json_array_size(json_object_get(logprobs, "tokens"));
		assert_int_equal(n, n_tokens[i]);
		assert_int_equal(json_array_size(json_object_get(logprobs, "text_offset")), n);
		json_decref(json);
	}
	scene_close(s);
}

/* The engine is done before the handler has returned from submitting. */
static void play_at_once(struct worker *w, size_t i)
{
	world_play_token(w, i, (int32_t)('a' + i), -1, i ? "b" : "a");
	world_play_done(w, i, FINISH_STOP, OK, "");
}

static void test_a_quick_engine_changes_nothing(void **state)
{
	struct scene *s = scene_new();

	(void)state;
	s->worker.quick = play_at_once;
	world_exchange_init(&s->x, &s->worker, CHAT_HI ",\"stream\":true,\"n\":2}");
	assert_int_equal(call(&s->x, CHAT), EXCHANGE_LATER);
	assert_int_equal(n_events(s), 7);
	expect_piece(s, 0, 0, "", NULL);
	expect_piece(s, 1, 1, "", NULL);
	expect_piece(s, 2, 0, "a", NULL);
	expect_piece(s, 3, 0, NULL, "stop");
	expect_piece(s, 4, 1, "b", NULL);
	expect_piece(s, 5, 1, NULL, "stop");
	assert_null(event(s, 6));
	scene_close(s);

	s = scene_new();
	s->worker.quick = play_at_once;
	world_exchange_init(&s->x, &s->worker, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2}");
	assert_int_equal(call(&s->x, COMPLETION), EXCHANGE_LATER);
	assert_string_equal(text_of(s, 0), "a");
	assert_string_equal(text_of(s, 1), "b");
	scene_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_chat_streams_role_content_finish_usage_done),
	        cmocka_unit_test(test_completion_streams_choices_side_by_side),
	        cmocka_unit_test(test_streamed_logprobs_lose_no_token),
	        cmocka_unit_test(test_a_quick_engine_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
