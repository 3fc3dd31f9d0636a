/* Cross-entropy, its gradient, log-sum-exp and argmax against double-precision twins. */
#include "worker/math/loss.h"

#include "tests/worker/math/twins.h"

static double twin_lse(size_t n, const float *x)
{
	double top = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++)
		top = (double)x[i] > top ? (double)x[i] : top;
	for (size_t i = 0; i < n; i++)
		sum += exp((double)x[i] - top);
	return top + log(sum);
}

static void check_rows(size_t V)
{
	enum { N = 4 };
	struct rng r = {.state = V};
	float *x = random_floats(&r, N * V, 12), *kept = copied_floats(x, N * V);
	int32_t targets[N] = {0, (int32_t)(V - 1), (int32_t)(V / 2), (int32_t)(V / 3)};
	double losses[N], without[N];
	unsigned char correct[N];

	kept[2 * V + V / 2] = x[2 * V + V / 2] = 20; /* one that is right */
	cross_entropy(N, V, x, targets, 0, without, NULL);
	assert_same_bits(x, kept, N * V, "logits without a gradient");
	cross_entropy(N, V, x, targets, 0.125f, losses, correct);
	for (size_t i = 0; i < N; i++) {
		const float *row = kept + i * V;
		double lse = twin_lse(V, row);

		assert_close(losses[i], lse - (double)row[targets[i]], 1e-6, 2e-7, "loss", i);
		assert_true(losses[i] == without[i]);
		assert_int_equal(correct[i], argmax(V, row) == (size_t)targets[i]);
		for (size_t v = 0; v < V; v++) {
			double p = exp((double)row[v] - lse), onehot = v == (size_t)targets[i];

			assert_close((double)x[i * V + v], 0.125 * (p - onehot), 2e-6, 2e-8, "gradient", v);
		}
	}
	assert_int_equal(correct[2], 1);
	free(x);
	free(kept);
}

static void rows(void)
{
	static const size_t sizes[] = {1, 2, 7, 16, 17, 255, 256, 257, 5003};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_rows(sizes[i]);
}

static void test_cross_entropy_and_gradient_agree_with_the_twin(void **state)
{
	(void)state;
	at_every_level(rows);
}

/* The gradient's formula against central differences of the loss itself. */
static void differences(void)
{
	enum { V = 23 };
	struct rng r = {.state = 4};
	float *x = random_floats(&r, V, 3), at[V], grad[V];
	int32_t target = 11;
	double up, down, loss;

	memcpy(grad, x, sizeof(grad));
	cross_entropy(1, V, grad, &target, 1, &loss, NULL);
	for (size_t v = 0; v < V; v++) {
		memcpy(at, x, sizeof(at));
		at[v] = x[v] + 0x1p-6f;
		cross_entropy(1, V, at, &target, 0, &up, NULL);
		at[v] = x[v] - 0x1p-6f;
		cross_entropy(1, V, at, &target, 0, &down, NULL);
		assert_close((double)grad[v], (up - down) / 0x1p-5, 1e-3, 3e-5, "difference", v);
	}
	free(x);
}

static void test_gradient_matches_finite_differences(void **state)
{
	(void)state;
	at_every_level(differences);
}

static void large(void)
{
	float x[] = {1e4f, -1e4f, 9999, -INFINITY};
	int32_t target = 1;
	double loss;

	assert_close(log_sum_exp(4, x), 1e4 + log1p(exp(-1)), 1e-12, 1e-7, "lse", 0);
	cross_entropy(1, 4, x, &target, 1, &loss, NULL);
	assert_close(loss, 2e4 + log1p(exp(-1)), 1e-9, 0, "loss", 0);
	assert_true(x[3] == 0 && x[1] == -1);
	x[0] = x[1] = x[2] = x[3] = -INFINITY;
	assert_true(log_sum_exp(4, x) == -INFINITY);
	x[2] = NAN;
	assert_true(isnan(log_sum_exp(4, x)));
}

static void test_large_logits_neither_overflow_nor_hide_nan(void **state)
{
	(void)state;
	at_every_level(large);
}

/* A vocabulary of equal logits: what a float sum would lose, the double keeps. */
static void wide(void)
{
	size_t n = 300001;
	float *x = filled_floats(n, 3);

	assert_close(log_sum_exp(n, x), 3 + log((double)n), 1e-9, 0, "lse of equal logits", 0);
	free(x);
}

static void test_wide_sums_keep_their_digits(void **state)
{
	(void)state;
	at_every_level(wide);
}

static void ties(void)
{
	for (size_t n = 1; n < 70; n++) {
		float *x = filled_floats(n, -2);

		assert_int_equal(argmax(n, x), 0);
		for (size_t i = n; i-- > 0;) {
			x[i] = 5;
			assert_int_equal(argmax(n, x), i); /* later ones are as large */
		}
		x[n / 2] = NAN;
		assert_int_equal(argmax(n, x), n == 1 || n / 2 > 0 ? 0 : 1);
		free(x);
	}
}

static void test_argmax_takes_the_lowest_of_ties(void **state)
{
	(void)state;
	at_every_level(ties);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_cross_entropy_and_gradient_agree_with_the_twin),
	        cmocka_unit_test(test_gradient_matches_finite_differences),
	        cmocka_unit_test(test_large_logits_neither_overflow_nor_hide_nan),
	        cmocka_unit_test(test_wide_sums_keep_their_digits),
	        cmocka_unit_test(test_argmax_takes_the_lowest_of_ties),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
