/* The vector kernels for any processor. See simd.h. */
#define LANES 4
#define KERNELS simd_portable
#include "worker/math/simd_body.h"
