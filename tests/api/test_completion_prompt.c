/* Prompts of /v1/completions in their four forms, and refusals that name the entry. */
#include "tests/api/inference_world.h"

#include "api/completion_prompt.h"

static enum err parse(const char *text, json_t **json, struct completion_prompts *out, struct why *why)
{
	*json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	assert_non_null(*json);
	return completion_prompts_parse(*json, WORLD_VOCAB, out, why);
}

static void test_one_string(void **state)
{
	struct completion_prompts p = {0};
	json_t *json;

	(void)state;
	assert_int_equal(parse("\"a\\u0000b\"", &json, &p, NULL), OK);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.items[0].n_text, 3);
	assert_memory_equal(p.items[0].text, "a\0b", 3);
	completion_prompts_fini(&p);
	json_decref(json);
}

static void test_strings_and_ids_may_be_mixed(void **state)
{
	struct completion_prompts p = {0};
	json_t *json;

	(void)state;
	assert_int_equal(parse("[\"a\",[1,258],\"\"]", &json, &p, NULL), OK);
	assert_int_equal(p.n, 3);
	assert_string_equal(p.items[0].text, "a");
	assert_null(p.items[1].text);
	assert_int_equal(p.items[1].ids.n, 2);
	assert_int_equal(p.items[1].ids.ids[1], 258);
	assert_int_equal(p.items[2].n_text, 0);
	completion_prompts_fini(&p);
	json_decref(json);
}

static void test_a_list_of_integers_is_one_prompt(void **state)
{
	struct completion_prompts p = {0};
	json_t *json;

	(void)state;
	assert_int_equal(parse("[5,6,7]", &json, &p, NULL), OK);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.items[0].ids.n, 3);
	assert_int_equal(p.items[0].ids.ids[2], 7);
	completion_prompts_fini(&p);
	json_decref(json);
}

static void test_a_bad_prompt_is_named(void **state)
{
	static const char *const cases[][2] = {
	        {"null", "prompt must"},
	        {"[]", "prompt must"},
	        {"5", "prompt must"},
	        {"{}", "prompt must"},
	        {"[[]]", "prompt[0] must"},
	        {"[\"a\",7]", "prompt[1] must"},
	        {"[\"a\",null]", "prompt[1] must"},
	        {"[1,\"a\"]", "prompt[1] must"},
	        {"[1,259]", "prompt[1] must"},
	        {"[1,-1]", "prompt[1] must"},
	        {"[[1],[2,1.5]]", "prompt[1][1] must"},
	        {"[[1],[2,[3]]]", "prompt[1][1] must"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct completion_prompts p = {0};
		struct why why = {0};
		json_t *json;

		print_message("%s\n", cases[i][0]);
		assert_int_equal(parse(cases[i][0], &json, &p, &why), ERR_INVALID);
		assert_string_equal(why.param, "prompt");
		assert_int_equal(strncmp(why.message, cases[i][1], strlen(cases[i][1])), 0);
		assert_null(p.items);
		json_decref(json);
	}
}

static void test_every_shortage_of_memory_leaves_nothing_behind(void **state)
{
	struct completion_prompts p = {0};
	json_t *json = json_loads("[\"ab\",[1,2],\"\"]", 0, NULL);
	size_t n_failures = 0;

	(void)state;
	for (long n = 1;; n++) {
		enum err e;

		mem_fail_at(n);
		e = completion_prompts_parse(json, WORLD_VOCAB, &p, NULL);
		if (!e)
			e = completion_prompts_encode(&p, NULL, WORLD_BOS, NULL);
		completion_prompts_fini(&p);
		if (!mem_failed()) {
			assert_int_equal(e, OK);
			break;
		}
		assert_int_equal(e, ERR_MEM);
		n_failures++;
	}
	mem_fail_at(0);
	assert_true(n_failures >= 5);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_one_string),
	        cmocka_unit_test(test_strings_and_ids_may_be_mixed),
	        cmocka_unit_test(test_a_list_of_integers_is_one_prompt),
	        cmocka_unit_test(test_a_bad_prompt_is_named),
	        cmocka_unit_test(test_every_shortage_of_memory_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
