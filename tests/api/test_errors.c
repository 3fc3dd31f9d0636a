/* From our codes to the statuses and bodies that clients read, and the small parts of the wire. */
#include "api/exchange.h"
#include "api/replay.h"
#include "api/wire.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect_wire(enum err e, unsigned status, const char *type, const char *code)
{
	json_t *json = error_json(e, NULL);
	const json_t *error = json_object_get(json, "error");
	const char *got = json_string_value(json_object_get(error, "code"));

	assert_int_equal(err_http_status(e), status);
	assert_string_equal(json_string_value(json_object_get(error, "message")), err_text(e));
	assert_string_equal(json_string_value(json_object_get(error, "type")), type);
	assert_true(json_is_null(json_object_get(error, "param")));
	if (code)
		assert_string_equal(got, code);
	else
		assert_true(json_is_null(json_object_get(error, "code")));
	json_decref(json);
}

static void test_every_error_has_its_status_type_and_code(void **state)
{
	(void)state;
	expect_wire(ERR_INVALID, 400, "invalid_request_error", NULL);
	expect_wire(ERR_FORMAT, 400, "invalid_request_error", NULL);
	expect_wire(ERR_UNSUPPORTED, 400, "invalid_request_error", NULL);
	expect_wire(ERR_EXISTS, 400, "invalid_request_error", NULL);
	expect_wire(ERR_STATE, 400, "invalid_request_error", NULL);
	expect_wire(ERR_TOO_LONG, 400, "invalid_request_error", "context_length_exceeded");
	expect_wire(ERR_AUTH, 401, "authentication_error", "invalid_api_key");
	expect_wire(ERR_FORBIDDEN, 403, "permission_error", NULL);
	expect_wire(ERR_NOT_FOUND, 404, "not_found_error", NULL);
	expect_wire(ERR_EMPTY, 404, "not_found_error", NULL);
	expect_wire(ERR_TOO_LARGE, 413, "invalid_request_error", NULL);
	expect_wire(ERR_MISMATCH, 422, "invalid_request_error", NULL);
	expect_wire(ERR_LIMIT, 429, "rate_limit_error", "insufficient_quota");
	expect_wire(ERR_MEM, 500, "server_error", NULL);
	expect_wire(ERR_IO, 500, "server_error", NULL);
	expect_wire(ERR_DB, 500, "server_error", NULL);
	expect_wire(ERR_BUSY, 503, "server_error", NULL);
	expect_wire(ERR_CANCELLED, 503, "server_error", NULL);
}

static void test_the_reason_overrides_the_default_words(void **state)
{
	struct why why;
	json_t *json;

	(void)state;
	why_param(&why, ERR_NOT_FOUND, "model", "no such model");
	strcpy(why.code, "model_not_found");
	json = error_json(ERR_NOT_FOUND, &why);
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "error"), "message")),
	        "no such model");
	assert_string_equal(
	        json_string_value(json_object_get(json_object_get(json, "error"), "param")), "model");
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "error"), "code")),
	        "model_not_found");
	json_decref(json);
}

static void expect_text(const char *from, const char *to)
{
	json_t *json = wire_string(from);

	assert_string_equal(json_string_value(json), to);
	json_decref(json);
}

static void test_strings_that_are_not_utf8_stay_readable(void **state)
{
	json_t *json = wire_string(NULL);

	(void)state;
	assert_true(json_is_null(json));
	json_decref(json);
	expect_text("", "");
	expect_text("ä€😀", "ä€😀");
	expect_text("a\xff z", "a? z");
	expect_text("cut \xe2\x82", "cut ??");
	expect_text("\xc0\xaf \xed\xa0\x80 ä", "?? ??? ä");
	expect_text("\xf4\x90\x80\x80", "????");
}

static void test_lists_name_their_first_and_last(void **state)
{
	json_t *list = wire_list(json_pack("[{s:s},{s:s}]", "id", "b", "id", "a"), true);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(list, "object")), "list");
	assert_string_equal(json_string_value(json_object_get(list, "first_id")), "b");
	assert_string_equal(json_string_value(json_object_get(list, "last_id")), "a");
	assert_true(json_is_true(json_object_get(list, "has_more")));
	json_decref(list);
	list = wire_list(json_array(), false);
	assert_true(json_is_null(json_object_get(list, "first_id")));
	assert_true(json_is_null(json_object_get(list, "last_id")));
	assert_true(json_is_false(json_object_get(list, "has_more")));
	json_decref(list);
}

static void test_members_of_another_type_are_named(void **state)
{
	json_t *o = json_pack("{s:i, s:s, s:n, s:s}", "n", 1, "s", "x", "null", "empty", "");
	const char *s = NULL;
	struct why why;

	(void)state;
	assert_int_equal(wire_get_string(o, "s", "d", &s, &why), OK);
	assert_string_equal(s, "x");
	assert_int_equal(wire_get_string(o, "null", "d", &s, &why), OK);
	assert_string_equal(s, "d");
	assert_int_equal(wire_get_string(o, "n", "d", &s, &why), ERR_INVALID);
	assert_string_equal(why.param, "n");
	assert_int_equal(wire_require_string(o, "missing", &s, &why), ERR_INVALID);
	assert_string_equal(why.param, "missing");
	assert_int_equal(wire_require_string(o, "empty", &s, &why), ERR_INVALID);
	json_decref(o);
}

/* ---- retries of clients ---- */

static void key_of(
        struct replay *r, const char *tenant, const char *text, bool retry, char out[REPLAY_KEY_SIZE])
{
	char copy[64];
	struct buf body = {.data = copy, .len = strlen(text)};

	strcpy(copy, text);
	assert_int_equal(replay_key(r, tenant, "/v1/fine_tuning/jobs", &body, retry, out), OK);
}

static void test_only_a_retry_of_the_same_request_gets_its_key(void **state)
{
	char first[REPLAY_KEY_SIZE], key[REPLAY_KEY_SIZE], again[REPLAY_KEY_SIZE];
	struct replay *r;

	(void)state;
	assert_int_equal(replay_new(&r), OK);
	clock_set_ms(1000000);
	key_of(r, "t1", "body", false, first);
	key_of(r, "t1", "body", true, key);
	assert_string_equal(key, first);
	key_of(r, "t2", "body", true, key);
	assert_string_not_equal(key, first);
	key_of(r, "t1", "other", true, key);
	assert_string_not_equal(key, first);
	/* Sent again on purpose: a job of its own, and the one later retries mean. */
	key_of(r, "t1", "body", false, again);
	assert_string_not_equal(again, first);
	key_of(r, "t1", "body", true, key);
	assert_string_equal(key, again);
	clock_set_ms(1000000 + 10 * 60 * 1000 + 1);
	key_of(r, "t1", "body", true, key);
	assert_string_not_equal(key, again);
	clock_set_ms(-1);
	replay_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_error_has_its_status_type_and_code),
	        cmocka_unit_test(test_the_reason_overrides_the_default_words),
	        cmocka_unit_test(test_strings_that_are_not_utf8_stay_readable),
	        cmocka_unit_test(test_lists_name_their_first_and_last),
	        cmocka_unit_test(test_members_of_another_type_are_named),
	        cmocka_unit_test(test_only_a_retry_of_the_same_request_gets_its_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
