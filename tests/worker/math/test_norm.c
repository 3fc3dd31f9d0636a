/* Norms against double-precision twins, forward and backward by finite differences. */
#include "worker/math/norm.h"

#include "tests/worker/math/twins.h"

#define EPS 1e-5
#define MAX_C 200

static const size_t widths[] = {1, 2, 5, 8, 16, 17, 33, 64, 199};

#define N_WIDTHS (sizeof(widths) / sizeof(widths[0]))

/* y (C) = norm of x (C); bias NULL and centred false is RMS norm. */
static void twin(size_t C, const double *x, const float *weight, const float *bias, bool centred, double *y)
{
	double mean = 0, square = 0;

	for (size_t c = 0; centred && c < C; c++)
		mean += x[c] / (double)C;
	for (size_t c = 0; c < C; c++)
		square += (x[c] - mean) * (x[c] - mean) / (double)C;
	for (size_t c = 0; c < C; c++)
		y[c] = (x[c] - mean) / sqrt(square + EPS) * (double)weight[c] + (bias ? (double)bias[c] : 0);
}

/* d/dx[c] of sum(dy * twin(x)). */
static double twin_gradient(
        size_t C, const float *x, const float *weight, const float *dy, bool centred, size_t c)
{
	double at[MAX_C] = {0}, y[MAX_C], step = 1e-5, sum = 0;

	for (size_t side = 0; side < 2; side++) {
		for (size_t i = 0; i < C; i++)
			at[i] = (double)x[i];
		at[c] += side ? -step : step;
		twin(C, at, weight, NULL, centred, y);
		for (size_t i = 0; i < C; i++)
			sum += (side ? -1 : 1) * (double)dy[i] * y[i];
	}
	return sum / (2 * step);
}

static void check_layernorm(size_t T, size_t C, bool with_bias)
{
	struct rng r = {.state = C + T};
	float *x = random_floats(&r, T * C, 3), *w = random_floats(&r, C, 1), *b = random_floats(&r, C, 1);
	float *dy = random_floats(&r, T * C, 1), *y = filled_floats(T * C, 0), *dx = filled_floats(T * C, 2);
	float *mean = filled_floats(T, 0), *rstd = filled_floats(T, 0);
	double row[MAX_C], want[MAX_C];

	layernorm_forward(T, C, x, w, with_bias ? b : NULL, (float)EPS, y, mean, rstd);
	layernorm_backward(T, C, dy, x, w, mean, rstd, dx);
	for (size_t t = 0; t < T; t++) {
		for (size_t c = 0; c < C; c++)
			row[c] = (double)x[t * C + c];
		twin(C, row, w, with_bias ? b : NULL, true, want);
		for (size_t c = 0; c < C; c++) {
			double gradient = twin_gradient(C, x + t * C, w, dy + t * C, true, c);

			assert_close((double)y[t * C + c], want[c], 1e-5, 2e-6, "layernorm", c);
			assert_close((double)dx[t * C + c], 2 + gradient, 1e-5, C < 5 ? 2e-3 : 1e-5,
			        "layernorm dx, accumulated", c);
		}
	}
	layernorm_forward(T, C, x, w, with_bias ? b : NULL, (float)EPS, x, NULL, NULL);
	assert_same_bits(x, y, T * C, "layernorm in place");
	free(x), free(w), free(b), free(dy), free(y), free(dx), free(mean), free(rstd);
}

static void check_rmsnorm(size_t T, size_t C)
{
	struct rng r = {.state = C * 7 + T};
	float *x = random_floats(&r, T * C, 3), *w = random_floats(&r, C, 1),
	      *dy = random_floats(&r, T * C, 1);
	float *y = filled_floats(T * C, 0), *dx = filled_floats(T * C, 2), *rstd = filled_floats(T, 0);
	double row[MAX_C], want[MAX_C];

	rmsnorm_forward(T, C, x, w, (float)EPS, y, rstd);
	rmsnorm_backward(T, C, dy, x, w, rstd, dx);
	for (size_t t = 0; t < T; t++) {
		for (size_t c = 0; c < C; c++)
			row[c] = (double)x[t * C + c];
		twin(C, row, w, NULL, false, want);
		for (size_t c = 0; c < C; c++) {
			double gradient = twin_gradient(C, x + t * C, w, dy + t * C, false, c);

			assert_close((double)y[t * C + c], want[c], 1e-5, 2e-6, "rmsnorm", c);
			assert_close((double)dx[t * C + c], 2 + gradient, 1e-5, 1e-5,
			        "rmsnorm dx, accumulated", c);
		}
	}
	rmsnorm_forward(T, C, x, w, (float)EPS, x, NULL);
	assert_same_bits(x, y, T * C, "rmsnorm in place");
	free(x), free(w), free(dy), free(y), free(dx), free(rstd);
}

static void layernorms(void)
{
	for (size_t i = 0; i < N_WIDTHS; i++) {
		check_layernorm(3, widths[i], true);
		check_layernorm(1, widths[i], false);
	}
}

static void rmsnorms(void)
{
	for (size_t i = 0; i < N_WIDTHS; i++)
		check_rmsnorm(3, widths[i]);
}

static void test_layernorm_and_its_gradient(void **state)
{
	(void)state;
	at_every_level(layernorms);
}

static void test_rmsnorm_and_its_gradient(void **state)
{
	(void)state;
	at_every_level(rmsnorms);
}

/* A row far from zero: the variance must not drown in the mean. */
static void far_row(void)
{
	enum { C = 100 };
	float x[C], w[C], y[C];
	double row[C], want[C];

	for (size_t c = 0; c < C; c++) {
		x[c] = 1000 + (float)(c % 7) * 0.125f;
		row[c] = (double)x[c];
		w[c] = 1;
	}
	twin(C, row, w, NULL, true, want);
	layernorm_forward(1, C, x, w, NULL, (float)EPS, y, NULL, NULL);
	for (size_t c = 0; c < C; c++)
		assert_close((double)y[c], want[c], 1e-3, 1e-3, "offset row", c);
}

static void test_layernorm_of_a_row_far_from_zero(void **state)
{
	(void)state;
	at_every_level(far_row);
}

static void rows_alone(void)
{
	enum { T = 5, C = 77 };
	struct rng r = {.state = 8};
	float *x = random_floats(&r, T * C, 2), *w = random_floats(&r, C, 1);
	float y[T * C], alone[C];

	layernorm_forward(T, C, x, w, w, (float)EPS, y, NULL, NULL);
	layernorm_forward(1, C, x + 3 * C, w, w, (float)EPS, alone, NULL, NULL);
	assert_same_bits(y + 3 * C, alone, C, "layernorm row");
	rmsnorm_forward(T, C, x, w, (float)EPS, y, NULL);
	rmsnorm_forward(1, C, x + 3 * C, w, (float)EPS, alone, NULL);
	assert_same_bits(y + 3 * C, alone, C, "rmsnorm row");
	free(x);
	free(w);
}

static void test_rows_do_not_depend_on_their_number(void **state)
{
	(void)state;
	at_every_level(rows_alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_layernorm_and_its_gradient),
	        cmocka_unit_test(test_rmsnorm_and_its_gradient),
	        cmocka_unit_test(test_layernorm_of_a_row_far_from_zero),
	        cmocka_unit_test(test_rows_do_not_depend_on_their_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
