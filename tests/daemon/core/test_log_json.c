/* core/log_json: pairs become members, whatever a stranger put into them. */
#include "core/log_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <cmocka.h>

static char line[4096];

static const char *members(const char *pairs)
{
	static const char head[] = "{\"time\":\"T\",\"level\":\"info\",\"event\":\"e\"";
	size_t n = log_json(line, sizeof(line), "T", "info", "e", pairs);

	assert_int_equal(n, strlen(line));
	assert_memory_equal(line, head, sizeof(head) - 1);
	return line + sizeof(head) - 1;
}

static void test_pairs_become_members(void **state)
{
	(void)state;
	assert_string_equal(members(""), "}");
	assert_string_equal(members("job=ftjob-1 steps=12 rate=-1.5e3 name=\"two words\""),
	        ",\"job\":\"ftjob-1\",\"steps\":12,\"rate\":-1.5e3,\"name\":\"two words\"}");
	assert_string_equal(members("a= b=\"\" c=\"12\""), ",\"a\":\"\",\"b\":\"\",\"c\":\"12\"}");
	assert_string_equal(members("a=1 then words"), ",\"a\":1,\"text\":\"then words\"}");
}

static void test_only_numbers_are_numbers(void **state)
{
	(void)state;
	assert_string_equal(members("a=007 b=+1 c=1. d=.5 e=- f=0x1 g=1e h=nan i=0 j=-0.0"),
	        ",\"a\":\"007\",\"b\":\"+1\",\"c\":\"1.\",\"d\":\".5\",\"e\":\"-\",\"f\":\"0x1\",\"g\":"
	        "\"1e\","
	        "\"h\":\"nan\",\"i\":0,\"j\":-0.0}");
}

static void test_what_strangers_send_is_escaped(void **state)
{
	(void)state;
	assert_string_equal(members("m=\"a \"b\\c\" d\x01\x7f\" n=1"),
	        ",\"m\":\"a \\\"b\\\\c\",\"text\":\"d\\u0001\\u007f\\\" n=1\"}");
	assert_string_equal(members("m=\xff\xc3\xa9\xc0\xaf\xed\xa0\x80z"), ",\"m\":\"?\xc3\xa9?????z\"}");
}

static void test_every_length_is_a_whole_object(void **state)
{
	char pairs[3000] = "a=\"";

	(void)state;
	for (size_t n = 3; n < sizeof(pairs) - 8; n++)
		pairs[n] = n % 3 ? '"' : '\xc3';
	strcpy(pairs + sizeof(pairs) - 8, "\" b=1");
	for (size_t size = 256; size < 1024; size++) {
		size_t n = log_json(line, size, "T", "info", "e", pairs);
		json_t *json = json_loads(line, 0, NULL);

		assert_true(n < size);
		assert_non_null(json);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pairs_become_members),
	        cmocka_unit_test(test_only_numbers_are_numbers),
	        cmocka_unit_test(test_what_strangers_send_is_escaped),
	        cmocka_unit_test(test_every_length_is_a_whole_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
