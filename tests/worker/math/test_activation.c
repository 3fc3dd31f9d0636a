/* Activations against libm in double precision, their derivatives, and that place and length never show. */
#include "worker/math/activation.h"

#include "tests/worker/math/twins.h"

static const enum activation all[] = {ACT_GELU, ACT_GELU_TANH, ACT_SILU, ACT_RELU, ACT_TANH};

#define N_ACTIVATIONS (sizeof(all) / sizeof(all[0]))

/* The argument whose logistic function gelu_tanh is. */
static double tanh_argument(double x)
{
	return 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
}

static double twin(enum activation f, double x)
{
	switch (f) {
	case ACT_GELU:
		return x * erfc(-x / sqrt(2)) / 2;
	case ACT_GELU_TANH:
		return x / (1 + exp(-tanh_argument(x)));
	case ACT_SILU:
		return x / (1 + exp(-x));
	case ACT_RELU:
		return x > 0 ? x : 0;
	case ACT_TANH:
		return tanh(x);
	}
	fail();
	return 0;
}

/* Central difference of the twin. */
static double twin_slope(enum activation f, double x)
{
	double step = 1e-5;

	return (twin(f, x + step) - twin(f, x - step)) / (2 * step);
}

/* Four units in the last place; gelu_tanh's tail also carries the rounding of an argument that grows as x^3.
 */
static double value_tolerance(enum activation f, double x)
{
	double units = f == ACT_GELU_TANH && x < 0 ? 4 + 2 * fabs(tanh_argument(x)) : 4;

	return units * 0x1p-23;
}

static void values(void)
{
	for (size_t a = 0; a < N_ACTIVATIONS; a++)
		for (double at = -14; at < 14; at += 0.0013) {
			float x = (float)at, y;

			activation_forward(all[a], 1, &x, &y);
			assert_close((double)y, twin(all[a], (double)x), value_tolerance(all[a], (double)x),
			        1e-37, "value", a);
		}
}

static void test_values_are_accurate_to_a_few_ulps(void **state)
{
	(void)state;
	at_every_level(values);
}

static void extremes(void)
{
	static const float at[] = {-1e30f, -1e4f, -100, -1e-30f, 0, 1e-30f, 100, 1e4f, 1e30f};

	for (size_t a = 0; a < N_ACTIVATIONS; a++) {
		float x = NAN, y;

		for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			activation_forward(all[a], 1, &at[i], &y);
			assert_close((double)y, twin(all[a], (double)at[i]), 1e-6, 1e-37, "extreme", i);
			x = 1;
			activation_backward(all[a], 1, &at[i], &x, &y);
			assert_true(isfinite(y) && fabsf(y) < 1.2f);
		}
		x = NAN;
		activation_forward(all[a], 1, &x, &y);
		assert_true(isnan(y));
	}
}

static void test_extremes_stay_finite_and_nan_shows(void **state)
{
	(void)state;
	at_every_level(extremes);
}

static void slopes(void)
{
	for (size_t a = 0; a < N_ACTIVATIONS; a++)
		for (double at = -9.0007; at < 9; at += 0.0131) {
			float x = (float)at, dy = 1.7f, dx;

			activation_backward(all[a], 1, &x, &dy, &dx);
			assert_close(
			        (double)dx, 1.7f * twin_slope(all[a], (double)x), 1e-6, 2e-7, "slope", a);
		}
}

static void test_slopes_match_finite_differences(void **state)
{
	(void)state;
	at_every_level(slopes);
}

static void gated(void)
{
	enum { N = 37 };
	struct rng r = {.state = 3};

	for (size_t a = 0; a < N_ACTIVATIONS; a++) {
		float gate[N], up[N], dy[N], y[N], dgate[N], dup[N];

		for (size_t i = 0; i < N; i++) {
			gate[i] = random_float(&r, 4);
			up[i] = random_float(&r, 2);
			dy[i] = random_float(&r, 1);
		}
		gated_forward(all[a], N, gate, up, y);
		gated_backward(all[a], N, gate, up, dy, dgate, dup);
		for (size_t i = 0; i < N; i++) {
			double g = (double)gate[i], u = (double)up[i], d = (double)dy[i];

			assert_close((double)y[i], twin(all[a], g) * u, 1e-6, 1e-9, "gated", i);
			assert_close((double)dgate[i], d * u * twin_slope(all[a], g), 1e-6, 4e-7, "dgate", i);
			assert_close((double)dup[i], d * twin(all[a], g), 1e-6, 1e-9, "dup", i);
		}
	}
}

static void test_gated_units_and_their_gradients(void **state)
{
	(void)state;
	at_every_level(gated);
}

/* Every element alone gives the bits it gives among others; outputs may be inputs. */
static void places(void)
{
	enum { N = 67 };
	struct rng r = {.state = 9};
	float x[N], dy[N], up[N], y[N], dx[N], dgate[N], dup[N], one, two;

	for (size_t i = 0; i < N; i++) {
		x[i] = random_float(&r, 6);
		dy[i] = random_float(&r, 1);
		up[i] = random_float(&r, 1);
	}
	for (size_t a = 0; a < N_ACTIVATIONS; a++) {
		activation_forward(all[a], N, x, y);
		activation_backward(all[a], N, x, dy, dx);
		memcpy(dup, dy, sizeof(dy));
		gated_backward(all[a], N, x, up, dup, dgate, dup);
		for (size_t i = 0; i < N; i++) {
			activation_forward(all[a], 1, x + i, &one);
			assert_same_bits(y + i, &one, 1, "forward alone");
			activation_backward(all[a], 1, x + i, dy + i, &one);
			assert_same_bits(dx + i, &one, 1, "backward alone");
			gated_backward(all[a], 1, x + i, up + i, dy + i, &one, &two);
			assert_same_bits(dgate + i, &one, 1, "dgate alone");
			assert_same_bits(dup + i, &two, 1, "dup in the place of dy");
		}
		memcpy(dup, x, sizeof(x));
		activation_forward(all[a], N, dup, dup);
		assert_same_bits(dup, y, N, "in place");
	}
}

static void test_bits_do_not_depend_on_place(void **state)
{
	(void)state;
	at_every_level(places);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_values_are_accurate_to_a_few_ulps),
	        cmocka_unit_test(test_extremes_stay_finite_and_nan_shows),
	        cmocka_unit_test(test_slopes_match_finite_differences),
	        cmocka_unit_test(test_gated_units_and_their_gradients),
	        cmocka_unit_test(test_bits_do_not_depend_on_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
