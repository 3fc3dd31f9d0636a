/* Edits of a batch by runs: whose rows are edited, by how much, and the gradient. */
#include "tests/worker/adapter/sites.h"
#include "tests/worker/math/twins.h"
#include "worker/adapter/adapter.h"

enum { WIDTH = 300, LD = 307, N_SITES = 6, SITE = 5 }; /* wider than a chunk of the weakened edit */

/* Three layouts over one base, with random numbers. */
struct fixture {
	struct site *sites;
	struct adapter_layout *both, *bias, *norm;
	float *both_params, *bias_params, *norm_params;
};

static void fixture_init(struct fixture *f)
{
	struct rng r = {.state = 11};
	struct adapter_spec spec;

	memset(f, 0, sizeof(*f));
	f->sites = gpt2_sites(N_SITES / 3, WIDTH);
	assert_non_null(f->sites);
	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, f->sites, N_SITES, &f->both, NULL), OK);
	spec.parts = PART_BIAS;
	assert_int_equal(adapter_layout_new(&spec, f->sites, N_SITES, &f->bias, NULL), OK);
	spec.parts = PART_SCALE | PART_BIAS | PART_LN;
	assert_int_equal(adapter_layout_new(&spec, f->sites, N_SITES, &f->norm, NULL), OK);
	f->both_params = random_floats(&r, adapter_layout_n_params(f->both), 2);
	f->bias_params = random_floats(&r, adapter_layout_n_params(f->bias), 2);
	f->norm_params = random_floats(&r, adapter_layout_n_params(f->norm), 2);
}

static void fixture_fini(struct fixture *f)
{
	adapter_layout_free(f->both);
	adapter_layout_free(f->bias);
	adapter_layout_free(f->norm);
	free(f->norm_params);
	free(f->both_params);
	free(f->bias_params);
	free(f->sites);
}

static void test_each_run_has_its_own_edit(void **state)
{
	struct rng r = {.state = 12};
	struct fixture f;
	float *h = random_floats(&r, 7 * LD, 1), *edited = copied_floats(h, 7 * LD);
	float *pieces = copied_floats(h, 7 * LD);

	(void)state;
	fixture_init(&f);
	{
		const struct edit_run runs[] = {{1, f.both, f.both_params, 1}, {2, NULL, NULL, 1},
		        {0, f.both, f.both_params, 1}, {1, f.bias, f.bias_params, 1},
		        {1, f.both, f.both_params, 0}, {2, f.both, f.both_params, 0.3f}};
		const float *scale = f.both_params + 2 * WIDTH, *bias = scale + WIDTH,
		            *own = f.bias_params + WIDTH;

		adapter_forward(runs, 6, SITE, 0, SIZE_MAX, edited, LD);
		for (size_t t = 0; t < 7; t += 3)
			adapter_forward(runs, 6, SITE, t, t + 3 < 7 ? t + 3 : 7, pieces, LD);
		assert_same_bits(pieces, edited, 7 * LD, "some rows at a time");
		for (size_t c = 0; c < WIDTH; c++) {
			double s = (double)scale[c], b = (double)bias[c];

			assert_close((double)edited[c], (double)h[c] * s + b, 1e-6, 1e-6, "run 0", c);
			for (size_t t = 5; t < 7; t++)
				assert_close((double)edited[t * LD + c],
				        (double)h[t * LD + c] * (1 + 0.3 * (s - 1)) + 0.3 * b, 1e-6, 1e-6,
				        "weak", c);
			assert_true(edited[3 * LD + c] == h[3 * LD + c] + own[c]);
		}
		assert_same_bits(edited + LD, h + LD, 2 * LD, "the base's rows");
		assert_same_bits(edited + 4 * LD, h + 4 * LD, LD, "strength 0");
	}
	for (size_t t = 0; t < 7; t++)
		assert_same_bits(edited + t * LD + WIDTH, h + t * LD + WIDTH, LD - WIDTH, "gap");
	free(h);
	free(edited);
	free(pieces);
	fixture_fini(&f);
}

/* The layer norm sees scaled and shifted values; a weakened one lies between the row and what it becomes. */
static void test_a_norm_stands_behind_scale_and_bias(void **state)
{
	struct rng r = {.state = 16};
	struct fixture f;
	float *h = random_floats(&r, 3 * LD, 1), *edited = copied_floats(h, 3 * LD);
	double mean = 0, square = 0, y[WIDTH];

	(void)state;
	fixture_init(&f);
	{
		const struct edit_run runs[] = {{1, f.norm, f.norm_params, 1}, {1, f.norm, f.norm_params, 0},
		        {1, f.norm, f.norm_params, 0.5f}};
		const float *scale = f.norm_params + 4 * WIDTH, *bias = scale + WIDTH, *weight = bias + WIDTH,
		            *shift = weight + WIDTH;

		/* cppcheck-suppress overlappingWriteFunction; it takes floats for bytes */
		memcpy(h + 2 * LD, h, LD * sizeof(*h));
		memcpy(edited + 2 * LD, h, LD * sizeof(*h));
		adapter_forward(runs, 3, SITE, 0, SIZE_MAX, edited, LD);
		for (size_t c = 0; c < WIDTH; c++)
			mean += (y[c] = (double)h[c] * (double)scale[c] + (double)bias[c]) / WIDTH;
		for (size_t c = 0; c < WIDTH; c++)
			square += (y[c] - mean) * (y[c] - mean) / WIDTH;
		for (size_t c = 0; c < WIDTH; c++) {
			y[c] = (y[c] - mean) / sqrt(square + 1e-5) * (double)weight[c] + (double)shift[c];
			assert_close((double)edited[c], y[c], 1e-5, 1e-5, "normed", c);
			assert_close((double)edited[2 * LD + c], (y[c] + (double)h[c]) / 2, 1e-5, 1e-5,
			        "half way", c);
		}
		assert_same_bits(edited + LD, h + LD, LD, "strength 0");
		assert_false(adapter_affine(f.norm, f.norm_params, SITE, edited, edited + WIDTH));
	}
	free(h);
	free(edited);
	fixture_fini(&f);
}

