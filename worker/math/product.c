/* See product.h; the kernels are in simd_product.h and simd_int8.h. */
#include "worker/math/product.h"

#include "worker/math/simd.h"

#include <assert.h>
#include <string.h>

/* Rows of int8 at a time: what they hold stays in cache while outputs are walked. */
#define INT8_ROWS 64

/* Rows of bf16 that may be read at once. */
#define ROWS_LOT ((size_t)16)

static size_t padded(size_t n_in)
{
	return (n_in + MATRIX_GROUP - 1) / MATRIX_GROUP * MATRIX_GROUP;
}

size_t product_scratch_bytes(size_t n_rows, size_t n_in)
{
	size_t lots = (n_rows + ROWS_LOT - 1) / ROWS_LOT;

	/* int8: a byte for each number and eight for each group; bf16: two a number, read in whole lots of
	 * rows, and of the last some bytes past its end */
	return lots * ROWS_LOT * padded(n_in) * sizeof(uint16_t) + CACHE_LINE;
}

static void rows_to_bf16(const struct product_rows *r, size_t begin, size_t end)
{
	uint16_t *to = (uint16_t *)r->data + begin * r->ld;

	for (size_t m = begin; m < end; m++, to += r->ld) {
		simd()->to_bf16(r->n_in, r->x + m * r->ldx, to);
		memset(to + r->n_in, 0, (r->ld - r->n_in) * sizeof(*to));
	}
}

static void rows_to_int8(const struct product_rows *r, size_t begin, size_t end)
{
	size_t n_groups = r->ld / MATRIX_GROUP;

	for (size_t m = begin; m < end; m++)
		simd()->rows_int8(r->n_in, r->x + m * r->ldx, (int8_t *)r->data + m * r->ld,
		        r->scales + m * n_groups, r->shifts + m * n_groups);
}

void product_place(enum matrix_format format, bool exact, size_t M, size_t K, const float *x, size_t ldx,
        void *scratch, struct product_rows *out)
{
	*out = (struct product_rows){.format = format, .n = M, .n_in = K, .x = x, .ldx = ldx};
	out->pairs = format == MATRIX_BF16 && !exact && simd()->product_pairs;
	out->data = scratch;
	out->ld = padded(K);
	if (format == MATRIX_INT8) {
		out->scales = (float *)(void *)((int8_t *)scratch + M * out->ld);
		out->shifts = (int32_t *)(void *)(out->scales + M * (out->ld / MATRIX_GROUP));
	} else if (!out->pairs) {
		out->data = (float *)x;
		out->ld = ldx;
	}
}

void product_fill(const struct product_rows *rows, size_t begin, size_t end)
{
	if (rows->format == MATRIX_INT8)
		rows_to_int8(rows, begin, end);
	else if (rows->pairs)
		rows_to_bf16(rows, begin, end);
}

void product_prepare(enum matrix_format format, bool exact, size_t M, size_t K, const float *x, size_t ldx,
        void *scratch, struct product_rows *out)
{
	product_place(format, exact, M, K, x, ldx, scratch, out);
	product_fill(out, 0, M);
}

static void forward_int8(const struct matrix *w, size_t begin, size_t end, const struct product_rows *x,
        const float *bias, float *y, size_t ldy)
{
	size_t n_groups = x->ld / MATRIX_GROUP;
	const char *panels = w->data;

	for (size_t row = 0; row < x->n; row += INT8_ROWS) {
		struct int8_rows rows = {.n = x->n - row < INT8_ROWS ? x->n - row : INT8_ROWS,
		        .n_groups = n_groups,
		        .q = (const int8_t *)x->data + row * x->ld,
		        .scales = x->scales + row * n_groups,
		        .shifts = x->shifts + row * n_groups};

		simd()->product_int8(&rows, end - begin,
		        panels + begin / MATRIX_PANEL * matrix_panel_bytes(w->format, w->n_in), bias,
		        y + row * ldy, ldy);
	}
}

void product_forward(const struct matrix *w, size_t begin, size_t end, const struct product_rows *x,
        const float *bias, float *y, size_t ldy)
{
	size_t panel = matrix_panel_bytes(w->format, w->n_in);
	struct product_call c = {.M = x->n,
	        .N = end - begin,
	        .K = w->n_in,
	        .block = product_block(w->n_in),
	        .x = x->data,
	        .ldx = x->ld,
	        .w = (const char *)w->data + begin / MATRIX_PANEL * panel,
	        .panel = panel,
	        .bias = bias ? bias + begin : NULL,
	        .y = y + begin,
	        .ldy = ldy};

	assert(x->format == w->format && x->n_in == w->n_in);
	if (!c.M || !c.N)
		return;
	if (w->format == MATRIX_INT8)
		forward_int8(w, begin, end, x, c.bias, c.y, ldy);
	else if (w->format == MATRIX_F32)
		simd()->product_f32(&c);
	else if (x->pairs)
		simd()->product_pairs(&c);
	else
		simd()->product_bf16(&c);
}

