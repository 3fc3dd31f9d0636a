/*
 * Attention against a double-precision twin that holds the whole score matrix, its gradients against central
 * differences of that twin, and its independence of everything but the sequence.
 */
#include "worker/math/attention.h"

#include "tests/worker/math/twins.h"

/* One case: shapes, mask, and tensors with row distances wider than the rows. */
struct fixture {
	struct attention a;
	size_t T, S, ldq, ldk, ldv, ldo;
	float *q, *k, *v, *o, *lse, *dout, *dq, *dk, *dv, *scratch, *bias;
};

static void fixture_init(struct fixture *f, const struct attention *a, size_t T, size_t S, bool with_bias)
{
	struct rng r = {.state = 1000 * T + S};

	memset(f, 0, sizeof(*f));
	f->a = *a;
	f->T = T;
	f->S = S;
	f->ldq = a->n_heads * a->head_dim + 5;
	f->ldk = a->n_kv_heads * a->head_dim + 3;
	f->ldv = a->n_kv_heads * a->head_dim + 7;
	f->ldo = a->n_heads * a->head_dim + 1;
	f->q = random_floats(&r, T * f->ldq, 1.5);
	f->k = random_floats(&r, S * f->ldk, 1.5);
	f->v = random_floats(&r, S * f->ldv, 1);
	f->dout = random_floats(&r, T * f->ldo, 1);
	f->o = filled_floats(T * f->ldo, 9);
	f->lse = filled_floats(T * a->n_heads, 9);
	f->dq = filled_floats(T * f->ldq, 9);
	f->dk = filled_floats(S * f->ldk, 9);
	f->dv = filled_floats(S * f->ldv, 9);
	f->scratch = filled_floats(attention_scratch_floats(a), NAN);
	f->bias = random_floats(&r, a->n_heads * (a->rel_n + 1), 1);
	if (with_bias)
		f->a.rel_bias = f->bias;
}

static void fixture_fini(struct fixture *f)
{
	free(f->q), free(f->k), free(f->v), free(f->o), free(f->lse), free(f->dout);
	free(f->dq), free(f->dk), free(f->dv), free(f->scratch), free(f->bias);
}

static bool sees(const struct fixture *f, size_t i, size_t j)
{
	size_t position = f->S - f->T + i;

	if (!f->a.causal)
		return true;
	return j <= position && (!f->a.window || position - j < f->a.window);
}

static double bias_of(const struct fixture *f, size_t h, size_t i, size_t j)
{
	long index = (long)j - (long)(f->a.causal ? f->S - f->T + i : i) + (long)f->a.rel_zero;

	if (!f->a.rel_bias)
		return 0;
	index = index < 0 ? 0 : index;
	index = index < (long)f->a.rel_n ? index : (long)f->a.rel_n - 1;
	return (double)f->a.rel_bias[h * f->a.rel_n + (size_t)index];
}

/* Probabilities of head h, query i into p (S); returns the log-sum-exp. q, k in double so that differences
 * can be taken. */
static double twin_row(
        const struct fixture *f, const double *q, const double *k, size_t h, size_t i, double *p)
{
	size_t D = f->a.head_dim, kv = h / (f->a.n_heads / f->a.n_kv_heads);
	double top = -INFINITY, sum = 0;

	for (size_t j = 0; j < f->S; j++) {
		double dot = 0;

		for (size_t d = 0; d < D; d++)
			dot += q[i * f->ldq + h * D + d] * k[j * f->ldk + kv * D + d];
		p[j] = sees(f, i, j) ? (double)f->a.scale * dot + bias_of(f, h, i, j) : -INFINITY;
		top = p[j] > top ? p[j] : top;
	}
	for (size_t j = 0; j < f->S; j++)
		sum += exp(p[j] - top);
	for (size_t j = 0; j < f->S; j++)
		p[j] = exp(p[j] - top) / sum;
	return top + log(sum);
}

