/*
 * Products with float32 or bf16 weights in the panels of matrix.h, compiled once per level; included only by
 * simd_body.h. Internal to math/.
 *
 * One output is one sum in one order: blocks of product_block() terms, each begun at zero and added up term
 * by term, fused; blocks added to one another in turn. Every level keeps to it, so that neither a row's
 * neighbours nor the processor show, except where pairs of bf16 are multiplied and where nothing is fused. A
 * tile is a few rows by the outputs of a panel or more: each weight is loaded once for its rows, each number
 * of x once for its outputs, and the sums stay in registers for a whole block.
 */
#if LANES == 16
#define MAX_M 12 /* 24 sums, 2 of w, 1 of x: 27 of 32 registers */
#define WIDE 2   /* panels of a tile */
#define FEW_WIDE 4
#elif LANES == 8
#define MAX_M 6 /* 12 + 2 + 1 of 16 */
#define WIDE 1
#define FEW_WIDE 2
#else
#define MAX_M 2 /* 8 + 4 + 1 of 16 */
#define WIDE 1
#define FEW_WIDE 1
#endif
/* With so few rows tiles are wider, or each sum would wait for its last term. */
#define FEW_M 2
#define PANEL_VECTORS (MATRIX_PANEL / LANES)

#define INLINE static inline __attribute__((always_inline))

/* Bytes of x that leave room for weights in the cache of a core: of larger ones, rows and blocks are walked
 * so that a part of x stays while all weights pass by; of others, x stays while weights are read as they lie.
 */
#define PRODUCT_CACHE ((size_t)256 << 10)
#define PRODUCT_ROWS ((size_t)192)
/* Bytes from row to row of x where it is gathered; outputs that make up for gathering. */
#define GATHERED_BYTES ((PRODUCT_BLOCK + 16) * sizeof(float))
#define GATHER_OUTPUTS 256
/* Bytes of a panel that tiles of few rows ask for ahead of their turn. */
#define PRODUCT_AHEAD 1024

enum product_kind {
	PRODUCT_F32,
	PRODUCT_TURNED, /* x is (K,M) */
	PRODUCT_BF16,   /* weights bf16 */
	PRODUCT_PAIRS   /* weights and x bf16, multiplied in pairs */
};

/* Of a number. */
INLINE size_t weight_bytes(enum product_kind kind)
{
	return kind == PRODUCT_F32 || kind == PRODUCT_TURNED ? sizeof(float) : sizeof(uint16_t);
}

INLINE size_t x_bytes(enum product_kind kind)
{
	return kind == PRODUCT_PAIRS ? sizeof(uint16_t) : sizeof(float);
}

/* A vector of a panel's weights of term k; panels of bf16 hold two terms to a word. */
INLINE vf weights_load(enum product_kind kind, const char *w, size_t k, size_t v)
{
	vi words;

	if (kind == PRODUCT_F32 || kind == PRODUCT_TURNED)
		return vf_load((const float *)(const void *)w + k * MATRIX_PANEL + v * LANES);
	memcpy(&words, w + (k / 2 * MATRIX_PANEL + v * LANES) * sizeof(uint32_t), sizeof(words));
	if (kind == PRODUCT_BF16)
		words = k % 2 ? words & vi_set(-0x10000) : words << 16;
	return (vf)words;
}

/* Of row m, term k, in all lanes. */
INLINE vf x_load(enum product_kind kind, const char *x, size_t ldx, size_t m, size_t k)
{
	const float *f = (const float *)(const void *)x;
	int32_t pair;

	if (kind == PRODUCT_TURNED)
		return vf_set(f[k * ldx + m]);
	if (kind != PRODUCT_PAIRS)
		return vf_set(f[m * ldx + k]);
	memcpy(&pair, x + (m * ldx + k) * sizeof(uint16_t), sizeof(pair));
	return (vf)vi_set(pair);
}

