/* What /v1/classify may be asked. */
#include "api/classify_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum err parse(const char *text, struct classify_request *r, struct why *why)
{
	json_t *body = json_loads(text, 0, NULL);
	enum err e;

	assert_non_null(body);
	memset(r, 0, sizeof(*r));
	memset(why, 0, sizeof(*why));
	e = classify_request_parse(body, r, why);
	json_decref(body);
	return e;
}

static void test_texts_lists_and_pairs(void **state)
{
	struct classify_request r;
	struct why why;

	(void)state;
	assert_int_equal(parse("{\"model\":\"m\",\"input\":\"one\"}", &r, &why), OK);
	assert_int_equal(r.n, 1);
	assert_string_equal(json_string_value(r.inputs[0].text), "one");
	assert_null(r.inputs[0].pair);
	assert_true(r.strength == 1);
	classify_request_fini(&r);
	assert_int_equal(
	        parse("{\"model\":\"m\",\"input\":[\"one\",\"two\"],\"adapter_strength\":0.5}", &r, &why),
	        OK);
	assert_int_equal(r.n, 2);
	assert_string_equal(json_string_value(r.inputs[1].text), "two");
	assert_null(r.inputs[1].pair);
	assert_true(r.strength == 0.5);
	classify_request_fini(&r);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[[\"a\",\"b\"],[\"c\"]]}", &r, &why), OK);
	assert_int_equal(r.n, 2);
	assert_string_equal(json_string_value(r.inputs[0].pair), "b");
	assert_null(r.inputs[1].pair);
	classify_request_fini(&r);
}

static void test_bad_requests_are_named(void **state)
{
	static const struct {
		const char *text, *param;
	} bad[] = {
	        {"{\"input\":\"a\"}", "model"},
	        {"{\"model\":\"\",\"input\":\"a\"}", "model"},
	        {"{\"model\":\"m\"}", "input"},
	        {"{\"model\":\"m\",\"input\":[]}", "input"},
	        {"{\"model\":\"m\",\"input\":7}", "input"},
	        {"{\"model\":\"m\",\"input\":[1,2]}", "input"},
	        {"{\"model\":\"m\",\"input\":[[]]}", "input"},
	        {"{\"model\":\"m\",\"input\":[[\"a\",\"b\",\"c\"]]}", "input"},
	        {"{\"model\":\"m\",\"input\":[[\"a\",2]]}", "input"},
	        {"{\"model\":\"m\",\"input\":\"a\",\"adapter_strength\":99}", "adapter_strength"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct classify_request r;
		struct why why;

		if (parse(bad[i].text, &r, &why) != ERR_INVALID)
			fail_msg("accepted %s", bad[i].text);
		assert_string_equal(why.param, bad[i].param);
		assert_null(r.inputs);
	}
}

static void test_texts_become_tokens_that_fit(void **state)
{
	struct tokenizer *t;
	struct classify_request r;
	struct why why;

	(void)state;
	assert_int_equal(tokenizer_open("tests/goldens/roberta", &t, NULL), OK);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[\"a\",[\"a\",\"a\"]]}", &r, &why), OK);
	assert_int_equal(classify_request_encode(&r, t, 7, &why), OK);
	assert_int_equal(r.inputs[0].ids.n, 3);
	assert_int_equal(r.inputs[1].ids.n, 6); /* <s> a </s></s> a </s> */
	assert_int_equal(r.inputs[1].ids.ids[3], 2);
	classify_request_fini(&r);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[\"a\",[\"a\",\"a\"]]}", &r, &why), OK);
	assert_int_equal(classify_request_encode(&r, t, 5, &why), ERR_TOO_LONG);
	assert_string_equal(why.code, "context_length_exceeded");
	assert_non_null(strstr(why.message, "input[1]"));
	classify_request_fini(&r);
	tokenizer_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_texts_lists_and_pairs),
	        cmocka_unit_test(test_bad_requests_are_named),
	        cmocka_unit_test(test_texts_become_tokens_that_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
