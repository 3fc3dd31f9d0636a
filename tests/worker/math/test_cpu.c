/* The choice of kernels: never above the limit, never above the machine. */
#include "tests/worker/math/twins.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static void test_limit_caps_the_level(void **state)
{
	enum cpu_level best;

	(void)state;
	cpu_init(CPU_BEST);
	best = cpu_level();
	cpu_init(CPU_PORTABLE);
	assert_int_equal(cpu_level(), CPU_PORTABLE);
	cpu_init(CPU_AVX2);
	assert_int_equal(cpu_level(), best < CPU_AVX2 ? best : CPU_AVX2);
	cpu_init(CPU_BEST);
	assert_int_equal(cpu_level(), best);
}

static void test_level_is_what_the_processor_reports(void **state)
{
	bool wide = false, avx2 = false, bytes = false, brief = false, tiles = false;

	(void)state;
#if defined(__x86_64__)
	avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	       __builtin_cpu_supports("f16c");
	wide = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512dq");
	bytes = wide && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
	brief = bytes && __builtin_cpu_supports("avx512bf16");
	tiles = brief && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
	        syscall(SYS_arch_prctl, 0x1023, 18) == 0;
	brief = brief && __builtin_cpu_is("amd");
#endif
	cpu_init(CPU_BEST);
	assert_int_equal(cpu_level(), tiles   ? CPU_AMX
	                              : brief ? CPU_AVX512_BF16
	                              : bytes ? CPU_AVX512_VNNI
	                              : wide  ? CPU_AVX512
	                              : avx2  ? CPU_AVX2
	                                      : CPU_PORTABLE);
}

static void test_processors_are_those_this_process_may_use(void **state)
{
	size_t n = cpu_count();
	cpu_set_t all, one;

	(void)state;
	assert_true(n >= 1);
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(cpu_count(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(cpu_count(), n);
}

static void test_levels_have_names(void **state)
{
	(void)state;
	assert_string_equal(cpu_level_name(CPU_PORTABLE), "portable");
	assert_string_equal(cpu_level_name(CPU_AVX2), "avx2");
	assert_string_equal(cpu_level_name(CPU_AVX512), "avx512");
	assert_string_equal(cpu_level_name(CPU_AVX512_VNNI), "avx512-vnni");
	assert_string_equal(cpu_level_name(CPU_AVX512_BF16), "avx512-bf16");
	assert_string_equal(cpu_level_name(CPU_AMX), "amx");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_limit_caps_the_level),
	        cmocka_unit_test(test_level_is_what_the_processor_reports),
	        cmocka_unit_test(test_processors_are_those_this_process_may_use),
	        cmocka_unit_test(test_levels_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