INLINE vf product_madd(enum product_kind kind, vf x, vf w, vf sum)
{
#if defined(__AVX512BF16__)
	if (kind == PRODUCT_PAIRS)
		return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
#endif
#if LANES == 8
	/* in place: with other forms of the instruction registers would not suffice */
	__asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
	return sum;
#endif
	(void)kind;
	return vf_madd(x, w, sum);
}

/* Term k, of pairs k and k + 1, added to the sums of mr rows by np panels, `panel` bytes apart. */
INLINE void product_step(enum product_kind kind, size_t mr, size_t np, size_t k, const char *x, size_t ldx,
        const char *w, size_t panel, vf sum[MAX_M][FEW_WIDE * PANEL_VECTORS])
{
	vf wv[FEW_WIDE * PANEL_VECTORS];

#pragma GCC unroll 16
	for (size_t v = 0; v < np * PANEL_VECTORS; v++)
		wv[v] = weights_load(kind, w + v / PANEL_VECTORS * panel, k, v % PANEL_VECTORS);
#pragma GCC unroll 16
	for (size_t m = 0; m < mr; m++) {
		vf xv = x_load(kind, x, ldx, m, k);

#pragma GCC unroll 16
		for (size_t v = 0; v < np * PANEL_VECTORS; v++)
			sum[m][v] = product_madd(kind, xv, wv[v], sum[m][v]);
	}
}

/* A tile's share of the weights that are wanted next, asked for term by term: at, and so many bytes on. */
struct product_ahead {
	const char *at;
	size_t panel, step;
};

INLINE void product_sums(enum product_kind kind, bool few, size_t mr, size_t np, size_t K, const char *x,
        size_t ldx, const char *w, size_t panel, struct product_ahead ahead,
        vf sum[MAX_M][FEW_WIDE * PANEL_VECTORS])
{
	const size_t step = kind == PRODUCT_F32 || kind == PRODUCT_TURNED ? 1 : 2;
	const size_t line = step * MATRIX_PANEL * (step == 1 ? sizeof(float) : sizeof(uint16_t));
	size_t k = 0;

	for (; k + step <= K; k += step, ahead.at += ahead.step) {
#pragma GCC unroll 4
		for (size_t p = 0; p < np; p++)
			if (few)
				__builtin_prefetch(w + p * panel + k / step * line + PRODUCT_AHEAD);
			else
				__builtin_prefetch(ahead.at + p * ahead.panel, 0, 2);
		product_step(kind, mr, np, k, x, ldx, w, panel, sum);
		if (kind == PRODUCT_BF16) {
			/* words are loaded again: kept, they would push sums out of registers */
			__asm__ volatile("" ::: "memory");
			product_step(kind, mr, np, k + 1, x, ldx, w, panel, sum);
		}
	}
	if (k < K)
		product_step(kind, mr, np, k, x, ldx, w, panel, sum);
}

/* y (mr, n), n <= np * MATRIX_PANEL, = or += the sums, + bias (n) unless it is NULL. */
INLINE void product_store(size_t mr, size_t np, size_t n, bool add, const float *bias,
        vf sum[MAX_M][FEW_WIDE * PANEL_VECTORS], float *y, size_t ldy)
{
	bool whole = n == np * MATRIX_PANEL;
	float out[FEW_WIDE * MATRIX_PANEL];

#pragma GCC unroll 16
	for (size_t m = 0; m < mr; m++, y += ldy) {
#pragma GCC unroll 16
		for (size_t v = 0; v < np * PANEL_VECTORS; v++) {
			vf s = sum[m][v];

			if (whole && add)
				s = vf_load(y + v * LANES) + s;
			if (whole && bias)
				s += vf_load(bias + v * LANES);
			/* cppcheck-suppress legacyUninitvar; vf_store() writes it */
			vf_store((whole ? y : out) + v * LANES, s);
		}
		for (size_t i = 0; !whole && i < n; i++) {
			float s = add ? y[i] + out[i] : out[i];

			y[i] = bias ? s + bias[i] : s;
		}
	}
}

