/* Products with few rows against a double-precision twin, and their promise: neighbours never show. */
#include "worker/math/skinny.h"

#include "tests/worker/math/twins.h"

static const size_t sizes_k[] = {0, 1, 3, 7, 8, 15, 16, 17, 31, 48, 63, 64, 257};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void check_against_twin(size_t M, size_t N, size_t K, bool with_bias)
{
	struct rng r = {.state = 100 * M + 10 * N + K};
	size_t ldx = K + 3, ldy = N + 2;
	float *x = random_floats(&r, M * ldx, 1), *w = random_floats(&r, N * K, 1);
	float *bias = random_floats(&r, N, 1), *y = filled_floats(M * ldy, 77);

	skinny_product(M, N, K, x, ldx, w, with_bias ? bias : NULL, y, ldy);
	for (size_t m = 0; m < M; m++) {
		for (size_t n = 0; n < N; n++) {
			double sum = with_bias ? (double)bias[n] : 0;

			for (size_t k = 0; k < K; k++)
				sum += (double)x[m * ldx + k] * (double)w[n * K + k];
			assert_close((double)y[m * ldy + n], sum, 1e-6, 2e-7 * (double)(K + 1), "product", n);
		}
		assert_true(y[m * ldy + N] == 77 && y[m * ldy + N + 1] == 77);
	}
	free(x);
	free(w);
	free(bias);
	free(y);
}

static void all_shapes(void)
{
	for (size_t M = 1; M <= 14; M++)
		for (size_t N = 0; N <= 9; N++)
			for (size_t i = 0; i < COUNT(sizes_k); i++)
				check_against_twin(M, N, sizes_k[i], (M + N) % 2);
	check_against_twin(64, 33, 300, true);
}

static void test_product_agrees_with_the_twin(void **state)
{
	(void)state;
	at_every_level(all_shapes);
}

/* One product of 64 rows and 37 outputs, against each row alone and the outputs in pieces. */
static void rows_and_pieces(void)
{
	enum { M = 64, N = 37, K = 203 };
	static const size_t cuts[] = {0, 1, 6, 7, 21, 37};
	struct rng r = {.state = 5};
	float *x = random_floats(&r, M * K, 1), *w = random_floats(&r, N * K, 1),
	      *bias = random_floats(&r, N, 1);
	float *whole = filled_floats(M * N, 0), *apart = filled_floats(M * N, 0);

	skinny_product(M, N, K, x, K, w, bias, whole, N);
	for (size_t m = 0; m < M; m++)
		skinny_product(1, N, K, x + m * K, K, w, bias, apart + m * N, N);
	assert_same_bits(whole, apart, M * N, "rows alone");
	memset(apart, 0, M * N * sizeof(*apart));
	for (size_t i = 0; i + 1 < COUNT(cuts); i++)
		skinny_product(M, cuts[i + 1] - cuts[i], K, x, K, w + cuts[i] * K, bias + cuts[i],
		        apart + cuts[i], N);
	assert_same_bits(whole, apart, M * N, "outputs in pieces");
	for (size_t rows = 2; rows <= 13; rows++) {
		memset(apart, 0, M * N * sizeof(*apart));
		for (size_t m = 0; m < M; m += rows)
			skinny_product(
			        rows < M - m ? rows : M - m, N, K, x + m * K, K, w, bias, apart + m * N, N);
		assert_same_bits(whole, apart, M * N, "rows in batches");
	}
	free(x);
	free(w);
	free(bias);
	free(whole);
	free(apart);
}

static void test_bits_do_not_depend_on_batch_or_split(void **state)
{
	(void)state;
	at_every_level(rows_and_pieces);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_product_agrees_with_the_twin),
	        cmocka_unit_test(test_bits_do_not_depend_on_batch_or_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
