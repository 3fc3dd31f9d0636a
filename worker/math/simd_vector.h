/*
 * One vector of LANES floats and the mathematics on it, in GCC's vector extensions so that every level shares
 * the source; included only by simd_body.h, for a LANES that simd_portable.c and its sisters set.
 *
 * The polynomials are Chebyshev interpolants fitted for this file with 40-digit arithmetic; the error each
 * adds is stated beside it and lies below float32's rounding. Internal to math/.
 */
#ifndef REDD_MATH_SIMD_VECTOR_H
#define REDD_MATH_SIMD_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if LANES > 4
#include <immintrin.h>
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

static inline vf vf_set(float a)
{
	return a - (vf){0};
}

static inline vi vi_set(int32_t a)
{
	return a - (vi){0};
}

static inline vf vf_load(const float *p)
{
	vf v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void vf_store(float *p, vf v)
{
	memcpy(p, &v, sizeof(v));
}

#if LANES == 8
/* Lanes below n. */
static inline __m256i first_lanes(size_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* The first n <= LANES numbers, then zeros. */
static inline vf vf_load_part(const float *p, size_t n)
{
#if LANES == 16
	return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif LANES == 8
	return _mm256_maskload_ps(p, first_lanes(n));
#else
	vf v = {0};

	memcpy(&v, p, n * sizeof(float));
	return v;
#endif
}

static inline void vf_store_part(float *p, vf v, size_t n)
{
#if LANES == 16
	_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#elif LANES == 8
	_mm256_maskstore_ps(p, first_lanes(n), v);
#else
	memcpy(p, &v, n * sizeof(float));
#endif
}

/* a * b + c, fused wherever the processor that is compiled for has it. */
static inline vf vf_madd(vf a, vf b, vf c)
{
#if LANES == 16
	return _mm512_fmadd_ps(a, b, c);
#elif LANES == 8
	return _mm256_fmadd_ps(a, b, c);
#elif defined(__FP_FAST_FMAF)
	return (vf){__builtin_fmaf(a[0], b[0], c[0]), __builtin_fmaf(a[1], b[1], c[1]),
	        __builtin_fmaf(a[2], b[2], c[2]), __builtin_fmaf(a[3], b[3], c[3])};
#else
	return a * b + c;
#endif
}

/* mask ? a : b; lanes of mask are 0 or -1, as comparisons give them. */
static inline vf vf_select(vi mask, vf a, vf b)
{
	return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* The larger; b where one is NaN. */
static inline vf vf_max(vf a, vf b)
{
#if LANES == 16
	return _mm512_max_ps(a, b);
#elif LANES == 8
	return _mm256_max_ps(a, b);
#else
	return vf_select(a > b, a, b);
#endif
}

/* The smaller; b where one is NaN. */
static inline vf vf_min(vf a, vf b)
{
#if LANES == 16
	return _mm512_min_ps(a, b);
#elif LANES == 8
	return _mm256_min_ps(a, b);
#else
	return vf_select(a < b, a, b);
#endif
}

/* x moved into [low, high]; NaN stays NaN. */
static inline vf vf_clamp(vf x, float low, float high)
{
	return vf_max(vf_set(low), vf_min(vf_set(high), x));
}

static inline vf vf_abs(vf x)
{
	return (vf)((vi)x & vi_set(INT32_MAX));
}

/* The next `left` numbers, as many as there is room for, then zeros. */
static inline vf vf_load_some(const float *p, size_t left)
{
	return left < LANES ? vf_load_part(p, left) : vf_load(p);
}

/* The first n <= LANES lanes, then zeros. */
static inline vf vf_first(vf v, size_t n)
{
	float lanes[LANES];

	memcpy(lanes, &v, sizeof(lanes));
	return vf_load_part(lanes, n);
}

/* Partial sums of a reduction: number i goes to lane i % 16 on every level, so that the level does not show.
 */
struct lanes16 {
	vf v[16 / LANES];
};

typedef float v4 __attribute__((vector_size(16)));

/* The upper half folded onto the lower until four are left. */
static inline v4 lanes16_fold(struct lanes16 a)
{
#if LANES == 16
	__m256 low = _mm512_castps512_ps256(a.v[0]);
	__m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v[0]), 1));
	__m256 sum8 = _mm256_add_ps(low, high);

	return _mm256_castps256_ps128(sum8) + _mm256_extractf128_ps(sum8, 1);
#elif LANES == 8
	__m256 sum8 = a.v[0] + a.v[1];

	return _mm256_castps256_ps128(sum8) + _mm256_extractf128_ps(sum8, 1);
#else
	return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
#endif
}

/* Lanes summed by folding on until one is left. */
static inline float lanes16_sum(struct lanes16 a)
{
	v4 s = lanes16_fold(a);

	return (s[0] + s[2]) + (s[1] + s[3]);
}

