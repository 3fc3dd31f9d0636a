/* The whole way from text to ids and back: models, added tokens, broken input, streams.
 */
#include "core/buf.h"
#include "core/rng.h"
#include "tests/worker/text/tiny.h"
#include "worker/text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct tokenizer *parse(const char *json)
{
	struct tokenizer *t = NULL;
	struct why why = {0};

	if (tokenizer_parse(json, strlen(json), &t, &why))
		fail_msg("%s", why.message);
	return t;
}

/* expected ends with -1. */
static void check_ids(const struct tokenizer *t, const char *text, bool add_special, const int32_t *expected)
{
	struct ids ids = {0};
	size_t n = 0;

	while (expected[n] >= 0)
		n++;
	assert_int_equal(tokenizer_encode(t, text, strlen(text), add_special, &ids), OK);
	assert_int_equal(ids.n, n);
	if (n)
		assert_memory_equal(ids.ids, expected, n * sizeof(*expected));
	ids_fini(&ids);
}
#define CHECK(t, text, ...) check_ids(t, text, false, (const int32_t[]){__VA_ARGS__, -1})

static void check_one(const char *json, const char *text, const int32_t *expected)
{
	struct tokenizer *t = parse(json);

	check_ids(t, text, false, expected);
	tokenizer_close(t);
}
#define CHECK_ONE(json, text, ...) check_one(json, text, (const int32_t[]){__VA_ARGS__, -1})

/* ---- the model ---- */

static void test_bpe_joins_by_rank(void **state)
{
	struct tokenizer *t = parse(TINY("", ""));

	(void)state;
	CHECK(t, "abcd", 6);
	CHECK(t, "aabcb", 0, 5, 1);
	CHECK(t, "", -1);
	CHECK(t, "bcd", 1, 2, 3);
	tokenizer_close(t);
}

static void test_unknown_characters_become_unk(void **state)
{
	(void)state;
	CHECK_ONE(TINY("", ""), "axyb", 4); /* without one they vanish */
	CHECK_ONE(TINY("\"unk_token\":\"<unk>\",", ""), "axyb", 0, 9, 9, 1);
	CHECK_ONE(TINY("\"unk_token\":\"<unk>\",\"fuse_unk\":true,", ""), "axybz", 0, 9, 1, 9);
}

#define WHOLE(flag)                                                                                          \
	"{\"model\":{\"type\":\"BPE\",\"ignore_merges\":" flag                                               \
	",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}"

static void test_ignore_merges_takes_whole_words_first(void **state)
{
	(void)state;
	CHECK_ONE(WHOLE("true"), "ab", 2);
	CHECK_ONE(WHOLE("false"), "ab", 0, 1);
}

static void test_affixes_mark_places_in_a_word(void **state)
{
	const char *json = "{\"model\":{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\",\"end_of_word_"
	                   "suffix\":\"!\","
	                   "\"vocab\":{\"a\":0,\"##b\":1,\"##c!\":2,\"a!\":3,\"ab\":4,\"abc!\":5},"
	                   "\"merges\":[[\"a\",\"##b\"],[\"ab\",\"##c!\"]]}}";

	(void)state;
	CHECK_ONE(json, "abc", 5);
	CHECK_ONE(json, "a", 3);
	CHECK_ONE(json, "abb", 4); /* "##b!" is unknown */
}

static void test_a_model_without_type_is_bpe_by_its_merges(void **state)
{
	(void)state;
	CHECK_ONE("{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"#version: 0.2\",\"a b\"]}}",
	        "ab", 2);
}

/* The definition, word by word: join the best pair, leftmost first, until there is none. */
static size_t join_naively(const struct tokenizer *t, const char *text, int32_t *ids)
{
	static const int32_t merges[][3] = {{0, 1, 4}, {4, 2, 5}, {5, 3, 6}, {7, 0, 8}};
	size_t n = 0;

	for (const char *p = text; *p;) {
		size_t len = (unsigned char)*p < 0x80 ? 1 : 3;
		char one[4] = {0};

		memcpy(one, p, len);
		ids[n++] = tokenizer_token_id(t, one);
		p += len;
	}
	for (size_t m = 0; m < 4;) {
		size_t i = 0;

		while (i + 1 < n && (ids[i] != merges[m][0] || ids[i + 1] != merges[m][1]))
			i++;
		if (i + 1 >= n) {
			m++;
			continue;
		}
		ids[i] = merges[m][2];
		memmove(ids + i + 1, ids + i + 2, (n - i - 2) * sizeof(*ids));
		n--;
		m = 0;
	}
	return n;
}

