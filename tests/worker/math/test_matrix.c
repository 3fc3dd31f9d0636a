/* Weights packed into each format and back: what is representable stays, the rest is off by half a step. */
#include "worker/math/matrix.h"

#include "tests/worker/math/twins.h"

enum { N = 37, K = 150 };

static float *round_trip(enum matrix_format format, const float *rows, float *back)
{
	struct matrix m = {format, N, K, NULL};
	size_t n = matrix_bytes(format, N, K);
	void *data = aligned_alloc(64, (n + 63) / 64 * 64);

	assert_non_null(data);
	m.data = data;
	/* in two parts, as a loader would */
	matrix_pack(&m, 0, 32, rows, data);
	matrix_pack(&m, 32, N - 32, rows + 32 * K, data);
	matrix_unpack(&m, 0, 16, back);
	matrix_unpack(&m, 16, N - 16, back + 16 * K);
	free(data);
	return back;
}

static void formats(void)
{
	struct rng r = {.state = 3};
	float *rows = random_floats(&r, N * K, 2), *back = filled_floats(N * K, 0);
	double top = 0;

	assert_same_bits(rows, round_trip(MATRIX_F32, rows, back), N * K, "float32");
	round_trip(MATRIX_BF16, rows, back);
	for (size_t i = 0; i < N * K; i++)
		assert_close((double)back[i], (double)rows[i], 0x1p-8, 0, "bf16", i);
	memcpy(rows, back, N * K * sizeof(*rows));
	assert_same_bits(rows, round_trip(MATRIX_BF16, rows, back), N * K, "bf16 once more");
	round_trip(MATRIX_INT8, rows, back);
	for (size_t n = 0; n < N; n++)
		for (size_t k = 0; k < K; k++) {
			if (k % MATRIX_GROUP == 0) {
				top = 0;
				for (size_t j = k; j < K && j < k + MATRIX_GROUP; j++)
					top = fmax(top, fabs((double)rows[n * K + j]));
			}
			assert_close((double)back[n * K + k], (double)rows[n * K + k], 1e-6,
			        top / 127 * 0.50001, "int8", n * K + k);
		}
	free(rows);
	free(back);
}

static void test_formats_are_off_by_half_a_step_at_most(void **state)
{
	(void)state;
	at_every_level(formats);
}

static void odd_numbers(void)
{
	float *rows = filled_floats(N * K, 0), *back = filled_floats(N * K, 7);

	rows[0] = 1e-42f; /* a group of subnormals */
	rows[K + 1] = INFINITY;
	rows[2 * K + 149] = NAN;
	rows[3 * K] = -3;
	round_trip(MATRIX_INT8, rows, back);
	assert_close((double)back[0], 0, 0, 2e-42, "subnormal", 0);
	assert_true(isnan(back[K]) && isnan(back[K + 63]) && back[K + 64] == 0);
	assert_true(isnan(back[2 * K + 149]) && back[2 * K] == 0);
	assert_true(back[3 * K] == -3 && back[3 * K + 1] == 0);
	round_trip(MATRIX_BF16, rows, back);
	assert_true(isinf(back[K + 1]) && isnan(back[2 * K + 149]) && back[3 * K] == -3);
	free(rows);
	free(back);
}

static void test_numbers_that_are_not_finite_stay_so(void **state)
{
	(void)state;
	at_every_level(odd_numbers);
}

static void test_bytes_are_what_the_formats_promise(void **state)
{
	(void)state;
	assert_int_equal(matrix_bytes(MATRIX_F32, 32, 768), 32 * 768 * 4);
	assert_int_equal(matrix_bytes(MATRIX_BF16, 32, 768), 32 * 768 * 2);
	assert_int_equal(matrix_bytes(MATRIX_INT8, 32, 768), 32 * 768 / 64 * 68);
	assert_int_equal(matrix_bytes(MATRIX_INT8, 1, 1), 16 * 68);
	assert_string_equal(matrix_format_name(MATRIX_INT8), "int8");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_formats_are_off_by_half_a_step_at_most),
	        cmocka_unit_test(test_numbers_that_are_not_finite_stay_so),
	        cmocka_unit_test(test_bytes_are_what_the_formats_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
