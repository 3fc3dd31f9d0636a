/* Runs of labelled and of sourced rows: what the model is given, what is measured, what is kept. */
#include "tests/worker/train/fake_model.h"
#include "worker/train/plan.h"
#include "worker/train/train.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* The fake rows with a label each: the parity of the first token, or a number that follows it. */
static void labelled_dataset(struct dataset *d, size_t n_rows, enum labels_kind kind)
{
	fake_dataset(d, n_rows, 9, 5);
	d->form = DATASET_LABELLED;
	d->labels = (struct labels){.kind = kind, .n = kind == LABELS_CLASSES ? 2 : 1};
	d->n_trained = n_rows;
	for (size_t r = 0; r < n_rows; r++) {
		struct dataset_row *row = &d->rows[r];
		int32_t first = d->ids[row->offset];

		row->n_trained = 1;
		row->class = kind == LABELS_CLASSES ? first % 2 : -1;
		row->target = (float)first / 10;
	}
}

/* The fake rows, each after 1 + r % 4 tokens of source. */
static void sourced_dataset(struct dataset *d, size_t n_rows)
{
	fake_dataset(d, n_rows, 9, 5);
	d->form = DATASET_SOURCED;
	d->sources = mem_calloc(4 * n_rows, sizeof(*d->sources));
	for (size_t r = 0; r < n_rows; r++) {
		struct dataset_row *row = &d->rows[r];

		row->source_offset = d->n_sources;
		row->n_source = 1 + r % 4;
		for (size_t i = 0; i < row->n_source; i++)
			d->sources[d->n_sources++] = (int32_t)((r * 13 + i) % FAKE_VOCAB);
	}
	d->longest_source = 4;
}

static void labelled_fini(struct dataset *d)
{
	mem_free(d->sources);
	fake_dataset_fini(d);
}

/* Run to the end; the last step and evaluation, and how many evaluations were the best so far. */
static size_t run(const struct dataset *train, const struct dataset *valid, const struct train_config *c,
        struct train_step *step, struct train_eval *eval, float params[FAKE_PARAMS])
{
	struct train_run *r;
	struct why why = {0};
	enum train_phase phase;
	size_t n_items, n_best = 0;

	if (train_run_new(NULL, &fake_layout, NULL, train, valid, c, &r, &why) != OK)
		fail_msg("%s", why.message);
	while ((phase = train_begin(r, &n_items)) != TRAIN_DONE) {
		for (size_t i = n_items; i > 0; i--)
			assert_int_equal(train_item(r, i - 1, NULL), OK);
		if (phase == TRAIN_STEP) {
			assert_int_equal(train_end_step(r, step), OK);
		} else {
			assert_int_equal(train_end_eval(r, eval), OK);
			n_best += eval->best;
		}
	}
	memcpy(params, train_result(r, NULL), FAKE_PARAMS * sizeof(*params));
	train_run_free(r);
	return n_best;
}

/* ---- the plan ---- */

static void test_labelled_rows_are_given_whole_with_one_label(void **state)
{
	const size_t rows[2] = {3, 1};
	struct dataset d;
	struct plan p;
	struct train_batch b;
	float outputs[4];

	(void)state;
	labelled_dataset(&d, 6, LABELS_CLASSES);
	assert_int_equal(plan_init(&p, &d, 2), OK);
	p.outputs = outputs;
	p.n_outputs = 2;
	plan_cut(&p, &d, rows, 2, PLAN_MAX_ITEMS);
	plan_batch(&p, 0, &b);
	assert_int_equal(b.n_seqs, 2);
	assert_int_equal(b.n_rows, d.rows[3].n_tokens + d.rows[1].n_tokens);
	assert_memory_equal(b.tokens, d.ids + d.rows[3].offset, d.rows[3].n_tokens * sizeof(int32_t));
	assert_int_equal(b.lengths[1], d.rows[1].n_tokens);
	assert_int_equal(b.classes[0], d.rows[3].class);
	assert_int_equal(b.classes[1], d.rows[1].class);
	assert_null(b.targets);
	assert_null(b.labels);
	assert_null(b.weights);
	assert_ptr_equal(b.outputs, outputs);
	assert_true(p.label_weight == 2 && p.n_labels == 2);
	plan_fini(&p);
	labelled_fini(&d);
}

static void test_sources_go_with_their_rows_and_count_for_the_pack(void **state)
{
	struct dataset d;
	struct plan p;
	size_t row = 0;

	(void)state;
	sourced_dataset(&d, 200);
	assert_int_equal(plan_init(&p, &d, 200), OK);
	plan_cut(&p, &d, NULL, 200, PLAN_MAX_ITEMS);
	for (size_t pack = 0; pack < p.n_packs; pack++) {
		struct train_batch b;
		size_t source = 0;

		plan_batch(&p, pack, &b);
		assert_true(b.n_rows + b.n_source_rows <= plan_max_rows(&d));
		for (size_t s = 0; s < b.n_seqs; s++, row++) {
			const struct dataset_row *want = &d.rows[row];

			assert_int_equal(b.source_lengths[s], want->n_source);
			assert_int_equal(b.lengths[s], want->n_tokens - 1);
			assert_memory_equal(b.source_tokens + source, d.sources + want->source_offset,
			        want->n_source * sizeof(int32_t));
			source += want->n_source;
		}
		assert_int_equal(source, b.n_source_rows);
	}
	assert_int_equal(row, 200);
	plan_fini(&p);
	labelled_fini(&d);
}

