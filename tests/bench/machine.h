/*
 * The machine's limits, for bench.c: the rate of multiplications in each number format and of reading memory,
 * by loops that do nothing else. Each runs on one thread; the caller starts as many as it wants to know
 * about, behind cpu_init(). Included only by programs in this folder.
 */
#ifndef REDD_BENCH_MACHINE_H
#define REDD_BENCH_MACHINE_H

#include "worker/math/cpu.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum machine_kind { MACHINE_FLOAT32, MACHINE_BF16, MACHINE_INT8, MACHINE_KINDS };

#define MACHINE_CHAINS 12
#define MACHINE_ROUNDS 4000000

static volatile float machine_sink;

#if defined(__x86_64__)
#include <immintrin.h>

/* Chains of dependent operations, enough of them to fill every pipe; the sum keeps them alive. */
#define MACHINE_LOOP(vector, zero, step, fold)                                                               \
	do {                                                                                                 \
		float first;                                                                                 \
		vector chain[MACHINE_CHAINS];                                                                \
		_Pragma("GCC unroll 12") for (int c = 0; c < MACHINE_CHAINS; c++) chain[c] = zero;           \
		for (int i = 0; i < MACHINE_ROUNDS; i++) {                                                   \
			_Pragma("GCC unroll 12") for (int c = 0; c < MACHINE_CHAINS; c++)                    \
			{                                                                                    \
				chain[c] = step;                                                             \
				__asm__("" : "+v"(chain[c]));                                                \
			}                                                                                    \
		}                                                                                            \
		_Pragma("GCC unroll 12") for (int c = 1; c < MACHINE_CHAINS; c++) chain[0] = fold;           \
		memcpy(&first, chain, sizeof(first));                                                        \
		machine_sink = first;                                                                        \
	} while (0)

__attribute__((target("avx2,fma"))) static double machine_fma_avx2(void)
{
	__m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);

	MACHINE_LOOP(__m256, _mm256_setzero_ps(), _mm256_fmadd_ps(chain[c], a, b),
	        _mm256_add_ps(chain[0], chain[c]));
	return 16;
}

__attribute__((target("avx512f"))) static double machine_fma_avx512(void)
{
	__m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);

	MACHINE_LOOP(__m512, _mm512_setzero_ps(), _mm512_fmadd_ps(chain[c], a, b),
	        _mm512_add_ps(chain[0], chain[c]));
	return 32;
}

__attribute__((target("avx512f,avx512bf16"))) static double machine_bf16(void)
{
	__m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00);

	MACHINE_LOOP(__m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(chain[c], a, a),
	        _mm512_add_ps(chain[0], chain[c]));
	return 64;
}

/* Tiles, four of them at a time; the caller has permission for them. */
__attribute__((target("amx-tile,amx-bf16"))) static double machine_bf16_tiles(void)
{
	_Alignas(64) uint8_t config[64] = {1};

	for (size_t i = 0; i < 8; i++) {
		config[16 + 2 * i] = 64; /* bytes of a row */
		config[48 + i] = 16;     /* rows */
	}
	__asm__ volatile("" ::: "memory"); /* the intrinsic does not say what it reads */
	_tile_loadconfig(config);
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	_tile_zero(4);
	_tile_zero(5);
	for (int i = 0; i < MACHINE_ROUNDS / 4; i++) {
		_tile_dpbf16ps(0, 4, 5);
		_tile_dpbf16ps(1, 4, 5);
		_tile_dpbf16ps(2, 4, 5);
		_tile_dpbf16ps(3, 4, 5);
	}
	_tile_release();
	return 2.0 * 16 * 16 * 32 / MACHINE_CHAINS;
}

__attribute__((target("avx512f,avx512vnni"))) static double machine_int8(void)
{
	__m512i a = _mm512_set1_epi8(1);

	MACHINE_LOOP(__m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(chain[c], a, a),
	        _mm512_add_epi32(chain[0], chain[c]));
	return 128;
}

/* Multiply-and-add in 16 bit pairs, as kernels do without dot product instructions. */
__attribute__((target("avx2"))) static double machine_int8_avx2(void)
{
	__m256i a = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);

	MACHINE_LOOP(__m256i, _mm256_setzero_si256(),
	        _mm256_add_epi32(chain[c], _mm256_madd_epi16(_mm256_maddubs_epi16(chain[c], a), ones)),
	        _mm256_add_epi32(chain[0], chain[c]));
	return 64;
}

/* Sum n numbers of 4 bytes; n a multiple of 64. */
__attribute__((target("avx2"))) static void machine_read(const float *x, size_t n)
{
	__m256 sum[8] = {0};

	for (size_t i = 0; i < n; i += 64)
#pragma GCC unroll 8
		for (size_t j = 0; j < 8; j++)
			sum[j] += _mm256_loadu_ps(x + i + 8 * j);
	for (size_t j = 1; j < 8; j++)
		sum[0] += sum[j];
	machine_sink = sum[0][0];
}

/* One round of work: operations done, or 0 where the processor has no such instruction. A product of two
 * numbers and its addition are two. */
static double machine_round(enum machine_kind kind)
{
	double each = 0;

	if (kind == MACHINE_FLOAT32 && __builtin_cpu_supports("avx512f"))
		each = machine_fma_avx512();
	else if (kind == MACHINE_FLOAT32 && __builtin_cpu_supports("fma"))
		each = machine_fma_avx2();
	if (kind == MACHINE_BF16 && cpu_level() == CPU_AMX)
		each = machine_bf16_tiles();
	else if (kind == MACHINE_BF16 && __builtin_cpu_supports("avx512bf16"))
		each = machine_bf16();
	if (kind == MACHINE_INT8 && __builtin_cpu_supports("avx512vnni"))
		each = machine_int8();
	else if (kind == MACHINE_INT8 && __builtin_cpu_supports("avx2"))
		each = machine_int8_avx2();
	return each * MACHINE_CHAINS * MACHINE_ROUNDS;
}
#else
static void machine_read(const float *x, size_t n)
{
	float sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += x[i];
	machine_sink = sum;
}

static double machine_round(enum machine_kind kind)
{
	(void)kind;
	return 0;
}
#endif

#endif
