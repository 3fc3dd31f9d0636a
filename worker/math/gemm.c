/* See gemm.h: B is packed into panels a block at a time, on the stack. */
#include "worker/math/gemm.h"

#include "worker/math/simd.h"

#include <string.h>

/* Columns of C at a time. */
#define COLUMNS ((size_t)2 * MATRIX_PANEL)

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* A panel (K, MATRIX_PANEL) of B (K,N), n <= MATRIX_PANEL. */
static void panel_of_columns(size_t n, size_t K, const float *B, size_t ldb, float *panel)
{
	for (size_t k = 0; k < K; k++, B += ldb, panel += MATRIX_PANEL) {
		if (n == MATRIX_PANEL) {
			memcpy(panel, B, MATRIX_PANEL * sizeof(*panel));
			continue;
		}
		memcpy(panel, B, n * sizeof(*panel));
		memset(panel + n, 0, (MATRIX_PANEL - n) * sizeof(*panel));
	}
}

void gemm_pack_rows(size_t N, size_t K, const float *B, size_t ldb, float *panels)
{
	for (size_t n = 0; n < N; n += MATRIX_PANEL, panels += K * MATRIX_PANEL)
		simd()->panel_of_rows(smaller(MATRIX_PANEL, N - n), K, B + n * ldb, ldb, panels);
}

void gemm_pack_columns(size_t N, size_t K, const float *B, size_t ldb, float *panels)
{
	for (size_t n = 0; n < N; n += MATRIX_PANEL, panels += K * MATRIX_PANEL)
		panel_of_columns(smaller(MATRIX_PANEL, N - n), K, B + n, ldb, panels);
}

static void zero_rows(size_t M, size_t N, float *C, size_t ldc)
{
	for (size_t m = 0; m < M; m++)
		memset(C + m * ldc, 0, N * sizeof(*C));
}

static void product(bool a_turned, bool b_turned, size_t M, size_t N, size_t K, const float *A, size_t lda,
        const float *B, size_t ldb, float beta, float *C, size_t ldc)
{
	_Alignas(64) float panels[PRODUCT_BLOCK * COLUMNS];
	size_t block = product_block(K);
	struct product_call c = {.M = M, .ldx = lda, .turned = a_turned, .w = panels, .ldy = ldc};

	if (!K && beta == 0)
		zero_rows(M, N, C, ldc);
	for (size_t k = 0; M && k < K; k += block) {
		c.K = c.block = smaller(block, K - k);
		c.panel = c.K * MATRIX_PANEL * sizeof(float);
		c.x = A + (a_turned ? k * lda : k);
		c.add = beta != 0 || k > 0;
		for (size_t n = 0; n < N; n += COLUMNS) {
			c.N = smaller(COLUMNS, N - n);
			c.y = C + n;
			if (b_turned)
				gemm_pack_rows(c.N, c.K, B + n * ldb + k, ldb, panels);
			else
				gemm_pack_columns(c.N, c.K, B + k * ldb + n, ldb, panels);
			simd()->product_f32(&c);
		}
	}
}

void gemm_nt(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(false, true, M, N, K, A, lda, B, ldb, beta, C, ldc);
}

void gemm_nn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(false, false, M, N, K, A, lda, B, ldb, beta, C, ldc);
}

void gemm_tn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc)
{
	product(true, false, M, N, K, A, lda, B, ldb, beta, C, ldc);
}
