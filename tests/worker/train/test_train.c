/* A whole run against a naive twin, and everything that may interrupt one. */
#include "worker/train/train.h"

#include "tests/worker/train/fake_model.h"
#include "worker/train/plan.h"
#include "worker/train/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct dataset train_rows, valid_rows;

static struct train_run *run_new(const struct train_config *c, const struct dataset *valid)
{
	struct train_run *r = NULL;
	struct why why = {0};

	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, &train_rows, valid, c, &r, &why), OK);
	return r;
}

/* One phase, its items in rising or falling order. */
static enum train_phase advance(
        struct train_run *r, bool falling, struct train_step *step, struct train_eval *eval)
{
	size_t n_items;
	enum train_phase phase = train_begin(r, &n_items);

	if (phase == TRAIN_DONE)
		return phase;
	for (size_t i = 0; i < n_items; i++)
		assert_int_equal(train_item(r, falling ? n_items - 1 - i : i, NULL), OK);
	assert_int_equal(phase == TRAIN_STEP ? train_end_step(r, step) : train_end_eval(r, eval), OK);
	return phase;
}

static void finish(struct train_run *r, bool falling)
{
	struct train_step step;
	struct train_eval eval;

	while (advance(r, falling, &step, &eval) != TRAIN_DONE)
		;
}

/* The run written out plainly in double: no items, no packs. */
static void twin_step(double *p, double *m, double *v, size_t t, double lr, const struct train_config *c,
        const size_t *rows, size_t n, double *loss_out)
{
	double g[FAKE_PARAMS] = {0}, loss = 0, weight = 0, norm = 0, clip;
	float params[FAKE_PARAMS];

	for (size_t k = 0; k < FAKE_PARAMS; k++)
		params[k] = (float)p[k];
	for (size_t r = 0; r < n; r++) {
		const struct dataset_row *row = &train_rows.rows[rows[r]];
		const int32_t *ids = train_rows.ids + row->offset;

		for (size_t i = 0; i + 1 < row->n_tokens; i++) {
			double w = (double)train_rows.weights[row->offset + i + 1];
			double error = fake_error(params, ids[i], i, ids[i + 1]);

			loss += w * 0.5 * error * error;
			weight += w;
			for (size_t k = 0; k < FAKE_PARAMS; k++)
				g[k] += w * error * fake_feature(ids[i], i, k);
		}
	}
	for (size_t k = 0; k < FAKE_PARAMS; k++)
		norm += g[k] / weight * (g[k] / weight);
	clip = fmin(1, c->max_grad_norm / (sqrt(norm) + 1e-6));
	for (size_t k = 0; k < FAKE_PARAMS; k++) {
		g[k] *= clip / weight;
		m[k] = c->beta1 * m[k] + (1 - c->beta1) * g[k];
		v[k] = c->beta2 * v[k] + (1 - c->beta2) * g[k] * g[k];
		p[k] -= lr * c->weight_decay * p[k];
		p[k] -= lr * (m[k] / (1 - pow(c->beta1, (double)t))) /
		        (sqrt(v[k] / (1 - pow(c->beta2, (double)t))) + c->eps);
	}
	*loss_out = loss / weight;
}

static void test_run_agrees_with_the_naive_twin(void **state)
{
	struct train_config c = fake_config;
	double p[FAKE_PARAMS], m[FAKE_PARAMS] = {0}, v[FAKE_PARAMS] = {0}, first_loss = 0, loss = 0;
	size_t n = train_rows.n_rows, t = 0, order[64], per_epoch = (n + 7) / 8;
	struct train_run *r;

	(void)state;
	c.max_grad_norm = 0.05;
	r = run_new(&c, NULL);
	assert_int_equal(train_total_steps(r), 3 * per_epoch);
	for (size_t k = 0; k < FAKE_PARAMS; k++)
		p[k] = k % 2 ? 0 : 1;
	for (size_t epoch = 0; epoch < c.n_epochs; epoch++) {
		plan_order(c.seed, epoch, true, n, order);
		for (size_t at = 0; at < n; at += c.batch_size) {
			double lr = 0.05 * schedule_factor(c.schedule, t, 2, 3 * per_epoch);
			size_t n_rows = n - at < c.batch_size ? n - at : c.batch_size;
			struct train_step step;

			assert_int_equal(advance(r, false, &step, NULL), TRAIN_STEP);
			twin_step(p, m, v, ++t, lr, &c, order + at, n_rows, &loss);
			first_loss = t == 1 ? loss : first_loss;
			assert_true(fabs(step.loss - loss) < 1e-5);
			assert_true(step.learning_rate == lr);
			assert_int_equal(step.step, t);
			assert_true(
			        fabs(step.epoch - (double)epoch - (double)(at + n_rows) / (double)n) < 1e-12);
		}
	}
	assert_int_equal(train_next(r), TRAIN_DONE);
	assert_true(loss < first_loss);
	for (size_t k = 0; k < FAKE_PARAMS; k++)
		assert_true(fabs((double)train_params(r)[k] - p[k]) < 1e-5);
	train_run_free(r);
}

