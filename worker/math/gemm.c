/* See gemm.h. Sizes are bounded by memory long before they reach blasint's 2^31. */
#include "worker/math/gemm.h"

#include <cblas.h>
#include <string.h>

void gemm_init(void)
{
	openblas_set_num_threads(1);
}

const char *gemm_kernel_name(void)
{
	return openblas_get_corename();
}

static void product(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, size_t M, size_t N, size_t K, const float *A,
        size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc)
{
	if (!M || !N)
		return;
	if (!K) {
		for (size_t i = 0; beta == 0 && i < M; i++)
			memset(C + i * ldc, 0, N * sizeof(*C));
		return;
	}
	cblas_sgemm(CblasRowMajor, ta, tb, (blasint)M, (blasint)N, (blasint)K, 1, A, (blasint)lda, B,
	        (blasint)ldb, beta, C, (blasint)ldc);
}

void gemm_nt(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(CblasNoTrans, CblasTrans, M, N, K, A, lda, B, ldb, beta, C, ldc);
}

void gemm_nn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(CblasNoTrans, CblasNoTrans, M, N, K, A, lda, B, ldb, beta, C, ldc);
}

void gemm_tn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(CblasTrans, CblasNoTrans, M, N, K, A, lda, B, ldb, beta, C, ldc);
}
