/*
 * Frozen weights (N outputs, K inputs) in the formats that products stream, and what becomes of a float32 row
 * in each. Rounding is to the nearest, ties to even.
 *
 *   float32  panels of MATRIX_PANEL outputs, one after the other: (K, PANEL).
 *   bf16     16 bits, as files hold them: 8 bits of mantissa. Panels (K/2, PANEL, 2).
 *   int8     integers in -127 .. 127 with one float32 scale for every MATRIX_GROUP inputs of an output: the
 *            largest magnitude of the group / 127. A panel is a block for each group: its scales (PANEL),
 * then for each four inputs those of each output in turn (GROUP/4, PANEL, 4).
 *
 * What lies beyond N or K is zero.
 *
 * Thread: any; a matrix does not change once packed.
 */
#ifndef REDD_MATH_MATRIX_H
#define REDD_MATH_MATRIX_H

#include <stddef.h>

enum matrix_format { MATRIX_F32, MATRIX_BF16, MATRIX_INT8 };

#define MATRIX_GROUP 64
#define MATRIX_PANEL 16

struct matrix {
	enum matrix_format format;
	size_t n_out, n_in; /* N, K */
	const void *data;   /* borrowed; matrix_bytes() long, at a multiple of 64 */
};

/* Bytes of a matrix in a format, and of a panel of it. Padding apart they are 4, 2 and 1.0625 a number. */
size_t matrix_bytes(enum matrix_format format, size_t n_out, size_t n_in);
size_t matrix_panel_bytes(enum matrix_format format, size_t n_in);
/* Outputs begin .. begin + n - 1 from rows (n,K) into `data`, which is m's own memory. begin, and unless they
 * are the last so is n, a multiple of MATRIX_PANEL. A number that is not finite makes its int8 group NaN. */
void matrix_pack(const struct matrix *m, size_t begin, size_t n, const float *rows, void *data);
/* The same into bf16 from rows (n,K) that are bf16 already, at a multiple of 4; K even. */
void matrix_pack_bf16(const struct matrix *m, size_t begin, size_t n, const void *rows, void *data);
/* Rows (n,K) overwritten with outputs begin .. begin + n - 1. begin is a multiple of MATRIX_PANEL. */
void matrix_unpack(const struct matrix *m, size_t begin, size_t n, float *rows);
/* "float32", "bf16", "int8". */
const char *matrix_format_name(enum matrix_format format);

#endif