/* ---- runs ---- */

static void test_loss_is_the_mean_over_rows_and_classes_are_measured(void **state)
{
	struct train_config c = fake_config;
	float params[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;
	size_t right = 0;

	(void)state;
	c.n_epochs = 200;
	c.schedule = SCHEDULE_CONSTANT;
	c.metric = METRIC_ACCURACY;
	labelled_dataset(&d, 30, LABELS_CLASSES);
	run(&d, &d, &c, &step, &eval, params);
	assert_true(step.label_weight == 6 && step.n_labels == 6);
	assert_int_equal(eval.labels, LABELS_CLASSES);
	assert_int_equal(eval.n_labels, 30);
	assert_true(eval.metrics[METRIC_ACCURACY] == (double)eval.n_correct / 30);
	assert_true(eval.metrics[METRIC_ACCURACY] > 0.6);
	assert_true(eval.metrics[METRIC_LOSS] == eval.loss);
	assert_true(train_eval_has(&eval, METRIC_F1) && train_eval_has(&eval, METRIC_LOSS));
	assert_false(train_eval_has(&eval, METRIC_PEARSON));
	for (size_t r = 0; r < d.n_rows; r++) {
		const struct train_batch one = {.tokens = d.ids + d.rows[r].offset};
		double out[2] = {0};

		for (size_t k = 0; k < FAKE_PARAMS; k++)
			out[k / 12] +=
			        (double)params[k] * fake_pooled(&one, one.tokens, d.rows[r].n_tokens, k % 12);
		right += (out[1] > out[0]) == d.rows[r].class;
	}
	assert_int_equal(right, eval.n_correct);
	labelled_fini(&d);
}

static void test_numbers_are_measured_by_their_correlation(void **state)
{
	struct train_config c = fake_config;
	float params[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;

	(void)state;
	c.n_epochs = 200;
	c.schedule = SCHEDULE_CONSTANT;
	c.metric = METRIC_SPEARMAN;
	labelled_dataset(&d, 30, LABELS_NUMBER);
	run(&d, &d, &c, &step, &eval, params);
	assert_true(train_eval_has(&eval, METRIC_SPEARMAN) && !train_eval_has(&eval, METRIC_ACCURACY));
	assert_in_range((long)(1000 * eval.metrics[METRIC_PEARSON]), 500, 1000);
	assert_in_range((long)(1000 * eval.metrics[METRIC_SPEARMAN]), 500, 1000);
	labelled_fini(&d);
}

/* By accuracy an evaluation is only better when more rows are right; by loss almost each one is. */
static void test_best_goes_by_the_metric(void **state)
{
	struct train_config c = fake_config;
	float params[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;
	size_t by_loss, by_accuracy;

	(void)state;
	c.n_epochs = 25;
	c.keep = KEEP_BEST;
	c.schedule = SCHEDULE_CONSTANT;
	labelled_dataset(&d, 30, LABELS_CLASSES);
	by_loss = run(&d, &d, &c, &step, &eval, params);
	c.metric = METRIC_ACCURACY;
	by_accuracy = run(&d, &d, &c, &step, &eval, params);
	assert_true(by_accuracy >= 1 && by_accuracy < by_loss);
	labelled_fini(&d);
}

static void test_dropout_follows_the_seed_and_spares_evaluations(void **state)
{
	struct train_config c = fake_config;
	float a[FAKE_PARAMS], b[FAKE_PARAMS], other[FAKE_PARAMS], none[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;

	(void)state;
	labelled_dataset(&d, 30, LABELS_CLASSES);
	c.shuffle = false;
	run(&d, NULL, &c, &step, &eval, none);
	c.dropout = 0.1;
	run(&d, NULL, &c, &step, &eval, a);
	run(&d, &d, &c, &step, &eval, b);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, none, sizeof(a));
	c.seed++;
	run(&d, NULL, &c, &step, &eval, other);
	assert_memory_not_equal(a, other, sizeof(a));
	labelled_fini(&d);
}

static void test_decay_towards_identity_keeps_the_identity(void **state)
{
	struct train_config c = fake_config;
	float zero[FAKE_PARAMS], identity[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;
	double to_zero = 0, to_identity = 0;

	(void)state;
	labelled_dataset(&d, 30, LABELS_CLASSES);
	c.weight_decay = 0.9;
	run(&d, NULL, &c, &step, &eval, zero);
	c.decay_towards = DECAY_TO_IDENTITY;
	run(&d, NULL, &c, &step, &eval, identity);
	for (size_t k = 0; k < FAKE_PARAMS; k += 2) {
		to_zero += (double)zero[k];
		to_identity += (double)identity[k];
	}
	assert_true(to_zero < to_identity - 1);
	labelled_fini(&d);
}

static void test_sources_are_trained_on_and_counted(void **state)
{
	struct train_config c = fake_config;
	float params[FAKE_PARAMS];
	struct dataset d;
	struct train_step step;
	struct train_eval eval;

	(void)state;
	sourced_dataset(&d, 8);
	c.n_epochs = 1;
	run(&d, &d, &c, &step, &eval, params);
	assert_int_equal(step.n_tokens, d.n_tokens - d.n_rows + d.n_sources);
	assert_int_equal(eval.labels, LABELS_NONE);
	assert_false(train_eval_has(&eval, METRIC_ACCURACY));
	labelled_fini(&d);
}

/* ---- what a run refuses, and what it saves ---- */

static void test_rows_beyond_the_context_are_refused(void **state)
{
	struct train_config c = fake_config;
	struct train_run *r;
	struct dataset d;
	struct why why = {0};

	(void)state;
	labelled_dataset(&d, 5, LABELS_CLASSES);
	d.rows[2].n_tokens = FAKE_CONTEXT + 1; /* is refused before its tokens are looked at */
	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, &d, NULL, &c, &r, &why), ERR_TOO_LONG);
	assert_non_null(strstr(why.message, "line 3"));
	labelled_fini(&d);
	sourced_dataset(&d, 5);
	d.sources[3] = FAKE_VOCAB;
	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, &d, NULL, &c, &r, &why), ERR_MISMATCH);
	labelled_fini(&d);
}

