/*
 * Encoders and their classification head: against the goldens, against finite differences, and against
 * themselves.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_ROWS 256
#define LABELS 3

static const char *const families[] = {"roberta", "bert"};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

struct fixture {
	const char *family;
	struct model *model;
	struct serve_workspace *serve;
	struct train_workspace *train;
	const struct site *sites;
	size_t n_sites, C, V;
};

static void fixture_open(struct fixture *f, const char *family)
{
	char dir[256];
	struct why why = {0};

	f->family = family;
	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &f->model, &why))
		fail_msg("%s", why.message);
	assert_int_equal(model_info(f->model)->kind, MODEL_ENCODER);
	f->C = model_info(f->model)->width;
	f->V = model_info(f->model)->vocab_size;
	f->sites = model_sites(f->model, &f->n_sites);
	assert_int_equal(serve_workspace_new(f->model, MAX_ROWS, 8, &f->serve), OK);
	assert_int_equal(train_workspace_new(f->model, MAX_ROWS, 0, &f->train), OK);
}

static void fixture_close(struct fixture *f)
{
	train_workspace_free(f->train);
	serve_workspace_free(f->serve);
	model_close(f->model);
}

/* Beside positions: a layer norm behind every edit. */
#define WITH_NORM 64u

/* positions 0: a head alone. */
static struct adapter_layout *layout_for(
        const struct fixture *f, unsigned positions, const uint8_t *layers, size_t n_labels)
{
	struct adapter_spec spec;
	struct adapter_layout *l;

	adapter_spec_default(&spec);
	spec.positions = positions & ~WITH_NORM;
	spec.parts |= positions & WITH_NORM ? PART_LN : 0;
	if (layers) {
		spec.all_layers = false;
		memcpy(spec.layers, layers, 3);
	}
	assert_int_equal(adapter_layout_new_head(&spec, f->sites, f->n_sites, f->C, n_labels, &l, NULL), OK);
	return l;
}

/* Edits and head of a golden's adapter file. */
static void adapter_open(
        const struct fixture *f, const char *name, struct adapter_layout **layout, float **params)
{
	struct buf file = {0};
	struct why why = {0};
	char path[256];

	snprintf(path, sizeof(path), GOLDEN_DIR "%s/%s", f->family, name);
	assert_int_equal(buf_read_file(&file, path, 1 << 20), OK);
	if (adapter_read(file.data, file.len, f->sites, f->n_sites, layout, params, NULL, &why))
		fail_msg("%s: %s", path, why.message);
	buf_fini(&file);
}

/* The first values of the last hidden state at the first token, read through a head that is linear as far as
 * float32 sees: a tiny dense layer, and its inverse behind the tanh. */
static void test_hidden_states_match_goldens(void **state)
{
	enum { N = 8 };
	const float tiny = 1e-4f;

	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;
		json_t *golden = golden_open(families[i]);
		struct adapter_layout *l;
		struct adapter_head head;
		float outputs[N], *params;
		const json_t *c;
		size_t k;

		fixture_open(&f, families[i]);
		l = layout_for(&f, 0, NULL, N);
		params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
		head = adapter_layout_head(l, params);
		for (size_t j = 0; j < N; j++) {
			head.dense_w[j * f.C + j] = tiny;
			head.out_w[j * f.C + j] = 1 / tiny;
		}
		json_array_foreach (json_object_get(golden, "forward"), k, c) {
			const json_t *want = json_object_get(c, "hidden_cls_first8");
			size_t n;
			int32_t *ids = golden_ids(json_object_get(c, "ids"), &n);
			struct edit_run run = {.n_rows = n, .layout = l, .params = params, .strength = 1};

			assert_int_equal(model_classify(f.model, f.serve, 1, ids, &n, &run, N, outputs), OK);
			for (size_t j = 0; j < N; j++)
				assert_true(fabs((double)outputs[j] -
				                    json_real_value(json_array_get(want, j))) < 1e-5);
			mem_free(ids);
		}
		mem_free(params);
		adapter_layout_free(l);
		fixture_close(&f);
		json_decref(golden);
	}
}

/* ---- training ---- */

struct random_batch {
	struct train_batch batch;
	int32_t tokens[64], classes[4];
	float targets[4], weights[4], outputs[4 * LABELS];
	size_t lengths[4];
};

static void random_batch_fill(struct random_batch *b, size_t V, bool regression, struct rng *rng)
{
	static const size_t lengths[] = {11, 1, 23, 7};

	*b = (struct random_batch){.batch = {.n_rows = 42, .n_seqs = 4}};
	memcpy(b->lengths, lengths, sizeof(lengths));
	for (size_t i = 0; i < 42; i++)
		b->tokens[i] = (int32_t)rng_below(rng, V);
	b->tokens[17] = b->tokens[34]; /* a separator in the third */
	for (size_t i = 0; i < 4; i++) {
		b->classes[i] = i == 1 ? -1 : (int32_t)rng_below(rng, LABELS);
		b->targets[i] = i == 1 ? NAN : (float)rng_uniform(rng);
		b->weights[i] = i == 3 ? 0.5f : 1;
	}
	b->batch.tokens = b->tokens;
	b->batch.lengths = b->lengths;
	b->batch.weights = b->weights;
	if (regression)
		b->batch.targets = b->targets;
	else
		b->batch.classes = b->classes;
}