static void test_bpe_equals_its_definition_at_every_length(void **state)
{
	static const char *const letters[] = {"a", "b", "c", "d", MARK, "A"};
	struct tokenizer *t = parse(TINY("", ""));
	struct rng rng;

	(void)state;
	rng_seed(&rng, 7);
	for (size_t n = 1; n < 120; n++) {
		char text[400] = "";
		int32_t expected[130];
		size_t n_expected;

		for (size_t i = 0; i < n; i++)
			strcat(text, letters[rng_below(&rng, 4 + n % 3)]);
		n_expected = join_naively(t, text, expected);
		expected[n_expected] = -1;
		check_ids(t, text, false, expected);
	}
	tokenizer_close(t);
}

static void test_a_long_word_is_joined_to_its_end(void **state)
{
	struct tokenizer *t = parse(TINY("", ""));
	struct buf text = {0};
	struct ids ids = {0};

	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_puts(&text, "abcd"), OK);
	assert_int_equal(tokenizer_encode(t, text.data, text.len, false, &ids), OK);
	assert_int_equal(ids.n, 100000);
	for (size_t i = 0; i < ids.n; i++)
		assert_int_equal(ids.ids[i], 6);
	ids_fini(&ids);
	buf_fini(&text);
	tokenizer_close(t);
}

/* ---- added tokens ---- */

static void test_added_tokens_are_found_leftmost_and_longest(void **state)
{
	struct tokenizer *t = parse(TINY("", "\"added_tokens\":[" ADDED(20, "<x>", "") "," ADDED(
	                                             21, "<x>b", "") "," ADDED(22, "x>b>c", "") "],"));

	(void)state;
	CHECK(t, "a<x>a", 0, 20, 0);
	CHECK(t, "a<x>b>c", 0, 21, 2); /* the one that starts first wins; ">" is unknown */
	CHECK(t, "<x><x>", 20, 20);
	CHECK(t, "<x", -1);
	assert_int_equal(tokenizer_vocab_size(t), 23);
	assert_int_equal(tokenizer_token_id(t, "<x>b"), 21);
	assert_int_equal(tokenizer_token_id(t, "abcd"), 6);
	assert_int_equal(tokenizer_token_id(t, "nothing"), -1);
	tokenizer_close(t);
}

static void test_added_tokens_take_the_space_beside_them(void **state)
{
	struct tokenizer *t = parse(TINY("\"unk_token\":\"<unk>\",",
	        "\"added_tokens\":[" ADDED(20, "<l>", ",\"lstrip\":true") "," ADDED(
	                21, "<r>", ",\"rstrip\":true") "],"));

	(void)state;
	CHECK(t, "a <l> a", 0, 20, 9, 0);
	CHECK(t, "a <r> a", 0, 9, 21, 0);
	CHECK(t, "<r> \t<l>", 21, 20);
	CHECK(t, " <l><r> ", 20, 21);
	tokenizer_close(t);
}

static void test_single_words_stand_alone(void **state)
{
	struct tokenizer *t = parse(TINY("\"unk_token\":\"<unk>\",",
	        "\"added_tokens\":[" ADDED(20, "dad", ",\"single_word\":true") "],"));

	(void)state;
	CHECK(t, "dad", 20);
	CHECK(t, "-dad-", 9, 20, 9);
	CHECK(t, "dada", 3, 0, 3, 0);
	CHECK(t, "1dad", 9, 3, 0, 3);
	tokenizer_close(t);
}

static void test_normalized_tokens_are_found_after_the_normalizer(void **state)
{
	struct tokenizer *t =
	        parse(TINY("", "\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":[" ADDED(
	                               20, "Dab", ",\"normalized\":true") "," ADDED(21, "Cab", "") "],"));

	(void)state;
	CHECK(t, "DABa", 20, 0);
	CHECK(t, "Cab", 21);
	CHECK(t, "cab", 2, 4);
	tokenizer_close(t);
}

/* LLaMA's normalizer starts anew behind every special token. */
static void test_each_stretch_is_normalized_by_itself(void **state)
{
	struct tokenizer *t =
	        parse(TINY("", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"" MARK
	                       "\"},\"added_tokens\":[" ADDED(20, "<s>", ",\"special\":true") "],"));

	(void)state;
	CHECK(t, "a<s>a", 8, 20, 8);
	CHECK(t, "", -1);
	assert_true(tokenizer_is_special(t, 20));
	assert_false(tokenizer_is_special(t, 8));
	tokenizer_close(t);
}

