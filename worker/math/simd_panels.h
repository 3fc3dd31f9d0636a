/*
 * Weights into the panels of matrix.h, and turned there for the way back; compiled once per level;
 * included only by simd_body.h. Internal to math/.
 */
#if LANES > 4
/* to (8,8), row distance MATRIX_PANEL, = the transpose of rows (8,8). */
INLINE void transpose_8x8(const float *rows, size_t ld, float *to)
{
	__m256 a[8], b[8];

#pragma GCC unroll 8
	for (size_t i = 0; i < 8; i++)
		a[i] = _mm256_loadu_ps(rows + i * ld);
#pragma GCC unroll 4
	for (size_t i = 0; i < 8; i += 2) {
		b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
		b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
	}
#pragma GCC unroll 2
	for (size_t i = 0; i < 8; i += 4) {
		a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
		a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
		a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
		a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
	}
#pragma GCC unroll 4
	for (size_t i = 0; i < 4; i++) {
		_mm256_storeu_ps(to + i * MATRIX_PANEL, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
		_mm256_storeu_ps(to + (i + 4) * MATRIX_PANEL, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
	}
}
#endif

/* A panel (K, MATRIX_PANEL) of rows (n,K), n <= MATRIX_PANEL, with zeros beside them. */
static void panel_of_rows(size_t n, size_t K, const float *rows, size_t ld, float *panel)
{
	size_t whole_n = 0, whole_k = 0;

#if LANES > 4
	whole_n = n / 8 * 8;
	whole_k = K / 8 * 8;
	for (size_t k = 0; k < whole_k; k += 8)
		for (size_t i = 0; i < whole_n; i += 8)
			transpose_8x8(rows + i * ld + k, ld, panel + k * MATRIX_PANEL + i);
#endif
	for (size_t k = 0; k < K; k++)
		for (size_t i = k < whole_k ? whole_n : 0; i < MATRIX_PANEL; i++)
			panel[k * MATRIX_PANEL + i] = i < n ? rows[i * ld + k] : 0;
}

#if defined(__AVX512BF16__)
/* Columns of words (8,8): of the outputs of even number in *even, odd in *odd. */
INLINE void words_deal(const uint16_t *from, __m256i *even, __m256i *odd)
{
	__m512i words = _mm512_loadu_si512(from);
	const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);

	words = _mm512_permutexvar_epi32(order, words);
	*even = _mm512_castsi512_si256(words);
	*odd = _mm512_extracti64x4_epi64(words, 1);
}

/* Words (8,16): row j is of inputs 2j and 2j + 1. Those of the outputs 2i and 2i + 1 go to row i, of inputs.
 */
static void pairs_turn(size_t n, const uint16_t *from, uint16_t *to)
{
	_Alignas(64) uint16_t whole[MATRIX_PANEL * MATRIX_PANEL] = {0};
	_Alignas(64) float first[8 * MATRIX_PANEL], second[8 * MATRIX_PANEL];
	const __m256i low = _mm256_set1_epi32(0xffff);
	__m256i even, odd;

	if (n < MATRIX_PANEL) {
		memcpy(whole, from, (n + 1) / 2 * 2 * MATRIX_PANEL * sizeof(*from));
		from = whole;
	}
	for (size_t j = 0; j < 8; j++) {
		words_deal(from + j * 2 * MATRIX_PANEL, &even, &odd);
		_mm256_store_si256((__m256i *)(void *)(first + 8 * j),
		        _mm256_or_si256(_mm256_and_si256(even, low), _mm256_slli_epi32(odd, 16)));
		_mm256_store_si256((__m256i *)(void *)(second + 8 * j),
		        _mm256_or_si256(_mm256_srli_epi32(even, 16), _mm256_andnot_si256(low, odd)));
	}
	/* row i of the result: first and second of column i in turn */
	for (size_t i = 0; i < 8; i++)
		for (size_t j = 0; j < 8; j++) {
			memcpy(to + (i * MATRIX_PANEL + 2 * j) * 2, first + 8 * j + i, sizeof(uint32_t));
			memcpy(to + (i * MATRIX_PANEL + 2 * j + 1) * 2, second + 8 * j + i, sizeof(uint32_t));
		}
}
#define PAIRS_TURN_KERNEL pairs_turn
#else
#define PAIRS_TURN_KERNEL NULL
#endif
