/* Tokenizers against what Hugging Face's make of the same text: ids, decoded text, streams. */
#include "core/buf.h"
#include "worker/text/tokenizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct golden {
	struct tokenizer *t;
	json_t *root;
	json_t *cases; /* borrowed from root */
};

static void golden_open(const char *dir, struct golden *g)
{
	struct why why = {0};
	char path[200];

	if (tokenizer_open(dir, &g->t, &why))
		fail_msg("%s", why.message);
	snprintf(path, sizeof(path), "%s/golden.json", dir);
	g->root = json_load_file(path, 0, NULL);
	assert_non_null(g->root);
	g->cases = json_object_get(g->root, "tokenizer");
	assert_true(json_array_size(g->cases) > 5);
}

static void golden_close(struct golden *g)
{
	tokenizer_close(g->t);
	json_decref(g->root);
}

static void check_ids(const struct tokenizer *t, const json_t *c, struct ids *ids)
{
	const json_t *text = json_object_get(c, "text"), *expected = json_object_get(c, "ids");

	assert_int_equal(
	        tokenizer_encode(t, json_string_value(text), json_string_length(text), true, ids), OK);
	assert_int_equal(ids->n, json_array_size(expected));
	for (size_t i = 0; i < ids->n; i++) {
		if (ids->ids[i] != json_integer_value(json_array_get(expected, i)))
			fail_msg("\"%s\": id %zu is %d, expected %d", json_string_value(text), i, ids->ids[i],
			        (int)json_integer_value(json_array_get(expected, i)));
	}
}

static void check_text(const json_t *c, const struct buf *text)
{
	const json_t *expected = json_object_get(c, "decoded");

	assert_int_equal(text->len, json_string_length(expected));
	if (text->len)
		assert_memory_equal(text->data, json_string_value(expected), text->len);
}

static void check_golden(const char *dir)
{
	struct golden g;
	json_t *c;
	size_t i;

	golden_open(dir, &g);
	json_array_foreach (g.cases, i, c) {
		struct ids ids = {0};
		struct buf whole = {0}, stream = {0};
		struct detok *d;

		check_ids(g.t, c, &ids);
		assert_int_equal(tokenizer_decode(g.t, ids.ids, ids.n, true, true, &whole), OK);
		check_text(c, &whole);
		assert_int_equal(detok_new(g.t, NULL, 0, &d), OK);
		for (size_t k = 0; k < ids.n; k++)
			assert_int_equal(detok_push(d, ids.ids[k], &stream), OK);
		assert_int_equal(detok_finish(d, &stream), OK);
		check_text(c, &stream);
		detok_free(d);
		ids_fini(&ids);
		buf_fini(&whole);
		buf_fini(&stream);
	}
	golden_close(&g);
}

static void test_gpt2_matches_hugging_face(void **state)
{
	(void)state;
	check_golden("tests/goldens/gpt2");
}

static void test_llama2_matches_hugging_face(void **state)
{
	(void)state;
	check_golden("tests/goldens/llama2");
}

static void test_llama3_matches_hugging_face(void **state)
{
	(void)state;
	check_golden("tests/goldens/llama3");
}

static void test_roberta_matches_hugging_face(void **state)
{
	(void)state;
	check_golden("tests/goldens/roberta");
}

static void test_t5_matches_hugging_face(void **state)
{
	(void)state;
	check_golden("tests/goldens/t5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_gpt2_matches_hugging_face),
	        cmocka_unit_test(test_llama2_matches_hugging_face),
	        cmocka_unit_test(test_roberta_matches_hugging_face),
	        cmocka_unit_test(test_t5_matches_hugging_face),
	        cmocka_unit_test(test_llama3_matches_hugging_face),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