/* A block of terms of some panels for some rows. */
struct product_part {
	size_t K; /* terms */
	size_t n; /* outputs */
	size_t rows;
	const char *x;
	size_t ldx;
	const char *w;
	size_t panel;     /* bytes from panel to panel of w */
	const char *next; /* weights wanted next; a hint */
	size_t w_bytes;   /* of one of them */
	const float *bias;
	float *y;
	bool add;
};

/* Of a tile of mr rows from m on: `terms` at a time. */
INLINE struct product_ahead product_share(
        const struct product_call *c, const struct product_part *p, size_t terms, size_t m, size_t mr)
{
	size_t bytes = MATRIX_PANEL * p->w_bytes;

	return (struct product_ahead){
	        p->next + p->K * bytes * m / p->rows, c->panel, terms * bytes * mr / p->rows};
}

INLINE void product_tile(enum product_kind kind, bool few, size_t mr, size_t np, const struct product_call *c,
        const struct product_part *p, size_t m)
{
	const size_t from = m * (kind == PRODUCT_TURNED ? 1 : p->ldx);
	const size_t terms = kind == PRODUCT_F32 || kind == PRODUCT_TURNED ? 1 : 2;
	const struct product_ahead ahead = product_share(c, p, terms, m, mr);
	vf sum[MAX_M][FEW_WIDE * PANEL_VECTORS] = {0};

#pragma GCC unroll 16
	for (size_t i = 0; !few && i < mr; i++)
#pragma GCC unroll 2
		for (size_t q = 0; q < np; q++)
			__builtin_prefetch(p->y + (m + i) * c->ldy + q * MATRIX_PANEL, 1);
	product_sums(
	        kind, few, mr, np, p->K, p->x + from * x_bytes(kind), p->ldx, p->w, p->panel, ahead, sum);
	product_store(mr, np, p->n, p->add, p->bias, sum, p->y + m * c->ldy, c->ldy);
}

/* Rows from which on it pays to make a block of bf16 weights float32 before it is used. */
#define WIDEN_ROWS 24

INLINE void product_widen(size_t np, const struct product_call *c, const struct product_part *p,
        float wide[WIDE * PRODUCT_BLOCK * MATRIX_PANEL])
{
	for (size_t q = 0; q < np; q++, wide += PRODUCT_BLOCK * MATRIX_PANEL)
		for (size_t k = 0; k < p->K; k++)
#pragma GCC unroll 4
			for (size_t v = 0; v < PANEL_VECTORS; v++)
				vf_store(wide + k * MATRIX_PANEL + v * LANES,
				        weights_load(PRODUCT_BF16, p->w + q * c->panel, k, v));
}

/* Rows of the next tile, of `left`. With fewer than four its sums wait for one another: it takes as long as
 * one of four, so that 7 and 8 rows are not cut in 6 and the rest. */
INLINE size_t product_rows(size_t left)
{
#if LANES == 8
	return left == 7 || left == 8 ? 4 : left < MAX_M ? left : MAX_M;
#else
	size_t n = MAX_M;

	while (n > left)
		n = n > 8 ? 8 : n / 2;
	return n;
#endif
}

INLINE void product_column(
        enum product_kind kind, size_t np, const struct product_call *c, const struct product_part *p)
{
	size_t n;

	for (size_t m = 0; m < p->rows; m += n) {
		n = product_rows(p->rows - m);
		if (n == MAX_M)
			product_tile(kind, false, MAX_M, np, c, p, m);
#if MAX_M > 8
		else if (n == 8)
			product_tile(kind, false, 8, np, c, p, m);
#endif
#if LANES == 8
		else if (n == 5)
			product_tile(kind, false, 5, np, c, p, m);
		else if (n == 3)
			product_tile(kind, false, 3, np, c, p, m);
#endif
#if MAX_M > 4
		else if (n == 4)
			product_tile(kind, false, 4, np, c, p, m);
#endif
#if MAX_M > 2
		else if (n == 2)
			product_tile(kind, false, 2, np, c, p, m);
#endif
		else
			product_tile(kind, false, 1, np, c, p, m);
	}
}

