/* JSON as text: it reads back as what was written. */
#include "api/json_text.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static json_t *read_back(struct json_text *t)
{
	json_t *json;

	assert_int_equal(t->err, OK);
	json = json_loadb(t->buf.data, t->buf.len, JSON_DECODE_ANY, NULL);
	if (!json)
		fail_msg("not JSON: %s", t->buf.data);
	buf_fini(&t->buf);
	return json;
}

static void test_objects_and_arrays_get_their_commas(void **state)
{
	struct json_text t = {0};

	(void)state;
	json_text_open(&t, NULL, '{');
	json_text_open(&t, "empty", '[');
	json_text_close(&t, ']');
	json_text_int(&t, "low", INT64_MIN);
	json_text_null(&t, "nothing");
	json_text_open(&t, "list", '[');
	json_text_string(&t, NULL, "a");
	json_text_open(&t, NULL, '{');
	json_text_close(&t, '}');
	json_text_int(&t, NULL, 7);
	json_text_close(&t, ']');
	json_text_raw(&t, NULL, "\"x\":1,\"y\":2", 11);
	json_text_raw(&t, "z", "[3]", 3);
	json_text_tree(&t, "tree", json_pack("{s:f}", "f", 0.1));
	json_text_close(&t, '}');
	assert_int_equal(t.err, OK);
	assert_string_equal(t.buf.data,
	        "{\"empty\":[],\"low\":-9223372036854775808,\"nothing\":null,\"list\":[\"a\",{},7],"
	        "\"x\":1,\"y\":2,\"z\":[3],\"tree\":{\"f\":0.10000000000000001}}");
	buf_fini(&t.buf);
}

/* Every byte, alone and between others: what is UTF-8 comes back, what is not is '?'. */
static void test_every_byte_of_a_string_is_escaped_or_replaced(void **state)
{
	(void)state;
	for (int c = 1; c < 256; c++) {
		char s[] = {'a', (char)c, 'b', '\0'}, expected[] = {'a', c < 0x80 ? (char)c : '?', 'b', '\0'};
		struct json_text t = {0};
		json_t *json;

		json_text_string(&t, NULL, s);
		json = read_back(&t);
		assert_string_equal(json_string_value(json), expected);
		json_decref(json);
	}
}

static void test_longer_characters_stay_whole(void **state)
{
	static const char *const texts[][2] = {
	        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
	        {"cut \xe2\x82", "cut ??"}, {"high \xed\xa0\x80", "high ???"}, {"", ""},
	        {"{\"[,:\\", "{\"[,:\\"}};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_text t = {0};
		json_t *json;

		json_text_string(&t, NULL, texts[i][0]);
		json = read_back(&t);
		assert_string_equal(json_string_value(json), texts[i][1]);
		json_decref(json);
	}
}

static void test_an_error_sticks(void **state)
{
	struct json_text t = {0};

	(void)state;
	json_text_open(&t, NULL, '[');
	json_text_tree(&t, NULL, NULL);
	assert_int_equal(t.err, ERR_MEM);
	json_text_close(&t, ']');
	assert_int_equal(t.err, ERR_MEM);
	buf_fini(&t.buf);
	t = (struct json_text){0};
	mem_fail_at(1);
	json_text_string(&t, NULL, "a");
	mem_fail_at(0);
	assert_int_equal(t.err, ERR_MEM);
	json_text_int(&t, NULL, 1);
	assert_int_equal(t.buf.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_objects_and_arrays_get_their_commas),
	        cmocka_unit_test(test_every_byte_of_a_string_is_escaped_or_replaced),
	        cmocka_unit_test(test_longer_characters_stay_whole),
	        cmocka_unit_test(test_an_error_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