/* o (T, ldo) and lse (T,H) in double; returns sum(dout * o), whose gradient the backward pass computes. */
static double twin(
        const struct fixture *f, const double *q, const double *k, const double *v, double *o, double *lse)
{
	size_t D = f->a.head_dim, group = f->a.n_heads / f->a.n_kv_heads;
	double *p = malloc(f->S * sizeof(*p)), total = 0;

	assert_non_null(p);
	for (size_t h = 0; h < f->a.n_heads; h++)
		for (size_t i = 0; i < f->T; i++) {
			double row_lse = twin_row(f, q, k, h, i, p);

			if (lse)
				lse[i * f->a.n_heads + h] = row_lse;
			for (size_t d = 0; d < D; d++) {
				double sum = 0;

				for (size_t j = 0; j < f->S; j++)
					sum += p[j] * v[j * f->ldv + h / group * D + d];
				if (o)
					o[i * f->ldo + h * D + d] = sum;
				total += sum * (double)f->dout[i * f->ldo + h * D + d];
			}
		}
	free(p);
	return total;
}

static double *doubles(const float *x, size_t n)
{
	double *y = malloc(n * sizeof(*y));

	assert_non_null(y);
	for (size_t i = 0; i < n; i++)
		y[i] = (double)x[i];
	return y;
}

static void run(struct fixture *f)
{
	attention_forward(&f->a, f->T, f->S, f->q, f->ldq, f->k, f->ldk, f->v, f->ldv, f->o, f->ldo, f->lse,
	        f->scratch);
	attention_backward(&f->a, f->T, f->S, f->q, f->ldq, f->k, f->ldk, f->v, f->ldv, f->o, f->dout, f->ldo,
	        f->lse, f->dq, f->dk, f->dv, f->scratch);
}

static void check_forward(const struct attention *a, size_t T, size_t S, bool with_bias)
{
	struct fixture f;
	double *q, *k, *v, *o, *lse;

	fixture_init(&f, a, T, S, with_bias);
	q = doubles(f.q, T * f.ldq);
	k = doubles(f.k, S * f.ldk);
	v = doubles(f.v, S * f.ldv);
	o = doubles(f.o, T * f.ldo);
	lse = doubles(f.lse, T * a->n_heads);
	run(&f);
	twin(&f, q, k, v, o, lse);
	for (size_t i = 0; i < T; i++) {
		for (size_t c = 0; c < a->n_heads * a->head_dim; c++)
			assert_close((double)f.o[i * f.ldo + c], o[i * f.ldo + c], 1e-5, 2e-6, "o", i);
		for (size_t c = a->n_heads * a->head_dim; c < f.ldo; c++)
			assert_true(f.o[i * f.ldo + c] == 9);
		for (size_t h = 0; h < a->n_heads; h++)
			assert_close((double)f.lse[i * a->n_heads + h], lse[i * a->n_heads + h], 1e-6, 2e-6,
			        "lse", i);
	}
	free(q), free(k), free(v), free(o), free(lse);
	fixture_fini(&f);
}

/* Gradients of one input against central differences, some places of it; columns beyond the heads untouched.
 */
static void check_gradient(const struct fixture *f, double *q, double *k, double *v, double *x,
        const float *dx, size_t n, size_t ld, size_t used)
{
	const double step = 1e-4;
	size_t stride = n / 20 + 1;

	for (size_t at = 0; at < n; at += stride) {
		double kept = x[at], slope;

		if (at % ld >= used) {
			assert_true(dx[at] == 9);
			continue;
		}
		x[at] = kept + step;
		slope = twin(f, q, k, v, NULL, NULL);
		x[at] = kept - step;
		slope = (slope - twin(f, q, k, v, NULL, NULL)) / (2 * step);
		x[at] = kept;
		assert_close((double)dx[at], slope, 1e-4, 1e-5, "gradient", at);
	}
}

static void check_backward(const struct attention *a, size_t T, size_t S, bool with_bias)
{
	struct fixture f;
	double *q, *k, *v;

	fixture_init(&f, a, T, S, with_bias);
	q = doubles(f.q, T * f.ldq);
	k = doubles(f.k, S * f.ldk);
	v = doubles(f.v, S * f.ldv);
	run(&f);
	check_gradient(&f, q, k, v, q, f.dq, T * f.ldq, f.ldq, a->n_heads * a->head_dim);
	check_gradient(&f, q, k, v, k, f.dk, S * f.ldk, f.ldk, a->n_kv_heads * a->head_dim);
	check_gradient(&f, q, k, v, v, f.dv, S * f.ldv, f.ldv, a->n_kv_heads * a->head_dim);
	free(q), free(k), free(v);
	fixture_fini(&f);
}

static const struct attention plain = {.n_heads = 2, .n_kv_heads = 2, .head_dim = 8, .scale = 0.35f};
static const struct attention causal = {
        .n_heads = 2, .n_kv_heads = 2, .head_dim = 8, .scale = 0.35f, .causal = true};