static void test_order_of_items_does_not_show(void **state)
{
	struct train_config c = fake_config;
	struct train_run *a, *b;

	(void)state;
	c.batch_size = 32;
	a = run_new(&c, &valid_rows);
	b = run_new(&c, &valid_rows);
	finish(a, false);
	finish(b, true);
	assert_memory_equal(train_params(a), train_params(b), FAKE_PARAMS * sizeof(float));
	train_run_free(a);
	train_run_free(b);
}

/* Interrupted after every phase in turn, the run ends in the same bytes. */
static void test_resume_anywhere_gives_the_same_bytes(void **state)
{
	struct train_config c = fake_config;
	struct train_step step;
	struct train_eval eval;
	struct train_run *whole;
	bool more = true;

	(void)state;
	c.keep = KEEP_BEST;
	c.eval_every = 3;
	whole = run_new(&c, &valid_rows);
	finish(whole, false);
	for (size_t stop = 0; more; stop++) {
		struct train_run *a = run_new(&c, &valid_rows), *b = run_new(&c, &valid_rows);
		struct buf bytes = {0}, again = {0};
		struct why why = {0};

		for (size_t i = 0; i < stop && more; i++)
			more = advance(a, false, &step, &eval) != TRAIN_DONE;
		assert_int_equal(train_state_write(a, &bytes), OK);
		train_run_free(a);
		assert_int_equal(train_state_read(b, bytes.data, bytes.len, &why), OK);
		assert_int_equal(train_state_write(b, &again), OK);
		assert_int_equal(bytes.len, again.len);
		assert_memory_equal(bytes.data, again.data, bytes.len);
		finish(b, false);
		assert_memory_equal(
		        train_result(b, NULL), train_result(whole, NULL), FAKE_PARAMS * sizeof(float));
		train_run_free(b);
		buf_fini(&bytes);
		buf_fini(&again);
	}
	train_run_free(whole);
}

static void test_damaged_state_is_refused(void **state)
{
	struct train_run *r = run_new(&fake_config, NULL);
	struct train_step step;
	struct buf bytes = {0}, before = {0}, after = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(train_state_write(r, &bytes), OK);
	advance(r, false, &step, NULL);
	assert_int_equal(train_state_write(r, &before), OK);
	for (size_t i = 0; i < bytes.len; i++) {
		bytes.data[i] ^= 0x10;
		assert_int_equal(train_state_read(r, bytes.data, bytes.len, &why), ERR_FORMAT);
		bytes.data[i] ^= 0x10;
	}
	for (size_t n = 0; n < bytes.len; n += 7)
		assert_int_equal(train_state_read(r, bytes.data, n, &why), ERR_FORMAT);
	assert_int_equal(train_state_write(r, &after), OK);
	assert_memory_equal(before.data, after.data, before.len);
	assert_int_equal(train_state_read(r, bytes.data, bytes.len, &why), OK);
	assert_int_equal(train_steps_done(r), 0);
	buf_fini(&bytes);
	buf_fini(&before);
	buf_fini(&after);
	train_run_free(r);
}

static void test_state_of_another_run_is_refused(void **state)
{
	struct train_run *r = run_new(&fake_config, NULL), *other;
	struct train_config c = fake_config;
	struct buf bytes = {0};
	struct why why = {0};

	(void)state;
	assert_int_equal(train_state_write(r, &bytes), OK);
	c.learning_rate *= 2;
	other = run_new(&c, NULL);
	assert_int_equal(train_state_read(other, bytes.data, bytes.len, &why), ERR_MISMATCH);
	train_run_free(other);
	other = run_new(&fake_config, &valid_rows);
	assert_int_equal(train_state_read(other, bytes.data, bytes.len, &why), ERR_MISMATCH);
	train_run_free(other);
	train_rows.ids[0] ^= 1;
	other = run_new(&fake_config, NULL);
	train_rows.ids[0] ^= 1;
	assert_int_equal(train_state_read(other, bytes.data, bytes.len, &why), ERR_MISMATCH);
	train_run_free(other);
	buf_fini(&bytes);
	train_run_free(r);
}

