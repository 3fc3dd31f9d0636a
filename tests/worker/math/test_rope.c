/* Rotary tables against their formula, rotation against a twin, and its gradient. */
#include "worker/math/rope.h"

#include "tests/worker/math/twins.h"

/* One frequency by the published recipe of LLaMA 3, written over wavelengths. */
static double llama3_twin(const struct rope_params *p, double f)
{
	double wavelength = 2 * M_PI / f;
	double low = p->original_max_positions / p->low_freq_factor;
	double high = p->original_max_positions / p->high_freq_factor;
	double smooth;

	if (wavelength < high)
		return f;
	if (wavelength > low)
		return f / p->factor;
	smooth = (p->original_max_positions / wavelength - p->low_freq_factor) /
	         (p->high_freq_factor - p->low_freq_factor);
	return (1 - smooth) * f / p->factor + smooth * f;
}

static void check_table(const struct rope_params *p, size_t first, size_t n, size_t D)
{
	float *cosines = filled_floats(n * D / 2, 0), *sines = filled_floats(n * D / 2, 0);

	rope_table(p, first, n, D, cosines, sines);
	for (size_t t = 0; t < n; t++)
		for (size_t i = 0; i < D / 2; i++) {
			double f = 1 / pow(p->theta, 2 * (double)i / (double)D);

			if (p->scaling == ROPE_LINEAR)
				f /= p->factor;
			if (p->scaling == ROPE_LLAMA3)
				f = llama3_twin(p, f);
			f *= (double)(first + t);
			assert_close((double)cosines[t * D / 2 + i], cos(f), 0, 1e-7, "cos", i);
			assert_close((double)sines[t * D / 2 + i], sin(f), 0, 1e-7, "sin", i);
		}
	free(cosines);
	free(sines);
}

static void test_tables_follow_each_scaling(void **state)
{
	const struct rope_params plain = {.theta = 10000};
	const struct rope_params linear = {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 4};
	const struct rope_params llama3 = {.theta = 500000,
	        .scaling = ROPE_LLAMA3,
	        .factor = 8,
	        .low_freq_factor = 1,
	        .high_freq_factor = 4,
	        .original_max_positions = 8192};

	(void)state;
	check_table(&plain, 0, 50, 64);
	check_table(&plain, 4000, 3, 6);
	check_table(&linear, 0, 50, 16);
	check_table(&llama3, 0, 20, 128);
	check_table(&llama3, 8000, 3, 128);
}

enum { T = 5, H = 3, LD = 200, POSITIONS = 40 };

static void check_rotation(size_t D)
{
	const struct rope_params p = {.theta = 1000};
	const size_t positions[T] = {0, 7, 39, 7, 1};
	struct rng r = {.state = D};
	float *x = random_floats(&r, T * LD, 1), *turned = copied_floats(x, T * LD);
	float *cosines = filled_floats(POSITIONS * D / 2, 0), *sines = filled_floats(POSITIONS * D / 2, 0);

	rope_table(&p, 0, POSITIONS, D, cosines, sines);
	rope_forward(T, H, D, turned, LD, positions, cosines, sines);
	for (size_t t = 0; t < T; t++)
		for (size_t c = 0; c < LD; c++) {
			const float *head = x + t * LD + c / D * D;
			size_t i = c % D % (D / 2);
			double angle = (double)positions[t] * pow(1000, -2 * (double)i / (double)D);
			double a, b;

			if (c >= H * D) {
				assert_true(turned[t * LD + c] == x[t * LD + c]);
				continue;
			}
			a = (double)head[i];
			b = (double)head[i + D / 2];
			assert_close((double)turned[t * LD + c],
			        c % D < D / 2 ? a * cos(angle) - b * sin(angle)
			                      : b * cos(angle) + a * sin(angle),
			        1e-6, 3e-7, "rotation", c);
		}
	rope_backward(T, H, D, turned, LD, positions, cosines, sines);
	for (size_t i = 0; i < T * LD; i++)
		assert_close((double)turned[i], (double)x[i], 1e-6, 3e-7, "turned back", i);
	free(x), free(turned), free(cosines), free(sines);
}

static void rotations(void)
{
	static const size_t widths[] = {2, 6, 16, 34, 64};

	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
		check_rotation(widths[i]);
}

static void test_rotation_and_its_inverse(void **state)
{
	(void)state;
	at_every_level(rotations);
}

/* The map is linear: <dy, f(x + e) - f(x)> must be <f^T dy, e>, for each unit e. */
static void gradient(void)
{
	enum { D = 10 };
	const struct rope_params p = {.theta = 100};
	const size_t position = 13;
	struct rng r = {.state = 2};
	float *x = random_floats(&r, D, 1), *dy = random_floats(&r, D, 1), *dx = copied_floats(dy, D);
	float cosines[14 * D / 2], sines[14 * D / 2], up[D], down[D];

	rope_table(&p, 0, 14, D, cosines, sines);
	rope_backward(1, 1, D, dx, D, &position, cosines, sines);
	for (size_t c = 0; c < D; c++) {
		double slope = 0;

		memcpy(up, x, sizeof(up));
		memcpy(down, x, sizeof(down));
		up[c] += 0.5f;
		down[c] -= 0.5f;
		rope_forward(1, 1, D, up, D, &position, cosines, sines);
		rope_forward(1, 1, D, down, D, &position, cosines, sines);
		for (size_t i = 0; i < D; i++)
			slope += (double)dy[i] * (double)(up[i] - down[i]);
		assert_close((double)dx[c], slope, 1e-5, 1e-6, "gradient", c);
	}
	free(x), free(dy), free(dx);
}

static void test_gradient_matches_finite_differences(void **state)
{
	(void)state;
	at_every_level(gradient);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_tables_follow_each_scaling),
	        cmocka_unit_test(test_rotation_and_its_inverse),
	        cmocka_unit_test(test_gradient_matches_finite_differences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
