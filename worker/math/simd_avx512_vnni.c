/* The vector kernels for AVX-512 (F, VL, DQ, BW) with VNNI; only simd() hands them out. See simd.h. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma,f16c")
#define LANES 16
#define KERNELS simd_avx512_vnni
#include "worker/math/simd_body.h"
#endif
