/* Requests for inference decoded: defaults, every field, and each refusal naming its field. */
#include "tests/api/inference_world.h"

#include "api/inference_request.h"

static const struct inference_limits limits = {
        .vocab_size = WORLD_VOCAB, .context = WORLD_CONTEXT, .bos_id = WORLD_BOS};

static enum err parse(
        enum inference_kind kind, const char *text, struct inference_request *out, struct why *why)
{
	json_t *body = json_loads(text, 0, NULL);
	enum err e;

	assert_non_null(body);
	e = inference_request_parse(kind, body, &limits, out, why);
	json_decref(body);
	return e;
}

static void expect_refusal(enum inference_kind kind, const char *text, const char *param)
{
	struct inference_request r = {.n = 77};
	struct why why = {0};

	print_message("%s\n", text);
	assert_int_equal(parse(kind, text, &r, &why), ERR_INVALID);
	assert_string_equal(why.param, param);
	assert_true(strlen(why.message) > 10);
	assert_int_equal(r.n, 77); /* untouched */
	assert_null(r.body);
}

static void test_completion_has_openais_defaults(void **state)
{
	struct inference_request r = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(parse(INFERENCE_COMPLETION, "{\"model\":\"base\",\"prompt\":\"Hi\"}", &r, &why), OK);
	assert_string_equal(r.model, "base");
	assert_int_equal(r.prompts.n, 1);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.best_of, 1);
	assert_int_equal(r.max_tokens, 16);
	assert_true(r.sample.params.temperature == 1);
	assert_true(r.sample.params.top_p == 1);
	assert_true(r.sample.params.min_p == 0);
	assert_true(r.sample.params.repetition_penalty == 1);
	assert_int_equal(r.sample.params.top_k, 0);
	assert_int_equal(r.sample.params.n_bias, 0);
	assert_false(r.sample.has_seed);
	assert_false(r.stream || r.echo || r.logprobs || r.ignore_eos || r.include_usage);
	assert_true(r.strength == 1);
	assert_int_equal(r.n_stops, 0);
	inference_request_fini(&r);
}

static void test_null_is_the_default(void **state)
{
	struct inference_request r = {0};

	(void)state;
	assert_int_equal(
	        parse(INFERENCE_COMPLETION,
	                "{\"model\":\"base\",\"prompt\":\"Hi\",\"n\":null,\"max_tokens\":null,"
	                "\"temperature\":null,\"logprobs\":null,\"stop\":null,\"seed\":null,\"stream\":null,"
	                "\"logit_bias\":null,\"stream_options\":null,\"best_of\":null,\"top_k\":null,"
	                "\"suffix\":null,\"response_format\":null,\"echo\":null}",
	                &r, NULL),
	        OK);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.max_tokens, 16);
	assert_false(r.logprobs);
	assert_false(r.sample.has_seed);
	inference_request_fini(&r);
}

static void test_completion_reads_every_field(void **state)
{
	struct inference_request r = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(
	        parse(INFERENCE_COMPLETION,
	                "{\"model\":\"tuned\",\"prompt\":[\"a\",\"b\"],\"n\":2,\"best_of\":3,\"max_tokens\":"
	                "0,"
	                "\"temperature\":0,\"top_p\":0.5,\"top_k\":7,\"min_p\":0.1,\"seed\":-1,\"stop\":["
	                "\"x\",\"yz\"],"
	                "\"logprobs\":0,\"echo\":true,\"presence_penalty\":-2,\"frequency_penalty\":2,"
	                "\"repetition_penalty\":1.2,\"logit_bias\":{\"5\":-100,\"258\":1.5},\"adapter_"
	                "strength\":0.25,"
	                "\"ignore_eos\":true,\"user\":\"me\",\"made_up\":{}}",
	                &r, &why),
	        OK);
	assert_int_equal(r.prompts.n, 2);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.best_of, 3);
	assert_int_equal(r.max_tokens, 0);
	assert_true(r.sample.params.temperature == 0);
	assert_true(r.sample.params.top_p == 0.5);
	assert_true(r.sample.params.min_p == 0.1);
	assert_int_equal(r.sample.params.top_k, 7);
	assert_true(r.sample.has_seed);
	assert_true(r.sample.params.seed == UINT64_MAX);
	assert_int_equal(r.n_stops, 2);
	assert_string_equal(r.stops[1], "yz");
	assert_true(r.logprobs && r.echo && r.ignore_eos);
	assert_int_equal(r.n_top_logprobs, 0);
	assert_true(r.sample.params.presence_penalty == -2);
	assert_true(r.sample.params.frequency_penalty == 2);
	assert_true(r.sample.params.repetition_penalty == 1.2);
	assert_int_equal(r.sample.params.n_bias, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(
		        r.sample.params.bias[i].bias == (r.sample.params.bias[i].id == 5 ? -100.0f : 1.5f));
	assert_true(r.strength == 0.25);
	inference_request_fini(&r);
}

