/* The vector kernels for AVX-512 with VNNI and BF16, and products of bf16 by tiles (AMX); only simd() hands
 * them out. See simd.h. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx512bf16,amx-tile,amx-bf16,avx2,fma,f16c")
#define LANES 16
#define KERNELS simd_amx
#include "worker/math/simd_body.h"
#endif
