/* The elementwise edit and its gradient, and that a row's neighbours do not show. */
#include "worker/math/edit.h"

#include "tests/worker/math/twins.h"

enum { T = 6, MAX_C = 70, LD = 73 };

static const size_t widths[] = {1, 7, 16, 33, 70};

#define N_WIDTHS (sizeof(widths) / sizeof(widths[0]))

static void check_forward(size_t C, bool with_scale, bool with_bias)
{
	struct rng r = {.state = C};
	float *h = random_floats(&r, T * LD, 2), *s = random_floats(&r, C, 2), *b = random_floats(&r, C, 2);
	float *edited = copied_floats(h, T * LD), *alone = copied_floats(h, T * LD);

	edit_forward(T, C, edited, LD, with_scale ? s : NULL, with_bias ? b : NULL);
	for (size_t t = 0; t < T; t++) {
		edit_forward(1, C, alone + t * LD, LD, with_scale ? s : NULL, with_bias ? b : NULL);
		for (size_t c = 0; c < LD; c++) {
			double want = (double)h[t * LD + c];

			if (c < C)
				want = want * (with_scale ? (double)s[c] : 1) +
				       (with_bias ? (double)b[c] : 0);
			assert_close((double)edited[t * LD + c], want, 2e-7, 3e-7, "edit", c);
		}
	}
	assert_same_bits(edited, alone, T * LD, "rows alone");
	free(h), free(s), free(b), free(edited), free(alone);
}

static void forward_cases(void)
{
	for (size_t i = 0; i < N_WIDTHS; i++)
		for (int parts = 0; parts < 4; parts++)
			check_forward(widths[i], parts & 1, parts & 2);
}

static void test_edit_scales_and_shifts_each_row(void **state)
{
	(void)state;
	at_every_level(forward_cases);
}

/* sum(dy * (h * s + b)) over all rows, in double. */
static double loss(size_t C, const float *h, const float *dy, const double *s, const double *b)
{
	double sum = 0;

	for (size_t t = 0; t < T; t++)
		for (size_t c = 0; c < C; c++)
			sum += (double)dy[t * LD + c] * ((double)h[t * LD + c] * s[c] + b[c]);
	return sum;
}

static void check_backward(size_t C, bool train_scale, bool train_bias)
{
	struct rng r = {.state = C + 50};
	float *h = random_floats(&r, T * LD, 2), *s = random_floats(&r, C, 2),
	      *dy = random_floats(&r, T * LD, 1);
	float *dh = copied_floats(dy, T * LD), *ds = filled_floats(C, 5), *db = filled_floats(C, 6);
	double scale[MAX_C], bias[MAX_C] = {0};

	edit_backward(T, C, dh, LD, h, LD, s, train_scale ? ds : NULL, train_bias ? db : NULL);
	for (size_t c = 0; c < C; c++)
		scale[c] = (double)s[c];
	for (size_t c = 0; c < C; c++) {
		double step = 0.25, slope;

		scale[c] += step;
		slope = loss(C, h, dy, scale, bias);
		scale[c] -= 2 * step;
		slope = (slope - loss(C, h, dy, scale, bias)) / (2 * step);
		scale[c] += step;
		assert_close(
		        (double)ds[c], 5 + (train_scale ? slope : 0), 1e-6, 2e-6, "dscale, accumulated", c);
		bias[c] = step;
		slope = loss(C, h, dy, scale, bias);
		bias[c] = -step;
		slope = (slope - loss(C, h, dy, scale, bias)) / (2 * step);
		bias[c] = 0;
		assert_close(
		        (double)db[c], 6 + (train_bias ? slope : 0), 1e-6, 2e-6, "dbias, accumulated", c);
	}
	for (size_t t = 0; t < T; t++)
		for (size_t c = 0; c < LD; c++)
			assert_close((double)dh[t * LD + c],
			        (double)dy[t * LD + c] * (c < C ? (double)s[c] : 1), 1e-6, 1e-7, "dh", c);
	free(h), free(s), free(dy), free(dh), free(ds), free(db);
}

static void backward_cases(void)
{
	for (size_t i = 0; i < N_WIDTHS; i++)
		for (int parts = 0; parts < 4; parts++)
			check_backward(widths[i], parts & 1, parts & 2);
}

static void test_gradients_match_finite_differences(void **state)
{
	(void)state;
	at_every_level(backward_cases);
}

