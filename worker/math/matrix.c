/* See matrix.h; the loops over numbers are in simd_int8.h and simd_formats.h. */
#include "worker/math/matrix.h"

#include "worker/math/simd.h"

#include <string.h>

static size_t groups_of(size_t n_in)
{
	return (n_in + MATRIX_GROUP - 1) / MATRIX_GROUP;
}

/* Of a panel. */
static size_t panel_bytes(size_t n_in)
{
	return groups_of(n_in) * INT8_BLOCK_BYTES;
}

size_t matrix_bytes(enum matrix_format format, size_t n_out, size_t n_in)
{
	switch (format) {
	case MATRIX_F32:
		return n_out * n_in * sizeof(float);
	case MATRIX_BF16:
		return n_out * n_in * sizeof(uint16_t);
	case MATRIX_INT8:
		return (n_out + MATRIX_PANEL - 1) / MATRIX_PANEL * panel_bytes(n_in);
	}
	return 0;
}

/* Up to a panel of rows. */
static void pack_panel(size_t n_in, size_t n, const float *rows, char *panel)
{
	for (size_t k = 0; k < n_in; k += MATRIX_GROUP) {
		size_t some = n_in - k < MATRIX_GROUP ? n_in - k : MATRIX_GROUP;
		char *block = panel + k / MATRIX_GROUP * INT8_BLOCK_BYTES;
		float scales[MATRIX_PANEL] = {0};

		for (size_t i = 0; i < MATRIX_PANEL; i++) {
			int8_t q[MATRIX_GROUP] = {0};

			if (i < n)
				scales[i] = simd()->quantise(some, rows + i * n_in + k, q);
			for (size_t j = 0; j < MATRIX_GROUP; j += 4)
				memcpy(block + sizeof(scales) + j * MATRIX_PANEL + 4 * i, q + j, 4);
		}
		memcpy(block, scales, sizeof(scales));
	}
}

void matrix_pack(const struct matrix *m, size_t begin, size_t n, const float *rows, void *data)
{
	char *to = data;

	switch (m->format) {
	case MATRIX_F32:
		memcpy(to + begin * m->n_in * sizeof(float), rows, n * m->n_in * sizeof(float));
		break;
	case MATRIX_BF16:
		simd()->to_bf16(n * m->n_in, rows, (uint16_t *)data + begin * m->n_in);
		break;
	case MATRIX_INT8:
		to += begin / MATRIX_PANEL * panel_bytes(m->n_in);
		for (size_t i = 0; i < n; i += MATRIX_PANEL, to += panel_bytes(m->n_in))
			pack_panel(
			        m->n_in, n - i < MATRIX_PANEL ? n - i : MATRIX_PANEL, rows + i * m->n_in, to);
		break;
	}
}

void matrix_unpack(const struct matrix *m, size_t begin, size_t n, float *rows)
{
	const char *from = m->data;

	switch (m->format) {
	case MATRIX_F32:
		memcpy(rows, from + begin * m->n_in * sizeof(float), n * m->n_in * sizeof(float));
		break;
	case MATRIX_BF16:
		simd()->from_bf16(n * m->n_in, from + begin * m->n_in * sizeof(uint16_t), rows);
		break;
	case MATRIX_INT8:
		from += begin / MATRIX_PANEL * panel_bytes(m->n_in);
		for (size_t i = 0; i < n; i += MATRIX_PANEL, from += panel_bytes(m->n_in))
			simd()->unpack_int8(m->n_in, n - i < MATRIX_PANEL ? n - i : MATRIX_PANEL, from,
			        rows + i * m->n_in);
		break;
	}
}

const char *matrix_format_name(enum matrix_format format)
{
	static const char *const names[] = {"float32", "bf16", "int8"};

	return names[format];
}
