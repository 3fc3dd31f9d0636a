/* Answers of inference as JSON, compared as a whole with what the clients read. */
#include "tests/api/inference_world.h"

#include "api/inference_codec.h"

#include <math.h>

static const struct inference_head head = {
        .id = "cmpl-1", .model = "base", .fingerprint = "fp_1", .created = 7};

/* json is stolen. */
static void expect_json(json_t *json, const char *text)
{
	json_t *wanted = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);

	assert_non_null(json);
	assert_non_null(wanted);
	if (!json_equal(json, wanted)) {
		char *got = json_dumps(json, JSON_COMPACT);

		print_error("%s\ninstead of %s\n", got, text);
		mem_free(got);
		fail();
	}
	json_decref(json);
	json_decref(wanted);
}

static void log_token(struct inference_log *log, int32_t id, float logprob, size_t offset,
        const struct token_logprob *top, size_t n)
{
	struct serve_token token = {
	        .id = id, .has_logprob = logprob <= 0, .logprob = logprob, .n_top = n, .top = top};

	assert_int_equal(inference_log_append(log, &token, offset), OK);
}

static void test_completion_logprobs_are_parallel_lists(void **state)
{
	const struct token_logprob tops[] = {{'x', -0.5f}, {'y', -1.5f}};
	struct inference_log log = {0};

	(void)state;
	log_token(&log, WORLD_BOS, 1, 0, NULL, 0); /* nothing comes before it */
	log_token(&log, 'x', -0.5f, 0, tops, 2);   /* among the best */
	log_token(&log, 'z', -4, 1, tops, 2);      /* not among them: added */
	log_token(&log, 'q', -2, 2, NULL, 0);      /* none asked for */
	expect_json(completion_codec.logprobs(NULL, &log),
	        "{\"tokens\":[\"<s>\",\"x\",\"z\",\"q\"],\"token_logprobs\":[null,-0.5,-4.0,-2.0],"
	        "\"top_logprobs\":[null,{\"x\":-0.5,\"y\":-1.5},{\"x\":-0.5,\"y\":-1.5,\"z\":-4.0},{\"q\":-2."
	        "0}],"
	        "\"text_offset\":[0,0,1,2]}");
	inference_log_clear(&log);
	expect_json(completion_codec.logprobs(NULL, &log),
	        "{\"tokens\":[],\"token_logprobs\":[],\"top_logprobs\":[],\"text_offset\":[]}");
	inference_log_fini(&log);
}

static void test_of_tokens_with_one_name_the_likelier_is_listed(void **state)
{
	const struct token_logprob tops[] = {{'A', -0.5f}, {WORLD_TWIN, -1.5f}};
	struct inference_log log = {0};

	(void)state;
	log_token(&log, WORLD_TWIN, -1.5f, 0, tops, 2);
	expect_json(completion_codec.logprobs(NULL, &log),
	        "{\"tokens\":[\"A\"],\"token_logprobs\":[-1.5],\"top_"
	        "logprobs\":[{\"A\":-0.5}],\"text_offset\":[0]}");
	inference_log_fini(&log);
}

static void test_bytes_that_are_no_text_are_spelled(void **state)
{
	const struct token_logprob tops[] = {{0xc3, -0.5f}};
	struct inference_log log = {0};

	(void)state;
	log_token(&log, 0xc3, -0.5f, 0, tops, 1);
	expect_json(completion_codec.logprobs(NULL, &log),
	        "{\"tokens\":[\"bytes:\\\\xc3\"],\"token_logprobs\":[-0.5],\"top_logprobs\":[{\"bytes:"
	        "\\\\xc3\":-0.5}],"
	        "\"text_offset\":[0]}");
	expect_json(chat_codec.logprobs(NULL, &log),
	        "{\"refusal\":null,\"content\":[{\"token\":\"\\\\xc3\",\"logprob\":-0.5,\"bytes\":[195],"
	        "\"top_logprobs\":[{\"token\":\"\\\\xc3\",\"logprob\":-0.5,\"bytes\":[195]}]}]}");
	inference_log_fini(&log);
}

static void test_a_zero_byte_survives(void **state)
{
	struct inference_log log = {0};
	json_t *json;
	char *text;

	(void)state;
	log_token(&log, 0, -1, 0, NULL, 0);
	json = completion_codec.logprobs(NULL, &log);
	text = json_dumps(json, JSON_COMPACT); /* which jansson itself would not read back */
	assert_string_equal(text, "{\"tokens\":[\"\\u0000\"],\"token_logprobs\":[-1.0],"
	                          "\"top_logprobs\":[{\"\\u0000\":-1.0}],\"text_offset\":[0]}");
	mem_free(text);
	json_decref(json);
	expect_json(completion_codec.choice(0, "a\0b", 3, json_null(), FINISH_STOP),
	        "{\"index\":0,\"text\":\"a\\u0000b\",\"logprobs\":null,\"finish_reason\":\"stop\"}");
	inference_log_fini(&log);
}

