/* Elementwise helpers, number formats (every half and every bfloat16), transposition. */
#include "worker/math/vec.h"

#include "tests/worker/math/twins.h"

static double half_twin(unsigned bits)
{
	int exponent = (int)(bits >> 10 & 31);
	double mantissa = (double)(bits & 1023), sign = bits & 0x8000 ? -1 : 1;

	if (exponent == 31)
		return mantissa != 0 ? NAN : sign * INFINITY;
	if (exponent == 0)
		return sign * ldexp(mantissa, -24);
	return sign * ldexp(1024 + mantissa, exponent - 25);
}

static double brief_twin(unsigned bits)
{
	int exponent = (int)(bits >> 7 & 255);
	double mantissa = (double)(bits & 127), sign = bits & 0x8000 ? -1 : 1;

	if (exponent == 255)
		return mantissa != 0 ? NAN : sign * INFINITY;
	if (exponent == 0)
		return sign * ldexp(mantissa, -133);
	return sign * ldexp(128 + mantissa, exponent - 134);
}

static void check_format(void (*convert)(size_t, const void *, float *), double (*twin)(unsigned))
{
	enum { N = 65536 };
	unsigned char *raw = malloc(2 * N + 1);
	float *out = filled_floats(N + 1, 7), *one_by_one = filled_floats(N, 0);

	assert_non_null(raw);
	for (unsigned i = 0; i < N; i++) {
		raw[1 + 2 * i] = (unsigned char)i;
		raw[2 + 2 * i] = (unsigned char)(i >> 8);
	}
	convert(N, raw + 1, out);
	assert_true(out[N] == 7);
	for (unsigned i = 0; i < N; i++) {
		double want = twin(i);

		convert(1, raw + 1 + 2 * i, one_by_one + i);
		if (isnan(want))
			assert_true(isnan(out[i]));
		else
			assert_true((double)out[i] == want && !signbit(out[i]) == !signbit(want));
	}
	assert_same_bits(out, one_by_one, N, "one by one");
	free(raw);
	free(out);
	free(one_by_one);
}

static void formats(void)
{
	check_format(vec_from_f16, half_twin);
	check_format(vec_from_bf16, brief_twin);
}

static void test_every_half_and_bfloat16_converts_exactly(void **state)
{
	(void)state;
	at_every_level(formats);
}

static void sums(void)
{
	for (size_t n = 0; n < 50; n++) {
		struct rng r = {.state = n};
		float *x = random_floats(&r, n, 2), *y = random_floats(&r, n + 1, 2),
		      *kept = copied_floats(y, n + 1);

		vec_add(n, y, x);
		for (size_t i = 0; i < n; i++)
			assert_true(y[i] == kept[i] + x[i]);
		memcpy(y, kept, (n + 1) * sizeof(*y));
		vec_axpy(n, -1.5f, x, y);
		for (size_t i = 0; i < n; i++)
			assert_close(
			        (double)y[i], (double)kept[i] - 1.5 * (double)x[i], 2e-7, 3e-7, "axpy", i);
		assert_true(y[n] == kept[n]);
		free(x), free(y), free(kept);
	}
}

static void test_sums(void **state)
{
	(void)state;
	at_every_level(sums);
}

static void row_sums(void)
{
	enum { T = 3, C = 19, LD = 21 };
	struct rng r = {.state = 6};
	float *b = random_floats(&r, C, 1), *y = random_floats(&r, T * LD, 1),
	      *kept = copied_floats(y, T * LD);

	vec_add_rows(T, C, y, LD, b);
	for (size_t t = 0; t < T; t++)
		for (size_t c = 0; c < LD; c++)
			assert_true(y[t * LD + c] == (c < C ? kept[t * LD + c] + b[c] : kept[t * LD + c]));
	free(b), free(y), free(kept);
}

static void test_rows_take_the_vector_and_leave_the_gap(void **state)
{
	(void)state;
	at_every_level(row_sums);
}

static void test_transpose_of_odd_shapes(void **state)
{
	static const size_t shapes[][2] = {{1, 1}, {1, 40}, {33, 1}, {31, 65}, {64, 32}, {0, 5}};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		size_t rows = shapes[i][0], cols = shapes[i][1];
		struct rng r = {.state = i};
		float *x = random_floats(&r, rows * cols, 1), *y = filled_floats(rows * cols, 0);

		vec_transpose(rows, cols, x, y);
		for (size_t a = 0; a < rows; a++)
			for (size_t b = 0; b < cols; b++)
				assert_true(y[b * rows + a] == x[a * cols + b]);
		free(x), free(y);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_half_and_bfloat16_converts_exactly),
	        cmocka_unit_test(test_sums),
	        cmocka_unit_test(test_rows_take_the_vector_and_leave_the_gap),
	        cmocka_unit_test(test_transpose_of_odd_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
