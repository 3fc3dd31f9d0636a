/*
 * What the tests of the kernels share: random numbers, walking the levels this machine offers, and comparing
 * with the naive double-precision twins that each test file defines.
 */
#ifndef REDD_TESTS_MATH_TWINS_H
#define REDD_TESTS_MATH_TWINS_H

#include "core/rng.h"
#include "worker/math/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

/* Uniform in [-range, range). */
static inline float random_float(struct rng *r, double range)
{
	return (float)((2 * rng_uniform(r) - 1) * range);
}

/* n numbers on the heap, filled; n = 0 is allowed. Released with free(). */
static inline float *random_floats(struct rng *r, size_t n, double range)
{
	float *x = malloc((n ? n : 1) * sizeof(*x));

	assert_non_null(x);
	for (size_t i = 0; i < n; i++)
		x[i] = random_float(r, range);
	return x;
}

static inline float *filled_floats(size_t n, float value)
{
	float *x = malloc((n ? n : 1) * sizeof(*x));

	assert_non_null(x);
	for (size_t i = 0; i < n; i++)
		x[i] = value;
	return x;
}

static inline float *copied_floats(const float *x, size_t n)
{
	float *y = malloc((n ? n : 1) * sizeof(*y));

	assert_non_null(y);
	memcpy(y, x, n * sizeof(*y));
	return y;
}

/* |got - want| <= relative * |want| + absolute, with a word on where it is not. */
static inline void assert_close(
        double got, double want, double relative, double absolute, const char *what, size_t i)
{
	double limit = relative * fabs(want) + absolute;

	if (!(fabs(got - want) <= limit))
		fail_msg("%s (%s): [%zu] is %.9g, not %.9g (off by %.3g, allowed %.3g)", what,
		        cpu_level_name(cpu_level()), i, got, want, fabs(got - want), limit);
}

static inline void assert_same_bits(const float *a, const float *b, size_t n, const char *what)
{
	if (n && memcmp(a, b, n * sizeof(*a)) != 0)
		fail_msg("%s (%s): bits differ", what, cpu_level_name(cpu_level()));
}

/* Run test at every level this machine offers; the best is left set. */
static inline void at_every_level(void (*test)(void))
{
	for (enum cpu_level level = CPU_PORTABLE; level < CPU_BEST; level++) {
		cpu_init(level);
		if (cpu_level() == level)
			test();
	}
	cpu_init(CPU_BEST);
}

#endif
