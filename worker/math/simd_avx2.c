/* The vector kernels for AVX2 with FMA and F16C; only simd() hands them out. See simd.h. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#define LANES 8
#define KERNELS simd_avx2
#include "worker/math/simd_body.h"
#endif
