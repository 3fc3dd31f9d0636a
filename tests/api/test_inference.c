/* Whole answers of the inference handlers: what is submitted for a request, and what comes of it. */
#include "tests/api/inference_scene.h"

static void test_completion_is_submitted_as_asked_and_answered(void **state)
{
	struct scene *s = scene_open(COMPLETION,
	        "{\"model\":\"tuned\",\"prompt\":\"Hi\",\"max_tokens\":5,\"temperature\":0,\"seed\":9,"
	        "\"stop\":\"zz\","
	        "\"adapter_strength\":0.5,\"ignore_eos\":true,\"logit_bias\":{\"7\":2}}");
	const struct serve_request *r = &s->worker.requests[0].request;

	(void)state;
	assert_int_equal(s->worker.n_requests, 1);
	assert_int_equal(r->n_prompt, 3);
	assert_int_equal(r->prompt[0], WORLD_BOS);
	assert_int_equal(r->max_tokens, 5);
	assert_true(r->sample.temperature == 0);
	assert_true(r->sample.seed == 9);
	assert_int_equal(r->sample.bias[0].id, 7);
	assert_int_equal(r->n_stops, 1);
	assert_string_equal(r->stops[0], "zz");
	assert_true(r->strength == 0.5f);
	assert_true(r->ignore_eos);
	assert_false(r->has_end_id);
	assert_false(r->logprobs || r->echo_logprobs);
	world_play_token(&s->worker, 0, 'a', -1, "a");
	world_play_token(&s->worker, 0, 0xc3, -1, "");
	world_play_token(&s->worker, 0, 0xa9, -1, "\xc3\xa9");
	assert_int_equal(s->x.n_answers, 0);
	world_play_done(&s->worker, 0, FINISH_STOP, OK, "z");
	assert_int_equal(s->x.status, 200);
	assert_string_equal(text_of(s, 0), "a\xc3\xa9z");
	assert_string_equal(json_string_value(json_object_get(s->x.reply, "model")), "tuned");
	assert_string_equal(
	        json_string_value(json_object_get(s->x.reply, "system_fingerprint")), "fp_0123456789");
	assert_int_equal(strncmp(json_string_value(json_object_get(s->x.reply, "id")), "cmpl-", 5), 0);
	assert_string_equal(json_string_value(json_object_get(choice_of(s, 0), "finish_reason")), "stop");
	assert_true(json_is_null(json_object_get(choice_of(s, 0), "logprobs")));
	assert_int_equal(usage_of(s->x.reply, "prompt_tokens"), 3);
	assert_int_equal(usage_of(s->x.reply, "completion_tokens"), 3);
	scene_close(s);
}

static void test_prompts_and_samples_are_numbered_in_order(void **state)
{
	static const char *const texts[] = {"a", "b", "c", "d"};
	struct scene *s = scene_open(
	        COMPLETION, "{\"model\":\"tuned\",\"prompt\":[\"p\",[113,113]],\"n\":2,\"seed\":5}");
	struct worker *w = &s->worker;

	(void)state;
	assert_int_equal(w->n_requests, 4);
	assert_int_equal(w->requests[1].request.n_prompt, 2);
	assert_int_equal(w->requests[2].request.prompt[0], 'q');
	assert_true(w->requests[0].request.sample.seed == 5);
	assert_true(w->requests[1].request.sample.seed != 5);
	/* a prompt's answers do not depend on the prompts beside it */
	assert_true(w->requests[2].request.sample.seed == 5);
	assert_true(w->requests[3].request.sample.seed == w->requests[1].request.sample.seed);
	for (size_t i = 4; i-- > 0;) {
		world_play_token(w, i, texts[i][0], -1, texts[i]);
		world_play_done(w, i, FINISH_LENGTH, OK, "");
	}
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(text_of(s, i), texts[i]);
		assert_int_equal(json_integer_value(json_object_get(choice_of(s, i), "index")), i);
	}
	assert_int_equal(usage_of(s->x.reply, "prompt_tokens"), 4); /* each prompt once */
	assert_int_equal(usage_of(s->x.reply, "total_tokens"), 8);
	assert_int_equal(s->x.reserved, 4 + 4 * 16);
	assert_int_equal(s->x.used, 8);
	scene_close(s);
}

static void test_without_a_seed_choices_differ(void **state)
{
	struct scene *s = scene_open(COMPLETION, "{\"model\":\"base\",\"prompt\":[\"a\",\"b\"],\"n\":2}");
	struct worker *w = &s->worker;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(w->requests[i].request.sample.seed != w->requests[k].request.sample.seed);
	for (size_t i = 0; i < 4; i++)
		world_play_done(w, i, FINISH_LENGTH, OK, "");
	scene_close(s);
}

