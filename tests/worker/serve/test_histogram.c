/* Durations land in the bucket whose bound they do not exceed. */
#include "worker/serve/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_bounds_rise_and_belong_to_their_bucket(void **state)
{
	struct histogram h = {0};

	(void)state;
	for (int i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		assert_true(i == 0 || histogram_bounds[i] > histogram_bounds[i - 1]);
		histogram_add(&h, (int64_t)(histogram_bounds[i] * 1e9) - 1);
		assert_int_equal(h.counts[i], 1);
	}
	histogram_add(&h, (int64_t)1e13);
	assert_int_equal(h.counts[HISTOGRAM_BUCKETS - 1], 1);
	assert_int_equal(h.n, HISTOGRAM_BUCKETS);
}

static void test_sum_is_of_all_and_never_falls(void **state)
{
	struct histogram h = {0};

	(void)state;
	histogram_add(&h, 1500);
	histogram_add(&h, 500);
	histogram_add(&h, -7);
	assert_int_equal(h.sum_ns, 2000);
	assert_int_equal(h.counts[0], 3);
	assert_int_equal(h.n, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_bounds_rise_and_belong_to_their_bucket),
	        cmocka_unit_test(test_sum_is_of_all_and_never_falls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
