/*
 * The products with few rows and weights (N,K) of float32 or bf16, compiled once per level; included only by
 * simd_body.h. One output is one vector of partial sums, folded at the end: an order set by K alone. A tile
 * computes several outputs at once to hide latency and to load each weight once for MAX_M rows; w is streamed
 * from memory once, as its rows stay in cache while M is walked. Internal to math/.
 *
 * bf16 becomes float32 by a shift. Of a vector of 32-bit words, each two weights, the first of every pair
 * are the words shifted up and the second the words with the lower half cleared, so rows x are dealt out the
 * same way beforehand. Where the processor multiplies pairs of bf16 itself, rows x are bf16 too.
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

#define INLINE static inline __attribute__((always_inline))

/* fresh: w is not in cache yet. */
typedef void skinny_tile_function(bool fresh, size_t mr, size_t nr, size_t K, const void *restrict x,
        size_t ldx, const void *restrict w, const float *restrict bias, float *restrict y, size_t ldy);

/* Bytes of a row of weights that are asked for ahead of their turn. */
#define AHEAD_BYTES 1024

/* Ask memory for what will be wanted of nr rows of row_bytes each: further on in each, or at a row's end the
 * beginning of one nr rows behind it. at: bytes into the rows. */
INLINE void skinny_ask(size_t nr, const void *w, size_t row_bytes, size_t at)
{
	const char *p = w;

	p += at + AHEAD_BYTES + (at + AHEAD_BYTES < row_bytes ? 0 : (nr - 1) * row_bytes);
#pragma GCC unroll 8
	for (size_t n = 0; n < nr; n++)
		__builtin_prefetch(p + n * row_bytes);
}

INLINE void skinny_fold(
        size_t mr, size_t nr, vf sum[MAX_M][MAX_N], const float *restrict bias, float *restrict y, size_t ldy)
{
#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++)
			y[m * ldy + n] = vf_sum(sum[m][n]) + (bias ? bias[n] : 0);
}

INLINE void skinny_tile_f32(bool fresh, size_t mr, size_t nr, size_t K, const void *restrict rows, size_t ldx,
        const void *restrict weights, const float *restrict bias, float *restrict y, size_t ldy)
{
	const float *restrict x = rows, *restrict w = weights;
	vf sum[MAX_M][MAX_N] = {0};
	vf xv[MAX_M], wv;
	size_t k = 0;

	for (; k + LANES <= K; k += LANES) {
		if (fresh)
			skinny_ask(nr, w, K * sizeof(*w), k * sizeof(*w));
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
	skinny_fold(mr, nr, sum, bias, y, ldy);
}

#if defined(__AVX512BF16__)
/* ---- pairs of bf16 ---- */

typedef uint16_t row_bf16;

INLINE __m512bh bf16_load(const uint16_t *p)
{
	return (__m512bh)_mm512_loadu_si512(p);
}

/* The first n < 32, then zeros. */
INLINE __m512bh bf16_load_part(const uint16_t *p, size_t n)
{
	__m512i low = _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p);

	return (__m512bh)low;
}

INLINE void skinny_tile_bf16(bool fresh, size_t mr, size_t nr, size_t K, const void *restrict rows,
        size_t ldx, const void *restrict weights, const float *restrict bias, float *restrict y, size_t ldy)
{
	const uint16_t *restrict x = rows, *restrict w = weights;
	__m512 sum[MAX_M][MAX_N] = {0};
	__m512bh xv[MAX_M], wv;
	size_t k = 0;

	for (; k + 2 * LANES <= K; k += 2 * LANES) {
		if (fresh)
			skinny_ask(nr, w, K * sizeof(*w), k * sizeof(*w));
#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			xv[m] = bf16_load(x + m * ldx + k);
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++) {
			wv = bf16_load(w + n * K + k);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++)
				sum[m][n] = _mm512_dpbf16_ps(sum[m][n], xv[m], wv);
		}
	}
	if (k < K) {
#pragma GCC unroll 8
		for (size_t n = 0; n < nr; n++) {
			wv = bf16_load_part(w + n * K + k, K - k);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++)
				sum[m][n] = _mm512_dpbf16_ps(sum[m][n], bf16_load(x + m * ldx + k), wv);
		}
	}
	skinny_fold(mr, nr, (vf(*)[MAX_N])sum, bias, y, ldy);
}

/* Rows x (M,K) as bf16 with zeros behind them. */
static void rows_bf16(size_t M, size_t K, const float *x, size_t ldx, void *out, size_t ld)
{
	uint16_t *q = out;

	for (size_t m = 0; m < M; m++, x += ldx, q += ld) {
		to_bf16(K, x, q);
		memset(q + K, 0, (ld - K) * sizeof(*q));
	}
}

#else
/* ---- bf16 as float32 ---- */

typedef float row_bf16;

/* Words of two weights each. */
INLINE vi bf16_load(const uint16_t *p)
{
	vi v;

	memcpy(&v, p, sizeof(v));
	return v;
}

