/* See cpu.h and simd.h: the choice of kernels. */
#include "worker/math/cpu.h"

#include "worker/math/simd.h"

static enum cpu_level level = CPU_PORTABLE;
static const struct simd_kernels *kernels = &simd_portable;

#if defined(__x86_64__)
static enum cpu_level detect(void)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
	        !__builtin_cpu_supports("f16c"))
		return CPU_PORTABLE;
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
	        !__builtin_cpu_supports("avx512dq"))
		return CPU_AVX2;
	return CPU_AVX512;
}

void cpu_init(enum cpu_level limit)
{
	static const struct simd_kernels *const tables[] = {&simd_portable, &simd_avx2, &simd_avx512};
	enum cpu_level found = detect();

	level = found < limit ? found : limit;
	kernels = tables[level];
}
#else
void cpu_init(enum cpu_level limit)
{
	(void)limit; /* one level only */
}
#endif

enum cpu_level cpu_level(void)
{
	return level;
}

const struct simd_kernels *simd(void)
{
	return kernels;
}

const char *cpu_level_name(enum cpu_level l)
{
	static const char *const names[] = {"portable", "avx2", "avx512"};

	return names[l];
}