/* With bias alone the gradient passes through unchanged. */
static void bias_alone(void)
{
	float dh[3] = {1, -2, 3}, h[3] = {4, 5, 6}, db[3] = {0};

	edit_backward(1, 3, dh, 3, h, 3, NULL, NULL, db);
	assert_true(dh[0] == 1 && dh[1] == -2 && dh[2] == 3);
	assert_true(db[0] == 1 && db[1] == -2 && db[2] == 3);
}

static void test_bias_alone_passes_the_gradient_on(void **state)
{
	(void)state;
	at_every_level(bias_alone);
}

/* The edit with a layer norm behind it, row h (C), in double; the vectors one after the other in v. */
static double norm_loss(size_t C, const double *h, const double *v, bool scale, bool bias, const float *dy)
{
	double y[MAX_C], mean = 0, square = 0, sum = 0;

	for (size_t c = 0; c < C; c++) {
		y[c] = h[c] * (scale ? v[c] : 1) + (bias ? v[C + c] : 0);
		mean += y[c] / (double)C;
	}
	for (size_t c = 0; c < C; c++)
		square += (y[c] - mean) * (y[c] - mean) / (double)C;
	for (size_t c = 0; c < C; c++)
		sum += (double)dy[c] *
		       ((y[c] - mean) / sqrt(square + EDIT_NORM_EPS) * v[2 * C + c] + v[3 * C + c]);
	return sum;
}

static double norm_slope(size_t C, double *h, double *v, double *x, int parts, const float *dy)
{
	const double step = 1e-5;
	double kept = *x, slope;

	*x = kept + step;
	slope = norm_loss(C, h, v, parts & 1, parts & 2, dy);
	*x = kept - step;
	slope -= norm_loss(C, h, v, parts & 1, parts & 2, dy);
	*x = kept;
	return slope / (2 * step);
}

/* One row at a time; every part's gradient, and the row's own. */
static void check_norm(size_t C, int parts)
{
	struct rng r = {.state = C + (size_t)parts};
	float *row = random_floats(&r, C, 2), *vectors = random_floats(&r, 4 * C, 2),
	      *dy = random_floats(&r, C, 1), *y = copied_floats(row, C), *weak = copied_floats(row, C),
	      *dh = copied_floats(dy, C), *grads = filled_floats(4 * C, 3);
	double h[MAX_C], v[4 * MAX_C];
	const struct edit_norm e = {
	        parts & 1 ? vectors : NULL, parts & 2 ? vectors + C : NULL, vectors + 2 * C, vectors + 3 * C};
	const struct edit_norm_grads to = {
	        parts & 1 ? grads : NULL, parts & 2 ? grads + C : NULL, grads + 2 * C, grads + 3 * C};

	for (size_t c = 0; c < C; c++)
		h[c] = (double)row[c];
	for (size_t i = 0; i < 4 * C; i++)
		v[i] = (double)vectors[i];
	edit_norm_forward(1, C, y, C, &e, 1);
	edit_norm_forward(1, C, weak, C, &e, 0.25f);
	edit_norm_backward(1, C, dh, C, row, C, &e, &to);
	for (size_t c = 0; c < C; c++) {
		float one[MAX_C] = {0};

		one[c] = 1;
		assert_close(
		        (double)y[c], norm_loss(C, h, v, parts & 1, parts & 2, one), 1e-5, 1e-5, "norm", c);
		assert_close((double)weak[c], 0.75 * h[c] + 0.25 * (double)y[c], 1e-6, 1e-6, "weak", c);
		assert_close((double)dh[c], norm_slope(C, h, v, &h[c], parts, dy), 1e-4, 1e-4, "dh", c);
	}
	for (size_t i = 0; i < 4 * C; i++)
		assert_close((double)grads[i],
		        3 + (i >= 2 * C || (parts & (i < C ? 1 : 2)) ? norm_slope(C, h, v, &v[i], parts, dy)
		                                                     : 0),
		        1e-4, 1e-4, "gradient, accumulated", i);
	free(row), free(vectors), free(dy), free(y), free(weak), free(dh), free(grads);
}

static void test_a_norm_behind_the_edit_and_its_gradients(void **state)
{
	(void)state;
	for (size_t i = 1; i < N_WIDTHS; i++)
		for (int parts = 0; parts < 4; parts++)
			check_norm(widths[i], parts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_edit_scales_and_shifts_each_row),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	        cmocka_unit_test(test_bias_alone_passes_the_gradient_on),
	        cmocka_unit_test(test_a_norm_behind_the_edit_and_its_gradients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
