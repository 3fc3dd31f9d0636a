/* Stems of rows over whole runs: once computed, known in all later passes, and seen in no result. */
#include "tests/worker/train/fake_model.h"

#include "worker/budget.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N_EPOCHS 3

static const struct train_config config = {.n_epochs = N_EPOCHS,
        .batch_size = 8,
        .learning_rate = 0.05,
        .schedule = SCHEDULE_LINEAR,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .shuffle = true,
        .keep = KEEP_LAST,
        .seed = 7};

static struct dataset train_rows, valid_rows;

static struct train_run *run_new(const struct train_config *c, const struct dataset *valid)
{
	struct train_run *r = NULL;

	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, &train_rows, valid, c, &r, NULL), OK);
	atomic_store(&fake_stems_known, 0);
	atomic_store(&fake_stems_wrong, 0);
	return r;
}

static void finish(struct train_run *r)
{
	struct train_step step;
	struct train_eval eval;
	size_t n_items;

	for (enum train_phase phase; (phase = train_begin(r, &n_items)) != TRAIN_DONE;) {
		for (size_t i = 0; i < n_items; i++)
			assert_int_equal(train_item(r, i, NULL), OK);
		assert_int_equal(
		        phase == TRAIN_STEP ? train_end_step(r, &step) : train_end_eval(r, &eval), OK);
	}
}

/* Positions that the model sees of a data set. */
static long positions(const struct dataset *d)
{
	long n = 0;

	for (size_t i = 0; i < d->n_rows; i++)
		n += d->rows[i].n_trained ? (long)d->rows[i].n_tokens - 1 : 0;
	return n;
}

static void test_every_pass_but_the_first_knows_them(void **state)
{
	struct train_run *plain = run_new(&config, &valid_rows), *kept = run_new(&config, &valid_rows);

	(void)state;
	finish(plain);
	assert_int_equal(atomic_load(&fake_stems_known), 0);
	assert_int_equal(train_stem_bytes(kept), (train_rows.n_tokens + valid_rows.n_tokens) * sizeof(float));
	assert_int_equal(train_keep_stems(kept), OK);
	finish(kept);
	assert_int_equal(atomic_load(&fake_stems_known),
	        (N_EPOCHS - 1) * (positions(&train_rows) + positions(&valid_rows)));
	assert_int_equal(atomic_load(&fake_stems_wrong), 0);
	assert_memory_equal(train_params(kept), train_params(plain), FAKE_PARAMS * sizeof(float));
	train_run_free(plain);
	train_run_free(kept);
}

/* A run that goes on from a saved state knows nothing yet, and ends in the same bytes. */
static void test_a_resumed_run_keeps_them_anew(void **state)
{
	struct train_run *whole = run_new(&config, NULL), *first = run_new(&config, NULL),
	                 *rest = run_new(&config, NULL);
	struct buf saved = {0};
	struct train_step step;
	struct why why;
	size_t n_items;

	(void)state;
	finish(whole);
	assert_int_equal(train_keep_stems(first), OK);
	for (size_t n = 0; n < 11; n++) {
		train_begin(first, &n_items);
		for (size_t i = 0; i < n_items; i++)
			assert_int_equal(train_item(first, i, NULL), OK);
		assert_int_equal(train_end_step(first, &step), OK);
	}
	assert_int_equal(train_state_write(first, &saved), OK);
	assert_int_equal(train_keep_stems(rest), OK);
	assert_int_equal(train_state_read(rest, saved.data, saved.len, &why), OK);
	finish(rest);
	assert_int_equal(atomic_load(&fake_stems_wrong), 0);
	assert_memory_equal(train_params(rest), train_params(whole), FAKE_PARAMS * sizeof(float));
	buf_fini(&saved);
	train_run_free(whole);
	train_run_free(first);
	train_run_free(rest);
}

static void test_rows_passed_once_are_not_kept(void **state)
{
	struct train_config c = config;
	struct train_run *r;

	(void)state;
	c.n_epochs = 1;
	r = run_new(&c, &valid_rows);
	assert_int_equal(train_stem_bytes(r), 0);
	train_run_free(r);
	c.eval_every = 2; /* the validation set alone is passed again */
	r = run_new(&c, &valid_rows);
	assert_int_equal(train_stem_bytes(r), valid_rows.n_tokens * sizeof(float));
	assert_int_equal(train_keep_stems(r), OK);
	finish(r);
	assert_int_equal(atomic_load(&fake_stems_known) % positions(&valid_rows), 0);
	assert_true(atomic_load(&fake_stems_known) > 0);
	train_run_free(r);
}

static void test_shortage_of_memory_is_told(void **state)
{
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		struct train_run *r = run_new(&config, &valid_rows);

		mem_fail_at(n);
		e = train_keep_stems(r);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
		train_run_free(r);
	}
}

static void test_a_budget_gives_all_or_nothing(void **state)
{
	struct budget b;

	(void)state;
	atomic_init(&b.left, 100);
	assert_true(budget_take(&b, 60));
	assert_false(budget_take(&b, 41));
	assert_true(budget_take(&b, 40));
	assert_false(budget_take(&b, 1));
	budget_give(&b, 60);
	assert_true(budget_take(&b, 60));
}

static int setup(void **state)
{
	(void)state;
	fake_dataset(&train_rows, 60, 60, 4);
	fake_dataset(&valid_rows, 30, 90, 5);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_dataset_fini(&train_rows);
	fake_dataset_fini(&valid_rows);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_pass_but_the_first_knows_them),
	        cmocka_unit_test(test_a_resumed_run_keeps_them_anew),
	        cmocka_unit_test(test_rows_passed_once_are_not_kept),
	        cmocka_unit_test(test_shortage_of_memory_is_told),
	        cmocka_unit_test(test_a_budget_gives_all_or_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
