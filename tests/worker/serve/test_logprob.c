/* Ranking log-probabilities. */
#include "worker/serve/logprob.h"

#include "worker/math/loss.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_the_best_come_first_and_equals_by_id(void **state)
{
	static const float x[] = {1, 5, -2, 5, 4, 4, 4, -INFINITY};
	static const int32_t order[] = {1, 3, 4, 5, 6, 0, 2, 7};
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	double total = log_sum_exp(8, x);

	(void)state;
	for (size_t n = 0; n <= 8; n++) {
		assert_int_equal(logprob_top(8, x, total, n, top), n);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(top[i].id, order[i]);
			assert_true(top[i].logprob == logprob_of(x[order[i]], total));
		}
	}
}

static void test_a_small_vocabulary_gives_what_it_has(void **state)
{
	static const float x[] = {0, 1};
	struct token_logprob top[SERVE_MAX_LOGPROBS];

	(void)state;
	assert_int_equal(logprob_top(2, x, log_sum_exp(2, x), 20, top), 2);
	assert_int_equal(top[0].id, 1);
	assert_true(fabs(exp((double)top[0].logprob) + exp((double)top[1].logprob) - 1) < 1e-6);
}

static void test_a_certain_token_has_log_probability_zero(void **state)
{
	static const float x[] = {1e4f, 0, 0};

	(void)state;
	assert_true(logprob_of(x[0], log_sum_exp(3, x)) == 0);
	assert_true(logprob_of(x[1], log_sum_exp(3, x)) == -1e4f);
	assert_true(logprob_of(1, 0.5) == 0); /* rounding never makes more than certain */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_best_come_first_and_equals_by_id),
	        cmocka_unit_test(test_a_small_vocabulary_gives_what_it_has),
	        cmocka_unit_test(test_a_certain_token_has_log_probability_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
