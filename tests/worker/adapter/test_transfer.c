/* Going on from an adapter that has less than what is trained now. */
#include "worker/adapter/adapter.h"

#include "core/mem.h"
#include "tests/worker/adapter/sites.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define LAYERS 3
#define WIDTH 4
#define N_SITES (3 * LAYERS)

/* A layout of some positions and parts, with a head unless n_labels is 0, and parameters counted from first.
 */
static struct adapter_layout *lay_out(
        unsigned positions, unsigned parts, size_t n_labels, float first, float **params)
{
	struct site *sites = gpt2_sites(LAYERS, WIDTH);
	struct adapter_spec spec;
	struct adapter_layout *l;

	adapter_spec_default(&spec);
	spec.positions = positions;
	spec.parts = parts;
	if (n_labels)
		assert_int_equal(
		        adapter_layout_new_head(&spec, sites, N_SITES, WIDTH, n_labels, &l, NULL), OK);
	else
		assert_int_equal(adapter_layout_new(&spec, sites, N_SITES, &l, NULL), OK);
	*params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	for (size_t i = 0; i < adapter_layout_n_params(l); i++)
		(*params)[i] = first + (float)i;
	free(sites);
	return l;
}

static void test_the_same_layout_is_copied_whole(void **state)
{
	float *a, *b;
	struct adapter_layout *from = lay_out(POSITION_FFN, PART_SCALE | PART_BIAS, 2, 0, &a),
	                      *to = lay_out(POSITION_FFN, PART_SCALE | PART_BIAS, 2, 1000, &b);

	(void)state;
	assert_int_equal(adapter_transfer(from, a, to, b), OK);
	assert_memory_equal(a, b, adapter_layout_n_params(to) * sizeof(float));
	adapter_layout_free(from);
	adapter_layout_free(to);
	mem_free(a);
	mem_free(b);
}

/* What an edit does shows whose numbers it has. */
static void test_what_is_not_there_stays_as_it_was(void **state)
{
	float *a, *b, h[WIDTH] = {1, 1, 1, 1};
	struct adapter_layout *from = lay_out(POSITION_FFN, PART_BIAS, 0, 10, &a),
	                      *to = lay_out(
	                              POSITION_FFN | POSITION_ATTN, PART_SCALE | PART_BIAS, 2, 1000, &b);
	const struct edit_run run = {1, to, b, 1};
	struct adapter_head head = adapter_layout_head(to, b);
	float dense = head.dense_w[0];

	(void)state;
	adapter_layout_start(to, b);
	head.dense_w[0] = dense;
	assert_int_equal(adapter_transfer(from, a, to, b), OK);
	assert_true(head.dense_w[0] == dense);
	adapter_forward(&run, 1, 5, 0, SIZE_MAX, h, WIDTH); /* the second layer's ffn */
	for (size_t c = 0; c < WIDTH; c++)
		assert_true(h[c] == 1 + 10 + (float)(WIDTH + c));
	for (size_t c = 0; c < WIDTH; c++)
		h[c] = 1;
	adapter_forward(&run, 1, 4, 0, SIZE_MAX, h, WIDTH); /* its attention, which from does not edit */
	assert_true(h[0] == 1);
	adapter_layout_free(from);
	adapter_layout_free(to);
	mem_free(a);
	mem_free(b);
}

static void test_more_than_is_trained_is_refused(void **state)
{
	static const struct {
		unsigned positions, parts;
		size_t n_labels;
	} less[] = {{POSITION_ATTN, PART_SCALE | PART_BIAS, 3}, {POSITION_FFN, PART_BIAS, 3},
	        {POSITION_FFN, PART_SCALE | PART_BIAS, 0}, {POSITION_FFN, PART_SCALE | PART_BIAS, 2}};
	float *a, *b;
	struct adapter_layout *from = lay_out(POSITION_FFN, PART_SCALE | PART_BIAS, 3, 0, &a);

	(void)state;
	for (size_t i = 0; i < sizeof(less) / sizeof(less[0]); i++) {
		struct adapter_layout *to =
		        lay_out(less[i].positions, less[i].parts, less[i].n_labels, 0, &b);

		assert_int_equal(adapter_transfer(from, a, to, b), ERR_MISMATCH);
		adapter_layout_free(to);
		mem_free(b);
	}
	adapter_layout_free(from);
	mem_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_same_layout_is_copied_whole),
	        cmocka_unit_test(test_what_is_not_there_stays_as_it_was),
	        cmocka_unit_test(test_more_than_is_trained_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
