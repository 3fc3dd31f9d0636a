/* See matrix.h; the loops over numbers are in simd_int8.h and simd_formats.h. */
#include "worker/math/matrix.h"

#include "worker/math/simd.h"

#include <string.h>

size_t matrix_panel_bytes(enum matrix_format format, size_t n_in)
{
	switch (format) {
	case MATRIX_F32:
		return n_in * MATRIX_PANEL * sizeof(float);
	case MATRIX_BF16:
		return (n_in + 1) / 2 * MATRIX_PANEL * 2 * sizeof(uint16_t);
	case MATRIX_INT8:
		return (n_in + MATRIX_GROUP - 1) / MATRIX_GROUP * INT8_BLOCK_BYTES;
	}
	return 0;
}

size_t matrix_bytes(enum matrix_format format, size_t n_out, size_t n_in)
{
	return (n_out + MATRIX_PANEL - 1) / MATRIX_PANEL * matrix_panel_bytes(format, n_in);
}

/* ---- panels of up to MATRIX_PANEL rows (n,K) ---- */

/* Numbers of a row rounded at a time. */
#define BF16_CHUNK ((size_t)256)

static void pack_bf16(size_t K, size_t n, const float *rows, char *panel)
{
	_Alignas(64) uint16_t some[MATRIX_PANEL * BF16_CHUNK];
	size_t count, words;

	for (size_t k = 0; k < K; k += BF16_CHUNK, panel += words * MATRIX_PANEL * sizeof(uint32_t)) {
		count = K - k < BF16_CHUNK ? K - k : BF16_CHUNK;
		words = (count + 1) / 2;
		for (size_t i = 0; i < n; i++) {
			some[i * BF16_CHUNK + 2 * words - 1] = 0;
			simd()->to_bf16(count, rows + i * K + k, some + i * BF16_CHUNK);
		}
		/* pairs are moved as the 32-bit words that they are */
		simd()->panel_of_rows(
		        n, words, (const float *)(const void *)some, BF16_CHUNK / 2, (float *)(void *)panel);
	}
}

static void pack_int8(size_t K, size_t n, const float *rows, char *panel)
{
	for (size_t k = 0; k < K; k += MATRIX_GROUP, panel += INT8_BLOCK_BYTES) {
		size_t some = K - k < MATRIX_GROUP ? K - k : MATRIX_GROUP;
		float scales[MATRIX_PANEL] = {0};

		for (size_t i = 0; i < MATRIX_PANEL; i++) {
			int8_t q[MATRIX_GROUP] = {0};

			if (i < n)
				scales[i] = simd()->quantise(some, rows + i * K + k, q);
			for (size_t j = 0; j < MATRIX_GROUP; j += 4)
				memcpy(panel + sizeof(scales) + j * MATRIX_PANEL + 4 * i, q + j, 4);
		}
		memcpy(panel, scales, sizeof(scales));
	}
}

static void pack_panel(enum matrix_format format, size_t K, size_t n, const float *rows, char *panel)
{
	switch (format) {
	case MATRIX_F32:
		simd()->panel_of_rows(n, K, rows, K, (float *)(void *)panel);
		break;
	case MATRIX_BF16:
		pack_bf16(K, n, rows, panel);
		break;
	case MATRIX_INT8:
		pack_int8(K, n, rows, panel);
		break;
	}
}

static void unpack_panel(enum matrix_format format, size_t K, size_t n, const char *panel, float *rows)
{
	if (format == MATRIX_INT8) {
		simd()->unpack_int8(K, n, panel, rows);
		return;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < K; k++)
			if (format == MATRIX_F32)
				memcpy(rows + i * K + k, panel + (k * MATRIX_PANEL + i) * sizeof(*rows),
				        sizeof(*rows));
			else
				simd()->from_bf16(1,
				        panel + ((k / 2 * MATRIX_PANEL + i) * 2 + k % 2) * sizeof(uint16_t),
				        rows + i * K + k);
}

/* ---- ranges of outputs ---- */

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

void matrix_pack(const struct matrix *m, size_t begin, size_t n, const float *rows, void *data)
{
	size_t bytes = matrix_panel_bytes(m->format, m->n_in);
	char *to = (char *)data + begin / MATRIX_PANEL * bytes;

	for (size_t i = 0; i < n; i += MATRIX_PANEL, to += bytes)
		pack_panel(m->format, m->n_in, smaller(MATRIX_PANEL, n - i), rows + i * m->n_in, to);
}

void matrix_pack_bf16(const struct matrix *m, size_t begin, size_t n, const void *rows, void *data)
{
	size_t bytes = matrix_panel_bytes(MATRIX_BF16, m->n_in);
	const char *from = rows;
	char *to = (char *)data + begin / MATRIX_PANEL * bytes;

	for (size_t i = 0; i < n; i += MATRIX_PANEL, to += bytes)
		simd()->panel_of_rows(smaller(MATRIX_PANEL, n - i), m->n_in / 2,
		        (const float *)(const void *)(from + i * m->n_in * sizeof(uint16_t)), m->n_in / 2,
		        (float *)(void *)to);
}

void matrix_unpack(const struct matrix *m, size_t begin, size_t n, float *rows)
{
	size_t bytes = matrix_panel_bytes(m->format, m->n_in);
	const char *from = (const char *)m->data + begin / MATRIX_PANEL * bytes;

	for (size_t i = 0; i < n; i += MATRIX_PANEL, from += bytes)
		unpack_panel(m->format, m->n_in, smaller(MATRIX_PANEL, n - i), from, rows + i * m->n_in);
}

const char *matrix_format_name(enum matrix_format format)
{
	static const char *const names[] = {"float32", "bf16", "int8"};

	return names[format];
}
