/* Budgets per minute: taking, filling, settling, and what is said about them. */
#include "api/rate.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct rate *r;

	if (rate_new(&r))
		return -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	rate_free(*state);
	return 0;
}

static void expect_take(struct rate *r, enum rate_kind kind, int64_t n, int64_t now, enum err err,
        int64_t remaining, int64_t reset_ms, int64_t wait_ms)
{
	struct rate_state s = {-7, -7, -7};

	assert_int_equal(rate_take(r, "ann", kind, 60, n, now, &s), err);
	assert_int_equal(s.remaining, remaining);
	assert_int_equal(s.reset_ms, reset_ms);
	if (err)
		assert_int_equal(s.wait_ms, wait_ms);
}

static void test_a_minutes_worth_is_there_and_fills_evenly(void **state)
{
	struct rate *r = *state;

	expect_take(r, RATE_REQUESTS, 60, 5000, OK, 0, 60000, 0);
	expect_take(r, RATE_REQUESTS, 1, 5000, ERR_LIMIT, 0, 60000, 1000);
	expect_take(r, RATE_REQUESTS, 1, 5999, ERR_LIMIT, 0, 59001, 1);
	expect_take(r, RATE_REQUESTS, 1, 6000, OK, 0, 60000, 0);
	expect_take(r, RATE_REQUESTS, 10, 16500, OK, 0, 59500, 0);
	expect_take(r, RATE_REQUESTS, 1, 600000, OK, 59, 1000, 0); /* never more than a minute's */
}

static void test_kinds_and_tenants_have_budgets_of_their_own(void **state)
{
	struct rate *r = *state;
	struct rate_state s;

	expect_take(r, RATE_REQUESTS, 60, 0, OK, 0, 60000, 0);
	expect_take(r, RATE_TOKENS, 60, 0, OK, 0, 60000, 0);
	assert_int_equal(rate_take(r, "bob", RATE_REQUESTS, 60, 60, 0, &s), OK);
}

static void test_what_no_bucket_holds_never_comes(void **state)
{
	struct rate *r = *state;

	expect_take(r, RATE_TOKENS, 61, 0, ERR_LIMIT, 60, 0, -1);
	expect_take(r, RATE_TOKENS, INT64_MAX, 0, ERR_LIMIT, 60, 0, -1);
	expect_take(r, RATE_TOKENS, 60, 0, OK, 0, 60000, 0);
}

static void test_what_was_not_used_comes_back(void **state)
{
	struct rate *r = *state;

	expect_take(r, RATE_TOKENS, 50, 0, OK, 10, 50000, 0);
	rate_give(r, "ann", RATE_TOKENS, 60, 40, 0);
	expect_take(r, RATE_TOKENS, 50, 0, OK, 0, 60000, 0);
	rate_give(r, "ann", RATE_TOKENS, 60, 1000, 0); /* not above full */
	expect_take(r, RATE_TOKENS, 60, 0, OK, 0, 60000, 0);
}

static void test_a_debt_is_worked_off_first(void **state)
{
	struct rate *r = *state;

	expect_take(r, RATE_TOKENS, 60, 0, OK, 0, 60000, 0);
	rate_give(r, "ann", RATE_TOKENS, 60, -30, 0);
	expect_take(r, RATE_TOKENS, 1, 30000, ERR_LIMIT, 0, 60000, 1000);
	expect_take(r, RATE_TOKENS, 1, 31000, OK, 0, 60000, 0);
}

static void test_absurd_numbers_do_no_harm(void **state)
{
	struct rate *r = *state;
	struct rate_state s;

	for (int i = 0; i < 5; i++)
		rate_give(r, "ann", RATE_TOKENS, 60, -INT64_MAX, 0);
	assert_int_equal(rate_take(r, "ann", RATE_TOKENS, 60, INT64_MAX, 1, &s), ERR_LIMIT);
	assert_int_equal(rate_take(r, "ann", RATE_TOKENS, 60, 1, 1000000, &s), ERR_LIMIT);
	assert_true(s.wait_ms > 0 && s.reset_ms > s.wait_ms);
	assert_int_equal(rate_take(r, "ann", RATE_TOKENS, 60, 1, INT64_MAX / 2, &s), OK);
	rate_give(r, "ann", RATE_TOKENS, 60, INT64_MAX, INT64_MAX / 2);
	assert_int_equal(rate_take(r, "bob", RATE_TOKENS, INT64_MAX, 1, INT64_MAX, &s), OK);
	assert_true(s.remaining > 0);
}

static void test_a_new_limit_keeps_what_is_left(void **state)
{
	struct rate *r = *state;
	struct rate_state s;

	expect_take(r, RATE_TOKENS, 30, 0, OK, 30, 30000, 0);
	assert_int_equal(rate_take(r, "ann", RATE_TOKENS, 600, 30, 0, &s), OK); /* raised: not refilled */
	assert_int_equal(s.remaining, 0);
	assert_int_equal(rate_take(r, "ann", RATE_TOKENS, 600, 600, 60000, &s), OK);
	rate_give(r, "ann", RATE_TOKENS, 600, 600, 60000);
	expect_take(r, RATE_TOKENS, 0, 60000, OK, 60, 0, 0); /* lowered: cut */
}

/* Many tenants: the idle ones' accounts are dropped on the way, the others' kept. */
static void test_idle_accounts_go_unnoticed(void **state)
{
	struct rate *r = *state;
	struct rate_state s;
	char id[32];

	expect_take(r, RATE_REQUESTS, 60, 600000, OK, 0, 60000, 0);
	for (int i = 0; i < 20000; i++) {
		snprintf(id, sizeof(id), "tenant-%d", i);
		assert_int_equal(rate_take(r, id, RATE_REQUESTS, 60, 1, 600000 - 1000, &s), OK);
		assert_int_equal(s.remaining, 59);
	}
	expect_take(r, RATE_REQUESTS, 1, 600000, ERR_LIMIT, 0, 60000, 1000);
	rate_forget(r, "ann");
	rate_forget(r, "nobody");
	expect_take(r, RATE_REQUESTS, 1, 600000, OK, 59, 1000, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_a_minutes_worth_is_there_and_fills_evenly, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_kinds_and_tenants_have_budgets_of_their_own, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_what_no_bucket_holds_never_comes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_what_was_not_used_comes_back, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_debt_is_worked_off_first, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_absurd_numbers_do_no_harm, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_new_limit_keeps_what_is_left, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_idle_accounts_go_unnoticed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
