/* The three products against a double-precision twin: layouts, row distances, accumulation, empty shapes. */
#include "worker/math/gemm.h"

#include "tests/worker/math/twins.h"

typedef void product(
        size_t, size_t, size_t, const float *, size_t, const float *, size_t, float, float *, size_t);

/* Strides of A and B along K and along their other side. */
struct layout {
	product *f;
	bool a_transposed, b_transposed;
};

static const struct layout layouts[] = {
        {gemm_nt, false, true}, {gemm_nn, false, false}, {gemm_tn, true, false}};

static void check(const struct layout *l, size_t M, size_t N, size_t K, float beta)
{
	struct rng r = {.state = M + N + K};
	size_t lda = (l->a_transposed ? M : K) + 3, ldb = (l->b_transposed ? K : N) + 1, ldc = N + 2;
	float *A = random_floats(&r, (l->a_transposed ? K : M) * lda, 1);
	float *B = random_floats(&r, (l->b_transposed ? N : K) * ldb, 1);
	float *C = beta != 0 ? random_floats(&r, M * ldc, 1) : filled_floats(M * ldc, NAN);
	float *kept = copied_floats(C, M * ldc);

	l->f(M, N, K, A, lda, B, ldb, beta, C, ldc);
	for (size_t m = 0; m < M; m++) {
		for (size_t n = 0; n < N; n++) {
			double sum = beta != 0 ? (double)beta * (double)kept[m * ldc + n] : 0;

			for (size_t k = 0; k < K; k++)
				sum += (double)A[l->a_transposed ? k * lda + m : m * lda + k] *
				       (double)B[l->b_transposed ? n * ldb + k : k * ldb + n];
			assert_close((double)C[m * ldc + n], sum, 1e-6, 3e-7 * (double)(K + 1), "product", n);
		}
		assert_same_bits(C + m * ldc + N, kept + m * ldc + N, 2, "gap");
	}
	free(A), free(B), free(C), free(kept);
}

static void test_products_agree_with_the_twin(void **state)
{
	static const size_t shapes[][3] = {{1, 1, 1}, {1, 17, 5}, {33, 1, 9}, {13, 29, 64}, {70, 65, 40},
	        {5, 4, 0}, {0, 3, 3}, {3, 0, 3}};

	(void)state;
	for (size_t l = 0; l < 3; l++)
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
			check(&layouts[l], shapes[i][0], shapes[i][1], shapes[i][2], 0);
			check(&layouts[l], shapes[i][0], shapes[i][1], shapes[i][2], 1);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_products_agree_with_the_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
