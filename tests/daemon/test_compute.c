/* daemon/compute: advice about matrix kernels. */
#include "daemon/compute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_kernels_that_suit_the_processor_draw_no_advice(void **state)
{
	char text[512];

	(void)state;
	compute_advice("Cooperlake", CPU_AVX512, NULL, text, sizeof(text));
	assert_string_equal(text, "");
	compute_advice("SkylakeX", CPU_AVX512, "SKYLAKEX", text, sizeof(text));
	assert_string_equal(text, "");
	compute_advice("Cooperlake", CPU_AVX512_BF16, NULL, text, sizeof(text));
	assert_string_equal(text, "");
	compute_advice("ZEN", CPU_AVX2, NULL, text, sizeof(text));
	assert_string_equal(text, "");
	compute_advice("Nehalem", CPU_PORTABLE, NULL, text, sizeof(text));
	assert_string_equal(text, "");
}

static void test_forced_slow_kernels_are_traced_to_the_environment(void **state)
{
	char text[512];

	(void)state;
	compute_advice("Haswell", CPU_AVX512, "Haswell", text, sizeof(text));
	assert_non_null(strstr(text, "OPENBLAS_CORETYPE=Haswell"));
	assert_non_null(strstr(text, "unset OPENBLAS_CORETYPE"));
	assert_non_null(strstr(text, "avx512"));
}

static void test_slow_choice_of_the_library_is_told_how_to_mend(void **state)
{
	char text[512];

	(void)state;
	compute_advice("Prescott", CPU_AVX2, NULL, text, sizeof(text));
	assert_non_null(strstr(text, "OPENBLAS_CORETYPE=Haswell"));
	compute_advice("Haswell", CPU_AVX512, "", text, sizeof(text));
	assert_non_null(strstr(text, "OPENBLAS_CORETYPE=SkylakeX"));
	assert_null(strstr(text, "unset"));
}

static void test_variables_that_mislead_are_found(void **state)
{
	const long l2 = 512 << 10;

	(void)state;
	assert_true(compute_is_misled("Haswell", CPU_AVX512_BF16, "Haswell", NULL, l2));
	assert_true(compute_is_misled("Prescott", CPU_AVX2, "Prescott", NULL, l2));
	assert_true(compute_is_misled("Zen", CPU_AVX2, NULL, "128", l2));
	assert_true(compute_is_misled("Zen", CPU_AVX2, NULL, "4096", l2));
	assert_false(compute_is_misled("Haswell", CPU_AVX512, NULL, NULL, l2));
	assert_false(compute_is_misled("SkylakeX", CPU_AVX512_VNNI, "SkylakeX", "512", l2));
	assert_false(compute_is_misled("Zen", CPU_AVX2, "Zen", "128", -1));
	assert_false(compute_is_misled("Zen", CPU_AVX2, "", "", l2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_kernels_that_suit_the_processor_draw_no_advice),
	        cmocka_unit_test(test_forced_slow_kernels_are_traced_to_the_environment),
	        cmocka_unit_test(test_slow_choice_of_the_library_is_told_how_to_mend),
	        cmocka_unit_test(test_variables_that_mislead_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
