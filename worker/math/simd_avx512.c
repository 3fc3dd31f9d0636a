/* The vector kernels for AVX-512 (F, VL, DQ); only simd() hands them out. See simd.h. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512dq,avx2,fma,f16c")
#define LANES 16
#define KERNELS simd_avx512
#include "worker/math/simd_body.h"
#endif
