/* Learning rates against values worked out by hand from the formulas of transformers.get_scheduler. */
#include "worker/train/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void check(enum train_schedule s, size_t step, size_t warmup, size_t total, double want)
{
	double got = schedule_factor(s, step, warmup, total);

	if (got > want + 1e-15 || got < want - 1e-15)
		fail_msg("schedule %d, step %zu of %zu, warm-up %zu: %.17g, expected %.17g", (int)s, step,
		        total, warmup, got, want);
}

static void test_warmup_starts_at_zero_and_ends_at_one(void **state)
{
	(void)state;
	for (int s = SCHEDULE_LINEAR; s <= SCHEDULE_CONSTANT; s++) {
		check((enum train_schedule)s, 0, 4, 12, 0.0);
		check((enum train_schedule)s, 1, 4, 12, 0.25);
		check((enum train_schedule)s, 3, 4, 12, 0.75);
		check((enum train_schedule)s, 4, 4, 12, 1.0);
	}
}

static void test_linear_falls_to_zero(void **state)
{
	(void)state;
	check(SCHEDULE_LINEAR, 0, 0, 10, 1.0);
	check(SCHEDULE_LINEAR, 1, 0, 10, 0.9);
	check(SCHEDULE_LINEAR, 9, 0, 10, 0.1);
	check(SCHEDULE_LINEAR, 8, 4, 12, 0.5);
	check(SCHEDULE_LINEAR, 12, 4, 12, 0.0);
	check(SCHEDULE_LINEAR, 13, 4, 12, 0.0);
}

static void test_cosine_falls_by_half_a_wave(void **state)
{
	(void)state;
	check(SCHEDULE_COSINE, 0, 0, 8, 1.0);
	check(SCHEDULE_COSINE, 2, 0, 8, 0.85355339059327373);
	check(SCHEDULE_COSINE, 8, 4, 12, 0.5);
	check(SCHEDULE_COSINE, 10, 4, 12, 0.14644660940672621);
	check(SCHEDULE_COSINE, 12, 4, 12, 0.0);
}

static void test_constant_stays_after_warmup(void **state)
{
	(void)state;
	check(SCHEDULE_CONSTANT, 0, 0, 5, 1.0);
	check(SCHEDULE_CONSTANT, 4, 2, 5, 1.0);
}

static void test_warmup_longer_than_the_run(void **state)
{
	(void)state;
	check(SCHEDULE_LINEAR, 3, 10, 4, 0.3);
	check(SCHEDULE_COSINE, 0, 1, 1, 0.0);
	check(SCHEDULE_LINEAR, 0, 1, 1, 0.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_warmup_starts_at_zero_and_ends_at_one),
	        cmocka_unit_test(test_linear_falls_to_zero),
	        cmocka_unit_test(test_cosine_falls_by_half_a_wave),
	        cmocka_unit_test(test_constant_stays_after_warmup),
	        cmocka_unit_test(test_warmup_longer_than_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