/* Four such sums at once. */
static inline v4 lanes16_sums(const struct lanes16 a[4])
{
	v4 r0 = lanes16_fold(a[0]), r1 = lanes16_fold(a[1]), r2 = lanes16_fold(a[2]), r3 = lanes16_fold(a[3]);
	v4 even01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
	v4 even23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
	v4 odd01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
	v4 odd23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
	v4 first = __builtin_shufflevector(even01, even23, 0, 1, 4, 5) +
	           __builtin_shufflevector(odd01, odd23, 0, 1, 4, 5);
	v4 second = __builtin_shufflevector(even01, even23, 2, 3, 6, 7) +
	            __builtin_shufflevector(odd01, odd23, 2, 3, 6, 7);

	return first + second;
}

/* exp(x + low), low small against x: the low part carries digits of an argument that x cannot hold.
 * x = k ln2 + r, |r| <= ln2/2; exp(r) = 1 + r + r^2 P(r), P adding at most 1.1e-8. NaN stays NaN. */
static inline vf vf_exp2part(vf x, vf low)
{
	const vf magic = vf_set(0x1.8p23f); /* adding it rounds to an integer kept in the low mantissa bits */
	vf k, r, p;
	vi whole, half;

	x = vf_clamp(x, -110, 89);
	k = vf_madd(x, vf_set(1.44269504f), magic);
	whole = (vi)k - (vi)magic;
	k -= magic;
	r = vf_madd(k, vf_set(-0x1.62ep-1f), x); /* ln2 cut to 12 bits: exact in the product */
	r = vf_madd(k, vf_set(-0x1.0bfbe8p-15f), r) + low;
	p = vf_madd(r, vf_set(0.001392625083f), vf_set(0.008363232884f));
	p = vf_madd(p, r, vf_set(0.04166655421f));
	p = vf_madd(p, r, vf_set(0.1666657667f));
	p = vf_madd(p, r, vf_set(0.5f));
	p = vf_madd(p, r * r, r) + vf_set(1);
	/* 2^k in two factors, so that neither leaves the range of normal numbers */
	half = whole >> 1;
	p *= (vf)((half + 127) << 23);
	return p * (vf)((whole - half + 127) << 23);
}

static inline vf vf_exp(vf x)
{
	return vf_exp2part(x, vf_set(0));
}

/* tanh: x + x^3 Q(x^2) near zero (Q adding at most 2.3e-8), 1 - 2/(exp(2|x|) + 1) elsewhere. */
static inline vf vf_tanh(vf x)
{
	vf a = vf_abs(x);
	vf z = x * x;
	vf far = vf_set(1) - vf_set(2) / (vf_exp(a + a) + vf_set(1));
	vf q = vf_madd(z, vf_set(-0.005923726206f), vf_set(0.02087346058f));
	vi sign = (vi)x & vi_set(INT32_MIN);

	q = vf_madd(q, z, vf_set(-0.05382375887f));
	q = vf_madd(q, z, vf_set(0.1333258371f));
	q = vf_madd(q, z, vf_set(-0.3333332702f));
	return vf_select(a < vf_set(0.65f), vf_madd(q * z, x, x), (vf)((vi)far | sign));
}

/* The logistic function and, without cancellation, its complement. */
static inline vf vf_sigmoid(vf x, vf *complement)
{
	vf e = vf_exp(-vf_abs(x));
	vf d = vf_set(1) / (vf_set(1) + e);
	vi negative = x < vf_set(0);

	*complement = vf_select(negative, d, e * d);
	return vf_select(negative, e * d, d);
}

/* The normal distribution function Phi(x), its density in *density. Phi(-a) = exp(-a^2/2) t R(2t - 1) with
 * t = 3/(3 + a), R adding at most 1.2e-9 relative for 0 <= a <= 15, beyond which all of it is 0. */
static inline vf vf_phi(vf x, vf *density)
{
	vf a = vf_abs(vf_clamp(x, -20, 20));
	vf high = (vf)((vi)a & vi_set(~0xfff)); /* 12 bits: the square is exact */
	vf e = vf_exp2part(high * high * vf_set(-0.5f), (a - high) * (a + high) * vf_set(-0.5f));
	vf t = vf_set(3) / (vf_set(3) + a);
	vf u = t + t - vf_set(1);
	vf r = vf_madd(u, vf_set(1.849729057e-5f), vf_set(-4.444131807e-5f));

	r = vf_madd(r, u, vf_set(-8.15697736e-5f));
	r = vf_madd(r, u, vf_set(0.000344825517f));
	r = vf_madd(r, u, vf_set(0.0003413857748f));
	r = vf_madd(r, u, vf_set(-0.002323306717f));
	r = vf_madd(r, u, vf_set(-0.003487429656f));
	r = vf_madd(r, u, vf_set(0.01575425397f));
	r = vf_madd(r, u, vf_set(0.07667255889f));
	r = vf_madd(r, u, vf_set(0.1697773296f));
	r = vf_madd(r, u, vf_set(0.2430278969f));
	r *= t * e;
	*density = e * vf_set(0.398942280f);
	return vf_select(x < vf_set(0), r, vf_set(1) - r);
}

#endif
