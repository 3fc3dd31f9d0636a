/*
 * All vector kernels of one level; included only by simd_portable.c and its sisters, which have set LANES,
 * KERNELS (the table's name) and the compiler's target. Internal to math/.
 */
#include "worker/math/simd.h"
#include "worker/math/simd_vector.h"

#include "worker/math/simd_activation.h"
#include "worker/math/simd_formats.h"
#include "worker/math/simd_product.h"
#include "worker/math/simd_rows.h"
/* after what they need */
#include "worker/math/simd_int8.h"
#include "worker/math/simd_panels.h"
#if defined(__AMX_BF16__)
#include "worker/math/simd_amx.h"
#undef PAIRS_KERNEL
#define PAIRS_KERNEL product_amx
#endif

const struct simd_kernels KERNELS = {
        .product_f32 = product_f32,
        .product_bf16 = product_bf16,
        .product_pairs = PAIRS_KERNEL,
        .product_int8 = product_int8,
        .rows_int8 = rows_int8,
        .panel_of_rows = panel_of_rows,
        .pairs_turn = PAIRS_TURN_KERNEL,
        .quantise = quantise,
        .unpack_int8 = unpack_int8,
        .to_bf16 = to_bf16,
        .activation_forward = activation_forward_any,
        .activation_backward = activation_backward_any,
        .gated_forward = gated_forward_any,
        .gated_backward = gated_backward_any,
        .layernorm = layernorm,
        .layernorm_backward = layernorm_backward_row,
        .rmsnorm = rmsnorm,
        .rmsnorm_backward = rmsnorm_backward_row,
        .max = max_of,
        .exp_sum = exp_sum,
        .dot = dot,
        .dot_rows = dot_rows,
        .axpy = axpy,
        .axpy_rows = axpy_rows,
        .add = add,
        .scale = scale_by,
        .scale_add = scale_add,
        .softmax_backward = softmax_backward,
        .rotate = rotate,
        .edit = edit,
        .edit_backward = edit_backward_row,
        .from_f16 = from_f16,
        .from_bf16 = from_bf16,
};
