/* Several adapters as one: the numbers, what is edited, heads, and what cannot be blended. */
#include "core/mem.h"
#include "tests/worker/adapter/sites.h"
#include "worker/adapter/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

#define N_SITES 6 /* two layers */
#define WIDTH 8

struct made {
	struct adapter_layout *layout;
	float *params;
};

static struct made make(unsigned positions, unsigned parts, size_t n_labels, float first, float step)
{
	struct site *sites = gpt2_sites(2, WIDTH);
	struct adapter_spec spec;
	struct made m;

	adapter_spec_default(&spec);
	spec.positions = positions;
	spec.parts = parts;
	if (n_labels)
		assert_int_equal(
		        adapter_layout_new_head(&spec, sites, N_SITES, WIDTH, n_labels, &m.layout, NULL), OK);
	else
		assert_int_equal(adapter_layout_new(&spec, sites, N_SITES, &m.layout, NULL), OK);
	m.params = mem_calloc(adapter_layout_n_params(m.layout), sizeof(float));
	for (size_t i = 0; i < adapter_layout_n_params(m.layout); i++)
		m.params[i] = first + step * (float)i;
	free(sites);
	return m;
}

static void unmake(struct made *m)
{
	adapter_layout_free(m->layout);
	mem_free(m->params);
}

static struct adapter_share share(const struct made *m, double weight)
{
	return (struct adapter_share){m->layout, m->params, weight};
}

/* The edit that a layout makes of a site's first column. */
static void edit_of(const struct made *m, size_t site, float *scale, float *shift)
{
	float scales[3 * WIDTH], shifts[3 * WIDTH];

	*scale = 1;
	*shift = 0;
	if (!adapter_layout_edits(m->layout, site))
		return;
	assert_true(adapter_affine(m->layout, m->params, site, scales, shifts));
	*scale = scales[0];
	*shift = shifts[0];
}

static void test_one_of_weight_one_is_that_one_to_the_bit(void **state)
{
	struct made a = make(POSITION_FFN, PART_SCALE | PART_BIAS, 0, 1e-20f, 0.3f), b;
	struct adapter_share shares[] = {share(&a, 1), {NULL, NULL, 5}};

	(void)state;
	assert_int_equal(adapter_blend(shares, 2, &b.layout, &b.params), OK);
	assert_int_equal(adapter_layout_n_params(b.layout), adapter_layout_n_params(a.layout));
	assert_memory_equal(a.params, b.params, adapter_layout_n_params(a.layout) * sizeof(float));
	unmake(&a);
	unmake(&b);
}

static void test_edits_add_up_from_the_identity(void **state)
{
	struct made a = make(POSITION_FFN, PART_SCALE | PART_BIAS, 0, 3, 0);
	struct made b = make(POSITION_FFN | POSITION_ATTN, PART_SCALE, 0, -1, 0), c;
	struct adapter_share shares[] = {share(&a, 0.5), share(&b, 2)};
	float sa, ba, sb, bb, sc, bc;

	(void)state;
	assert_int_equal(adapter_blend(shares, 2, &c.layout, &c.params), OK);
	for (size_t i = 0; i < N_SITES; i++) {
		edit_of(&a, i, &sa, &ba);
		edit_of(&b, i, &sb, &bb);
		edit_of(&c, i, &sc, &bc);
		assert_true(sc == 1 + 0.5f * (sa - 1) + 2 * (sb - 1));
		assert_true(bc == 0.5f * ba + 2 * bb);
	}
	unmake(&a);
	unmake(&b);
	unmake(&c);
}

static void test_heads_are_averaged(void **state)
{
	struct made a = make(POSITION_FFN, PART_SCALE, 2, 2, 0), b = make(POSITION_FFN, PART_SCALE, 2, 8, 0);
	struct made text = make(POSITION_ATTN, PART_BIAS, 0, 1, 0), c;
	struct adapter_share shares[] = {share(&a, 1), share(&b, 2), share(&text, 7)};

	(void)state;
	assert_int_equal(adapter_blend(shares, 3, &c.layout, &c.params), OK);
	assert_int_equal(adapter_layout_head_labels(c.layout), 2);
	assert_true(adapter_layout_head(c.layout, c.params).out_w[3] == 6);
	assert_true(adapter_layout_head(c.layout, c.params).dense_b[0] == 6);
	unmake(&c);
	shares[1].weight = -1;
	assert_int_equal(adapter_blend(shares, 3, &c.layout, &c.params), ERR_MISMATCH);
	unmake(&b);
	b = make(POSITION_FFN, PART_SCALE, 3, 8, 0);
	shares[1] = share(&b, 1);
	assert_int_equal(adapter_blend(shares, 3, &c.layout, &c.params), ERR_MISMATCH);
	unmake(&a);
	unmake(&b);
	unmake(&text);
}

static void test_the_base_alone_is_no_adapter(void **state)
{
	struct adapter_share shares[] = {{NULL, NULL, 1}, {NULL, NULL, 2}};
	struct made c;

	(void)state;
	assert_int_equal(adapter_blend(shares, 2, &c.layout, &c.params), ERR_EMPTY);
}

static void test_shortage_leaves_nothing(void **state)
{
	struct made a = make(POSITION_FFN, PART_SCALE, 2, 2, 0), c = {NULL, NULL};
	struct adapter_share shares[] = {share(&a, 1), share(&a, 1)};
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e; n++) {
		assert_true(n < 100);
		mem_fail_at(n);
		e = adapter_blend(shares, 2, &c.layout, &c.params);
		mem_fail_at(0);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_null(c.layout);
		}
	}
	unmake(&a);
	unmake(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_one_of_weight_one_is_that_one_to_the_bit),
	        cmocka_unit_test(test_edits_add_up_from_the_identity),
	        cmocka_unit_test(test_heads_are_averaged),
	        cmocka_unit_test(test_the_base_alone_is_no_adapter),
	        cmocka_unit_test(test_shortage_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
