/* Measures of predictions against values worked out by hand from their definitions. */
#include "worker/train/metrics.h"

#include "core/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_near(double got, double want)
{
	if (!(fabs(got - want) <= 1e-12))
		fail_msg("%.17g, expected %.17g", got, want);
}

static void count(struct tally *t, size_t n_classes, size_t n, const int *predicted, const int *actual)
{
	assert_int_equal(tally_init(t, n_classes), OK);
	for (size_t i = 0; i < n; i++)
		tally_add(t, (size_t)predicted[i], (size_t)actual[i]);
}

/* 4 true and 1 false positive, 3 true and 2 false negatives: 1 of the second class is missed twice. */
static void test_two_classes(void **state)
{
	const int predicted[10] = {0, 1, 1, 0, 1, 1, 0, 0, 1, 0}, actual[10] = {0, 1, 0, 0, 1, 1, 1, 0, 1, 1};
	struct tally t;

	(void)state;
	count(&t, 2, 10, predicted, actual);
	assert_near(tally_accuracy(&t), 0.7);
	assert_near(tally_f1(&t), 8.0 / 11.0);
	assert_near(tally_matthews(&t), (4.0 * 3.0 - 1.0 * 2.0) / sqrt(5.0 * 6.0 * 4.0 * 5.0));
	tally_clear(&t);
	assert_near(tally_accuracy(&t), 0);
	tally_fini(&t);
}

/* A fourth class that never occurs does not count. */
static void test_several_classes(void **state)
{
	const int predicted[8] = {0, 2, 1, 0, 0, 1, 2, 2}, actual[8] = {0, 1, 2, 0, 1, 1, 2, 0};
	struct tally t;

	(void)state;
	count(&t, 4, 8, predicted, actual);
	assert_near(tally_accuracy(&t), 0.5);
	assert_near(tally_f1(&t), (2.0 / 3.0 + 0.4 + 0.4) / 3.0);
	assert_near(tally_matthews(&t), 11.0 / 42.0);
	tally_fini(&t);
}

static void test_perfect_and_opposite(void **state)
{
	const int one[4] = {0, 1, 1, 0}, other[4] = {1, 0, 0, 1};
	struct tally t;

	(void)state;
	count(&t, 2, 4, one, one);
	assert_near(tally_matthews(&t), 1);
	assert_near(tally_f1(&t), 1);
	tally_fini(&t);
	count(&t, 2, 4, one, other);
	assert_near(tally_matthews(&t), -1);
	assert_near(tally_f1(&t), 0);
	tally_fini(&t);
}

static void test_what_is_undefined_is_zero(void **state)
{
	const int zeros[3] = {0}, ones[3] = {1, 1, 1};
	const double same[3] = {2, 2, 2}, rising[3] = {1, 2, 3};
	struct tally t;

	(void)state;
	count(&t, 2, 3, zeros, ones);
	assert_near(tally_matthews(&t), 0);
	assert_near(tally_f1(&t), 0);
	tally_fini(&t);
	assert_near(metric_pearson(3, same, rising), 0);
}

static void test_pearson(void **state)
{
	const double x[5] = {1, 2, 3, 4, 5}, y[5] = {2, 1, 4, 3, 7}, down[5] = {10, 8, 6, 4, 2};

	(void)state;
	/* Deviations -2 .. 2 and -1.4, -2.4, 0.6, -0.4, 3.6: 12 / sqrt(10 * 21.2). */
	assert_near(metric_pearson(5, x, y), 12 / sqrt(212));
	assert_near(metric_pearson(5, x, down), -1);
}

static void test_ranks_are_shared_by_equals(void **state)
{
	const double want[8] = {2, 7.5, 4, 4, 6, 1, 4, 7.5};
	double x[8] = {-1, 9, 3, 3, 5, -8, 3, 9}, one[1] = {7};
	size_t order[8];

	(void)state;
	metric_ranks(8, x, order);
	for (size_t i = 0; i < 8; i++)
		assert_near(x[i], want[i]);
	metric_ranks(1, one, order);
	assert_near(one[0], 1);
}

/* Any number of numbers: the rank is how many are less, and half of those equal. */
static void test_ranks_count_what_is_less(void **state)
{
	double x[200], ranks[200];
	size_t order[200];

	(void)state;
	for (size_t n = 1; n <= 200; n++) {
		for (size_t i = 0; i < n; i++)
			ranks[i] = x[i] = (double)(i * i * 7919 % 61);
		metric_ranks(n, ranks, order);
		for (size_t i = 0; i < n; i++) {
			double rank = 0.5;

			for (size_t k = 0; k < n; k++)
				rank += x[k] < x[i] ? 1 : x[k] == x[i] ? 0.5 : 0;
			assert_near(ranks[i], rank);
		}
	}
}

static void test_names_and_what_they_measure(void **state)
{
	(void)state;
	assert_string_equal(metric_name(METRIC_MATTHEWS), "matthews");
	assert_true(metric_of_classes(METRIC_F1) && !metric_of_numbers(METRIC_F1));
	assert_true(metric_of_numbers(METRIC_SPEARMAN) && !metric_of_classes(METRIC_SPEARMAN));
	assert_true(metric_of_classes(METRIC_LOSS) && metric_of_numbers(METRIC_LOSS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_two_classes),
	        cmocka_unit_test(test_several_classes),
	        cmocka_unit_test(test_perfect_and_opposite),
	        cmocka_unit_test(test_what_is_undefined_is_zero),
	        cmocka_unit_test(test_pearson),
	        cmocka_unit_test(test_ranks_are_shared_by_equals),
	        cmocka_unit_test(test_ranks_count_what_is_less),
	        cmocka_unit_test(test_names_and_what_they_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
