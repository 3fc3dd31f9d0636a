/*
 * The product with few rows, compiled once per level; included only by simd_body.h. One output is one vector
 * of partial sums, folded at the end: an order set by K alone. A tile computes several outputs at once to
 * hide latency and to load each weight once for MAX_M rows; w is streamed from memory once, as its rows stay
 * in cache while M is walked. Internal to math/.
 */
#if LANES == 16
#define MAX_M 4 /* 24 sums, 4 of x, 1 of w: 29 of 32 registers */
#define MAX_N 6
#elif LANES == 8
#define MAX_M 3 /* 12 + 3 + 1 of 16 */
#define MAX_N 4
#else
#define MAX_M 2 /* 8 + 2 + 1 of 16 */
#define MAX_N 4
#endif

static inline __attribute__((always_inline)) void skinny_tile(size_t mr, size_t nr, size_t K,
        const float *restrict x, size_t ldx, const float *restrict w, const float *restrict bias,
        float *restrict y, size_t ldy)
{
	vf sum[MAX_M][MAX_N] = {0};
	vf xv[MAX_M], wv;
	size_t k = 0;

	for (; k + LANES <= K; k += LANES) {
#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			xv[m] = vf_load(x + m * ldx + k);
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++) {
			wv = vf_load(w + n * K + k);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++)
				sum[m][n] = vf_madd(xv[m], wv, sum[m][n]);
		}
	}
	if (k < K) {
#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			xv[m] = vf_load_part(x + m * ldx + k, K - k);
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++) {
			wv = vf_load_part(w + n * K + k, K - k);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++)
				sum[m][n] = vf_madd(xv[m], wv, sum[m][n]);
		}
	}
#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++)
			y[m * ldy + n] = vf_sum(sum[m][n]) + (bias ? bias[n] : 0);
}

/* All M rows against nr rows of w. */
static inline __attribute__((always_inline)) void skinny_column(size_t nr, size_t M, size_t K,
        const float *restrict x, size_t ldx, const float *restrict w, const float *restrict bias,
        float *restrict y, size_t ldy)
{
	size_t m = 0;

	for (; m + MAX_M <= M; m += MAX_M)
		skinny_tile(MAX_M, nr, K, x + m * ldx, ldx, w, bias, y + m * ldy, ldy);
	x += m * ldx;
	y += m * ldy;
	switch (M - m) {
	case 1:
		skinny_tile(1, nr, K, x, ldx, w, bias, y, ldy);
		break;
#if MAX_M > 2
	case 2:
		skinny_tile(2, nr, K, x, ldx, w, bias, y, ldy);
		break;
#endif
#if MAX_M > 3
	case 3:
		skinny_tile(3, nr, K, x, ldx, w, bias, y, ldy);
		break;
#endif
	default:
		break;
	}
}

static void skinny(size_t M, size_t N, size_t K, const float *restrict x, size_t ldx, const float *restrict w,
        const float *restrict bias, float *restrict y, size_t ldy)
{
	size_t n = 0;

	for (; n + MAX_N <= N; n += MAX_N)
		skinny_column(MAX_N, M, K, x, ldx, w + n * K, bias ? bias + n : NULL, y + n, ldy);
	for (; n < N; n++)
		skinny_column(1, M, K, x, ldx, w + n * K, bias ? bias + n : NULL, y + n, ldy);
}