static void test_beams_are_read_with_hugging_faces_defaults(void **state)
{
	static const struct {
		const char *fields;
		struct beam_params beams;
		size_t no_repeat_ngram_size;
		double temperature;
	} cases[] = {
	        {"\"n\":1", {1, 1, EARLY_STOPPING_GUESS}, 0, 1},
	        {"\"num_beams\":1,\"temperature\":0.5", {1, 1, EARLY_STOPPING_GUESS}, 0, 0.5},
	        {"\"num_beams\":2", {2, 1, EARLY_STOPPING_GUESS}, 0, 0},
	        {"\"num_beams\":32,\"temperature\":0,\"n\":32", {32, 1, EARLY_STOPPING_GUESS}, 0, 0},
	        {"\"num_beams\":10,\"length_penalty\":0.9,\"no_repeat_ngram_size\":4",
	                {10, 0.9, EARLY_STOPPING_GUESS}, 4, 0},
	        {"\"num_beams\":4,\"length_penalty\":-10,\"early_stopping\":true,\"best_of\":1",
	                {4, -10, EARLY_STOPPING_FIRST}, 0, 0},
	        {"\"num_beams\":4,\"early_stopping\":\"never\",\"stream\":true", {4, 1, EARLY_STOPPING_NEVER},
	                0, 0},
	        {"\"num_beams\":null,\"early_stopping\":false,\"length_penalty\":null",
	                {1, 1, EARLY_STOPPING_GUESS}, 0, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *body = mem_printf("{\"model\":\"base\",\"prompt\":\"Hi\",%s}", cases[i].fields);
		const struct beam_params *expected = &cases[i].beams;
		struct inference_request r = {0};

		assert_int_equal(parse(INFERENCE_COMPLETION, body, &r, NULL), OK);
		assert_int_equal(r.sample.beams.n_beams, expected->n_beams);
		assert_true(r.sample.beams.length_penalty == expected->length_penalty);
		assert_int_equal(r.sample.beams.early_stopping, expected->early_stopping);
		assert_int_equal(r.sample.params.no_repeat_ngram_size, cases[i].no_repeat_ngram_size);
		assert_true(r.sample.params.temperature == cases[i].temperature);
		inference_request_fini(&r);
		mem_free(body);
	}
}

static void test_chat_takes_what_the_context_holds(void **state)
{
	struct inference_request r = {0};

	(void)state;
	assert_int_equal(
	        parse(INFERENCE_CHAT,
	                "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
	                "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"logprobs\":true,"
	                "\"top_logprobs\":20,\"stop\":\"x\",\"tools\":[],\"tool_choice\":\"auto\","
	                "\"response_format\":{\"type\":\"text\"},\"modalities\":[\"text\"],\"num_beams\":1}",
	                &r, NULL),
	        OK);
	assert_true(r.max_tokens >= WORLD_CONTEXT);
	assert_true(r.stream && r.include_usage && r.logprobs);
	assert_int_equal(r.n_top_logprobs, 20);
	assert_int_equal(r.n_stops, 1);
	inference_request_fini(&r);
}

static void test_max_completion_tokens_wins(void **state)
{
	struct inference_request r = {0};

	(void)state;
	assert_int_equal(parse(INFERENCE_CHAT,
	                         "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
	                         "\"max_completion_tokens\":3,\"max_tokens\":9}",
	                         &r, NULL),
	        OK);
	assert_int_equal(r.max_tokens, 3);
	inference_request_fini(&r);
}

static void test_out_of_range_names_the_field(void **state)
{
	static const char *const cases[][2] = {
	        {"\"temperature\":2.1", "temperature"},
	        {"\"temperature\":\"1\"", "temperature"},
	        {"\"top_p\":-0.1", "top_p"},
	        {"\"top_p\":1.1", "top_p"},
	        {"\"min_p\":2", "min_p"},
	        {"\"top_k\":-2", "top_k"},
	        {"\"top_k\":1.5", "top_k"},
	        {"\"seed\":1.5", "seed"},
	        {"\"presence_penalty\":2.5", "presence_penalty"},
	        {"\"frequency_penalty\":-3", "frequency_penalty"},
	        {"\"repetition_penalty\":0", "repetition_penalty"},
	        {"\"num_beams\":0", "num_beams"},
	        {"\"num_beams\":33", "num_beams"},
	        {"\"num_beams\":\"4\"", "num_beams"},
	        {"\"num_beams\":2.5", "num_beams"},
	        {"\"length_penalty\":11", "length_penalty"},
	        {"\"length_penalty\":-11", "length_penalty"},
	        {"\"length_penalty\":\"1\"", "length_penalty"},
	        {"\"early_stopping\":\"always\"", "early_stopping"},
	        {"\"early_stopping\":1", "early_stopping"},
	        {"\"no_repeat_ngram_size\":-1", "no_repeat_ngram_size"},
	        {"\"no_repeat_ngram_size\":1.5", "no_repeat_ngram_size"},
	        {"\"n\":0", "n"},
	        {"\"n\":129", "n"},
	        {"\"n\":2.0", "n"},
	        {"\"n\":2,\"best_of\":1", "best_of"},
	        {"\"best_of\":2,\"stream\":true", "best_of"},
	        {"\"max_tokens\":-1", "max_tokens"},
	        {"\"max_tokens\":true", "max_tokens"},
	        {"\"max_completion_tokens\":\"many\"", "max_completion_tokens"},
	        {"\"logprobs\":21", "logprobs"},
	        {"\"logprobs\":true", "logprobs"},
	        {"\"echo\":1", "echo"},
	        {"\"stream\":\"yes\"", "stream"},
	        {"\"stream_options\":{\"include_usage\":true}", "stream_options"},
	        {"\"stream\":true,\"stream_options\":[]", "stream_options"},
	        {"\"stream\":true,\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage"},
	        {"\"stop\":\"\"", "stop"},
	        {"\"stop\":[\"a\",\"\"]", "stop"},
	        {"\"stop\":[1]", "stop"},
	        {"\"stop\":{}", "stop"},
	        {"\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
	         "\"a\",\"a\",\"a\","
	         "\"a\"]",
	                "stop"},
	        {"\"logit_bias\":[]", "logit_bias"},
	        {"\"logit_bias\":{\"x\":1}", "logit_bias"},
	        {"\"logit_bias\":{\"259\":1}", "logit_bias"},
	        {"\"logit_bias\":{\"-1\":1}", "logit_bias"},
	        {"\"logit_bias\":{\"1x\":1}", "logit_bias"},
	        {"\"logit_bias\":{\"99999999999999999999\":1}", "logit_bias"},
	        {"\"logit_bias\":{\"1\":101}", "logit_bias"},
	        {"\"logit_bias\":{\"1\":\"1\"}", "logit_bias"},
	        {"\"adapter_strength\":17", "adapter_strength"},
	        {"\"ignore_eos\":0", "ignore_eos"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *body = mem_printf("{\"model\":\"base\",\"prompt\":\"Hi\",%s}", cases[i][0]);

		assert_non_null(body);
		expect_refusal(INFERENCE_COMPLETION, body, cases[i][1]);
		mem_free(body);
	}
}

static void test_what_cannot_be_honoured_is_refused(void **state)
{
	static const char *const cases[][2] = {
	        {"\"tools\":[{}]", "tools"},
	        {"\"tool_choice\":\"required\"", "tool_choice"},
	        {"\"tool_choice\":{\"type\":\"function\"}", "tool_choice"},
	        {"\"functions\":[{}]", "functions"},
	        {"\"function_call\":{\"name\":\"f\"}", "function_call"},
	        {"\"response_format\":{\"type\":\"json_object\"}", "response_format"},
	        {"\"response_format\":\"text\"", "response_format"},
	        {"\"modalities\":[\"text\",\"audio\"]", "modalities"},
	        {"\"audio\":{\"voice\":\"x\"}", "audio"},
	        {"\"web_search_options\":{\"a\":1}", "web_search_options"},
	        {"\"suffix\":\"end\"", "suffix"},
	        {"\"use_beam_search\":true", "use_beam_search"},
	        {"\"num_beams\":4,\"temperature\":0.5", "num_beams"},
	        {"\"num_beams\":4,\"n\":5", "n"},
	        {"\"num_beams\":4,\"n\":2,\"best_of\":3", "best_of"},
	        {"\"adapters\":{\"model\":\"a\"}", "adapters"},
	        {"\"adapters\":[{\"weight\":1}]", "adapters"},
	        {"\"adapters\":[{\"model\":\"a\",\"weight\":17}]", "adapters"},
	        {"\"adapters\":[{\"model\":\"a\",\"weight\":\"1\"}]", "adapters"},
	        {"\"adapters\":[1]", "adapters"},
	        {"\"min_tokens\":2", "min_tokens"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *body = mem_printf("{\"model\":\"base\",\"prompt\":\"Hi\",%s}", cases[i][0]);

		assert_non_null(body);
		expect_refusal(INFERENCE_COMPLETION, body, cases[i][1]);
		mem_free(body);
	}
}

static void test_model_must_be_named(void **state)
{
	(void)state;
	expect_refusal(INFERENCE_COMPLETION, "{\"prompt\":\"Hi\"}", "model");
	expect_refusal(INFERENCE_COMPLETION, "{\"prompt\":\"Hi\",\"model\":\"\"}", "model");
	expect_refusal(INFERENCE_COMPLETION, "{\"prompt\":\"Hi\",\"model\":3}", "model");
}

static void test_chat_refuses_what_is_for_completions(void **state)
{
#define CHAT_HEAD "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
	(void)state;
	expect_refusal(INFERENCE_CHAT, CHAT_HEAD "\"logprobs\":1}", "logprobs");
	expect_refusal(INFERENCE_CHAT, CHAT_HEAD "\"top_logprobs\":2}", "top_logprobs");
	expect_refusal(INFERENCE_CHAT, CHAT_HEAD "\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs");
	expect_refusal(INFERENCE_CHAT, CHAT_HEAD "\"echo\":true}", "echo");
	expect_refusal(INFERENCE_CHAT, CHAT_HEAD "\"max_tokens\":0}", "max_tokens");
	expect_refusal(INFERENCE_CHAT, "{\"model\":\"base\",\"prompt\":\"Hi\"}", "messages");
}

static void test_too_many_choices_are_refused(void **state)
{
	struct buf body = {0};

	(void)state;
	buf_puts(&body, "{\"model\":\"base\",\"n\":128,\"prompt\":[\"0\"");
	for (size_t i = 1; i < 9; i++)
		buf_printf(&body, ",\"%zu\"", i);
	buf_puts(&body, "]}");
	expect_refusal(INFERENCE_COMPLETION, body.data, "prompt");
	buf_fini(&body);
}

static void test_seeds_of_choices_differ_and_repeat(void **state)
{
	(void)state;
	assert_true(sample_request_seed(42, 0) == 42);
	assert_true(sample_request_seed(42, 1) == sample_request_seed(42, 1));
	for (size_t a = 0; a < 8; a++)
		for (size_t b = 0; b < a; b++)
			assert_true(sample_request_seed(42, a) != sample_request_seed(42, b));
	assert_true(sample_request_seed(42, 1) != sample_request_seed(43, 0));
}

static enum err encode(
        const char *text, enum inference_kind kind, struct inference_request *r, struct why *why)
{
	assert_int_equal(parse(kind, text, r, why), OK);
	return inference_request_encode(r, &limits, NULL, NULL, why);
}

static void test_text_gets_special_tokens_and_ids_do_not(void **state)
{
	struct inference_request r = {0};

	(void)state;
	assert_int_equal(encode("{\"model\":\"base\",\"prompt\":[\"Hi\",[72,105],\"\"]}",
	                         INFERENCE_COMPLETION, &r, NULL),
	        OK);
	assert_int_equal(r.prompts.items[0].ids.n, 3);
	assert_int_equal(r.prompts.items[0].ids.ids[0], WORLD_BOS);
	assert_int_equal(r.prompts.items[1].ids.n, 2);
	assert_int_equal(r.prompts.items[1].ids.ids[0], 72);
	assert_int_equal(r.prompts.items[2].ids.n, 1); /* nothing to say: the model's own beginning */
	assert_int_equal(r.prompts.items[2].ids.ids[0], WORLD_BOS);
	inference_request_fini(&r);
}

static void test_empty_text_needs_a_token_to_begin_with(void **state)
{
	struct inference_limits no_bos = {.vocab_size = WORLD_VOCAB, .context = WORLD_CONTEXT, .bos_id = -1};
	struct inference_request r = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(parse(INFERENCE_COMPLETION, "{\"model\":\"base\",\"prompt\":\"\"}", &r, &why), OK);
	assert_int_equal(inference_request_encode(&r, &no_bos, NULL, NULL, &why), ERR_INVALID);
	assert_string_equal(why.param, "prompt");
	inference_request_fini(&r);
}

/* A prompt of n ids, and max_tokens. */
static enum err encode_length(size_t n, size_t max_tokens, struct why *why)
{
	struct inference_request r = {0};
	struct buf body = {0};
	enum err e;

	buf_printf(&body, "{\"model\":\"base\",\"max_tokens\":%zu,\"prompt\":[[1],[1", max_tokens);
	for (size_t i = 1; i < n; i++)
		buf_puts(&body, ",1");
	buf_puts(&body, "]]}");
	e = encode(body.data, INFERENCE_COMPLETION, &r, why);
	inference_request_fini(&r);
	buf_fini(&body);
	return e;
}

static void test_prompt_beyond_the_context_is_refused_with_numbers(void **state)
{
	struct why why = {0};

	(void)state;
	assert_int_equal(encode_length(WORLD_CONTEXT - 1, 1, &why), OK);
	assert_int_equal(encode_length(WORLD_CONTEXT - 1, 5000, &why), OK); /* ends with "length" */
	assert_int_equal(encode_length(WORLD_CONTEXT, 0, &why), OK);
	assert_int_equal(encode_length(WORLD_CONTEXT, 1, &why), ERR_TOO_LONG);
	assert_int_equal(encode_length(WORLD_CONTEXT + 7, 0, &why), ERR_TOO_LONG);
	assert_string_equal(why.code, "context_length_exceeded");
	assert_string_equal(why.param, "prompt");
	assert_non_null(strstr(why.message, "64"));
	assert_non_null(strstr(why.message, "71"));
	assert_non_null(strstr(why.message, "prompt[1]"));
}

static void test_long_conversation_names_messages(void **state)
{
	struct inference_request r = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(
	        encode("{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":"
	               "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}]}",
	                INFERENCE_CHAT, &r, &why),
	        ERR_TOO_LONG);
	assert_string_equal(why.param, "messages");
	inference_request_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_completion_has_openais_defaults),
	        cmocka_unit_test(test_null_is_the_default),
	        cmocka_unit_test(test_completion_reads_every_field),
	        cmocka_unit_test(test_beams_are_read_with_hugging_faces_defaults),
	        cmocka_unit_test(test_chat_takes_what_the_context_holds),
	        cmocka_unit_test(test_max_completion_tokens_wins),
	        cmocka_unit_test(test_out_of_range_names_the_field),
	        cmocka_unit_test(test_what_cannot_be_honoured_is_refused),
	        cmocka_unit_test(test_model_must_be_named),
	        cmocka_unit_test(test_chat_refuses_what_is_for_completions),
	        cmocka_unit_test(test_too_many_choices_are_refused),
	        cmocka_unit_test(test_seeds_of_choices_differ_and_repeat),
	        cmocka_unit_test(test_text_gets_special_tokens_and_ids_do_not),
	        cmocka_unit_test(test_empty_text_needs_a_token_to_begin_with),
	        cmocka_unit_test(test_prompt_beyond_the_context_is_refused_with_numbers),
	        cmocka_unit_test(test_long_conversation_names_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
