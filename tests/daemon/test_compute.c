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

#define L2 (512L << 10)

static void test_variables_that_mislead_are_unset(void **state)
{
	static const struct {
		const char *kernel;
		enum cpu_level cpu;
		const char *coretype, *l2_size;
	} bad[] = {
	        {"Haswell", CPU_AVX512_BF16, "Haswell", NULL},
	        {"Prescott", CPU_AVX2, "Prescott", NULL},
	        {"SkylakeX", CPU_AVX2, "SkylakeX", NULL}, /* its instructions would be illegal */
	        {"Zen", CPU_AVX2, NULL, "128"},
	        {"Zen", CPU_AVX2, NULL, "4096"},
	};
	struct compute_correction c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c.coretype = "untouched";
		assert_true(compute_correct(
		        bad[i].kernel, bad[i].cpu, bad[i].coretype, bad[i].l2_size, L2, false, &c));
		assert_null(c.coretype);
		assert_non_null(strstr(c.text, "unset them"));
	}
	assert_false(compute_correct("SkylakeX", CPU_AVX512_VNNI, "SkylakeX", "512", L2, false, &c));
	assert_false(compute_correct("Zen", CPU_AVX2, "Zen", "128", -1, false, &c));
	assert_false(compute_correct("Zen", CPU_AVX2, "", "", L2, false, &c));
}

static void test_a_library_that_chooses_badly_is_told(void **state)
{
	struct compute_correction c;

	(void)state;
	for (int corrected = 0; corrected < 2; corrected++) {
		assert_true(compute_correct("Prescott", CPU_AVX512_BF16, NULL, NULL, L2, corrected, &c));
		assert_string_equal(c.coretype, "SkylakeX");
		assert_non_null(strstr(c.text, "Prescott"));
		assert_true(compute_correct("Prescott", CPU_AVX2, "", NULL, L2, corrected, &c));
		assert_string_equal(c.coretype, "Haswell");
	}
	assert_false(compute_correct("Nehalem", CPU_PORTABLE, NULL, NULL, L2, false, &c));
}

/* Were a correction in vain, the next would be too. */
static void test_corrections_end(void **state)
{
	struct compute_correction c;

	(void)state;
	assert_false(compute_correct("Prescott", CPU_AVX512, "SkylakeX", NULL, L2, true, &c));
	assert_false(compute_correct("SkylakeX", CPU_AVX512, "SkylakeX", NULL, L2, true, &c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_kernels_that_suit_the_processor_draw_no_advice),
	        cmocka_unit_test(test_forced_slow_kernels_are_traced_to_the_environment),
	        cmocka_unit_test(test_slow_choice_of_the_library_is_told_how_to_mend),
	        cmocka_unit_test(test_variables_that_mislead_are_unset),
	        cmocka_unit_test(test_a_library_that_chooses_badly_is_told),
	        cmocka_unit_test(test_corrections_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
