/* /v1/tokenize and /v1/detokenize. */
#include "tests/api/inference_scene.h"

#define TOKENIZE "/v1/tokenize"
#define DETOKENIZE "/v1/detokenize"

/* Call, and compare the whole answer. */
static void expect_answer(const char *path, const char *body, unsigned status, const char *answer)
{
	struct scene *s = scene_new();
	json_t *wanted = json_loads(answer, 0, NULL);

	assert_non_null(wanted);
	world_exchange_init(&s->x, &s->worker, body);
	assert_int_equal(call(&s->x, path), EXCHANGE_DONE);
	assert_int_equal(s->x.status, status);
	assert_true(json_equal(s->x.reply, wanted));
	json_decref(wanted);
	s->x.n_answers = 1;
	scene_close(s);
}

static void expect_refusal(const char *path, const char *body, unsigned status, const char *param)
{
	struct scene *s = scene_new();

	world_exchange_init(&s->x, &s->worker, body);
	assert_int_equal(call(&s->x, path), EXCHANGE_DONE);
	assert_int_equal(s->x.status, status);
	assert_string_equal(error_field(s, "param"), param);
	s->x.n_answers = 1;
	scene_close(s);
}

static void test_text_becomes_tokens(void **state)
{
	(void)state;
	expect_answer(TOKENIZE, "{\"model\":\"tuned\",\"prompt\":\"Hi\"}", 200,
	        "{\"count\":3,\"max_model_len\":64,\"tokens\":[256,72,105]}");
	expect_answer(TOKENIZE, "{\"prompt\":\"Hi\",\"add_special_tokens\":false}", 200,
	        "{\"count\":2,\"max_model_len\":64,\"tokens\":[72,105]}");
	expect_answer(TOKENIZE, "{\"model\":\"base\",\"prompt\":\"\"}", 200,
	        "{\"count\":0,\"max_model_len\":64,\"tokens\":[]}");
}

static void test_messages_become_the_prompt_the_model_sees(void **state)
{
	(void)state;
	expect_answer(TOKENIZE, "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
	        200, "{\"count\":4,\"max_model_len\":64,\"tokens\":[117,72,105,97]}");
}

static void test_tokens_become_text(void **state)
{
	(void)state;
	expect_answer(
	        DETOKENIZE, "{\"model\":\"tuned\",\"tokens\":[256,72,105]}", 200, "{\"prompt\":\"Hi\"}");
	expect_answer(DETOKENIZE, "{\"tokens\":[256,72,105],\"skip_special_tokens\":false}", 200,
	        "{\"prompt\":\"<s>Hi\"}");
	expect_answer(DETOKENIZE, "{\"tokens\":[]}", 200, "{\"prompt\":\"\"}");
}

static void test_refusals_name_the_field(void **state)
{
	(void)state;
	expect_refusal(TOKENIZE, "[", 400, "");
	expect_refusal(TOKENIZE, "{\"model\":\"who\",\"prompt\":\"a\"}", 404, "model");
	expect_refusal(TOKENIZE, "{\"model\":1,\"prompt\":\"a\"}", 400, "model");
	expect_refusal(TOKENIZE, "{\"model\":\"base\"}", 400, "prompt");
	expect_refusal(TOKENIZE, "{\"prompt\":[\"a\"]}", 400, "prompt");
	expect_refusal(TOKENIZE, "{\"prompt\":\"a\",\"add_special_tokens\":1}", 400, "add_special_tokens");
	expect_refusal(TOKENIZE, "{\"messages\":[{\"role\":\"x\"}]}", 400, "messages[0].role");
	expect_refusal(TOKENIZE,
	        "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"add_generation_prompt\":false}", 400,
	        "add_generation_prompt");
	expect_refusal(DETOKENIZE, "{", 400, "");
	expect_refusal(DETOKENIZE, "{\"model\":\"who\",\"tokens\":[1]}", 404, "model");
	expect_refusal(DETOKENIZE, "{\"model\":\"base\"}", 400, "tokens");
	expect_refusal(DETOKENIZE, "{\"tokens\":[1,259]}", 400, "tokens");
	expect_refusal(DETOKENIZE, "{\"tokens\":\"1\"}", 400, "tokens");
	expect_refusal(DETOKENIZE, "{\"tokens\":[72],\"skip_special_tokens\":1}", 400, "skip_special_tokens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_text_becomes_tokens),
	        cmocka_unit_test(test_messages_become_the_prompt_the_model_sees),
	        cmocka_unit_test(test_tokens_become_text),
	        cmocka_unit_test(test_refusals_name_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
