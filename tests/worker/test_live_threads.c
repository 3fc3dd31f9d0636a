/* One shows, others look on: what they hold is whole, and one step's. */
#include "worker/live.h"

#include "core/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define N_STEPS 3000
#define N_LOOKERS 3
#define WIDTH 64

struct stage {
	struct live *live;
	atomic_bool over;
	atomic_size_t n_seen;
	atomic_bool torn;
};

static void *look_on(void *arg)
{
	struct stage *g = arg;
	float last = 0;

	while (!atomic_load(&g->over)) {
		struct adapter_ref ref;

		if (live_acquire(g->live, "ann", "ft:a", &ref))
			continue;
		for (size_t i = 1; i < adapter_layout_n_params(ref.layout); i++)
			if (ref.params[i] != ref.params[0])
				atomic_store(&g->torn, true);
		if (ref.params[0] < last)
			atomic_store(&g->torn, true);
		last = ref.params[0];
		atomic_fetch_add(&g->n_seen, 1);
		ref.release(ref.owner);
	}
	return NULL;
}

static void test_lookers_see_whole_steps_in_order(void **state)
{
	static const struct labels none = {0};
	struct site site = {.name = "a", .position = POSITION_FFN, .layer = 0, .width = WIDTH};
	struct stage g = {.live = NULL};
	struct adapter_spec spec;
	struct adapter_layout *layout;
	struct live_seat *seat;
	pthread_t threads[N_LOOKERS];
	float params[2 * WIDTH];

	(void)state;
	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, &site, 1, &layout, NULL), OK);
	assert_int_equal(adapter_layout_n_params(layout), 2 * WIDTH);
	assert_int_equal(live_new(&g.live), OK);
	assert_int_equal(live_begin(g.live, "ann", "ft:a", layout, &none, &seat), OK);
	adapter_layout_free(layout);
	for (size_t i = 0; i < N_LOOKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_on, &g), 0);
	for (size_t step = 0; step < N_STEPS || !atomic_load(&g.n_seen); step++) {
		for (size_t i = 0; i < 2 * WIDTH; i++)
			params[i] = (float)step;
		live_show(seat, params);
	}
	live_end(seat); /* while others still hold what it showed */
	atomic_store(&g.over, true);
	for (size_t i = 0; i < N_LOOKERS; i++)
		pthread_join(threads[i], NULL);
	assert_false(atomic_load(&g.torn));
	live_free(g.live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lookers_see_whole_steps_in_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
