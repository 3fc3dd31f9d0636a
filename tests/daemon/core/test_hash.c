/* The hash of tables: its authors' examples (Fowler, Noll, Vo), whole and in pieces. */
#include "core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_table_hash_is_fnv_1a(void **state)
{
	(void)state;
	assert_true(hash_table(HASH_TABLE_BEGIN, "", 0) == HASH_TABLE_BEGIN);
	assert_true(hash_table(HASH_TABLE_BEGIN, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(hash_table(HASH_TABLE_BEGIN, "foobar", 6) == UINT64_C(0x85944171f73967e8));
	assert_true(
	        hash_table(hash_table(HASH_TABLE_BEGIN, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
	assert_true(hash_table_end(UINT64_C(0x100000000)) == UINT64_C(0x100000001));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table_hash_is_fnv_1a)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
