/* What Hugging Face's libraries make of texts (tests/goldens/tokenizers/make.py), held against ours. */
#ifndef REDD_TESTS_TEXT_EXPECTED_H
#define REDD_TESTS_TEXT_EXPECTED_H

#include "worker/text/tokenizer.h"

#include <jansson.h>
#include <string.h>

/* A file's JSON; fails the test when it is not there. */
static json_t *expected_load(const char *path)
{
	json_error_t error;
	json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);

	if (!json)
		fail_msg("%s: %s", path, error.text);
	return json;
}

static void expect_text(const char *name, const json_t *expected, const struct buf *got)
{
	const char *text = got->data ? got->data : "";

	if (got->len != json_string_length(expected) ||
	        memcmp(text, json_string_value(expected), got->len) != 0)
		fail_msg("%s: \"%s\", expected \"%s\"", name, text, json_string_value(expected));
}

static void expect_ids(const char *name, const json_t *text, const json_t *expected, const struct ids *got)
{
	bool same = got->n == json_array_size(expected);

	for (size_t i = 0; same && i < got->n; i++)
		same = got->ids[i] == json_integer_value(json_array_get(expected, i));
	if (!same) {
		json_t *ids = json_array();
		char *a, *b;

		for (size_t i = 0; i < got->n; i++)
			json_array_append_new(ids, json_integer(got->ids[i]));
		a = json_dumps(ids, JSON_COMPACT);
		b = json_dumps(expected, JSON_COMPACT);
		fail_msg("%s: \"%s\" is %s, expected %s", name, json_string_value(text), a, b);
	}
}

/* ids decoded with and without their special tokens. */
static void expect_decoded(const char *name, const struct tokenizer *t, const json_t *ids, const json_t *c)
{
	struct ids list = {0};
	struct buf text = {0};
	const json_t *value;
	size_t i;

	json_array_foreach (ids, i, value) {
		int32_t id = (int32_t)json_integer_value(value);

		assert_int_equal(ids_append(&list, &id, 1), OK);
	}
	assert_int_equal(tokenizer_decode(t, list.ids, list.n, true, true, &text), OK);
	expect_text(name, json_object_get(c, "decoded"), &text);
	text.len = 0;
	if (json_object_get(c, "all")) {
		assert_int_equal(tokenizer_decode(t, list.ids, list.n, false, true, &text), OK);
		expect_text(name, json_object_get(c, "all"), &text);
	}
	buf_fini(&text);
	ids_fini(&list);
}

static void expect_encoded(const char *name, const struct tokenizer *t, const json_t *c, bool special)
{
	const json_t *text = json_object_get(c, "text");
	const json_t *expected = json_object_get(c, special ? "ids" : "plain");
	struct ids ids = {0};

	if (!expected)
		return;
	assert_int_equal(
	        tokenizer_encode(t, json_string_value(text), json_string_length(text), special, &ids), OK);
	expect_ids(name, text, expected, &ids);
	ids_fini(&ids);
}

/* Every case of an array: text, ids with special tokens, plain ids without, what the ids decode to. */
static void expect_cases(const char *name, const struct tokenizer *t, const json_t *cases)
{
	const json_t *c;
	size_t i;

	assert_true(json_array_size(cases) > 0);
	json_array_foreach (cases, i, c) {
		if (json_object_get(c, "text")) {
			expect_encoded(name, t, c, true);
			expect_encoded(name, t, c, false);
		}
		expect_decoded(name, t, json_object_get(c, "ids"), c);
	}
}

#endif
