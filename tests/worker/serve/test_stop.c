/* Stop strings in text cut at every place, against a search that looks at each end in turn. */
#include "worker/serve/stop.h"

#include "core/buf.h"
#include "core/mem.h"
#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What a reader gets of the text until a stop string, delivering what is certain at once. */
struct reading {
	struct buf given, held;
	bool found;
};

static void reading_feed(struct reading *r, struct stop_scan *s, const char *text, size_t n)
{
	size_t n_tail = 0;

	if (r->found)
		return;
	assert_int_equal(buf_append(&r->held, text, n), OK);
	r->found = stop_scan_feed(s, text, n, &n_tail);
	assert_true(n_tail <= r->held.len);
	assert_int_equal(buf_append(&r->given, r->held.data, r->held.len - n_tail), OK);
	buf_consume(&r->held, r->held.len - n_tail);
}

/* Read text in pieces of `step` bytes after a first one of `first`. */
static void assert_reads(const char *const *stops, size_t n_stops, const char *text, size_t first,
        size_t step, const char *expected, bool found)
{
	struct reading r = {0};
	struct stop_scan *s;
	size_t n = strlen(text);

	assert_int_equal(stop_scan_new(n_stops, stops, &s), OK);
	reading_feed(&r, s, text, first);
	for (size_t at = first; at < n; at += step)
		reading_feed(&r, s, text + at, at + step < n ? step : n - at);
	if (!r.found)
		assert_int_equal(buf_append(&r.given, r.held.data, r.held.len), OK);
	assert_int_equal(r.found, found);
	assert_int_equal(r.given.len, strlen(expected));
	assert_memory_equal(r.given.data ? r.given.data : "", expected, r.given.len);
	buf_fini(&r.given);
	buf_fini(&r.held);
	stop_scan_free(s);
}

static void assert_every_cut_reads(
        const char *const *stops, size_t n_stops, const char *text, const char *expected, bool found)
{
	size_t n = strlen(text);

	for (size_t first = 0; first <= n; first++) {
		assert_reads(stops, n_stops, text, first, n + 1, expected, found);
		assert_reads(stops, n_stops, text, first, 1, expected, found);
		assert_reads(stops, n_stops, text, first, 3, expected, found);
	}
}

static void test_text_ends_before_a_stop_wherever_it_is_cut(void **state)
{
	const char *stops[] = {"\n\n", "END"};

	(void)state;
	assert_every_cut_reads(stops, 2, "one\ntwo EN D\n\nthree END", "one\ntwo EN D", true);
	assert_every_cut_reads(stops, 2, "nothing to find, EN", "nothing to find, EN", false);
	assert_every_cut_reads(stops, 2, "ENDless", "", true);
}

static void test_a_stop_that_overlaps_itself_is_found(void **state)
{
	const char *stops[] = {"aab"}, *twice[] = {"abab"};

	(void)state;
	assert_every_cut_reads(stops, 1, "aaaab", "aa", true);
	assert_every_cut_reads(twice, 1, "aababab", "a", true);
}

static void test_the_first_to_be_complete_wins(void **state)
{
	const char *inside[] = {"abcd", "bc"}, *ends[] = {"c", "abc", "bc"};

	(void)state;
	assert_every_cut_reads(inside, 2, "xabcd", "xa", true);
	assert_every_cut_reads(ends, 3, "xabc", "x", true);
}

static void test_characters_of_several_bytes(void **state)
{
	const char *stops[] = {"é", "京都"};

	(void)state;
	assert_every_cut_reads(stops, 2, "東京 è 京都", "東京 è ", true);
	assert_every_cut_reads(stops, 2, "caf\xC3\xA9", "caf", true);
}

static void test_only_what_may_begin_a_stop_is_held_back(void **state)
{
	const char *stops[] = {"</s>", "s> t"};
	struct stop_scan *s;
	size_t n_tail;

	(void)state;
	assert_int_equal(stop_scan_new(2, stops, &s), OK);
	assert_false(stop_scan_feed(s, "text", 4, &n_tail));
	assert_int_equal(n_tail, 0);
	assert_false(stop_scan_feed(s, " <", 2, &n_tail));
	assert_int_equal(n_tail, 1);
	assert_false(stop_scan_feed(s, "/s", 2, &n_tail));
	assert_int_equal(n_tail, 3);
	assert_false(stop_scan_feed(s, "", 0, &n_tail));
	assert_int_equal(n_tail, 3);
	assert_false(stop_scan_feed(s, "x", 1, &n_tail));
	assert_int_equal(n_tail, 0);
	assert_false(stop_scan_feed(s, "s> ", 3, &n_tail));
	assert_int_equal(n_tail, 3);
	stop_scan_free(s);
}

/* The end of the first stop to be complete, and the longest there. */
static bool naive_find(const char *const *stops, size_t n_stops, const char *text, size_t *begin)
{
	for (size_t end = 1; end <= strlen(text); end++) {
		size_t longest = 0;

		for (size_t i = 0; i < n_stops; i++) {
			size_t n = strlen(stops[i]);

			if (n <= end && n > longest && memcmp(text + end - n, stops[i], n) == 0)
				longest = n;
		}
		if (longest) {
			*begin = end - longest;
			return true;
		}
	}
	return false;
}

static void random_word(struct rng *r, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = rng_below(r, 3) ? 'a' : 'b';
	out[n] = '\0';
}

static void test_random_texts_match_the_naive_search(void **state)
{
	struct rng r;

	(void)state;
	rng_seed(&r, 11);
	for (size_t i = 0; i < 500; i++) {
		char words[4][10], text[40], expected[40];
		const char *stops[] = {words[0], words[1], words[2], words[3]};
		size_t n_stops = 1 + rng_below(&r, 4), begin = 0;
		bool found;

		for (size_t k = 0; k < n_stops; k++)
			random_word(&r, 2 + rng_below(&r, 8), words[k]);
		random_word(&r, rng_below(&r, 40), text);
		found = naive_find(stops, n_stops, text, &begin);
		snprintf(expected, sizeof(expected), "%.*s", found ? (int)begin : (int)strlen(text), text);
		assert_every_cut_reads(stops, n_stops, text, expected, found);
	}
}

static void test_new_survives_every_failing_allocation(void **state)
{
	const char *stops[] = {"one", "two", "three"};
	struct stop_scan *s = NULL;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		mem_fail_at(n);
		e = stop_scan_new(3, stops, &s);
		assert_int_equal(e, mem_failed() ? ERR_MEM : OK);
	}
	mem_fail_at(0);
	stop_scan_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_text_ends_before_a_stop_wherever_it_is_cut),
	        cmocka_unit_test(test_a_stop_that_overlaps_itself_is_found),
	        cmocka_unit_test(test_the_first_to_be_complete_wins),
	        cmocka_unit_test(test_characters_of_several_bytes),
	        cmocka_unit_test(test_only_what_may_begin_a_stop_is_held_back),
	        cmocka_unit_test(test_random_texts_match_the_naive_search),
	        cmocka_unit_test(test_new_survives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
