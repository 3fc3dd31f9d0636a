/* What trains shows itself step by step, to its tenant, and as long as it is held. */
#include "worker/live.h"

#include "tests/worker/fixture.h"

struct stage {
	struct live *live;
	struct adapter_layout *layout;
	float *params;
	size_t n;
};

static void stage_init(struct fixture *f, struct stage *g)
{
	size_t n_sites;
	const struct site *sites = model_sites(f->model, &n_sites);
	struct adapter_spec spec;

	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &g->layout, NULL), OK);
	g->n = adapter_layout_n_params(g->layout);
	g->params = mem_calloc(g->n, sizeof(float));
	assert_int_equal(live_new(&g->live), OK);
}

static void stage_fini(struct stage *g)
{
	live_free(g->live);
	adapter_layout_free(g->layout);
	mem_free(g->params);
}

static struct live_seat *begin(struct stage *g, const char *name)
{
	static const struct labels none = {0};
	struct live_seat *s;

	assert_int_equal(live_begin(g->live, "ann", name, g->layout, &none, &s), OK);
	return s;
}

static void show(struct stage *g, struct live_seat *s, float x)
{
	g->params[g->n - 1] = x;
	live_show(s, g->params);
}

static void test_each_step_is_shown_and_stays_with_its_holders(void **state)
{
	struct stage g;
	struct adapter_ref first, second;
	struct live_seat *s;

	stage_init(*state, &g);
	s = begin(&g, "ft:a");
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &first), ERR_NOT_FOUND); /* nothing shown */
	show(&g, s, 1);
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &first), OK);
	show(&g, s, 2);
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &second), OK);
	live_end(s);
	assert_true(first.params[g.n - 1] == 1 && second.params[g.n - 1] == 2);
	assert_int_equal(adapter_layout_n_params(second.layout), g.n);
	assert_null(second.labels);
	first.release(first.owner);
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &first), ERR_NOT_FOUND);
	second.release(second.owner);
	stage_fini(&g);
}

static void test_only_its_tenant_sees_it(void **state)
{
	struct stage g;
	struct adapter_ref ref;
	struct live_seat *a, *b;

	stage_init(*state, &g);
	a = begin(&g, "ft:a");
	b = begin(&g, "ft:b");
	show(&g, a, 1);
	show(&g, b, 2);
	assert_int_equal(live_acquire(g.live, "bob", "ft:a", &ref), ERR_NOT_FOUND);
	assert_int_equal(live_acquire(g.live, "ann", "ft:", &ref), ERR_NOT_FOUND);
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &ref), OK);
	assert_true(ref.params[g.n - 1] == 1);
	ref.release(ref.owner);
	live_end(a);
	live_end(b);
	live_end(NULL);
	stage_fini(&g);
}

static void test_labels_are_the_seats_own(void **state)
{
	char *names[] = {(char *)"no", (char *)"yes"};
	struct labels labels = {LABELS_CLASSES, 2, names};
	struct stage g;
	struct adapter_ref ref;
	struct live_seat *s;
	char room[32];

	stage_init(*state, &g);
	assert_int_equal(live_begin(g.live, "ann", "ft:a", g.layout, &labels, &s), OK);
	show(&g, s, 1);
	names[1] = (char *)"changed";
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &ref), OK);
	live_end(s);
	assert_string_equal(labels_name(ref.labels, 1, room), "yes");
	ref.release(ref.owner);
	stage_fini(&g);
}

static void test_shortage_keeps_what_was_shown(void **state)
{
	static const struct labels none = {0};
	struct stage g;
	struct adapter_ref ref;
	struct live_seat *s = NULL;
	enum err e = ERR_MEM;

	stage_init(*state, &g);
	for (long n = 1; e; n++) {
		assert_true(n < 100);
		mem_fail_at(n);
		e = live_begin(g.live, "ann", "ft:a", g.layout, &none, &s);
		mem_fail_at(0);
	}
	show(&g, s, 1);
	mem_fail_at(1);
	show(&g, s, 2);
	mem_fail_at(0);
	assert_int_equal(live_acquire(g.live, "ann", "ft:a", &ref), OK);
	assert_true(ref.params[g.n - 1] == 1);
	ref.release(ref.owner);
	live_end(s);
	stage_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_each_step_is_shown_and_stays_with_its_holders, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_only_its_tenant_sees_it, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_labels_are_the_seats_own, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_shortage_keeps_what_was_shown, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
