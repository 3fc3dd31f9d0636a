/*
 * Half and bfloat16 to float32, compiled once per level; included only by simd_body.h. Both are exact.
 * Internal to math/.
 */

static inline float float_of_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* Exponent and mantissa moved into place give the value times 2^-112, subnormals included: one product mends
 * it. */
static inline float half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t rest = half & 0x7fff;
	float f;

	if (rest > 0x7c00) /* NaN, made quiet as the processor's own conversion does */
		return float_of_bits(sign | 0x7fc00000 | rest << 13);
	if (rest == 0x7c00)
		return float_of_bits(sign | 0x7f800000);
	f = float_of_bits(rest << 13) * 0x1p112f;
	return sign ? -f : f;
}

static void from_f16(size_t n, const void *src, float *dst)
{
	const unsigned char *p = src;
	size_t i = 0;

#if LANES > 4
	for (; i + 8 <= n; i += 8) {
		__m128i half;

		memcpy(&half, p + 2 * i, sizeof(half));
		_mm256_storeu_ps(dst + i, _mm256_cvtph_ps(half));
	}
#endif
	for (; i < n; i++)
		dst[i] = half_to_float((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
}

static void from_bf16(size_t n, const void *src, float *dst)
{
	const unsigned char *p = src;
	size_t i = 0;

#if LANES > 4
	for (; i + 8 <= n; i += 8) {
		__m128i brief;

		memcpy(&brief, p + 2 * i, sizeof(brief));
		_mm256_storeu_si256(
		        (__m256i_u *)(dst + i), _mm256_slli_epi32(_mm256_cvtepu16_epi32(brief), 16));
	}
#endif
	for (; i < n; i++)
		dst[i] = float_of_bits((uint32_t)(p[2 * i] | p[2 * i + 1] << 8) << 16);
}

/* To the nearest, ties to even; NaN stays NaN. */
static void to_bf16(size_t n, const float *x, uint16_t *y)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, x + i, sizeof(bits));
		if ((bits & 0x7fffffff) > 0x7f800000)
			y[i] = (uint16_t)(bits >> 16 | 0x40);
		else
			y[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
	}
}