static void test_special_tokens_surround_text_when_asked(void **state)
{
	struct tokenizer *t = parse(TINY("", "\"post_processor\":{\"type\":\"Sequence\",\"processors\":["
	                                     "{\"type\":\"ByteLevel\"},{\"type\":\"RobertaProcessing\","
	                                     "\"cls\":[\"A\",10],\"sep\":[\"<unk>\",9]}]},"));
	size_t n;
	const int32_t *leading = tokenizer_leading(t, &n);

	(void)state;
	check_ids(t, "ab", true, (const int32_t[]){10, 4, 9, -1});
	check_ids(t, "ab", false, (const int32_t[]){4, -1});
	check_ids(t, "", true, (const int32_t[]){10, 9, -1});
	assert_int_equal(n, 1);
	assert_int_equal(leading[0], 10);
	tokenizer_close(t);
}

/* ---- broken input ---- */

static struct tokenizer *open_golden(const char *name)
{
	struct tokenizer *t = NULL;
	struct why why = {0};
	char dir[100];

	snprintf(dir, sizeof(dir), "tests/goldens/%s", name);
	if (tokenizer_open(dir, &t, &why))
		fail_msg("%s", why.message);
	return t;
}

static void test_invalid_utf8_counts_as_replacement_characters(void **state)
{
	static const struct {
		const char *raw, *same_as;
	} cases[] = {
	        {"a\xff"
	         "b",
	                "a\xef\xbf\xbd"
	                "b"},
	        {"\xe2\x96", "\xef\xbf\xbd"},
	        {"\xf0\x9f\x99"
	         "a",
	                "\xef\xbf\xbd"
	                "a"},
	        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
	        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	};
	static const char *const names[] = {"gpt2", "llama2"};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct tokenizer *t = open_golden(names[k]);

		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct ids a = {0}, b = {0};

			assert_int_equal(
			        tokenizer_encode(t, cases[i].raw, strlen(cases[i].raw), false, &a), OK);
			assert_int_equal(
			        tokenizer_encode(t, cases[i].same_as, strlen(cases[i].same_as), false, &b),
			        OK);
			assert_int_equal(a.n, b.n);
			assert_memory_equal(a.ids, b.ids, a.n * sizeof(*a.ids));
			ids_fini(&a);
			ids_fini(&b);
		}
		tokenizer_close(t);
	}
}

static void test_text_may_hold_nuls(void **state)
{
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0};
	struct buf text = {0};

	(void)state;
	assert_int_equal(tokenizer_encode(t, "a\0b", 3, false, &ids), OK);
	assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, true, true, &text), OK);
	assert_int_equal(text.len, 3);
	assert_memory_equal(text.data, "a\0b", 3);
	ids_fini(&ids);
	buf_fini(&text);
	tokenizer_close(t);
}

static void test_decode_skips_what_it_does_not_know(void **state)
{
	struct tokenizer *t = open_golden("gpt2");
	int32_t a = tokenizer_token_id(t, "a");
	const int32_t ids[] = {-1, 0, a, 1 << 30, 600, a};
	struct buf text = {0};

	(void)state;
	assert_int_equal(tokenizer_decode(t, ids, 6, true, true, &text), OK);
	assert_string_equal(text.data, "aa");
	text.len = 0;
	assert_int_equal(tokenizer_decode(t, ids, 6, false, true, &text), OK);
	assert_string_equal(text.data, "<|endoftext|>aa");
	buf_fini(&text);
	tokenizer_close(t);
}

static void test_token_bytes_keep_their_space(void **state)
{
	struct tokenizer *t = open_golden("llama2");
	struct buf bytes = {0};

	(void)state;
	assert_int_equal(tokenizer_token_bytes(t, tokenizer_token_id(t, MARK "a"), &bytes), OK);
	assert_string_equal(bytes.data, " a");
	bytes.len = 0;
	assert_int_equal(tokenizer_token_bytes(t, tokenizer_token_id(t, "<0xE2>"), &bytes), OK);
	assert_string_equal(bytes.data, "\xe2");
	bytes.len = 0;
	assert_int_equal(tokenizer_token_bytes(t, tokenizer_token_id(t, "</s>"), &bytes), OK);
	assert_string_equal(bytes.data, "</s>");
	buf_fini(&bytes);
	tokenizer_close(t);
}

/* ---- streams ---- */

static void check_streams(const char *name)
{
	struct tokenizer *t = open_golden(name);
	struct rng rng;

	rng_seed(&rng, 3);
	for (int round = 0; round < 300; round++) {
		struct buf whole = {0}, stream = {0};
		size_t n = (size_t)rng_below(&rng, 24);
		int32_t ids[24];
		struct detok *d;

		/* Low ids are where the byte tokens are. */
		for (size_t i = 0; i < n; i++)
			ids[i] = (int32_t)rng_below(&rng, round % 2 ? 260 : 620);
		assert_int_equal(tokenizer_decode(t, ids, n, true, true, &whole), OK);
		assert_int_equal(detok_new(t, NULL, 0, &d), OK);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(detok_push(d, ids[i], &stream), OK);
			assert_true(stream.len <= whole.len);
			if (stream.len)
				assert_memory_equal(stream.data, whole.data, stream.len);
		}
		assert_int_equal(detok_finish(d, &stream), OK);
		assert_int_equal(stream.len, whole.len);
		if (whole.len)
			assert_memory_equal(stream.data, whole.data, whole.len);
		detok_free(d);
		buf_fini(&whole);
		buf_fini(&stream);
	}
	tokenizer_close(t);
}