static void test_best_of_answers_with_the_likeliest(void **state)
{
	struct scene *s = scene_open(
	        COMPLETION, "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2,\"best_of\":4,\"max_tokens\":2}");
	struct worker *w = &s->worker;

	(void)state;
	assert_int_equal(w->n_requests, 4);
	assert_true(w->requests[0].request.logprobs);
	world_play_token(w, 0, 'a', -3, "a");
	world_play_token(w, 1, 'b', -1, "b");
	world_play_token(w, 1, 'b', -2, "b"); /* mean -1.5 */
	world_play_token(w, 2, 'c', -0.5f, "c");
	world_play_token(w, 3, 'd', -2, "d");
	for (size_t i = 0; i < 4; i++)
		world_play_done(w, i, FINISH_LENGTH, OK, "");
	assert_int_equal(json_array_size(json_object_get(s->x.reply, "choices")), 2);
	assert_string_equal(text_of(s, 0), "c");
	assert_string_equal(text_of(s, 1), "bb");
	assert_int_equal(json_integer_value(json_object_get(choice_of(s, 1), "index")), 1);
	assert_true(json_is_null(json_object_get(choice_of(s, 0), "logprobs")));
	assert_int_equal(usage_of(s->x.reply, "completion_tokens"), 5); /* all that were sampled */
	scene_close(s);
}

/* What lm-evaluation-harness asks of a local-completions model, and how it reads the answer. */
static void test_beams_are_one_request_with_several_choices(void **state)
{
	struct scene *s = scene_open(COMPLETION,
	        "{\"model\":\"tuned\",\"prompt\":[\"p\",\"q\"],\"n\":2,\"num_beams\":4,\"max_tokens\":2}");
	struct worker *w = &s->worker;

	(void)state;
	assert_int_equal(w->n_requests, 2);
	assert_int_equal(w->requests[0].request.n_choices, 2);
	assert_int_equal(w->requests[0].request.beams.n_beams, 4);
	assert_true(w->requests[0].request.sample.temperature == 0);
	for (size_t i = 2; i-- > 0;) {
		world_play_choice_token(w, i, 0, 'a', -1, i ? "c" : "a");
		world_play_done(w, i, FINISH_STOP, OK, "");
		world_play_choice_token(w, i, 1, 'b', -2, i ? "d" : "b");
		world_play_choice_token(w, i, 1, 'b', -2, "x");
		world_play_done(w, i, FINISH_LENGTH, OK, "!");
	}
	assert_int_equal(json_array_size(json_object_get(s->x.reply, "choices")), 4);
	assert_string_equal(text_of(s, 0), "a");
	assert_string_equal(text_of(s, 1), "bx!");
	assert_string_equal(text_of(s, 2), "c");
	assert_string_equal(text_of(s, 3), "dx!");
	assert_string_equal(json_string_value(json_object_get(choice_of(s, 0), "finish_reason")), "stop");
	assert_string_equal(json_string_value(json_object_get(choice_of(s, 1), "finish_reason")), "length");
	assert_int_equal(usage_of(s->x.reply, "completion_tokens"), 6);
	scene_close(s);
}

static void test_evaluation_harness_reads_its_numbers(void **state)
{
	struct scene *s =
	        scene_open(COMPLETION, "{\"model\":\"tuned\",\"prompt\":[[256,72,105,33]],\"temperature\":0,"
	                               "\"max_tokens\":1,\"logprobs\":1,\"seed\":1234,\"echo\":true}");
	json_t *logprobs, *list;

	(void)state;
	assert_true(s->worker.requests[0].request.echo_logprobs);
	assert_int_equal(s->worker.requests[0].request.n_top_logprobs, 1);
	world_play_prompt(&s->worker, 0);
	world_play_token(&s->worker, 0, 'x', -0.25f, "x");
	world_play_done(&s->worker, 0, FINISH_LENGTH, OK, "");
	assert_string_equal(text_of(s, 0), "Hi!x");
	logprobs = json_object_get(choice_of(s, 0), "logprobs");
	list = json_object_get(logprobs, "token_logprobs");
	assert_int_equal(json_array_size(list), 5);
	assert_true(json_is_null(json_array_get(list, 0)));
	assert_true(json_real_value(json_array_get(list, 3)) == -1.5);
	assert_true(json_real_value(json_array_get(list, 4)) == -0.25);
	list = json_object_get(logprobs, "top_logprobs");
	assert_int_equal(json_array_size(list), 5);
	assert_true(json_is_null(json_array_get(list, 0)));
	assert_true(json_real_value(json_object_get(json_array_get(list, 1), "H")) == -1.5);
	list = json_object_get(logprobs, "tokens");
	assert_string_equal(json_string_value(json_array_get(list, 0)), "<s>");
	list = json_object_get(logprobs, "text_offset");
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(json_integer_value(json_array_get(list, i)), i ? i - 1 : 0);
	scene_close(s);
}

