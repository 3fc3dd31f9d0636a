/*
 * Products of pairs of bf16 by tiles of 16 rows, 32 terms and 16 outputs (AMX); included only by simd_body.h,
 * where the level has them. A panel of matrix.h lies as a tile of weights wants it. All terms of an output
 * are summed in a tile, in steps of 32, wherever its row stands. Internal to math/.
 *
 * Rows are read 16 at a time and terms 32: past the last ones lies scratch, see product_scratch_bytes().
 * Weights past the last term may be anything and are replaced by zeros.
 */
#define AMX_ROWS 16
#define AMX_TERMS 32
#define AMX_LINE 64 /* bytes of a tile's row */
/* Bytes of x that stay in the second level cache while all weights pass by. */
#define AMX_CACHE ((size_t)3 << 19)

/* What LDTILECFG reads: palette 1, every tile 16 rows of 64 bytes. */
struct amx_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/* The intrinsics do not tell the compiler what they read: let it be written before. */
INLINE void amx_settle(void)
{
	__asm__ volatile("" ::: "memory");
}

static void amx_begin(void)
{
	_Alignas(64) struct amx_config config = {.palette = 1};

	for (size_t i = 0; i < 8; i++) {
		config.row_bytes[i] = AMX_LINE;
		config.rows[i] = AMX_ROWS;
	}
	amx_settle();
	_tile_loadconfig(&config);
}

/* Terms of one step: x and ldx in bytes; w and, of two panels, next. Sums are in tiles 0 .. 3,
 * rows by panels. */
INLINE void amx_step(bool tall, bool wide, const char *x, size_t ldx, const char *w, const char *next)
{
	_tile_loadd(4, x, ldx);
	_tile_loadd(6, w, AMX_LINE);
	_tile_dpbf16ps(0, 4, 6);
	if (wide) {
		_tile_loadd(7, next, AMX_LINE);
		_tile_dpbf16ps(1, 4, 7);
	}
	if (tall) {
		_tile_loadd(5, x + AMX_ROWS * ldx, ldx);
		_tile_dpbf16ps(2, 5, 6);
		if (wide)
			_tile_dpbf16ps(3, 5, 7);
	}
}

/* The last K terms, fewer than AMX_TERMS. */
INLINE void amx_last_step(
        bool tall, bool wide, size_t K, const char *x, size_t ldx, const char *w, size_t panel)
{
	_Alignas(64) char last[2][AMX_TERMS / 2 * AMX_LINE] = {0};

	for (size_t p = 0; p < (wide ? 2 : 1); p++)
		memcpy(last[p], w + p * panel, (K + 1) / 2 * AMX_LINE);
	amx_settle();
	amx_step(tall, wide, x, ldx, last[0], last[1]);
}

/* sums (tall ? 32 : 16, wide ? 32 : 16), row distance 32, of all terms of a call. */
INLINE void amx_sums(
        bool tall, bool wide, const struct product_call *c, const char *x, const char *w, float *sums)
{
	const size_t ldx = c->ldx * sizeof(uint16_t), row = 2 * AMX_LINE;
	size_t k = 0;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (; k + AMX_TERMS <= c->K; k += AMX_TERMS, x += AMX_LINE, w += AMX_TERMS / 2 * AMX_LINE)
		amx_step(tall, wide, x, ldx, w, w + c->panel);
	if (k < c->K)
		amx_last_step(tall, wide, c->K - k, x, ldx, w, c->panel);
	_tile_stored(0, sums, row);
	if (wide)
		_tile_stored(1, sums + MATRIX_PANEL, row);
	if (tall)
		_tile_stored(2, sums + 2 * AMX_ROWS * MATRIX_PANEL, row);
	if (tall && wide)
		_tile_stored(3, sums + (2 * AMX_ROWS + 1) * MATRIX_PANEL, row);
}

static void amx_store(
        const struct product_call *c, size_t rows, size_t at, size_t n, const float *sums, float *y)
{
	const float *bias = c->bias ? c->bias + at : NULL;
	size_t i;

	for (size_t m = 0; m < rows; m++, y += c->ldy, sums += 2 * MATRIX_PANEL) {
		for (i = 0; i + LANES <= n; i += LANES) {
			vf s = vf_load(sums + i);

			s = c->add ? vf_load(y + i) + s : s;
			vf_store(y + i, bias ? s + vf_load(bias + i) : s);
		}
		for (; i < n; i++) {
			float s = c->add ? y[i] + sums[i] : sums[i];

			y[i] = bias ? s + bias[i] : s;
		}
	}
}

/* Up to 32 rows from m on and 32 outputs from `at` on. */
static void amx_tile(const struct product_call *c, size_t m, size_t rows, size_t at)
{
	_Alignas(64) float sums[4 * AMX_ROWS * MATRIX_PANEL];
	const char *x = (const char *)c->x + m * c->ldx * sizeof(uint16_t);
	const char *w = (const char *)c->w + at / MATRIX_PANEL * c->panel;
	size_t n = c->N - at < 2 * MATRIX_PANEL ? c->N - at : 2 * MATRIX_PANEL;
	bool tall = rows > AMX_ROWS, wide = n > MATRIX_PANEL;

	if (tall && wide)
		amx_sums(true, true, c, x, w, sums);
	else if (tall)
		amx_sums(true, false, c, x, w, sums);
	else if (wide)
		amx_sums(false, true, c, x, w, sums);
	else
		amx_sums(false, false, c, x, w, sums);
	amx_store(c, rows, at, n, sums, c->y + m * c->ldy + at);
}

static void product_amx(const struct product_call *c)
{
	size_t most = AMX_CACHE / (c->K * sizeof(uint16_t) + 1) / (2 * AMX_ROWS) * (2 * AMX_ROWS);
	size_t rows, some;

	most = most ? most : 2 * AMX_ROWS;
	amx_begin();
	for (size_t row = 0; row < c->M; row += rows) {
		rows = c->M - row < most ? c->M - row : most;
		for (size_t at = 0; at < c->N; at += 2 * MATRIX_PANEL)
			for (size_t m = 0; m < rows; m += some) {
				some = rows - m < 2 * AMX_ROWS ? rows - m : 2 * AMX_ROWS;
				amx_tile(c, row + m, some, at);
			}
	}
	_tile_release();
}