static void test_streams_add_up_to_the_decoded_text(void **state)
{
	(void)state;
	check_streams("gpt2");
	check_streams("llama2");
	check_streams("llama3");
}

/* What the completion adds to its prompt's text, whole and as a stream. */
static void check_continues(const char *name, const char *prompt, const char *text, bool add_special)
{
	struct tokenizer *t = open_golden(name);
	struct buf whole = {0}, stream = {0};
	struct ids ids = {0};
	size_t n_prompt, n_text;
	struct detok *d;

	assert_int_equal(tokenizer_encode(t, prompt, strlen(prompt), add_special, &ids), OK);
	n_prompt = ids.n;
	assert_int_equal(tokenizer_decode(t, ids.ids, n_prompt, true, true, &whole), OK);
	n_text = whole.len;
	assert_int_equal(tokenizer_encode(t, text, strlen(text), false, &ids), OK);
	whole.len = 0;
	assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, true, true, &whole), OK);
	assert_int_equal(detok_new(t, ids.ids, n_prompt, &d), OK);
	for (size_t i = n_prompt; i < ids.n; i++)
		assert_int_equal(detok_push(d, ids.ids[i], &stream), OK);
	assert_int_equal(detok_finish(d, &stream), OK);
	assert_string_equal(stream.data, whole.data + n_text);
	detok_free(d);
	buf_fini(&whole);
	buf_fini(&stream);
	ids_fini(&ids);
	tokenizer_close(t);
}

static void test_streams_continue_the_text_before_them(void **state)
{
	(void)state;
	check_continues("llama2", "Hello", "world", true);
	check_continues("llama2", "", "world", true); /* nothing but <s>: the text starts here */
	check_continues("llama2", "Hello ", "  world", false);
	check_continues("gpt2", "Hello", " world", false);
	check_continues("llama3", "Hello", " world", true);
}

static void test_streams_hold_back_unfinished_characters(void **state)
{
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0};
	struct buf out = {0};
	struct detok *d;

	(void)state;
	assert_int_equal(tokenizer_encode(t, "\xf0\x9f\x99\x82", 4, false, &ids), OK);
	assert_true(ids.n > 1);
	assert_int_equal(detok_new(t, NULL, 0, &d), OK);
	for (size_t i = 0; i + 1 < ids.n; i++) {
		assert_int_equal(detok_push(d, ids.ids[i], &out), OK);
		assert_int_equal(out.len, 0);
	}
	assert_int_equal(detok_push(d, ids.ids[ids.n - 1], &out), OK);
	assert_string_equal(out.data, "\xf0\x9f\x99\x82");
	detok_free(d);
	buf_fini(&out);
	ids_fini(&ids);
	tokenizer_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_bpe_joins_by_rank),
	        cmocka_unit_test(test_unknown_characters_become_unk),
	        cmocka_unit_test(test_ignore_merges_takes_whole_words_first),
	        cmocka_unit_test(test_affixes_mark_places_in_a_word),
	        cmocka_unit_test(test_a_model_without_type_is_bpe_by_its_merges),
	        cmocka_unit_test(test_bpe_equals_its_definition_at_every_length),
	        cmocka_unit_test(test_a_long_word_is_joined_to_its_end),
	        cmocka_unit_test(test_added_tokens_are_found_leftmost_and_longest),
	        cmocka_unit_test(test_added_tokens_take_the_space_beside_them),
	        cmocka_unit_test(test_single_words_stand_alone),
	        cmocka_unit_test(test_normalized_tokens_are_found_after_the_normalizer),
	        cmocka_unit_test(test_each_stretch_is_normalized_by_itself),
	        cmocka_unit_test(test_special_tokens_surround_text_when_asked),
	        cmocka_unit_test(test_invalid_utf8_counts_as_replacement_characters),
	        cmocka_unit_test(test_text_may_hold_nuls),
	        cmocka_unit_test(test_decode_skips_what_it_does_not_know),
	        cmocka_unit_test(test_token_bytes_keep_their_space),
	        cmocka_unit_test(test_streams_add_up_to_the_decoded_text),
	        cmocka_unit_test(test_streams_continue_the_text_before_them),
	        cmocka_unit_test(test_streams_hold_back_unfinished_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