static void test_state_knows_labels_sources_and_options(void **state)
{
	struct train_config c = fake_config, dropping = fake_config, judged = fake_config;
	const struct train_config *configs[] = {&c, &c, &dropping, &judged};
	struct dataset d, relabelled;
	const struct dataset *sets[] = {&d, &relabelled, &d, &d};
	struct buf saved = {0};
	struct train_run *r;

	(void)state;
	labelled_dataset(&d, 12, LABELS_CLASSES);
	labelled_dataset(&relabelled, 12, LABELS_CLASSES);
	relabelled.rows[4].class ^= 1;
	dropping.dropout = 0.5;
	judged.metric = METRIC_F1;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(
		        train_run_new(NULL, &fake_layout, NULL, sets[i], NULL, configs[i], &r, NULL), OK);
		if (i == 0)
			assert_int_equal(train_state_write(r, &saved), OK);
		assert_int_equal(
		        train_state_read(r, saved.data, saved.len, NULL), i == 0 ? OK : ERR_MISMATCH);
		train_run_free(r);
	}
	buf_fini(&saved);
	labelled_fini(&d);
	labelled_fini(&relabelled);
}

static void test_steps_allocate_nothing_and_new_survives_shortage(void **state)
{
	struct train_config c = fake_config;
	enum labels_kind kinds[] = {LABELS_CLASSES, LABELS_NUMBER};

	(void)state;
	c.decay_towards = DECAY_TO_IDENTITY;
	for (size_t k = 0; k < 2; k++) {
		enum err e = ERR_MEM;
		struct train_run *r = NULL;
		struct train_step step;
		struct train_eval eval;
		enum train_phase phase;
		struct dataset d;
		size_t n_items;

		labelled_dataset(&d, 12, kinds[k]);
		for (long at = 1; e != OK; at++) {
			mem_fail_at(at);
			e = train_run_new(NULL, &fake_layout, NULL, &d, &d, &c, &r, NULL);
			mem_fail_at(0);
			assert_true(e == OK || e == ERR_MEM);
		}
		mem_fail_at(1);
		while ((phase = train_begin(r, &n_items)) != TRAIN_DONE) {
			for (size_t i = 0; i < n_items; i++)
				assert_int_equal(train_item(r, i, NULL), OK);
			assert_int_equal(
			        phase == TRAIN_STEP ? train_end_step(r, &step) : train_end_eval(r, &eval),
			        OK);
		}
		assert_false(mem_failed());
		mem_fail_at(0);
		train_run_free(r);
		labelled_fini(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_labelled_rows_are_given_whole_with_one_label),
	        cmocka_unit_test(test_sources_go_with_their_rows_and_count_for_the_pack),
	        cmocka_unit_test(test_loss_is_the_mean_over_rows_and_classes_are_measured),
	        cmocka_unit_test(test_numbers_are_measured_by_their_correlation),
	        cmocka_unit_test(test_best_goes_by_the_metric),
	        cmocka_unit_test(test_dropout_follows_the_seed_and_spares_evaluations),
	        cmocka_unit_test(test_decay_towards_identity_keeps_the_identity),
	        cmocka_unit_test(test_sources_are_trained_on_and_counted),
	        cmocka_unit_test(test_rows_beyond_the_context_are_refused),
	        cmocka_unit_test(test_state_knows_labels_sources_and_options),
	        cmocka_unit_test(test_steps_allocate_nothing_and_new_survives_shortage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
