/*
 * Matrix products on OpenBLAS: the one file that sees it. Row-major; M, N, K as in C (M,N) = A (M,K) B.
 * Each call runs on the calling thread alone (gemm_init() pins OpenBLAS to one thread; parallelism lies
 * above), so one shape gives one result, bit for bit, on one machine. The order of summation does depend
 * on the shape: rows that must not notice who shares their batch go through skinny.h instead.
 * `beta` 0 overwrites C, 1 accumulates. ld* is the distance between rows, in elements. Empty products are
 * fine. Thread: any, after gemm_init().
 */
#ifndef REDD_MATH_GEMM_H
#define REDD_MATH_GEMM_H

#include <stddef.h>

/* Pin OpenBLAS to one thread per caller. Once, before threads start. */
void gemm_init(void);
/* The kernel family OpenBLAS chose, such as "Haswell" or "SkylakeX". */
const char *gemm_kernel_name(void);

/* C = A B^T + beta C; A (M,K), B (N,K). The forward product of a weight stored (out,in). */
void gemm_nt(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);
/* C = A B + beta C; A (M,K), B (K,N). The backward product dX = dY W of the same weight. */
void gemm_nn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);
/* C = A^T B + beta C; A (K,M), B (K,N). */
void gemm_tn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);

#endif