static void random_params(const struct adapter_layout *l, float *params, struct rng *rng)
{
	adapter_layout_start(l, params);
	for (size_t i = 0; i < adapter_layout_n_params(l); i++)
		params[i] += (float)(rng_uniform(rng) - 0.5) * 0.2f;
}

static double loss_at(
        struct fixture *f, const struct train_batch *b, const struct adapter_layout *l, const float *p)
{
	struct train_sums sums;

	assert_int_equal(model_train(f->model, f->train, b, l, p, 1, NULL, &sums), OK);
	return sums.loss;
}

/* The gradient along random directions against central differences of the loss. */
static void check_gradient(
        struct fixture *f, const struct adapter_layout *l, const struct train_batch *b, struct rng *rng)
{
	size_t n = adapter_layout_n_params(l);
	float *params = mem_calloc(n, sizeof(float)), *moved = mem_calloc(n, sizeof(float));
	float *grads = mem_calloc(n, sizeof(float)), *direction = mem_calloc(n, sizeof(float));
	struct train_sums sums;

	random_params(l, params, rng);
	assert_int_equal(model_train(f->model, f->train, b, l, params, 1, grads, &sums), OK);
	assert_int_equal(sums.n_labels, 3);
	for (int trial = 0; trial < 6; trial++) {
		const double h = 2e-3;
		double slope = 0, plus, minus, norm = 0;

		for (size_t i = 0; i < n; i++) {
			direction[i] = (float)(rng_uniform(rng) - 0.5);
			slope += (double)direction[i] * (double)grads[i];
			norm += fabs((double)direction[i] * (double)grads[i]);
		}
		for (size_t i = 0; i < n; i++)
			moved[i] = params[i] + (float)h * direction[i];
		plus = loss_at(f, b, l, moved);
		for (size_t i = 0; i < n; i++)
			moved[i] = params[i] - (float)h * direction[i];
		minus = loss_at(f, b, l, moved);
		assert_true(fabs((plus - minus) / (2 * h) - slope) < 2e-3 * norm);
	}
	mem_free(params);
	mem_free(moved);
	mem_free(grads);
	mem_free(direction);
}

static void test_gradients_match_finite_differences(void **state)
{
	static const unsigned positions[] = {0, POSITION_FFN, POSITION_ATTN, POSITION_QKV, POSITION_FFN_RES,
	        POSITION_ATTN_RES, POSITION_FFN | POSITION_ATTN | POSITION_QKV,
	        POSITION_FFN | POSITION_ATTN | POSITION_QKV | WITH_NORM,
	        POSITION_FFN | POSITION_FFN_RES | POSITION_ATTN_RES | WITH_NORM};
	static const uint8_t layers[][3] = {{0, 1, 1}, {1, 0, 0}};
	struct rng rng = {3};

	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;

		fixture_open(&f, families[i]);
		for (size_t j = 0; j < 2 * sizeof(positions) / sizeof(positions[0]); j++)
			for (size_t k = 0; k < 3; k++) {
				struct adapter_layout *l = layout_for(
				        &f, positions[j / 2], k < 2 ? layers[k] : NULL, j % 2 ? 1 : LABELS);
				struct random_batch b;

				random_batch_fill(&b, f.V, j % 2, &rng);
				check_gradient(&f, l, &b.batch, &rng);
				b.batch.dropout = 0.3f;
				b.batch.dropout_seed = 5;
				check_gradient(&f, l, &b.batch, &rng);
				adapter_layout_free(l);
			}
		fixture_close(&f);
	}
}

static void test_dropout_follows_its_seed_and_keeps_the_mean(void **state)
{
	struct fixture f;
	struct rng rng = {8};
	struct random_batch b;
	struct adapter_layout *l;
	struct adapter_head head;
	float *params, first, plain;
	double sum = 0;

	(void)state;
	fixture_open(&f, "roberta");
	l = layout_for(&f, 0, NULL, 1);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_batch_fill(&b, f.V, true, &rng);
	head = adapter_layout_head(l, params);
	for (size_t c = 0; c < f.C; c++) { /* almost linear, so that the mean is that without dropout */
		head.dense_w[c * f.C + c] = 1e-4f;
		head.out_w[c] = (float)rng_uniform(&rng);
	}
	b.batch.outputs = b.outputs;
	loss_at(&f, &b.batch, l, params);
	plain = b.outputs[2];
	b.batch.dropout = 0.25f;
	loss_at(&f, &b.batch, l, params);
	first = b.outputs[2];
	assert_true(first != plain);
	loss_at(&f, &b.batch, l, params);
	assert_true(b.outputs[2] == first);
	for (int i = 0; i < 2000; i++) {
		b.batch.dropout_seed = (uint64_t)i;
		loss_at(&f, &b.batch, l, params);
		sum += (double)b.outputs[2];
	}
	assert_true(fabs(sum / 2000 / (double)plain - 1) < 0.15);
	mem_free(params);
	adapter_layout_free(l);
	fixture_close(&f);
}

