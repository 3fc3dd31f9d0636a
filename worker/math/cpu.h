/*
 * What this processor offers, asked once by cpuid, and which of our kernels that selects.
 * Thread: cpu_init() before any other thread starts; the rest any.
 */
#ifndef REDD_MATH_CPU_H
#define REDD_MATH_CPU_H

/* In rising order: a processor of one level can run the kernels of all lower ones. VNNI multiplies bytes,
 * BF16 pairs of bfloat16. */
enum cpu_level { CPU_PORTABLE, CPU_AVX2, CPU_AVX512, CPU_AVX512_VNNI, CPU_AVX512_BF16 };
#define CPU_BEST CPU_AVX512_BF16

/* Detect the processor. `limit` caps the level (tests walk all paths with it); CPU_BEST for no cap.
 * May be called again by single-threaded tests. */
void cpu_init(enum cpu_level limit);
enum cpu_level cpu_level(void);
/* "portable", "avx2", "avx512", "avx512-vnni", "avx512-bf16". */
const char *cpu_level_name(enum cpu_level level);

#endif
