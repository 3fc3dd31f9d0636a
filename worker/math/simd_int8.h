/*
 * Products with int8 weights in the panels of matrix.h, and quantising itself, compiled once per
 * level; included only by simd_body.h. Rows x are quantised like the weights. Within a group sums are of
 * integers and so exact in any order; groups follow each other: y += sum * (scale of w * scale of x), fused
 * where the level has it. Internal to math/.
 */

typedef int8_t vb __attribute__((vector_size(LANES)));

/* n <= MATRIX_GROUP numbers as integers in -127 .. 127 times what is returned, with zeros behind them up to
 * MATRIX_GROUP. Where one is not finite all are 0 and the scale NaN. */
static float quantise(size_t n, const float *x, int8_t *q)
{
	float padded[MATRIX_GROUP];
	vf top = vf_set(0), finite = vf_set(0), inverse;
	float most = 0, nothing = 0, scale;

	if (n < MATRIX_GROUP) {
		memset(padded, 0, sizeof(padded));
		memcpy(padded, x, n * sizeof(*x));
		x = padded;
	}
	for (size_t i = 0; i < MATRIX_GROUP; i += LANES) {
		top = vf_max(vf_abs(vf_load(x + i)), top);
		finite += vf_load(x + i) * vf_set(0);
	}
	for (size_t j = 0; j < LANES; j++) {
		most = top[j] > most ? top[j] : most;
		nothing += finite[j];
	}
	scale = most / 127 + nothing;
	/* of subnormal groups the inverse may be infinite: they count as zero */
	inverse = vf_set(most > 0x1p-120f && scale == scale ? 127 / most : 0);
	for (size_t i = 0; i < MATRIX_GROUP; i += LANES) {
		vf v = vf_select(inverse != vf_set(0), vf_load(x + i), vf_set(0));
		/* adding it rounds to an integer kept in the low mantissa bits */
		vi whole = (vi)(v * inverse + vf_set(0x1.8p23f));
		vb low = __builtin_convertvector(whole, vb);

		memcpy(q + i, &low, sizeof(low));
	}
	return scale;
}

/* A row x (K) in groups, each padded with zeros: q, scales and -128 times the sum of each group's q. */
static void rows_int8(size_t K, const float *x, int8_t *q, float *scales, int32_t *shifts)
{
	for (size_t k = 0; k < K; k += MATRIX_GROUP, q += MATRIX_GROUP) {
		int32_t sum = 0;

		*scales++ = quantise(K - k < MATRIX_GROUP ? K - k : MATRIX_GROUP, x + k, q);
		for (size_t i = 0; i < MATRIX_GROUP; i++)
			sum += q[i];
		*shifts++ = -128 * sum;
	}
}

/* Rows (n,K) of a panel, n <= MATRIX_PANEL. */
static void unpack_int8(size_t K, size_t n, const char *panel, float *rows)
{
	for (size_t k = 0; k < K; k += MATRIX_GROUP, panel += INT8_BLOCK_BYTES) {
		const int8_t *q = (const int8_t *)panel + MATRIX_PANEL * sizeof(float);
		size_t some = K - k < MATRIX_GROUP ? K - k : MATRIX_GROUP;
		float scales[MATRIX_PANEL];

		memcpy(scales, panel, sizeof(scales));
		for (size_t i = 0; i < n; i++) {
			float *row = rows + i * K + k;
			size_t j = 0;

#if LANES > 4
			for (; j + 4 <= some; j += 4) {
				int four;

				memcpy(&four, q + j * MATRIX_PANEL + 4 * i, sizeof(four));
				_mm_storeu_ps(row + j, _mm_mul_ps(_mm_cvtepi32_ps(_mm_cvtepi8_epi32(
				                                          _mm_cvtsi32_si128(four))),
				                               _mm_set1_ps(scales[i])));
			}
#endif
			for (; j < some; j++)
				row[j] = (float)q[j / 4 * 4 * MATRIX_PANEL + 4 * i + j % 4] * scales[i];
		}
	}
}

/* Bytes of a panel that are asked for ahead of their turn. */
#define INT8_AHEAD 4096

/* Sums of a tile: rows by vectors of outputs. Level by level: how many rows at once, and the product of one
 * block with them. */