/* Classes of sequences do not depend on who is packed with them; serving gives what training computes. */
static void test_together_equals_alone_bit_for_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;
		struct rng rng = {i};
		struct random_batch b;
		struct adapter_layout *l;
		struct edit_run runs[4];
		float *params, together[4 * LABELS], alone[LABELS];
		size_t row = 0;

		fixture_open(&f, families[i]);
		l = layout_for(&f, POSITION_FFN, NULL, LABELS);
		params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
		random_params(l, params, &rng);
		random_batch_fill(&b, f.V, false, &rng);
		for (size_t s = 0; s < 4; s++)
			runs[s] = (struct edit_run){b.lengths[s], l, params, 1};
		assert_int_equal(
		        model_classify(f.model, f.serve, 4, b.tokens, b.lengths, runs, LABELS, together), OK);
		b.batch.outputs = b.outputs;
		loss_at(&f, &b.batch, l, params);
		for (size_t s = 0; s < 4; s++) {
			assert_int_equal(model_classify(f.model, f.serve, 1, b.tokens + row, &b.lengths[s],
			                         &runs[s], LABELS, alone),
			        OK);
			assert_memory_equal(alone, together + s * LABELS, sizeof(alone));
			for (size_t c = 0; c < LABELS; c++)
				assert_true(fabsf(alone[c] - b.outputs[s * LABELS + c]) < 1e-5f);
			row += b.lengths[s];
		}
		mem_free(params);
		adapter_layout_free(l);
		fixture_close(&f);
	}
}

static void test_a_tuned_adapter_gives_the_goldens_classes(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;
		json_t *golden = golden_open(families[i]);
		const json_t *rows = json_object_get(json_object_get(golden, "train"), "rows");
		const json_t *want = json_object_get(json_object_get(golden, "tuned"), "probs");
		struct adapter_layout *l;
		float *params, outputs[LABELS];
		double sum = 0;
		size_t n;
		int32_t *ids;
		struct edit_run run;

		fixture_open(&f, families[i]);
		adapter_open(&f, "adapter_expected.safetensors", &l, &params);
		assert_int_equal(adapter_layout_head_labels(l), LABELS);
		if (rows) {
			ids = golden_ids(json_object_get(json_array_get(rows, 0), "ids"), &n);
			run = (struct edit_run){n, l, params, 1};
			assert_int_equal(
			        model_classify(f.model, f.serve, 1, ids, &n, &run, LABELS, outputs), OK);
			for (size_t c = 0; c < LABELS; c++)
				sum += exp((double)outputs[c]);
			for (size_t c = 0; c < LABELS; c++)
				assert_true(fabs(exp((double)outputs[c]) / sum -
				                    json_real_value(json_array_get(want, c))) < 1e-4);
			mem_free(ids);
		}
		mem_free(params);
		adapter_layout_free(l);
		fixture_close(&f);
		json_decref(golden);
	}
}

static void test_what_does_not_fit_is_refused(void **state)
{
	struct fixture f;
	struct rng rng = {9};
	struct random_batch b;
	struct adapter_layout *l, *bare;
	struct adapter_spec spec;
	struct train_sums sums;
	struct edit_run run;
	float *params, outputs[LABELS];
	size_t n = MAX_ROWS + 1;

	(void)state;
	fixture_open(&f, "roberta");
	l = layout_for(&f, POSITION_FFN, NULL, LABELS);
	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, f.sites, f.n_sites, &bare, NULL), OK);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_batch_fill(&b, f.V, false, &rng);
	assert_int_equal(model_train(f.model, f.train, &b.batch, bare, params, 1, NULL, &sums), ERR_INVALID);
	b.classes[2] = LABELS;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.classes[2] = 0;
	b.batch.dropout = 1;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.batch.dropout = 0;
	b.lengths[0] = 0;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	run = (struct edit_run){n, l, params, 1};
	assert_int_equal(
	        model_classify(f.model, f.serve, 1, b.tokens, &b.lengths[1], &run, 2, outputs), ERR_INVALID);
	b.tokens[0] = (int32_t)f.V;
	assert_int_equal(model_classify(f.model, f.serve, 1, b.tokens, &b.lengths[1], &run, LABELS, outputs),
	        ERR_INVALID);
	mem_free(params);
	adapter_layout_free(l);
	adapter_layout_free(bare);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_hidden_states_match_goldens),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	        cmocka_unit_test(test_dropout_follows_its_seed_and_keeps_the_mean),
	        cmocka_unit_test(test_together_equals_alone_bit_for_bit),
	        cmocka_unit_test(test_a_tuned_adapter_gives_the_goldens_classes),
	        cmocka_unit_test(test_what_does_not_fit_is_refused),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