/* The same of bf16 weights that are made float32 first. */
static void product_wide(size_t np, const struct product_call *c, const struct product_part *p)
{
	_Alignas(64) float wide[WIDE * PRODUCT_BLOCK * MATRIX_PANEL];
	struct product_part w = *p;

	product_widen(np, c, p, wide);
	w.w = (const char *)wide;
	w.panel = PRODUCT_BLOCK * MATRIX_PANEL * sizeof(float);
	if (np == WIDE)
		product_column(PRODUCT_F32, WIDE, c, &w);
	else
		product_column(PRODUCT_F32, 1, c, &w);
}

INLINE void product_few(
        enum product_kind kind, size_t np, const struct product_call *c, const struct product_part *p)
{
	if (p->rows == 1)
		product_tile(kind, true, 1, np, c, p, 0);
	else
		product_tile(kind, true, FEW_M, np, c, p, 0);
}

/* What of a call is computed next: rows from `row` on, a block of terms from k on, outputs begin .. end - 1.
 */
struct product_span {
	size_t row, rows, k, begin, end;
	const void *x; /* of that row and term */
	size_t ldx;
	const char *after; /* as product_part.next, behind the last of the panels */
};

static inline size_t span_terms(const struct product_call *c, size_t k)
{
	return c->K - k < c->block ? c->K - k : c->block;
}

INLINE void product_panels(enum product_kind kind, const struct product_call *c, const struct product_span *s)
{
	const bool few = s->rows <= FEW_M;
	const size_t wide = (few ? FEW_WIDE : WIDE) * MATRIX_PANEL;
	struct product_part p = {.K = span_terms(c, s->k), .rows = s->rows, .x = s->x, .ldx = s->ldx};
	size_t n;

	p.panel = c->panel;
	p.w_bytes = weight_bytes(kind);
	p.add = c->add || s->k > 0;
	for (size_t at = s->begin; at < s->end; at += n) {
		n = s->end - at >= wide ? wide : MATRIX_PANEL;
		p.n = s->end - at < n ? s->end - at : n;
		p.w = (const char *)c->w + at / MATRIX_PANEL * c->panel +
		      s->k * MATRIX_PANEL * weight_bytes(kind);
		p.next = at + n < s->end ? p.w + n / MATRIX_PANEL * c->panel : s->after;
		p.bias = c->bias && s->k + p.K == c->K ? c->bias + at : NULL;
		p.y = c->y + s->row * c->ldy + at;
		if (few && n == wide)
			product_few(kind, FEW_WIDE, c, &p);
		else if (few)
			product_few(kind, 1, c, &p);
		else if (kind == PRODUCT_BF16 && s->rows >= WIDEN_ROWS)
			product_wide(n / MATRIX_PANEL, c, &p);
		else if (n == wide)
			product_column(kind, WIDE, c, &p);
		else
			product_column(kind, 1, c, &p);
	}
}

static void panels_f32(const struct product_call *c, const struct product_span *s)
{
	product_panels(PRODUCT_F32, c, s);
}

static void panels_turned(const struct product_call *c, const struct product_span *s)
{
	product_panels(PRODUCT_TURNED, c, s);
}

static void panels_bf16(const struct product_call *c, const struct product_span *s)
{
	product_panels(PRODUCT_BF16, c, s);
}

#if defined(__AVX512BF16__)
static void panels_pairs(const struct product_call *c, const struct product_span *s)
{
	product_panels(PRODUCT_PAIRS, c, s);
}
#else
#define panels_pairs panels_bf16
#endif

INLINE void product_span(enum product_kind kind, const struct product_call *c, const struct product_span *s)
{
	if (kind == PRODUCT_F32)
		panels_f32(c, s);
	else if (kind == PRODUCT_TURNED)
		panels_turned(c, s);
	else if (kind == PRODUCT_BF16)
		panels_bf16(c, s);
	else
		panels_pairs(c, s);
}