static const struct attention grouped = {
        .n_heads = 6, .n_kv_heads = 2, .head_dim = 5, .scale = 0.4f, .causal = true};
static const struct attention windowed = {
        .n_heads = 4, .n_kv_heads = 1, .head_dim = 16, .scale = 0.25f, .causal = true, .window = 9};
static const struct attention biased = {
        .n_heads = 2, .n_kv_heads = 2, .head_dim = 12, .scale = 1, .rel_n = 11, .rel_zero = 6};
static const struct attention biased_causal = {
        .n_heads = 2, .n_kv_heads = 1, .head_dim = 4, .scale = 1, .causal = true, .rel_n = 9, .rel_zero = 8};

/* Around the block sizes, single queries, and keys before the first query. */
static void forward_cases(void)
{
	static const size_t shapes[][2] = {{1, 1}, {1, 2}, {1, 130}, {1, 300}, {2, 2}, {3, 40}, {17, 17},
	        {48, 48}, {49, 49}, {66, 140}, {192, 193}, {200, 390}};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		size_t T = shapes[i][0], S = shapes[i][1];

		check_forward(&plain, T, S, false);
		check_forward(&causal, T, S, false);
		check_forward(&grouped, T, S, false);
		check_forward(&windowed, T, S, false);
		check_forward(&biased, T, S, true);
		check_forward(&biased_causal, T, S, true);
	}
	check_forward(&biased, 20, 7, true);
	check_forward(&plain, 90, 1, false);
}

static void test_forward_agrees_with_the_twin(void **state)
{
	(void)state;
	at_every_level(forward_cases);
}

#define PAGE 16

/* x (S, ld) cut into pages, the last one first; the caller frees base and pages. */
static struct paged_rows paged(const float *x, size_t S, size_t ld, uint32_t **pages)
{
	size_t n = S / PAGE + 1;
	struct paged_rows rows = {.stride = 2 * PAGE * ld, .page_rows = PAGE, .ld = ld};

	rows.base = filled_floats(n * rows.stride, NAN);
	*pages = malloc(n * sizeof(**pages));
	assert_non_null(*pages);
	rows.pages = *pages;
	for (size_t i = 0; i < n; i++)
		(*pages)[i] = (uint32_t)(n - 1 - i);
	for (size_t s = 0; s < S; s++)
		memcpy(rows.base + (*pages)[s / PAGE] * rows.stride + s % PAGE * ld, x + s * ld,
		        ld * sizeof(*x));
	return rows;
}

static void check_paged(const struct attention *a, size_t T, size_t S, bool with_bias)
{
	struct fixture f;
	struct paged_rows k, v;
	uint32_t *k_pages, *v_pages;
	float *o;

	fixture_init(&f, a, T, S, with_bias);
	o = filled_floats(T * f.ldo, 9);
	k = paged(f.k, S, f.ldk, &k_pages);
	v = paged(f.v, S, f.ldv, &v_pages);
	attention_forward(&f.a, T, S, f.q, f.ldq, f.k, f.ldk, f.v, f.ldv, f.o, f.ldo, NULL, f.scratch);
	attention_forward_paged(&f.a, T, S, f.q, f.ldq, &k, &v, o, f.ldo, f.scratch);
	assert_memory_equal(f.o, o, T * f.ldo * sizeof(*o));
	free(k.base), free(v.base), free(k_pages), free(v_pages), free(o);
	fixture_fini(&f);
}

static void paged_cases(void)
{
	static const size_t shapes[][2] = {
	        {1, 1}, {1, 16}, {1, 17}, {1, 131}, {1, 300}, {3, 40}, {66, 140}, {195, 390}};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		check_paged(&causal, shapes[i][0], shapes[i][1], false);
		check_paged(&grouped, shapes[i][0], shapes[i][1], false);
		check_paged(&biased, shapes[i][0], shapes[i][1], true);
	}
}

static void test_pages_show_in_no_bit(void **state)
{
	(void)state;
	at_every_level(paged_cases);
}

static void backward_cases(void)
{
	check_backward(&plain, 9, 13, false);
	check_backward(&causal, 1, 1, false);
	check_backward(&causal, 33, 33, false);
	check_backward(&causal, 7, 30, false);
	check_backward(&grouped, 70, 70, false);
	check_backward(&windowed, 40, 40, false);
	check_backward(&windowed, 66, 140, false);
	check_backward(&windowed, 210, 211, false);
	check_backward(&biased, 21, 17, true);
	check_backward(&biased_causal, 30, 30, true);
}