static void test_token_names_are_text_only_when_well_formed(void **state)
{
	static const struct {
		const char *bytes;
		size_t chars;
	} texts[] = {{"", 0}, {"abc", 3}, {"\xc3\xa9", 1}, {"\xe2\x82\xac!", 2}, {"\xf0\x9f\x98\x80", 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(
		        inference_text_chars(texts[i].bytes, strlen(texts[i].bytes)), texts[i].chars);
	for (int32_t id = 0; id < 256; id++) {
		struct buf name = {0};

		assert_int_equal(inference_token_name(NULL, id, "bytes:", &name), OK);
		assert_int_equal(name.len, id < 128 ? 1 : strlen("bytes:\\x00"));
		buf_fini(&name);
	}
}

static void test_what_json_cannot_say_becomes_a_number(void **state)
{
	(void)state;
	expect_json(inference_logprob_json(-INFINITY), "-9999.0");
	expect_json(inference_logprob_json(NAN), "-9999.0");
	expect_json(inference_logprob_json(-0.25f), "-0.25");
}

static void test_completion_answer_is_whole(void **state)
{
	const struct inference_usage usage = {.prompt_tokens = 3, .completion_tokens = 4};
	json_t *choice = completion_codec.choice(1, "hi", 2, json_null(), FINISH_LENGTH);

	(void)state;
	expect_json(inference_answer_json(&completion_codec, &head, json_pack("[o]", choice), &usage),
	        "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":7,\"model\":\"base\","
	        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":1,\"text\":\"hi\",\"logprobs\":null,"
	        "\"finish_reason\":\"length\"}],"
	        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}");
}

static void test_chat_answer_is_whole(void **state)
{
	const struct inference_usage usage = {.prompt_tokens = 3, .completion_tokens = 0};
	json_t *choice = chat_codec.choice(0, NULL, 0, json_null(), FINISH_STOP);

	(void)state;
	expect_json(inference_answer_json(&chat_codec, &head, json_pack("[o]", choice), &usage),
	        "{\"id\":\"cmpl-1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"base\","
	        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
	        "\"assistant\","
	        "\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
	        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3}}");
}

static void test_chunks_say_usage_only_when_asked(void **state)
{
	const struct inference_usage usage = {.prompt_tokens = 1, .completion_tokens = 2};

	(void)state;
	expect_json(inference_chunk_json(&chat_codec, &head, chat_codec.opening(2), false),
	        "{\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"base\","
	        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":2,\"delta\":{\"role\":\"assistant\","
	        "\"content\":"
	        "\"\"},\"logprobs\":null,\"finish_reason\":null}]}");
	expect_json(inference_chunk_json(&completion_codec, &head,
	                    completion_codec.piece(0, "x", 1, json_null(), FINISH_NONE), true),
	        "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":7,\"model\":\"base\","
	        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,\"text\":\"x\",\"logprobs\":null,"
	        "\"finish_reason\":null}],\"usage\":null}");
	expect_json(inference_usage_chunk_json(&chat_codec, &head, &usage),
	        "{\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"base\","
	        "\"system_fingerprint\":\"fp_1\",\"choices\":[],"
	        "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}");
}

static void test_chat_pieces_are_deltas(void **state)
{
	(void)state;
	expect_json(chat_codec.piece(0, "\xc3\xa9", 2, json_null(), FINISH_NONE),
	        "{\"index\":0,\"delta\":{\"content\":\"\xc3\xa9\"},\"logprobs\":null,\"finish_reason\":"
	        "null}");
	expect_json(chat_codec.piece(0, NULL, 0, json_null(), FINISH_LENGTH),
	        "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}");
}

/* jansson's memory comes from mem.h in this program. */
static void test_every_shortage_of_memory_is_null_and_leaks_nothing(void **state)
{
	const struct inference_codec *const codecs[] = {&completion_codec, &chat_codec};
	const struct token_logprob tops[] = {{'x', -0.5f}, {0xc3, -1.5f}};
	const struct inference_usage usage = {0};
	struct inference_log log = {0};

	(void)state;
	log_token(&log, 'x', -0.5f, 0, tops, 2);
	log_token(&log, 'y', -0.5f, 0, tops, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct inference_codec *c = codecs[i];
		long n = 1;
		json_t *answer;

		for (;; n++) {
			mem_fail_at(n);
			answer = inference_answer_json(c, &head,
			        json_pack("[o]", c->choice(0, "x", 1, c->logprobs(NULL, &log), FINISH_STOP)),
			        &usage);
			if (!mem_failed())
				break;
			assert_null(answer);
		}
		mem_fail_at(0);
		assert_non_null(answer);
		assert_true(n > 30);
		json_decref(answer);
	}
	inference_log_fini(&log);
}

static void *json_malloc(size_t n)
{
	return mem_calloc(n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_completion_logprobs_are_parallel_lists),
	        cmocka_unit_test(test_of_tokens_with_one_name_the_likelier_is_listed),
	        cmocka_unit_test(test_bytes_that_are_no_text_are_spelled),
	        cmocka_unit_test(test_a_zero_byte_survives),
	        cmocka_unit_test(test_token_names_are_text_only_when_well_formed),
	        cmocka_unit_test(test_what_json_cannot_say_becomes_a_number),
	        cmocka_unit_test(test_completion_answer_is_whole),
	        cmocka_unit_test(test_chat_answer_is_whole),
	        cmocka_unit_test(test_chunks_say_usage_only_when_asked),
	        cmocka_unit_test(test_chat_pieces_are_deltas),
	        cmocka_unit_test(test_every_shortage_of_memory_is_null_and_leaks_nothing),
	};

	json_set_alloc_funcs(json_malloc, mem_free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
