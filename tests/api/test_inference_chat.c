/* Messages of a chat request: roles, contents in one piece or in parts, and refusals that name the message.
 */
#include "tests/api/inference_world.h"

#include "api/chat_messages.h"

static enum err parse(const char *text, json_t **json, struct chat_messages *out, struct why *why)
{
	*json = json_loads(text, JSON_ALLOW_NUL, NULL);
	assert_non_null(*json);
	return chat_messages_parse(*json, out, why);
}

static void test_roles_become_the_templates(void **state)
{
	struct chat_messages m = {0};
	json_t *json;

	(void)state;
	assert_int_equal(
	        parse("[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"developer\",\"content\":\"D\"},"
	              "{\"role\":\"user\",\"content\":\"\",\"name\":\"Ann\"},{\"role\":\"assistant\","
	              "\"content\":null},"
	              "{\"role\":\"assistant\"}]",
	                &json, &m, NULL),
	        OK);
	assert_int_equal(m.n, 5);
	assert_string_equal(m.items[0].role, "system");
	assert_string_equal(m.items[1].role, "system");
	assert_string_equal(m.items[1].content, "D");
	assert_string_equal(m.items[2].role, "user");
	assert_string_equal(m.items[2].content, "");
	assert_string_equal(m.items[3].role, "assistant");
	assert_string_equal(m.items[3].content, "");
	assert_string_equal(m.items[4].content, "");
	chat_messages_fini(&m);
	json_decref(json);
}

static void test_text_parts_are_joined_by_lines(void **state)
{
	struct chat_messages m = {0};
	json_t *json;

	(void)state;
	assert_int_equal(parse("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
	                       "{\"type\":\"text\",\"text\":\"two\"}]},"
	                       "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]",
	                         &json, &m, NULL),
	        OK);
	assert_string_equal(m.items[0].content, "one\ntwo");
	assert_string_equal(m.items[1].content, "");
	chat_messages_fini(&m);
	json_decref(json);
}

static void test_a_bad_message_is_named(void **state)
{
	static const char *const cases[][2] = {
	        {"null", "messages"},
	        {"[]", "messages"},
	        {"\"hi\"", "messages"},
	        {"{}", "messages"},
	        {"[3]", "messages[0]"},
	        {"[{\"content\":\"x\"}]", "messages[0].role"},
	        {"[{\"role\":\"tool\",\"content\":\"x\"}]", "messages[0].role"},
	        {"[{\"role\":7,\"content\":\"x\"}]", "messages[0].role"},
	        {"[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\"}]", "messages[1].content"},
	        {"[{\"role\":\"system\",\"content\":null}]", "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":5}]", "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":[]}]", "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]", "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]",
	                "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}]}]",
	                "messages[0].content"},
	        {"[{\"role\":\"user\",\"content\":[\"text\"]}]", "messages[0].content"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct chat_messages m = {0};
		struct why why = {0};
		json_t *json = json_loads(cases[i][0], JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);

		print_message("%s\n", cases[i][0]);
		assert_non_null(json);
		assert_int_equal(chat_messages_parse(json, &m, &why), ERR_INVALID);
		assert_string_equal(why.param, cases[i][1]);
		assert_null(m.items);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_roles_become_the_templates),
	        cmocka_unit_test(test_text_parts_are_joined_by_lines),
	        cmocka_unit_test(test_a_bad_message_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
