/* Products with frozen weights against double-precision twins, in every format, and their promise: neighbours
 * never show. */
#include "worker/math/product.h"

#include "tests/worker/math/twins.h"

static const size_t sizes_k[] = {0, 1, 3, 7, 8, 15, 16, 17, 31, 48, 63, 64, 65, 257};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void *bytes_new(size_t n)
{
	void *p = aligned_alloc(64, (n + 64) / 64 * 64);

	assert_non_null(p);
	memset(p, 0x55, (n + 64) / 64 * 64);
	return p;
}

struct product {
	struct matrix w;
	void *weights, *scratch;
	struct product_rows rows;
};

static void product_init(struct product *p, enum matrix_format format, size_t M, size_t N, size_t K,
        const float *x, size_t ldx, const float *w)
{
	p->weights = bytes_new(matrix_bytes(format, N, K));
	p->w = (struct matrix){format, N, K, p->weights};
	matrix_pack(&p->w, 0, N, w, p->weights);
	p->scratch = bytes_new(product_scratch_bytes(M, K));
	product_prepare(format, false, M, K, x, ldx, p->scratch, &p->rows);
}

static void product_fini(struct product *p)
{
	free(p->weights);
	free(p->scratch);
}

static float as_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* Largest magnitude among the group of k. */
static double group_top(const float *row, size_t K, size_t k)
{
	size_t begin = k / MATRIX_GROUP * MATRIX_GROUP;
	double top = 0;

	for (size_t i = begin; i < K && i < begin + MATRIX_GROUP; i++)
		top = fmax(top, fabs((double)row[i]));
	return top;
}

/* What a number of a row counts as. */
static double counts_as(enum matrix_format format, bool is_weight, const float *row, size_t K, size_t k)
{
	double top;

	if (format == MATRIX_BF16 && (is_weight || cpu_level() >= CPU_AVX512_BF16))
		return (double)as_bf16(row[k]);
	if (format != MATRIX_INT8)
		return (double)row[k];
	top = group_top(row, K, k);
	return top > 0 ? (double)rintf(row[k] * (127 / (float)top)) * (top / 127) : 0;
}

/* The same of rows (n,K), written out; the caller frees it. */
static double *all_count_as(
        enum matrix_format format, bool is_weight, const float *rows, size_t n, size_t K, size_t ld)
{
	double *all = bytes_new(n * K * sizeof(*all));

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < K; k++)
			all[i * K + k] = counts_as(format, is_weight, rows + i * ld, K, k);
	return all;
}

static void check_against_twin(enum matrix_format format, size_t M, size_t N, size_t K, bool with_bias)
{
	struct rng r = {.state = 100 * M + 10 * N + K};
	size_t ldx = K + 3, ldy = N + 2;
	float *x = random_floats(&r, M * ldx, 1), *w = random_floats(&r, N * K, 1);
	float *bias = random_floats(&r, N, 1), *y = filled_floats(M * ldy, 77);
	double *xs = all_count_as(format, false, x, M, K, ldx), *ws = all_count_as(format, true, w, N, K, K);
	struct product p;

	product_init(&p, format, M, N, K, x, ldx, w);
	product_forward(&p.w, 0, N, &p.rows, with_bias ? bias : NULL, y, ldy);
	for (size_t m = 0; m < M; m++) {
		for (size_t n = 0; n < N; n++) {
			double sum = with_bias ? (double)bias[n] : 0;

			for (size_t k = 0; k < K; k++)
				sum += xs[m * K + k] * ws[n * K + k];
			assert_close((double)y[m * ldy + n], sum, 1e-6, 2e-7 * (double)(K + 1),
			        matrix_format_name(format), n);
		}
		assert_true(y[m * ldy + N] == 77 && y[m * ldy + N + 1] == 77);
	}
	product_fini(&p);
	free(xs), free(ws);
	free(x);
	free(w);
	free(bias);
	free(y);
}

static void all_shapes(void)
{
	for (enum matrix_format f = MATRIX_F32; f <= MATRIX_INT8; f++) {
		for (size_t M = 1; M <= 14; M++)
			for (size_t N = 0; N <= 9; N++)
				for (size_t i = 0; i < COUNT(sizes_k); i++)
					check_against_twin(f, M, N, sizes_k[i], (M + N) % 2);
		check_against_twin(f, 3, 16, 70, true);
		check_against_twin(f, 9, 33, 200, false);
		check_against_twin(f, 67, 49, 300, true);
		check_against_twin(f, 210, 33, 700, false);
		check_against_twin(f, 210, 290, 513, true);
	}
}