INLINE void bf16_step(size_t mr, size_t nr, const float *restrict x, size_t ldx, const uint16_t *restrict w,
        size_t ldw, vf sum[MAX_M][MAX_N])
{
	vf xv[MAX_M], wv;

#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
		xv[m] = vf_load(x + m * ldx);
#pragma GCC unroll 8
	for (size_t n = 0; n < nr; n++) {
		wv = (vf)(bf16_load(w + n * ldw) << 16);
#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			sum[m][n] = vf_madd(xv[m], wv, sum[m][n]);
	}
#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
		xv[m] = vf_load(x + m * ldx + LANES);
#pragma GCC unroll 8
	for (size_t n = 0; n < nr; n++) {
		wv = (vf)(bf16_load(w + n * ldw) & vi_set(-0x10000));
#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			sum[m][n] = vf_madd(xv[m], wv, sum[m][n]);
	}
}

INLINE void skinny_tile_bf16(bool fresh, size_t mr, size_t nr, size_t K, const void *restrict rows,
        size_t ldx, const void *restrict weights, const float *restrict bias, float *restrict y, size_t ldy)
{
	const float *restrict x = rows;
	const uint16_t *restrict w = weights;
	vf sum[MAX_M][MAX_N] = {0};
	size_t k = 0;

	for (; k + 2 * LANES <= K; k += 2 * LANES) {
		if (fresh)
			skinny_ask(nr, w, K * sizeof(*w), k * sizeof(*w));
		bf16_step(mr, nr, x + k, ldx, w + k, K, sum);
	}
	if (k < K) {
		uint16_t rest[MAX_N][2 * LANES] = {0};

		for (size_t n = 0; n < nr; n++)
			memcpy(rest[n], w + n * K + k, (K - k) * sizeof(*w));
		bf16_step(mr, nr, x + k, ldx, rest[0], 2 * LANES, sum);
	}
	skinny_fold(mr, nr, sum, bias, y, ldy);
}

/* Rows x (M,K): of every 2 * LANES numbers the even ones, then the odd; zeros behind K. */
static void rows_bf16(size_t M, size_t K, const float *x, size_t ldx, void *out, size_t ld)
{
	float *to = out;

	for (size_t m = 0; m < M; m++, x += ldx, to += ld)
		for (size_t k = 0; k < ld; k += 2 * LANES)
			for (size_t j = 0; j < LANES; j++) {
				to[k + j] = k + 2 * j < K ? x[k + 2 * j] : 0;
				to[k + LANES + j] = k + 2 * j + 1 < K ? x[k + 2 * j + 1] : 0;
			}
}
#endif

/* ---- walking tiles ---- */

/* M < MAX_M rows. */
INLINE void skinny_rest(skinny_tile_function *tile, bool fresh, size_t nr, size_t M, size_t K,
        const void *restrict x, size_t ldx, const void *restrict w, const float *restrict bias,
        float *restrict y, size_t ldy)
{
	switch (M) {
	case 1:
		tile(fresh, 1, nr, K, x, ldx, w, bias, y, ldy);
		break;
#if MAX_M > 2
	case 2:
		tile(fresh, 2, nr, K, x, ldx, w, bias, y, ldy);
		break;
#endif
#if MAX_M > 3
	case 3:
		tile(fresh, 3, nr, K, x, ldx, w, bias, y, ldy);
		break;
#endif
	default:
		break;
	}
}

/* All M rows, of elements of x_bytes, against nr rows of w. */
INLINE void skinny_column(skinny_tile_function *tile, size_t x_bytes, size_t nr, size_t M, size_t K,
        const void *restrict rows, size_t ldx, const void *restrict w, const float *restrict bias,
        float *restrict y, size_t ldy)
{
	const char *restrict x = rows;
	size_t m = MAX_M;

	if (M < MAX_M) {
		skinny_rest(tile, true, nr, M, K, x, ldx, w, bias, y, ldy);
		return;
	}
	tile(true, MAX_M, nr, K, x, ldx, w, bias, y, ldy);
	for (; m + MAX_M <= M; m += MAX_M)
		tile(false, MAX_M, nr, K, x + m * ldx * x_bytes, ldx, w, bias, y + m * ldy, ldy);
	skinny_rest(tile, false, nr, M - m, K, x + m * ldx * x_bytes, ldx, w, bias, y + m * ldy, ldy);
}

INLINE void skinny_any(skinny_tile_function *tile, size_t x_bytes, size_t w_bytes, size_t M, size_t N,
        size_t K, const void *restrict x, size_t ldx, const void *restrict weights,
        const float *restrict bias, float *restrict y, size_t ldy)
{
	const char *restrict w = weights;
	size_t n = 0;

	for (; n + MAX_N <= N; n += MAX_N)
		skinny_column(tile, x_bytes, MAX_N, M, K, x, ldx, w + n * K * w_bytes, bias ? bias + n : NULL,
		        y + n, ldy);
	for (; n < N; n++)
		skinny_column(tile, x_bytes, 1, M, K, x, ldx, w + n * K * w_bytes, bias ? bias + n : NULL,
		        y + n, ldy);
}

static void skinny(size_t M, size_t N, size_t K, const float *restrict x, size_t ldx, const float *restrict w,
        const float *restrict bias, float *restrict y, size_t ldy)
{
	skinny_any(skinny_tile_f32, sizeof(*x), sizeof(*w), M, N, K, x, ldx, w, bias, y, ldy);
}

static void skinny_bf16(size_t M, size_t N, size_t K, const void *restrict x, size_t ldx,
        const uint16_t *restrict w, const float *restrict bias, float *restrict y, size_t ldy)
{
	skinny_any(skinny_tile_bf16, sizeof(row_bf16), sizeof(*w), M, N, K, x, ldx, w, bias, y, ldy);
}
