/*
 * What this processor offers, asked once by cpuid, and which of our kernels that selects.
 * Thread: cpu_init() before any other thread starts; the rest any.
 */
#ifndef REDD_MATH_CPU_H
#define REDD_MATH_CPU_H

#include <stddef.h>

/* In rising order: a processor of one level can run the kernels of all lower ones. VNNI multiplies bytes,
 * BF16 pairs of bfloat16 in vectors, AMX in tiles. */
enum cpu_level { CPU_PORTABLE, CPU_AVX2, CPU_AVX512, CPU_AVX512_VNNI, CPU_AVX512_BF16, CPU_AMX, CPU_BEST };

/* Detect the processor. CPU_BEST chooses what is fastest: vectors of pairs of bf16 on AMD's processors alone,
 * as Intel's multiply them no faster than float32 (Sapphire Rapids: 64 against 93 GFLOP/s), but tiles
 * wherever the system lets this process use them. Anything else is the level, or the highest below it that
 * there is. May be called again by single-threaded tests. */
void cpu_init(enum cpu_level level);
enum cpu_level cpu_level(void);
/* Processors that this process may run on, at least 1. */
size_t cpu_count(void);
/* "portable", "avx2", "avx512", "avx512-vnni", "avx512-bf16", "amx". */
const char *cpu_level_name(enum cpu_level level);

#endif