static void test_best_is_the_lowest_evaluation(void **state)
{
	struct train_config c = fake_config;
	struct train_run *r;
	struct train_step step;
	struct train_eval eval;
	enum train_phase phase;
	float best[FAKE_PARAMS];
	double lowest = INFINITY;
	size_t best_step = 0, n_evals = 0, got;

	(void)state;
	c.keep = KEEP_BEST;
	c.eval_every = 2;
	c.schedule = SCHEDULE_CONSTANT;
	c.learning_rate = 1.5; /* jumps about, so that the last is not the best */
	r = run_new(&c, &valid_rows);
	while ((phase = advance(r, false, &step, &eval)) != TRAIN_DONE) {
		if (phase != TRAIN_EVAL)
			continue;
		n_evals++;
		assert_int_equal(eval.best, eval.loss < lowest);
		if (eval.best) {
			lowest = eval.loss;
			best_step = train_steps_done(r);
			memcpy(best, train_params(r), sizeof(best));
		}
	}
	assert_int_equal(n_evals, (train_total_steps(r) + 1) / 2);
	assert_memory_equal(train_result(r, &got), best, sizeof(best));
	assert_int_equal(got, best_step);
	assert_true(best_step < train_total_steps(r));
	train_run_free(r);
}

static void test_evaluates_each_epoch_and_after_the_last_step(void **state)
{
	struct train_config c = fake_config;
	struct train_run *r = run_new(&c, &valid_rows);
	struct train_step step;
	struct train_eval eval;
	enum train_phase phase;
	size_t n_evals = 0, per_epoch = train_total_steps(r) / c.n_epochs;

	(void)state;
	while ((phase = advance(r, false, &step, &eval)) != TRAIN_DONE)
		if (phase == TRAIN_EVAL)
			assert_int_equal(train_steps_done(r), ++n_evals * per_epoch);
	assert_int_equal(n_evals, c.n_epochs);
	assert_int_equal(train_steps_done(r), train_total_steps(r));
	train_run_free(r);
}

static void test_patience_stops_a_run_that_gets_worse(void **state)
{
	struct train_config c = fake_config;
	struct train_run *r;

	(void)state;
	c.eval_every = 1;
	c.patience = 3;
	c.warmup_steps = 0;
	c.schedule = SCHEDULE_CONSTANT;
	c.learning_rate = 5;
	r = run_new(&c, &valid_rows);
	finish(r, false);
	assert_in_range(train_steps_done(r), 4, train_total_steps(r) - 1);
	train_run_free(r);
}

static void test_loss_that_is_not_finite_changes_nothing(void **state)
{
	struct train_run *r = run_new(&fake_config, NULL);
	struct train_step step;
	float before[FAKE_PARAMS];
	size_t n_items;

	(void)state;
	for (int i = 0; i < 3; i++)
		advance(r, false, &step, NULL);
	memcpy(before, train_params(r), sizeof(before));
	fake_nan_at = 1;
	assert_int_equal(train_begin(r, &n_items), TRAIN_STEP);
	for (size_t i = 0; i < n_items; i++)
		assert_int_equal(train_item(r, i, NULL), OK);
	assert_int_equal(train_end_step(r, &step), ERR_STATE);
	assert_memory_equal(train_params(r), before, sizeof(before));
	assert_int_equal(train_steps_done(r), 3);
	train_run_free(r);
}

static void test_step_without_loss_moves_nothing_but_the_schedule(void **state)
{
	struct train_config c = fake_config;
	struct train_run *r;
	struct train_step step;
	float before[FAKE_PARAMS];

	(void)state;
	c.batch_size = 1;
	c.shuffle = false;
	r = run_new(&c, NULL);
	for (int i = 0; i < 4; i++)
		advance(r, false, &step, NULL);
	memcpy(before, train_params(r), sizeof(before));
	advance(r, false, &step, NULL); /* row 4 has no loss */
	assert_int_equal(step.n_labels, 0);
	assert_int_equal(step.step, 5);
	assert_true(step.loss == 0);
	assert_memory_equal(train_params(r), before, sizeof(before));
	train_run_free(r);
}