static void test_gradients_match_finite_differences(void **state)
{
	(void)state;
	at_every_level(backward_cases);
}

/* The same rows, wherever they lie: other row distances, other addresses, other garbage in scratch. */
static void moved(void)
{
	struct attention a = grouped;
	size_t T = 37, width = a.n_heads * a.head_dim, kv_width = a.n_kv_heads * a.head_dim;
	size_t ld = width + 2 * kv_width;
	struct fixture f;
	float *fused, *o;

	fixture_init(&f, &a, T, T, false);
	run(&f);
	fused = filled_floats(T * ld + 1, 0);
	o = filled_floats(T * width, 0);
	for (size_t i = 0; i < T; i++) {
		memcpy(fused + 1 + i * ld, f.q + i * f.ldq, width * sizeof(float));
		memcpy(fused + 1 + i * ld + width, f.k + i * f.ldk, kv_width * sizeof(float));
		memcpy(fused + 1 + i * ld + width + kv_width, f.v + i * f.ldv, kv_width * sizeof(float));
	}
	attention_forward(&a, T, T, fused + 1, ld, fused + 1 + width, ld, fused + 1 + width + kv_width, ld, o,
	        width, NULL, f.scratch);
	for (size_t i = 0; i < T; i++)
		assert_same_bits(o + i * width, f.o + i * f.ldo, width, "moved rows");
	free(fused);
	free(o);
	fixture_fini(&f);
}

static void test_bits_do_not_depend_on_where_rows_lie(void **state)
{
	(void)state;
	at_every_level(moved);
}

/* Queries in parts of 2 rows or more, each with the keys before its end, and all at once. */
static void check_parts(const struct attention *a, size_t T, bool with_bias)
{
	static const size_t parts[] = {2, 47, 48, 49, 95, 193};
	struct fixture f;
	size_t end;
	float *o;

	fixture_init(&f, a, T, T, with_bias);
	o = filled_floats(T * f.ldo, 9);
	attention_forward(&f.a, T, T, f.q, f.ldq, f.k, f.ldk, f.v, f.ldv, f.o, f.ldo, NULL, f.scratch);
	for (size_t begin = 0, i = 0; begin < T; begin = end, i++) {
		end = begin + parts[i % (sizeof(parts) / sizeof(parts[0]))];
		end = end + 1 < T ? end : T;
		attention_forward(&f.a, end - begin, end, f.q + begin * f.ldq, f.ldq, f.k, f.ldk, f.v, f.ldv,
		        o + begin * f.ldo, f.ldo, NULL, f.scratch);
	}
	assert_same_bits(f.o, o, T * f.ldo, "parts");
	free(o);
	fixture_fini(&f);
}

static void parts_cases(void)
{
	struct attention far = windowed;

	far.window = 210;
	check_parts(&causal, 460, false);
	check_parts(&grouped, 193, false);
	check_parts(&windowed, 250, false);
	check_parts(&far, 500, false);
	check_parts(&biased_causal, 200, true);
}

static void test_bits_do_not_depend_on_which_queries_come_together(void **state)
{
	(void)state;
	at_every_level(parts_cases);
}

/* Scores of several hundred must neither overflow nor lose the row. */
static void steep(void)
{
	struct attention a = causal;
	struct fixture f;

	a.scale = 300;
	fixture_init(&f, &a, 80, 80, false);
	run(&f);
	for (size_t i = 0; i < 80; i++)
		for (size_t c = 0; c < a.n_heads * a.head_dim; c++) {
			assert_true(fabsf(f.o[i * f.ldo + c]) <= 1.0001f);
			assert_true(isfinite(f.dq[i * f.ldq + c]));
		}
	fixture_fini(&f);
}

static void test_steep_scores_stay_finite(void **state)
{
	(void)state;
	at_every_level(steep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_forward_agrees_with_the_twin),
	        cmocka_unit_test(test_pages_show_in_no_bit),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	        cmocka_unit_test(test_bits_do_not_depend_on_where_rows_lie),
	        cmocka_unit_test(test_bits_do_not_depend_on_which_queries_come_together),
	        cmocka_unit_test(test_steep_scores_stay_finite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
