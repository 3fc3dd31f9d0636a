/* See skinny.h; the kernels are in simd_skinny.h, simd_bf16.h and simd_int8.h. */
#include "worker/math/skinny.h"

#include "worker/math/simd.h"

#include <assert.h>

/* Rows at a time: what they hold stays in cache while outputs are walked. */
#define BLOCK_ROWS 64

static size_t padded(size_t n_in)
{
	return (n_in + MATRIX_GROUP - 1) / MATRIX_GROUP * MATRIX_GROUP;
}

size_t skinny_scratch_bytes(size_t n_rows, size_t n_in)
{
	/* int8: a byte for each number and eight for each group; otherwise at most four a number */
	return n_rows * padded(n_in) * sizeof(float);
}

void skinny_prepare(enum matrix_format format, size_t M, size_t K, const float *x, size_t ldx, void *scratch,
        struct skinny_rows *out)
{
	size_t ld = padded(K), n_groups = ld / MATRIX_GROUP;
	int8_t *q = scratch;
	float *scales = (float *)(void *)(q + M * ld);
	int32_t *shifts = (int32_t *)(scales + M * n_groups);

	*out = (struct skinny_rows){.format = format, .n = M, .n_in = K, .data = scratch, .ld = ld};
	switch (format) {
	case MATRIX_F32:
		out->data = x;
		out->ld = ldx;
		break;
	case MATRIX_BF16:
		simd()->rows_bf16(M, K, x, ldx, scratch, ld);
		break;
	case MATRIX_INT8:
		for (size_t m = 0; m < M; m++)
			simd()->rows_int8(
			        K, x + m * ldx, q + m * ld, scales + m * n_groups, shifts + m * n_groups);
		out->scales = scales;
		out->shifts = shifts;
		break;
	}
}

static void product_f32(const struct matrix *w, size_t begin, size_t end, const struct skinny_rows *x,
        size_t row, size_t n, const float *bias, float *y, size_t ldy)
{
	simd()->skinny(n, end - begin, w->n_in, (const float *)x->data + row * x->ld, x->ld,
	        (const float *)w->data + begin * w->n_in, bias, y, ldy);
}

static void product_bf16(const struct matrix *w, size_t begin, size_t end, const struct skinny_rows *x,
        size_t row, size_t n, const float *bias, float *y, size_t ldy)
{
	const char *rows = x->data;

	simd()->skinny_bf16(n, end - begin, w->n_in, rows + row * x->ld * simd()->row_bf16_bytes, x->ld,
	        (const uint16_t *)w->data + begin * w->n_in, bias, y, ldy);
}

static void product_int8(const struct matrix *w, size_t begin, size_t end, const struct skinny_rows *x,
        size_t row, size_t n, const float *bias, float *y, size_t ldy)
{
	size_t n_groups = x->ld / MATRIX_GROUP;
	const char *panels = w->data;
	struct int8_rows rows = {.n = n,
	        .n_groups = n_groups,
	        .q = (const int8_t *)x->data + row * x->ld,
	        .scales = x->scales + row * n_groups,
	        .shifts = x->shifts + row * n_groups};

	simd()->skinny_int8(&rows, end - begin, panels + begin / MATRIX_PANEL * n_groups * INT8_BLOCK_BYTES,
	        bias, y, ldy);
}

void skinny_product(const struct matrix *w, size_t begin, size_t end, const struct skinny_rows *x,
        const float *bias, float *y, size_t ldy)
{
	static void (*const products[])(const struct matrix *, size_t, size_t, const struct skinny_rows *,
	        size_t, size_t, const float *, float *, size_t) = {
	        [MATRIX_F32] = product_f32, [MATRIX_BF16] = product_bf16, [MATRIX_INT8] = product_int8};

	assert(x->format == w->format && x->n_in == w->n_in);
	for (size_t row = 0; row < x->n; row += BLOCK_ROWS)
		products[w->format](w, begin, end, x, row, x->n - row < BLOCK_ROWS ? x->n - row : BLOCK_ROWS,
		        bias ? bias + begin : NULL, y + row * ldy + begin, ldy);
}