#if defined(__AVX512VNNI__)
#define INT8_M 6
#define INT8_PANELS 2
#define INT8_LANES 16
typedef __m512 int8_vf;

/* The group's sums added to total. block: of the first panel, the next one's panel_bytes behind it. */
INLINE void int8_group(bool fresh, size_t mr, size_t panels, size_t n_groups, const int8_t *x,
        const float *x_scales, const int32_t *shifts, const char *block, int8_vf total[INT8_M][INT8_PANELS])
{
	size_t ld = n_groups * MATRIX_GROUP, panel_bytes = n_groups * INT8_BLOCK_BYTES;
	__m512i sum[INT8_M][INT8_PANELS], w;
	const __m512i flip = _mm512_set1_epi8(-128);

#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
#pragma GCC unroll 2
		for (size_t p = 0; p < panels; p++)
			sum[m][p] = _mm512_set1_epi32(shifts[m * n_groups]);
	for (size_t k = 0; k < MATRIX_GROUP; k += 4)
#pragma GCC unroll 2
		for (size_t p = 0; p < panels; p++) {
			if (fresh)
				__builtin_prefetch(block + p * panel_bytes + 64 + 16 * k + INT8_AHEAD);
			w = _mm512_xor_si512(_mm512_loadu_si512(block + p * panel_bytes + 64 + 16 * k), flip);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++) {
				int four;

				memcpy(&four, x + m * ld + k, sizeof(four));
				sum[m][p] = _mm512_dpbusd_epi32(sum[m][p], w, _mm512_set1_epi32(four));
			}
		}
#pragma GCC unroll 2
	for (size_t p = 0; p < panels; p++) {
		__m512 scales = _mm512_loadu_ps(block + p * panel_bytes);

#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			total[m][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m][p]),
			        _mm512_mul_ps(scales, _mm512_set1_ps(x_scales[m * n_groups])), total[m][p]);
	}
}
#elif LANES > 4
#define INT8_M 4
#define INT8_PANELS 2 /* halves of one */
#define INT8_LANES 8
typedef __m256 int8_vf;

/* Products of bytes are summed to 16 bits in pairs: |w| times x with w's sign, 2 * 127 * 127 at most. */
INLINE void int8_group(bool fresh, size_t mr, size_t panels, size_t n_groups, const int8_t *x,
        const float *x_scales, const int32_t *shifts, const char *block, int8_vf total[INT8_M][INT8_PANELS])
{
	size_t ld = n_groups * MATRIX_GROUP;
	__m256i sum[INT8_M][INT8_PANELS], w, positive;
	const __m256i ones = _mm256_set1_epi16(1);

	(void)shifts;
#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++)
#pragma GCC unroll 2
		for (size_t p = 0; p < panels; p++)
			sum[m][p] = _mm256_setzero_si256();
	for (size_t k = 0; k < MATRIX_GROUP; k += 4)
#pragma GCC unroll 2
		for (size_t p = 0; p < panels; p++) {
			if (fresh && p == 0)
				__builtin_prefetch(block + 64 + 16 * k + INT8_AHEAD);
			w = _mm256_loadu_si256((const __m256i_u *)(block + 64 + 16 * k + 32 * p));
			positive = _mm256_abs_epi8(w);
#pragma GCC unroll 8
			for (size_t m = 0; m < mr; m++) {
				int four;
				__m256i pairs;

				memcpy(&four, x + m * ld + k, sizeof(four));
				pairs = _mm256_maddubs_epi16(
				        positive, _mm256_sign_epi8(_mm256_set1_epi32(four), w));
				sum[m][p] = _mm256_add_epi32(sum[m][p], _mm256_madd_epi16(pairs, ones));
			}
		}
#pragma GCC unroll 2
	for (size_t p = 0; p < panels; p++) {
		__m256 scales = _mm256_loadu_ps((const float *)(const void *)(block + 32 * p));

#pragma GCC unroll 8
		for (size_t m = 0; m < mr; m++)
			total[m][p] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[m][p]),
			        _mm256_mul_ps(scales, _mm256_set1_ps(x_scales[m * n_groups])), total[m][p]);
	}
}
#else
#define INT8_M 1
#define INT8_PANELS 4 /* quarters of one */
#define INT8_LANES 4
typedef vf int8_vf;

