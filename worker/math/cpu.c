/* See cpu.h and simd.h: the choice of kernels. */
#include "worker/math/cpu.h"

#include "worker/math/simd.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum cpu_level level = CPU_PORTABLE;
static const struct simd_kernels *kernels = &simd_portable;

#if defined(__x86_64__)
#define ASK_PERMISSION 0x1023 /* arch_prctl(): ARCH_REQ_XCOMP_PERM */
#define TILE_DATA 18          /* the state asked for */

/* Linux saves tiles only for processes that have asked. */
static bool has_tiles(void)
{
	return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
	       syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0;
}

static enum cpu_level detect(void)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
	        !__builtin_cpu_supports("f16c"))
		return CPU_PORTABLE;
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
	        !__builtin_cpu_supports("avx512dq"))
		return CPU_AVX2;
	if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vnni"))
		return CPU_AVX512;
	if (!__builtin_cpu_supports("avx512bf16"))
		return CPU_AVX512_VNNI;
	return has_tiles() ? CPU_AMX : CPU_AVX512_BF16;
}

void cpu_init(enum cpu_level wanted)
{
	static const struct simd_kernels *const tables[] = {[CPU_PORTABLE] = &simd_portable,
	        [CPU_AVX2] = &simd_avx2,
	        [CPU_AVX512] = &simd_avx512,
	        [CPU_AVX512_VNNI] = &simd_avx512_vnni,
	        [CPU_AVX512_BF16] = &simd_avx512_bf16,
	        [CPU_AMX] = &simd_amx};
	enum cpu_level found = detect();

	if (wanted == CPU_BEST)
		wanted = found == CPU_AMX || __builtin_cpu_is("amd") ? found : CPU_AVX512_VNNI;
	level = found < wanted ? found : wanted;
	kernels = tables[level];
}
#else
void cpu_init(enum cpu_level wanted)
{
	(void)wanted; /* one level only */
}
#endif

size_t cpu_count(void)
{
	cpu_set_t set;
	long all = sysconf(_SC_NPROCESSORS_ONLN);

	/* fails where there are more than the set can name */
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (size_t)CPU_COUNT(&set);
	return all < 1 ? 1 : (size_t)all;
}

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
	static const char *const names[] = {
	        "portable", "avx2", "avx512", "avx512-vnni", "avx512-bf16", "amx"};

	return names[l];
}
