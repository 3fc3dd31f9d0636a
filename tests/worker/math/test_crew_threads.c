/* A crew does every item once, with no two threads of one number, however many it has and however short the
 * work; also when its threads have gone to sleep. */
#include "worker/math/crew.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N_ITEMS = 37, N_RUNS = 2000 };

struct tally {
	unsigned count[N_ITEMS]; /* not atomic: ThreadSanitizer sees who touches it */
	atomic_bool busy[CREW_MAX_THREADS];
	size_t n_threads;
	atomic_size_t faults;
	unsigned sums[CREW_MAX_THREADS * 16];
};

static void count_item(void *arg, size_t item, size_t thread)
{
	struct tally *t = arg;

	if (thread >= t->n_threads || atomic_exchange(&t->busy[thread], true))
		atomic_fetch_add(&t->faults, 1);
	t->count[item]++;
	t->sums[thread * 16]++;
	atomic_store(&t->busy[thread], false);
}

static void check_crew(struct crew *c, size_t n_runs)
{
	static struct tally t;
	size_t total = 0, expected = 0;

	memset(&t, 0, sizeof(t));
	t.n_threads = crew_size(c);
	for (size_t i = 0; i < n_runs; i++) {
		crew_run(c, i % (N_ITEMS + 1), count_item, &t);
		expected += i % (N_ITEMS + 1);
		for (size_t k = 0; k < N_ITEMS; k++) {
			assert_int_equal(t.count[k], k < i % (N_ITEMS + 1));
			t.count[k] = 0;
		}
	}
	for (size_t i = 0; i < t.n_threads; i++)
		total += t.sums[i * 16];
	assert_int_equal(total, expected);
	assert_int_equal(atomic_load(&t.faults), 0);
}

static void test_every_item_is_done_once(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 8; n += n < 4 ? 1 : 4) {
		struct crew *c;

		assert_int_equal(crew_start(n, &c), OK);
		assert_int_equal(crew_size(c), n);
		check_crew(c, N_RUNS);
		crew_stop(c);
	}
}

static void count_part(void *arg, size_t begin, size_t end)
{
	unsigned *count = arg;

	if (begin >= end)
		count[0] += 2;
	for (size_t i = begin; i < end; i++)
		count[i]++;
}

static void check_parts(struct crew *c)
{
	for (size_t n = 0; n <= N_ITEMS; n++)
		for (size_t size = 1; size <= N_ITEMS + 1; size++) {
			unsigned count[N_ITEMS] = {0};

			crew_run_parts(c, n, size, count_part, count);
			for (size_t i = 0; i < N_ITEMS; i++)
				assert_int_equal(count[i], i < n);
		}
}

static void test_parts_cover_all_once(void **state)
{
	struct crew *c;

	(void)state;
	check_parts(NULL);
	assert_int_equal(crew_start(3, &c), OK);
	check_parts(c);
	crew_stop(c);
}

static void test_no_crew_is_the_caller_alone(void **state)
{
	(void)state;
	assert_int_equal(crew_size(NULL), 1);
	check_crew(NULL, 100);
	crew_stop(NULL);
}

/* Long enough on the owner's side that members sleep before the next run, and the owner during one. */
static void spin_item(void *arg, size_t item, size_t thread)
{
	volatile unsigned *sink = arg;

	(void)item;
	for (unsigned i = 0; i < (thread ? 3000000U : 1000U); i++)
		sink[thread * 16] = i;
}

static void test_sleepers_are_woken(void **state)
{
	static unsigned sink[4 * 16];
	struct crew *c;

	(void)state;
	assert_int_equal(crew_start(3, &c), OK);
	for (int i = 0; i < 10; i++) {
		crew_run(c, 6, spin_item, sink);
		for (int k = 0; k < 10; k++)
			spin_item(sink + 48, 0, 0);
	}
	check_crew(c, 50);
	crew_stop(c);
}

static void test_a_crew_that_was_never_used_stops(void **state)
{
	struct crew *c;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(crew_start(4, &c), OK);
		crew_stop(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_item_is_done_once),
	        cmocka_unit_test(test_no_crew_is_the_caller_alone),
	        cmocka_unit_test(test_parts_cover_all_once),
	        cmocka_unit_test(test_sleepers_are_woken),
	        cmocka_unit_test(test_a_crew_that_was_never_used_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