static void test_echo_gives_the_prompt_as_it_was_written(void **state)
{
	struct scene *s = scene_open(COMPLETION,
	        "{\"model\":\"base\",\"prompt\":[\"h\xc3\xa9\",[256,72]],\"echo\":true,\"max_tokens\":0}");

	(void)state;
	assert_int_equal(s->worker.requests[0].request.max_tokens, 0);
	assert_false(s->worker.requests[0].request.echo_logprobs);
	world_play_done(&s->worker, 0, FINISH_LENGTH, OK, "");
	world_play_done(&s->worker, 1, FINISH_LENGTH, OK, "");
	assert_string_equal(text_of(s, 0), "h\xc3\xa9");
	assert_string_equal(text_of(s, 1), "H");
	assert_int_equal(usage_of(s->x.reply, "completion_tokens"), 0);
	scene_close(s);
}

static void test_text_offsets_count_characters(void **state)
{
	static const int offsets[] = {0, 0, 1, 2, 3, 4};
	struct scene *s = scene_open(
	        COMPLETION, "{\"model\":\"base\",\"prompt\":[[256,97,98]],\"echo\":true,\"logprobs\":0}");
	json_t *list;

	(void)state;
	world_play_prompt(&s->worker, 0);
	world_play_token(&s->worker, 0, 'c', -1, ""); /* held back: may begin a stop string */
	world_play_token(&s->worker, 0, 'd', -1, "");
	world_play_token(&s->worker, 0, 'e', -1, "cde");
	world_play_done(&s->worker, 0, FINISH_STOP, OK, "");
	assert_string_equal(text_of(s, 0), "abcde");
	list = json_object_get(json_object_get(choice_of(s, 0), "logprobs"), "text_offset");
	assert_int_equal(json_array_size(list), 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(json_integer_value(json_array_get(list, i)), offsets[i]);
	scene_close(s);
}

static void test_chat_answers_with_a_message(void **state)
{
	struct scene *s = scene_open(CHAT, CHAT_HI ",\"logprobs\":true,\"top_logprobs\":2}");
	json_t *message, *content;

	(void)state;
	assert_int_equal(s->worker.requests[0].request.n_prompt, 4); /* "uHia" */
	assert_int_equal(s->worker.requests[0].request.max_tokens, WORLD_CONTEXT - 4);
	assert_true(s->worker.requests[0].request.has_end_id);
	assert_int_equal(s->worker.requests[0].request.end_id, 'E');
	world_play_token(&s->worker, 0, 'o', -0.5f, "o");
	world_play_token(&s->worker, 0, WORLD_EOS, -0.5f, "");
	world_play_done(&s->worker, 0, FINISH_STOP, OK, "");
	message = json_object_get(choice_of(s, 0), "message");
	assert_string_equal(json_string_value(json_object_get(message, "role")), "assistant");
	assert_string_equal(json_string_value(json_object_get(message, "content")), "o");
	content = json_object_get(json_object_get(choice_of(s, 0), "logprobs"), "content");
	assert_int_equal(json_array_size(content), 1); /* the end of the turn is no part of the message */
	assert_int_equal(json_array_size(json_object_get(json_array_get(content, 0), "top_logprobs")), 2);
	assert_int_equal(strncmp(json_string_value(json_object_get(s->x.reply, "id")), "chatcmpl-", 9), 0);
	scene_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_completion_is_submitted_as_asked_and_answered),
	        cmocka_unit_test(test_prompts_and_samples_are_numbered_in_order),
	        cmocka_unit_test(test_without_a_seed_choices_differ),
	        cmocka_unit_test(test_best_of_answers_with_the_likeliest),
	        cmocka_unit_test(test_beams_are_one_request_with_several_choices),
	        cmocka_unit_test(test_evaluation_harness_reads_its_numbers),
	        cmocka_unit_test(test_echo_gives_the_prompt_as_it_was_written),
	        cmocka_unit_test(test_text_offsets_count_characters),
	        cmocka_unit_test(test_chat_answers_with_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