static void test_a_constant_shift_is_the_last_bias(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_ptr_equal(adapter_shift_grads(f.both, SITE, f.both_params), f.both_params + 3 * WIDTH);
	assert_ptr_equal(adapter_shift_grads(f.norm, SITE, f.norm_params), f.norm_params + 7 * WIDTH);
	assert_null(adapter_shift_grads(f.norm, 3, f.norm_params));
	fixture_fini(&f);
}

static void test_sites_not_edited_are_left_alone(void **state)
{
	struct rng r = {.state = 13};
	struct fixture f;
	float *h = random_floats(&r, 3 * WIDTH, 1), *kept = copied_floats(h, 3 * WIDTH);

	(void)state;
	fixture_init(&f);
	{
		const struct edit_run run = {1, f.both, f.both_params, 1};

		adapter_forward(&run, 1, 3, 0, SIZE_MAX, h, 3 * WIDTH);
		assert_same_bits(h, kept, 3 * WIDTH, "forward");
		adapter_backward(&run, 3, h, 3 * WIDTH, kept, 3 * WIDTH, NULL);
		assert_same_bits(h, kept, 3 * WIDTH, "backward");
	}
	free(h);
	free(kept);
	fixture_fini(&f);
}

/* A row alone and the same row among others' runs: the same bits. */
static void test_company_does_not_show(void **state)
{
	struct rng r = {.state = 14};
	struct fixture f;
	float *h = random_floats(&r, 3 * LD, 1), *alone = copied_floats(h, 3 * LD);

	(void)state;
	fixture_init(&f);
	{
		const struct edit_run runs[] = {{1, f.both, f.both_params, 0.7f},
		        {1, f.bias, f.bias_params, 1}, {1, f.both, f.both_params, 1}};

		adapter_forward(runs, 3, SITE, 0, SIZE_MAX, h, LD);
		for (size_t t = 0; t < 3; t++)
			adapter_forward(&runs[t], 1, SITE, 0, SIZE_MAX, alone + t * LD, LD);
	}
	assert_same_bits(h, alone, 3 * LD, "alone");
	free(h);
	free(alone);
	fixture_fini(&f);
}

static double loss(
        const struct adapter_layout *l, const float *params, const float *h, const float *dy, size_t T)
{
	const struct edit_run run = {T, l, params, 1};
	float *edited = copied_floats(h, T * LD);
	double sum = 0;

	adapter_forward(&run, 1, SITE, 0, SIZE_MAX, edited, LD);
	for (size_t t = 0; t < T; t++)
		for (size_t c = 0; c < WIDTH; c++)
			sum += (double)dy[t * LD + c] * (double)edited[t * LD + c];
	free(edited);
	return sum;
}

static void check_gradient(const struct adapter_layout *l, float *params, float step, double tolerance)
{
	enum { T = 4 };
	size_t n = adapter_layout_n_params(l);
	struct rng r = {.state = 15};
	float *h = random_floats(&r, T * LD, 1), *dy = random_floats(&r, T * LD, 1),
	      *dh = copied_floats(dy, T * LD);
	float *grads = filled_floats(n, 3);
	const struct edit_run run = {T, l, params, 1};

	adapter_backward(&run, SITE, dh, LD, h, LD, grads);
	for (size_t i = 0; i < n; i += i < 3 || i + 4 > n ? 1 : 37) {
		float kept = params[i];
		double slope;

		params[i] = kept + step;
		slope = loss(l, params, h, dy, T);
		params[i] = kept - step;
		slope -= loss(l, params, h, dy, T);
		params[i] = kept;
		assert_close((double)grads[i], 3 + slope / (2 * (double)step), 1e-5, tolerance,
		        "gradient, accumulated", i);
	}
	free(h), free(dy), free(dh), free(grads);
}

static void test_gradients_match_finite_differences(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	check_gradient(f.both, f.both_params, 0.5f, 1e-4);
	check_gradient(f.bias, f.bias_params, 0.5f, 1e-4);
	check_gradient(f.norm, f.norm_params, 0.02f, 2e-3);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_each_run_has_its_own_edit),
	        cmocka_unit_test(test_a_norm_stands_behind_scale_and_bias),
	        cmocka_unit_test(test_a_constant_shift_is_the_last_bias),
	        cmocka_unit_test(test_sites_not_edited_are_left_alone),
	        cmocka_unit_test(test_company_does_not_show),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
