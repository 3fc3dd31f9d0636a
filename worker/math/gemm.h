/*
 * Matrix products of numbers that change: a classification head, weights unpacked on the way; and panels of
 * such numbers, for attention. Row-major;
 * M, N, K as in C (M,N) = A (M,K) B. Each output's sum is in the order that product.h keeps, so that neither
 * the shape nor the processor shows; products with frozen weights go through product.h itself.
 * `beta` 0 overwrites C, 1 accumulates. ld* is the distance between rows, in elements. Empty products are
 * fine. Thread: any, the caller's alone.
 */
#ifndef REDD_MATH_GEMM_H
#define REDD_MATH_GEMM_H

#include <stddef.h>

/* C = A B^T + beta C; A (M,K), B (N,K). */
void gemm_nt(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);
/* C = A B + beta C; A (M,K), B (K,N). */
void gemm_nn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);
/* C = A^T B + beta C; A (K,M), B (K,N). */
void gemm_tn(size_t M, size_t N, size_t K, const float *A, size_t lda, const float *B, size_t ldb, float beta,
        float *C, size_t ldc);

/* B as products read it, for one that serves several: panels of MATRIX_PANEL columns of C, (K, MATRIX_PANEL)
 * and zeros beyond N, one behind the other. panels: (N rounded up to MATRIX_PANEL) * K floats. */
/* Of B (N,K), for A B^T. */
void gemm_pack_rows(size_t N, size_t K, const float *B, size_t ldb, float *panels);
/* Of B (K,N), for A B and A^T B. */
void gemm_pack_columns(size_t N, size_t K, const float *B, size_t ldb, float *panels);

#endif