/* ---- the way back ---- */

/* Inputs at a time: enough of them to make up for gathering rows. */
#define BACK_INPUTS (PRODUCT_BACK_FLOATS / PRODUCT_BLOCK)

/* A panel of inputs k .. k + n - 1 and MATRIX_PANEL outputs, (MATRIX_PANEL, MATRIX_PANEL), of a panel of w.
 */
static void panel_turn(const struct matrix *w, const char *panel, size_t k, size_t n, float *to)
{
	float rows[MATRIX_PANEL * MATRIX_PANEL];
	const float *from = (const float *)(const void *)panel;

	if (w->format == MATRIX_F32) {
		simd()->panel_of_rows(n, MATRIX_PANEL, from + k * MATRIX_PANEL, MATRIX_PANEL, to);
		return;
	}
	/* (n/2, outputs, 2) */
	simd()->from_bf16((n + 1) / 2 * 2 * MATRIX_PANEL, panel + k * MATRIX_PANEL * sizeof(uint16_t), rows);
	memset(to, 0, sizeof(rows));
	for (size_t i = 0; i < n; i++)
		for (size_t o = 0; o < MATRIX_PANEL; o++)
			to[o * MATRIX_PANEL + i] = rows[i / 2 * 2 * MATRIX_PANEL + 2 * o + i % 2];
}

/* A block of outputs, as the terms of inputs k .. k + n - 1: panels of inputs, one behind the other. What is
 * read of a panel lies together; the next one's is asked for meanwhile. */
static void block_turn(const struct matrix *w, size_t first, size_t n_out, size_t k, size_t n, float *to)
{
	size_t bytes = matrix_panel_bytes(w->format, w->n_in);
	size_t row = MATRIX_PANEL * (w->format == MATRIX_F32 ? sizeof(float) : sizeof(uint16_t));
	const char *panel = (const char *)w->data + first / MATRIX_PANEL * bytes;

	for (size_t o = 0; o < n_out; o += MATRIX_PANEL, panel += bytes)
		for (size_t i = 0; i < n; i += MATRIX_PANEL) {
			for (size_t j = 0; j < MATRIX_PANEL * row; j += CACHE_LINE)
				__builtin_prefetch(panel + bytes + (k + i) * row + j);
			panel_turn(w, panel, k + i, n - i < MATRIX_PANEL ? n - i : MATRIX_PANEL,
			        to + i * PRODUCT_BLOCK + o * MATRIX_PANEL);
		}
}

/* The same of pairs, for rows that are bf16. */
static void block_turn_pairs(
        const struct matrix *w, size_t first, size_t n_out, size_t k, size_t n, uint16_t *to)
{
	size_t bytes = matrix_panel_bytes(w->format, w->n_in);
	const uint16_t *panel = (const uint16_t *)w->data + first / MATRIX_PANEL * bytes / sizeof(*panel);

	for (size_t o = 0; o < n_out; o += MATRIX_PANEL, panel += bytes / sizeof(*panel))
		for (size_t i = 0; i < n; i += MATRIX_PANEL)
			simd()->pairs_turn(n - i < MATRIX_PANEL ? n - i : MATRIX_PANEL,
			        panel + (k + i) * MATRIX_PANEL, to + i * PRODUCT_BLOCK + o * MATRIX_PANEL);
}

void product_backward(const struct matrix *w, const struct product_rows *dy, float *turned, bool add,
        float *dx, size_t lddx)
{
	size_t block = product_block(w->n_out), number = dy->pairs ? sizeof(uint16_t) : sizeof(float);
	struct product_call c = {.M = dy->n,
	        .ldx = dy->ld,
	        .w = turned,
	        .panel = PRODUCT_BLOCK * MATRIX_PANEL * number,
	        .ldy = lddx};

	assert(w->format != MATRIX_INT8 && dy->format == w->format && dy->n_in == w->n_out);
	for (size_t o = 0; c.M && o < w->n_out; o += block) {
		c.K = c.block = w->n_out - o < block ? w->n_out - o : block;
		c.x = (const char *)dy->data + o * number;
		c.add = add || o > 0;
		for (size_t k = 0; k < w->n_in; k += BACK_INPUTS) {
			c.N = w->n_in - k < BACK_INPUTS ? w->n_in - k : BACK_INPUTS;
			c.y = dx + k;
			if (dy->pairs) {
				block_turn_pairs(w, o, c.K, k, c.N, (uint16_t *)(void *)turned);
				simd()->product_pairs(&c);
			} else {
				block_turn(w, o, c.K, k, c.N, turned);
				simd()->product_f32(&c);
			}
		}
	}
}