/* The way back, of rows exact or rounded, overwriting or adding. */
static void check_backward(enum matrix_format format, bool exact, bool add, size_t M, size_t N, size_t K)
{
	struct rng r = {.state = 100 * M + 10 * N + K};
	size_t lddy = N + 1, lddx = K + 2;
	float *dy = random_floats(&r, M * lddy, 1), *w = random_floats(&r, N * K, 1);
	float *dx = random_floats(&r, M * lddx, 1), *before = copied_floats(dx, M * lddx);
	bool rounds = format == MATRIX_BF16 && !exact && cpu_level() >= CPU_AVX512_BF16;
	struct product p;
	struct product_rows rows;
	void *scratch = bytes_new(product_scratch_bytes(M, N));
	float *turned = bytes_new(PRODUCT_BACK_FLOATS * sizeof(*turned));
	double *ws = all_count_as(format, true, w, N, K, K);

	product_init(&p, format, M, N, K, dx, lddx, w);
	product_prepare(format, exact, M, N, dy, lddy, scratch, &rows);
	product_backward(&p.w, &rows, turned, add, dx, lddx);
	for (size_t m = 0; m < M; m++) {
		for (size_t k = 0; k < K; k++) {
			double sum = add ? (double)before[m * lddx + k] : 0;

			for (size_t n = 0; n < N; n++)
				sum += (double)(rounds ? as_bf16(dy[m * lddy + n]) : dy[m * lddy + n]) *
				       ws[n * K + k];
			assert_close((double)dx[m * lddx + k], sum, 1e-6, 2e-7 * (double)(N + 1), "dx", k);
		}
		assert_same_bits(dx + m * lddx + K, before + m * lddx + K, 2, "gap");
	}
	product_fini(&p);
	free(scratch), free(turned), free(ws), free(dy), free(w), free(dx), free(before);
}

static void backward_shapes(void)
{
	static const size_t shapes[][3] = {{1, 1, 1}, {3, 16, 17}, {5, 33, 31}, {13, 70, 40}, {30, 300, 150},
	        {7, 520, 130}, {200, 40, 20}, {260, 520, 270}};

	for (size_t i = 0; i < COUNT(shapes); i++)
		for (int exact = 0; exact < 2; exact++)
			for (enum matrix_format f = MATRIX_F32; f <= MATRIX_BF16; f++) {
				check_backward(f, exact, false, shapes[i][0], shapes[i][1], shapes[i][2]);
				check_backward(f, exact, true, shapes[i][0], shapes[i][1], shapes[i][2]);
			}
}

static void test_the_way_back_agrees_with_the_twin(void **state)
{
	(void)state;
	at_every_level(backward_shapes);
}

static void test_product_agrees_with_the_twin(void **state)
{
	(void)state;
	at_every_level(all_shapes);
}

/* One product of 64 rows and 77 outputs, against each row alone and the outputs in pieces. */
static void rows_and_pieces_of(enum matrix_format format)
{
	enum { M = 64, N = 77, K = 203 };
	static const size_t cuts[] = {0, 16, 48, 64, 77};
	struct rng r = {.state = 5};
	float *x = random_floats(&r, M * K, 1), *w = random_floats(&r, N * K, 1),
	      *bias = random_floats(&r, N, 1);
	float *whole = filled_floats(M * N, 0), *apart = filled_floats(M * N, 0);
	struct product p;
	struct product_rows some;

	product_init(&p, format, M, N, K, x, K, w);
	product_forward(&p.w, 0, N, &p.rows, bias, whole, N);
	for (size_t i = 0; i + 1 < COUNT(cuts); i++)
		product_forward(&p.w, cuts[i], cuts[i + 1], &p.rows, bias, apart, N);
	assert_same_bits(whole, apart, M * N, "outputs in pieces");
	for (size_t rows = 1; rows <= 13; rows++) {
		memset(apart, 0, M * N * sizeof(*apart));
		for (size_t m = 0; m < M; m += rows) {
			product_prepare(format, false, rows < M - m ? rows : M - m, K, x + m * K, K,
			        p.scratch, &some);
			product_forward(&p.w, 0, N, &some, bias, apart + m * N, N);
		}
		assert_same_bits(whole, apart, M * N, "rows in batches");
	}
	product_fini(&p);
	free(x);
	free(w);
	free(bias);
	free(whole);
	free(apart);
}

static void rows_and_pieces(void)
{
	for (enum matrix_format f = MATRIX_F32; f <= MATRIX_INT8; f++)
		rows_and_pieces_of(f);
}

static void test_bits_do_not_depend_on_batch_or_split(void **state)
{
	(void)state;
	at_every_level(rows_and_pieces);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_product_agrees_with_the_twin),
	        cmocka_unit_test(test_the_way_back_agrees_with_the_twin),
	        cmocka_unit_test(test_bits_do_not_depend_on_batch_or_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