static void test_abort_leaves_the_run_where_it_stood(void **state)
{
	struct train_run *a = run_new(&fake_config, &valid_rows), *b = run_new(&fake_config, &valid_rows);
	struct train_step step;
	size_t n_items;

	(void)state;
	advance(a, false, &step, NULL);
	assert_int_equal(train_tokens_done(a), step.n_tokens);
	assert_int_equal(train_begin(a, &n_items), TRAIN_STEP);
	assert_int_equal(train_item(a, 0, NULL), OK);
	train_abort(a);
	assert_int_equal(train_tokens_done(a), step.n_tokens);
	finish(a, false);
	finish(b, false);
	assert_memory_equal(train_params(a), train_params(b), FAKE_PARAMS * sizeof(float));
	train_run_free(a);
	train_run_free(b);
}

static void test_items_tell_their_cost(void **state)
{
	struct train_run *r = run_new(&fake_config, NULL);
	struct train_step step;
	size_t n_items, n_tokens = 0;

	(void)state;
	assert_int_equal(train_begin(r, &n_items), TRAIN_STEP);
	for (size_t i = 0; i < n_items; i++) {
		n_tokens += train_item_tokens(r, i);
		assert_int_equal(train_item(r, i, NULL), OK);
	}
	assert_int_equal(train_end_step(r, &step), OK);
	assert_int_equal(step.n_tokens, n_tokens);
	train_run_free(r);
}

static void test_steps_allocate_nothing(void **state)
{
	struct train_run *r = run_new(&fake_config, &valid_rows);

	(void)state;
	mem_fail_at(1);
	finish(r, false);
	assert_false(mem_failed());
	mem_fail_at(0);
	train_run_free(r);
}

static void test_new_survives_every_failed_allocation(void **state)
{
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		struct train_run *r = NULL;

		mem_fail_at(n);
		e = train_run_new(NULL, &fake_layout, NULL, &train_rows, &valid_rows, &fake_config, &r, NULL);
		mem_fail_at(0);
		assert_true(e == OK || (e == ERR_MEM && r == NULL));
		train_run_free(r);
	}
}

static void test_data_that_does_not_fit_the_base_is_refused(void **state)
{
	struct train_run *r = NULL;
	struct why why = {0};
	int32_t kept = train_rows.ids[3];

	(void)state;
	train_rows.ids[3] = FAKE_VOCAB;
	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, &train_rows, NULL, &fake_config, &r, &why),
	        ERR_MISMATCH);
	train_rows.ids[3] = kept;
	assert_string_equal(why.param, "training_file");
	valid_rows.rows[2].n_tokens += FAKE_CONTEXT;
	assert_int_equal(
	        train_run_new(NULL, &fake_layout, NULL, &train_rows, &valid_rows, &fake_config, &r, &why),
	        ERR_TOO_LONG);
	valid_rows.rows[2].n_tokens -= FAKE_CONTEXT;
	assert_string_equal(why.param, "validation_file");
	assert_non_null(strstr(why.message, "line 3 "));
}

static void test_goes_on_from_given_parameters(void **state)
{
	float start[FAKE_PARAMS];
	struct train_run *r = NULL;

	(void)state;
	for (size_t k = 0; k < FAKE_PARAMS; k++)
		start[k] = (float)k * 0.25f - 1;
	assert_int_equal(
	        train_run_new(NULL, &fake_layout, start, &train_rows, NULL, &fake_config, &r, NULL), OK);
	assert_memory_equal(train_params(r), start, sizeof(start));
	train_run_free(r);
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
	        cmocka_unit_test(test_run_agrees_with_the_naive_twin),
	        cmocka_unit_test(test_order_of_items_does_not_show),
	        cmocka_unit_test(test_resume_anywhere_gives_the_same_bytes),
	        cmocka_unit_test(test_damaged_state_is_refused),
	        cmocka_unit_test(test_state_of_another_run_is_refused),
	        cmocka_unit_test(test_best_is_the_lowest_evaluation),
	        cmocka_unit_test(test_evaluates_each_epoch_and_after_the_last_step),
	        cmocka_unit_test(test_patience_stops_a_run_that_gets_worse),
	        cmocka_unit_test(test_loss_that_is_not_finite_changes_nothing),
	        cmocka_unit_test(test_step_without_loss_moves_nothing_but_the_schedule),
	        cmocka_unit_test(test_abort_leaves_the_run_where_it_stood),
	        cmocka_unit_test(test_items_tell_their_cost),
	        cmocka_unit_test(test_steps_allocate_nothing),
	        cmocka_unit_test(test_new_survives_every_failed_allocation),
	        cmocka_unit_test(test_data_that_does_not_fit_the_base_is_refused),
	        cmocka_unit_test(test_goes_on_from_given_parameters),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