INLINE void int8_group(bool fresh, size_t mr, size_t panels, size_t n_groups, const int8_t *x,
        const float *x_scales, const int32_t *shifts, const char *block, int8_vf total[INT8_M][INT8_PANELS])
{
	const int8_t *w = (const int8_t *)block + 64;
	float scales[MATRIX_PANEL];

	(void)fresh;
	(void)mr;
	(void)n_groups;
	(void)shifts;
	memcpy(scales, block, sizeof(scales));
	for (size_t p = 0; p < panels; p++)
		for (size_t i = 0; i < INT8_LANES; i++) {
			size_t n = p * INT8_LANES + i;
			int32_t sum = 0;

			for (size_t k = 0; k < MATRIX_GROUP; k++)
				sum += x[k] * w[k / 4 * 4 * MATRIX_PANEL + 4 * n + k % 4];
			total[0][p][i] += (float)sum * (scales[n] * *x_scales);
		}
}
#endif

/* Rows of a tile against `vectors` vectors of outputs, of which n are wanted. */
INLINE void int8_tile(bool fresh, size_t mr, size_t vectors, const struct int8_rows *x, size_t row, size_t n,
        const char *panel, const float *bias, float *y, size_t ldy)
{
	int8_vf total[INT8_M][INT8_PANELS] = {0};
	size_t at = row * x->n_groups;
	float out[INT8_PANELS * INT8_LANES];

	for (size_t g = 0; g < x->n_groups; g++)
		int8_group(fresh, mr, vectors, x->n_groups, x->q + (at + g) * MATRIX_GROUP,
		        x->scales + at + g, x->shifts + at + g, panel + g * INT8_BLOCK_BYTES, total);
#pragma GCC unroll 8
	for (size_t m = 0; m < mr; m++) {
		memcpy(out, total[m], sizeof(out));
		for (size_t i = 0; i < n; i++)
			y[(row + m) * ldy + i] = out[i] + (bias ? bias[i] : 0);
	}
}

/* Either kind of tile, known when this is compiled. */
INLINE void int8_rows_of(bool fresh, size_t mr, size_t vectors, const struct int8_rows *x, size_t row,
        size_t n, const char *panel, const float *bias, float *y, size_t ldy)
{
	if (fresh)
		int8_tile(true, mr, vectors, x, row, n, panel, bias, y, ldy);
	else
		int8_tile(false, mr, vectors, x, row, n, panel, bias, y, ldy);
}

/* Rows of the next tile, of `left`. */
INLINE size_t int8_tile_rows(size_t left)
{
	return left >= INT8_M ? INT8_M : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

INLINE void int8_column(size_t vectors, const struct int8_rows *x, size_t n, const char *panel,
        const float *bias, float *y, size_t ldy)
{
	size_t n_rows;

	/* the first rows bring the panel in */
	for (size_t m = 0; m < x->n; m += n_rows) {
		n_rows = int8_tile_rows(x->n - m);
		if (n_rows == INT8_M)
			int8_rows_of(m == 0, INT8_M, vectors, x, m, n, panel, bias, y, ldy);
#if INT8_M > 4
		else if (n_rows == 4)
			int8_rows_of(m == 0, 4, vectors, x, m, n, panel, bias, y, ldy);
#endif
#if INT8_M > 2
		else if (n_rows == 2)
			int8_rows_of(m == 0, 2, vectors, x, m, n, panel, bias, y, ldy);
#endif
		else
			int8_rows_of(m == 0, 1, vectors, x, m, n, panel, bias, y, ldy);
	}
}

static void product_int8(
        const struct int8_rows *x, size_t N, const char *panels, const float *bias, float *y, size_t ldy)
{
	const size_t wide = INT8_PANELS * INT8_LANES, panel_bytes = x->n_groups * INT8_BLOCK_BYTES;
	size_t n = 0;

	for (; n + wide <= N; n += wide, panels += wide / MATRIX_PANEL * panel_bytes)
		int8_column(INT8_PANELS, x, wide, panels, bias ? bias + n : NULL, y + n, ldy);
	for (; n < N; n += MATRIX_PANEL, panels += panel_bytes)
		int8_column(MATRIX_PANEL / INT8_LANES, x, N - n < MATRIX_PANEL ? N - n : MATRIX_PANEL, panels,
		        bias ? bias + n : NULL, y + n, ldy);
}
