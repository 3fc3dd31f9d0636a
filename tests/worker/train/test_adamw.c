/* The optimiser against values worked out by hand, and against the formulas of the paper written out in
 * double. */
#include "worker/train/adamw.h"

#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define N 37

static const struct adamw plain = {0.9, 0.999, 1e-8, 0.0, NULL};

static void assert_near(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%.9g, expected %.9g", got, want);
}

static void test_first_update_moves_by_the_rate_against_the_sign(void **state)
{
	float params[3] = {1.0f, -2.0f, 0.5f}, grads[3] = {0.5f, -1e-3f, 0.0f}, m[3] = {0}, v[3] = {0};

	(void)state;
	adamw_update(&plain, 1, 0.1, 3, grads, params, m, v);
	assert_near((double)params[0], 0.9, 1e-6);
	assert_near((double)params[1], -1.9, 1e-5);
	assert_near((double)params[2], 0.5, 0);
	assert_near((double)m[0], 0.05, 1e-8);
	assert_near((double)v[0], 0.00025, 1e-10);
}

static void test_decay_is_decoupled_and_towards_zero(void **state)
{
	struct adamw decaying = plain;
	float params[2] = {1.0f, -2.0f}, grads[2] = {0}, m[2] = {0}, v[2] = {0};

	(void)state;
	decaying.weight_decay = 0.01;
	adamw_update(&decaying, 1, 0.5, 2, grads, params, m, v);
	assert_near((double)params[0], 0.995, 1e-7);
	assert_near((double)params[1], -1.99, 1e-7);
	assert_near((double)m[0], 0, 0);
}

static void test_decay_goes_towards_an_anchor(void **state)
{
	const float anchor[3] = {1.0f, 0.0f, 1.0f};
	const struct adamw decaying = {0.9, 0.999, 1e-8, 0.01, anchor};
	float params[3] = {1.0f, -2.0f, 3.0f}, grads[3] = {0}, m[3] = {0}, v[3] = {0};

	(void)state;
	adamw_update(&decaying, 1, 0.5, 3, grads, params, m, v);
	assert_near((double)params[0], 1.0, 0);
	assert_near((double)params[1], -1.99, 1e-7);
	assert_near((double)params[2], 2.99, 1e-6);
}

static void test_zero_rate_still_gathers_moments(void **state)
{
	float params[1] = {1.0f}, grads[1] = {2.0f}, m[1] = {0}, v[1] = {0};

	(void)state;
	adamw_update(&plain, 1, 0.0, 1, grads, params, m, v);
	assert_near((double)params[0], 1.0, 0);
	assert_near((double)m[0], 0.2, 1e-7);
}

/* Bias-corrected moments kept as plain averages: another road to the same numbers. */
static void test_many_updates_agree_with_the_naive_twin(void **state)
{
	const struct adamw o = {0.8, 0.95, 1e-6, 0.02, NULL};
	float params[N], grads[N], m[N] = {0}, v[N] = {0};
	double twin[N], sum1[N] = {0}, sum2[N] = {0}, weight1 = 0, weight2 = 0;
	struct rng rng;

	(void)state;
	rng_seed(&rng, 3);
	for (size_t i = 0; i < N; i++)
		twin[i] = (double)(params[i] = (float)rng_uniform(&rng) - 0.5f);
	for (size_t t = 1; t <= 100; t++) {
		double lr = 0.01 * (double)(t % 10);

		weight1 = o.beta1 * weight1 + 1;
		weight2 = o.beta2 * weight2 + 1;
		for (size_t i = 0; i < N; i++) {
			double g = (double)(grads[i] = (float)(rng_uniform(&rng) - 0.4));

			sum1[i] = o.beta1 * sum1[i] + g;
			sum2[i] = o.beta2 * sum2[i] + g * g;
			twin[i] -= lr * (o.weight_decay * twin[i] +
			                        (sum1[i] / weight1) / (sqrt(sum2[i] / weight2) + o.eps));
		}
		adamw_update(&o, t, lr, N, grads, params, m, v);
	}
	for (size_t i = 0; i < N; i++)
		assert_near((double)params[i], twin[i], 2e-6 * (1 + fabs(twin[i])));
}

static void test_clip_scales_to_the_norm(void **state)
{
	float grads[2] = {3.0f, -4.0f};

	(void)state;
	assert_near(grad_norm(2, grads), 5.0, 1e-12);
	grad_clip(2, grads, 5.0, 1.0);
	assert_near((double)grads[0], 3.0 / (5.0 + 1e-6), 1e-7);
	assert_near((double)grads[1], -4.0 / (5.0 + 1e-6), 1e-7);
}

static void test_clip_leaves_small_gradients_alone(void **state)
{
	float grads[2] = {0.3f, -0.4f};

	(void)state;
	grad_clip(2, grads, grad_norm(2, grads), 1.0);
	assert_near((double)grads[0], (double)0.3f, 0);
	assert_near((double)grads[1], (double)-0.4f, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_first_update_moves_by_the_rate_against_the_sign),
	        cmocka_unit_test(test_decay_is_decoupled_and_towards_zero),
	        cmocka_unit_test(test_decay_goes_towards_an_anchor),
	        cmocka_unit_test(test_zero_rate_still_gathers_moments),
	        cmocka_unit_test(test_many_updates_agree_with_the_naive_twin),
	        cmocka_unit_test(test_clip_scales_to_the_norm),
	        cmocka_unit_test(test_clip_leaves_small_gradients_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
