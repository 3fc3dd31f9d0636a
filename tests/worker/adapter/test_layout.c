/* Layouts: which modules are edited, where their numbers lie, how many there are. */
#include "core/mem.h"
#include "tests/worker/adapter/sites.h"
#include "worker/adapter/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after what it needs */
#include <cmocka.h>

static struct adapter_spec spec_of(unsigned positions, unsigned parts)
{
	struct adapter_spec spec;

	adapter_spec_default(&spec);
	spec.positions = positions;
	spec.parts = parts;
	return spec;
}

static size_t count(const struct adapter_spec *spec, struct site *sites, size_t n_sites)
{
	struct adapter_layout *l = NULL;
	size_t n;

	assert_non_null(sites);
	assert_int_equal(adapter_layout_new(spec, sites, n_sites, &l, NULL), OK);
	n = adapter_layout_n_params(l);
	adapter_layout_free(l);
	free(sites);
	return n;
}

static void test_trainable_numbers_are_the_papers(void **state)
{
	struct adapter_spec ffn, scale, all;

	(void)state;
	ffn = spec_of(POSITION_FFN, PART_SCALE | PART_BIAS);
	scale = spec_of(POSITION_FFN, PART_SCALE);
	all = spec_of(POSITION_FFN | POSITION_ATTN | POSITION_QKV, PART_SCALE | PART_BIAS);
	assert_int_equal(count(&ffn, gpt2_sites(24, 1024), 72), 49152);
	assert_int_equal(count(&ffn, gpt2_sites(36, 1280), 108), 92160);
	assert_int_equal(count(&ffn, llama_sites(32, 4096, 4096), 160), 262144);
	assert_int_equal(count(&scale, llama_sites(32, 4096, 4096), 160), 131072);
	ffn.parts |= PART_LN;
	assert_int_equal(count(&ffn, llama_sites(32, 4096, 4096), 160), 2 * 262144);
	assert_int_equal(count(&all, gpt2_sites(2, 10), 6), 2 * 2 * 50);
	assert_int_equal(count(&all, llama_sites(3, 16, 4), 15), 3 * 2 * (3 * 16 + 2 * 4));
}

static void test_layers_select_and_first_site_is_the_lowest(void **state)
{
	struct adapter_spec spec = spec_of(POSITION_ATTN | POSITION_FFN, PART_BIAS);
	struct site *sites = gpt2_sites(4, 8);
	struct adapter_layout *l = NULL;

	(void)state;
	spec.all_layers = false;
	spec.layers[1] = spec.layers[3] = 1;
	assert_int_equal(adapter_layout_new(&spec, sites, 12, &l, NULL), OK);
	memset(sites, 0, 12 * sizeof(*sites)); /* the layout has its own */
	assert_int_equal(adapter_layout_n_params(l), 4 * 8);
	assert_int_equal(adapter_layout_n_sites(l), 12);
	assert_int_equal(adapter_layout_first_site(l), 4);
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(adapter_layout_edits(l, i), i == 4 || i == 5 || i == 10 || i == 11);
	assert_memory_equal(adapter_layout_spec(l), &spec, sizeof(spec));
	adapter_layout_free(l);
	free(sites);
}

static void test_start_is_the_identity(void **state)
{
	struct adapter_spec spec = spec_of(POSITION_FFN | POSITION_ATTN, PART_SCALE | PART_BIAS);
	struct site *sites = gpt2_sites(2, 3);
	struct adapter_layout *l = NULL;
	float params[24];

	(void)state;
	assert_int_equal(adapter_layout_new(&spec, sites, 6, &l, NULL), OK);
	assert_int_equal(adapter_layout_n_params(l), 24);
	adapter_layout_start(l, params);
	for (size_t i = 0; i < 24; i++) /* per site three scales, then three biases */
		assert_true(params[i] == (i % 6 < 3 ? 1 : 0));
	adapter_layout_free(l);
	free(sites);
}

static void test_a_selection_of_nothing_is_refused(void **state)
{
	struct adapter_spec spec = spec_of(POSITION_FFN, PART_SCALE);
	struct site *sites = gpt2_sites(4, 8);
	struct adapter_layout *l = NULL;
	struct why why = {{0}, {0}, {0}};

	(void)state;
	spec.all_layers = false;
	spec.layers[2] = spec.layers[4] = 1;
	assert_int_equal(adapter_layout_new(&spec, sites, 12, &l, &why), ERR_INVALID);
	assert_string_equal(why.param, "adapter.layers");
	assert_non_null(strstr(why.message, "layer 4"));
	spec = spec_of(POSITION_FFN, 0);
	assert_int_equal(adapter_layout_new(&spec, sites, 12, &l, &why), ERR_INVALID);
	assert_string_equal(why.param, "adapter.parts");
	spec = spec_of(POSITION_FFN, PART_BIAS);
	assert_int_equal(adapter_layout_new(&spec, sites, 2, &l, &why), ERR_INVALID);
	assert_string_equal(why.param, "adapter.positions");
	assert_null(l);
	free(sites);
}

static void test_numbers_beyond_a_size_are_refused(void **state)
{
	struct adapter_spec spec = spec_of(POSITION_FFN, PART_SCALE | PART_BIAS);
	struct adapter_layout *l = NULL;
	struct site sites[2];

	(void)state;
	site_set(&sites[0], "a", POSITION_FFN, 0, SIZE_MAX / 2);
	site_set(&sites[1], "b", POSITION_FFN, 1, 8);
	assert_int_equal(adapter_layout_new(&spec, sites, 2, &l, NULL), ERR_TOO_LARGE);
	site_set(&sites[0], "a", POSITION_FFN, 0, SIZE_MAX / 2 + 1);
	assert_int_equal(adapter_layout_new(&spec, sites, 1, &l, NULL), ERR_TOO_LARGE);
	assert_null(l);
}

static void test_out_of_memory_at_any_point_is_reported(void **state)
{
	struct adapter_spec spec = spec_of(POSITION_FFN, PART_SCALE);
	struct site *sites = gpt2_sites(4, 8);
	size_t n_failures = 0;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		struct adapter_layout *l = NULL;

		mem_fail_at(n);
		e = adapter_layout_new(&spec, sites, 12, &l, NULL);
		mem_fail_at(0);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_null(l);
			n_failures++;
		}
		adapter_layout_free(l);
	}
	assert_int_equal(n_failures, 4);
	adapter_layout_free(NULL);
	free(sites);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_trainable_numbers_are_the_papers),
	        cmocka_unit_test(test_layers_select_and_first_site_is_the_lowest),
	        cmocka_unit_test(test_start_is_the_identity),
	        cmocka_unit_test(test_a_selection_of_nothing_is_refused),
	        cmocka_unit_test(test_numbers_beyond_a_size_are_refused),
	        cmocka_unit_test(test_out_of_memory_at_any_point_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