/* Rows that are few: weights pass by while x stays where it is. */
INLINE void walk_near(enum product_kind kind, const struct product_call *c)
{
	const size_t wide = (c->M <= FEW_M ? FEW_WIDE : WIDE) * MATRIX_PANEL, ldx = c->ldx;
	const char *panels;

	for (size_t n = 0; n < c->N; n += wide)
		for (size_t k = 0; k == 0 || k < c->K; k += c->block) {
			struct product_span s = {.rows = c->M, .k = k, .begin = n, .ldx = ldx};

			s.end = c->N - n < wide ? c->N : n + wide;
			s.x = (const char *)c->x + (kind == PRODUCT_TURNED ? k * ldx : k) * x_bytes(kind);
			panels = (const char *)c->w + n / MATRIX_PANEL * c->panel;
			s.after = k + c->block < c->K
			                  ? panels + (k + c->block) * MATRIX_PANEL * weight_bytes(kind)
			                  : panels + wide / MATRIX_PANEL * c->panel;
			product_span(kind, c, &s);
		}
}

/* Rows and terms whose x stays while all weights of the terms pass by. */
INLINE struct product_span far_span(
        enum product_kind kind, const struct product_call *c, size_t row, size_t k)
{
	size_t next = (k + c->block) * MATRIX_PANEL * weight_bytes(kind);
	size_t at = kind == PRODUCT_TURNED ? k * c->ldx + row : row * c->ldx + k;

	return (struct product_span){.row = row,
	        .rows = c->M - row < PRODUCT_ROWS ? c->M - row : PRODUCT_ROWS,
	        .k = k,
	        .end = c->N,
	        .x = (const char *)c->x + at * x_bytes(kind),
	        .ldx = c->ldx,
	        .after = (const char *)c->w + next};
}

INLINE void walk_far(enum product_kind kind, const struct product_call *c)
{
	for (size_t row = 0; row < c->M; row += PRODUCT_ROWS)
		for (size_t k = 0; k == 0 || k < c->K; k += c->block) {
			struct product_span s = far_span(kind, c, row, k);

			product_span(kind, c, &s);
		}
}

/* The same with x gathered first: rows whose distance is a large power of two drive one another out of the
 * cache. */
INLINE void walk_gathered(enum product_kind kind, const struct product_call *c)
{
	_Alignas(64) char x[PRODUCT_ROWS * GATHERED_BYTES];

	for (size_t row = 0; row < c->M; row += PRODUCT_ROWS)
		for (size_t k = 0; k == 0 || k < c->K; k += c->block) {
			struct product_span s = far_span(kind, c, row, k);
			const char *from = s.x;
			size_t n = span_terms(c, k);

			n = kind == PRODUCT_PAIRS ? (n + 1) / 2 * 2 : n;

			for (size_t m = 0; m < s.rows; m++)
				memcpy(x + m * GATHERED_BYTES, from + m * c->ldx * x_bytes(kind),
				        n * x_bytes(kind));
			s.x = x;
			s.ldx = GATHERED_BYTES / x_bytes(kind);
			product_span(kind, c, &s);
		}
}

INLINE void product_walk(enum product_kind kind, const struct product_call *c)
{
	if (c->M * c->K * sizeof(float) <= PRODUCT_CACHE)
		walk_near(kind, c);
	else if (kind == PRODUCT_TURNED || c->N < GATHER_OUTPUTS)
		walk_far(kind, c);
	else
		walk_gathered(kind, c);
}

static void product_f32(const struct product_call *c)
{
	if (c->turned)
		product_walk(PRODUCT_TURNED, c);
	else
		product_walk(PRODUCT_F32, c);
}

static void product_bf16(const struct product_call *c)
{
	product_walk(PRODUCT_BF16, c);
}

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
static void product_pairs(const struct product_call *c)
{
	product_walk(PRODUCT_PAIRS, c);
}
#define PAIRS_KERNEL product_pairs
#else
#define PAIRS_KERNEL NULL
#endif
