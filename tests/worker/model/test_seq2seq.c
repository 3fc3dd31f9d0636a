/*
 * Encoder-decoders against the goldens, against finite differences, and against themselves: packed and apart,
 * alone and together.
 */
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/math/cpu.h"
#include "worker/math/loss.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_ROWS 512
#define MAX_SEQS 8

static const char *const families[] = {"t5", "t5v11", "umt5"};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

struct fixture {
	struct model *model;
	struct serve_workspace *serve;
	struct train_workspace *train;
	size_t V;
	float *logits; /* (MAX_SEQS,V) */
};

static const struct edit_run base_run = {.n_rows = 1, .strength = 1};

static void fixture_open(struct fixture *f, const char *family)
{
	char dir[256];
	struct why why = {0};

	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &f->model, &why))
		fail_msg("%s", why.message);
	assert_int_equal(model_info(f->model)->kind, MODEL_SEQ2SEQ);
	f->V = model_info(f->model)->vocab_size;
	assert_int_equal(serve_workspace_new(f->model, MAX_ROWS, MAX_SEQS, &f->serve), OK);
	assert_int_equal(train_workspace_new(f->model, MAX_ROWS, 0, &f->train), OK);
	f->logits = mem_calloc(MAX_SEQS * f->V, sizeof(float));
	assert_non_null(f->logits);
}

static void fixture_close(struct fixture *f)
{
	mem_free(f->logits);
	train_workspace_free(f->train);
	serve_workspace_free(f->serve);
	model_close(f->model);
}

/* A cache that has read a source. */
static struct kv *kv_of_source(struct fixture *f, const int32_t *ids, size_t n, const struct edit_run *run)
{
	struct kv *kv;

	assert_int_equal(kv_new(f->model, n + 32, &kv), OK);
	assert_int_equal(model_encode_source(f->model, f->serve, kv, ids, n, run), OK);
	assert_int_equal(kv_length(kv), 0);
	assert_int_equal(kv_capacity(kv), 32);
	return kv;
}

static void check_forward_case(struct fixture *f, const json_t *c)
{
	const json_t *greedy = json_object_get(c, "greedy_12");
	const json_t *logprobs = json_object_get(c, "logprobs_of_greedy");
	int32_t next = model_info(f->model)->decoder_start_id;
	size_t n, first = 0;
	int32_t *ids = golden_ids(json_object_get(c, "ids"), &n);
	struct kv *kv = kv_of_source(f, ids, n, &base_run);

	for (size_t i = 0; i < json_array_size(greedy); i++) {
		/* the first token as a prompt, the others one by one */
		if (i == 0)
			assert_int_equal(model_prefill(f->model, f->serve, kv, &next, 1, &base_run, &first, 1,
			                         f->logits),
			        OK);
		else
			assert_int_equal(
			        model_decode(f->model, f->serve, 1, &kv, &next, &base_run, f->logits), OK);
		next = (int32_t)argmax(f->V, f->logits);
		assert_int_equal(next, json_integer_value(json_array_get(greedy, i)));
		assert_true(fabs((double)f->logits[next] - log_sum_exp(f->V, f->logits) -
		                    json_real_value(json_array_get(logprobs, i))) < 1e-4);
	}
	kv_free(kv);
	mem_free(ids);
}

static void test_greedy_matches_goldens(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;
		json_t *golden = golden_open(families[i]);
		const json_t *c;
		size_t k;

		fixture_open(&f, families[i]);
		json_array_foreach (json_object_get(golden, "forward"), k, c)
			check_forward_case(&f, c);
		fixture_close(&f);
		json_decref(golden);
	}
}

static void test_decoding_together_equals_alone_bit_for_bit(void **state)
{
	struct fixture f;
	struct kv *alone[MAX_SEQS], *together[MAX_SEQS];
	struct edit_run runs[MAX_SEQS];
	int32_t tokens[MAX_SEQS], source[64];
	struct rng rng = {1};
	float *all;

	(void)state;
	fixture_open(&f, "t5");
	all = mem_calloc(MAX_SEQS * f.V, sizeof(float));
	for (size_t i = 0; i < MAX_SEQS; i++) {
		for (size_t j = 0; j < 64; j++)
			source[j] = (int32_t)rng_below(&rng, f.V);
		alone[i] = kv_of_source(&f, source, 3 + 5 * i, &base_run);
		together[i] = kv_of_source(&f, source, 3 + 5 * i, &base_run);
		tokens[i] = (int32_t)rng_below(&rng, f.V);
		runs[i] = base_run;
	}
	for (size_t step = 0; step < 5; step++) {
		assert_int_equal(model_decode(f.model, f.serve, MAX_SEQS, together, tokens, runs, all), OK);
		for (size_t i = 0; i < MAX_SEQS; i++) {
			assert_int_equal(
			        model_decode(f.model, f.serve, 1, &alone[i], &tokens[i], &runs[i], f.logits),
			        OK);
			assert_memory_equal(f.logits, all + i * f.V, f.V * sizeof(float));
			tokens[i] = (int32_t)argmax(f.V, f.logits);
		}
	}
	for (size_t i = 0; i < MAX_SEQS; i++) {
		kv_free(alone[i]);
		kv_free(together[i]);
	}
	mem_free(all);
	fixture_close(&f);
}

/* ---- training ---- */

struct random_batch {
	struct train_batch batch;
	int32_t tokens[64], labels[64], source[64];
	size_t lengths[3], source_lengths[3];
};

static void random_batch_fill(struct random_batch *b, size_t V, struct rng *rng)
{
	static const size_t lengths[] = {6, 1, 13}, source_lengths[] = {17, 9, 1};

	*b = (struct random_batch){.batch = {.n_rows = 20, .n_seqs = 3, .n_source_rows = 27}};
	memcpy(b->lengths, lengths, sizeof(lengths));
	memcpy(b->source_lengths, source_lengths, sizeof(source_lengths));
	for (size_t i = 0; i < 64; i++) {
		b->tokens[i] = (int32_t)rng_below(rng, V);
		b->source[i] = (int32_t)rng_below(rng, V);
		b->labels[i] = rng_below(rng, 4) ? (int32_t)rng_below(rng, V) : -1;
	}
	b->batch.tokens = b->tokens;
	b->batch.labels = b->labels;
	b->batch.lengths = b->lengths;
	b->batch.source_tokens = b->source;
	b->batch.source_lengths = b->source_lengths;
}

static void random_params(const struct adapter_layout *l, float *params, struct rng *rng)
{
	adapter_layout_start(l, params);
	for (size_t i = 0; i < adapter_layout_n_params(l); i++)
		params[i] += (float)(rng_uniform(rng) - 0.5) * 0.2f;
}

/* Beside positions: a layer norm behind every edit. */
#define WITH_NORM 64u

static struct adapter_layout *layout_for(const struct model *m, unsigned positions, const uint8_t *layers)
{
	struct adapter_spec spec;
	struct adapter_layout *l;
	const struct site *sites;
	size_t n_sites;

	adapter_spec_default(&spec);
	spec.positions = positions & ~WITH_NORM;
	spec.parts |= positions & WITH_NORM ? PART_LN : 0;
	if (layers) {
		spec.all_layers = false;
		memcpy(spec.layers, layers, 3);
	}
	sites = model_sites(m, &n_sites);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &l, NULL), OK);
	return l;
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
        struct fixture *f, const struct adapter_layout *l, double tolerance, struct rng *rng)
{
	size_t n = adapter_layout_n_params(l);
	float *params = mem_calloc(n, sizeof(float)), *moved = mem_calloc(n, sizeof(float));
	float *grads = mem_calloc(n, sizeof(float)), *direction = mem_calloc(n, sizeof(float));
	struct random_batch b;
	struct train_sums sums;

	random_batch_fill(&b, f->V, rng);
	random_params(l, params, rng);
	assert_int_equal(model_train(f->model, f->train, &b.batch, l, params, 1, grads, &sums), OK);
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
		plus = loss_at(f, &b.batch, l, moved);
		for (size_t i = 0; i < n; i++)
			moved[i] = params[i] - (float)h * direction[i];
		minus = loss_at(f, &b.batch, l, moved);
		assert_true(fabs((plus - minus) / (2 * h) - slope) < tolerance * norm);
	}
	mem_free(params);
	mem_free(moved);
	mem_free(grads);
	mem_free(direction);
}

static void test_gradients_match_finite_differences(void **state)
{
	static const unsigned positions[] = {POSITION_FFN, POSITION_ATTN, POSITION_QKV, POSITION_FFN_RES,
	        POSITION_ATTN_RES, POSITION_FFN | POSITION_ATTN | POSITION_QKV,
	        POSITION_FFN | POSITION_ATTN | POSITION_QKV | WITH_NORM,
	        POSITION_FFN | POSITION_FFN_RES | POSITION_ATTN_RES | WITH_NORM};
	static const uint8_t layers[][3] = {{0, 1, 1}, {0, 0, 1}, {1, 0, 0}};
	struct rng rng = {3};

	(void)state;
	for (size_t i = 0; i < N_FAMILIES; i++) {
		struct fixture f;
		/* differences of a rectifier's losses step over its kinks */
		double tolerance = strcmp(families[i], "t5") == 0 ? 5e-3 : 2e-3;

		fixture_open(&f, families[i]);
		for (size_t j = 0; j < sizeof(positions) / sizeof(positions[0]); j++)
			for (size_t k = 0; k < 4; k++) {
				struct adapter_layout *l =
				        layout_for(f.model, positions[j], k < 3 ? layers[k] : NULL);

				check_gradient(&f, l, tolerance, &rng);
				adapter_layout_free(l);
			}
		fixture_close(&f);
	}
}

static void test_keys_shift_has_no_gradient(void **state)
{
	struct fixture f;
	struct rng rng = {4};
	struct random_batch b;
	struct adapter_layout *l;
	struct train_sums sums;
	float *params, *grads;
	const struct site *sites;
	size_t n_sites, n_keys = 0;

	(void)state;
	fixture_open(&f, "t5");
	l = layout_for(f.model, POSITION_QKV, NULL);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	grads = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_params(l, params, &rng);
	random_batch_fill(&b, f.V, &rng);
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, grads, &sums), OK);
	sites = model_sites(f.model, &n_sites);
	for (size_t i = 0; i < n_sites; i++) {
		const char *name = sites[i].name;
		const float *shift = adapter_shift_grads(l, i, grads);

		if (strcmp(name + strlen(name) - strlen("Attention.k"), "Attention.k") != 0)
			continue;
		n_keys++;
		for (size_t c = 0; c < sites[i].width; c++)
			assert_true(shift[c] == 0);
	}
	assert_int_equal(n_keys, 3 + 2 + 2);
	mem_free(params);
	mem_free(grads);
	adapter_layout_free(l);
	fixture_close(&f);
}

static void test_packed_sequences_do_not_see_each_other(void **state)
{
	struct fixture f;
	struct rng rng = {5};
	struct random_batch b;
	struct adapter_layout *l;
	float *params;
	double whole, apart = 0;
	size_t row = 0, source = 0;

	(void)state;
	fixture_open(&f, "t5");
	l = layout_for(f.model, POSITION_FFN, NULL);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_params(l, params, &rng);
	random_batch_fill(&b, f.V, &rng);
	whole = loss_at(&f, &b.batch, l, params);
	for (size_t s = 0; s < b.batch.n_seqs; s++) {
		struct train_batch one = {.n_rows = b.lengths[s],
		        .tokens = b.tokens + row,
		        .labels = b.labels + row,
		        .n_seqs = 1,
		        .lengths = &b.lengths[s],
		        .n_source_rows = b.source_lengths[s],
		        .source_tokens = b.source + source,
		        .source_lengths = &b.source_lengths[s]};

		apart += loss_at(&f, &one, l, params);
		row += b.lengths[s];
		source += b.source_lengths[s];
	}
	assert_true(fabs(whole - apart) < 1e-5 * whole);
	mem_free(params);
	adapter_layout_free(l);
	fixture_close(&f);
}

/* Decoding under an edit of both stacks gives what training's forward pass computes. */
static void test_decoding_and_training_agree_under_an_adapter(void **state)
{
	struct fixture f;
	struct rng rng = {6};
	struct random_batch b;
	struct adapter_layout *l;
	struct edit_run run;
	struct kv *kv;
	float *params;
	double loss = 0;

	(void)state;
	fixture_open(&f, "t5");
	l = layout_for(f.model, POSITION_FFN | POSITION_ATTN | POSITION_QKV, NULL);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_params(l, params, &rng);
	random_batch_fill(&b, f.V, &rng);
	b.batch.n_seqs = 1;
	b.batch.n_rows = b.lengths[0];
	b.batch.n_source_rows = b.source_lengths[0];
	run = (struct edit_run){.n_rows = 1, .layout = l, .params = params, .strength = 1};
	kv = kv_of_source(&f, b.source, b.source_lengths[0], &run);
	for (size_t i = 0; i < b.lengths[0]; i++) {
		assert_int_equal(model_decode(f.model, f.serve, 1, &kv, &b.tokens[i], &run, f.logits), OK);
		if (b.labels[i] >= 0)
			loss += log_sum_exp(f.V, f.logits) - (double)f.logits[b.labels[i]];
	}
	assert_true(fabs(loss - loss_at(&f, &b.batch, l, params)) < 1e-5 * loss);
	kv_free(kv);
	mem_free(params);
	adapter_layout_free(l);
	fixture_close(&f);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	struct fixture f;
	struct rng rng = {7};
	struct random_batch b;
	struct adapter_layout *l;
	struct train_sums sums;
	struct kv *kv;
	float *params;

	(void)state;
	fixture_open(&f, "t5");
	l = layout_for(f.model, POSITION_FFN, NULL);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_batch_fill(&b, f.V, &rng);
	b.source[26] = (int32_t)f.V;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.source[26] = 0;
	b.source_lengths[1] = 0;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.batch.n_source_rows = MAX_ROWS;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_TOO_LARGE);
	assert_int_equal(kv_new(f.model, 5, &kv), OK);
	b.source[0] = -1;
	assert_int_equal(model_encode_source(f.model, f.serve, kv, b.source, 4, &base_run), ERR_INVALID);
	assert_int_equal(model_encode_source(f.model, f.serve, kv, b.source, 6, &base_run), ERR_TOO_LONG);
	b.source[0] = 0;
	assert_int_equal(model_encode_source(f.model, f.serve, kv, b.source, 4, &base_run), OK);
	assert_int_equal(kv_capacity(kv), 1);
	assert_int_equal(model_decode(f.model, f.serve, 1, &kv, b.tokens, &base_run, f.logits), OK);
	assert_int_equal(model_decode(f.model, f.serve, 1, &kv, b.tokens, &base_run, f.logits), ERR_TOO_LONG);
	kv_free(kv);
	mem_free(params);
	adapter_layout_free(l);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_greedy_matches_goldens),
	        cmocka_unit_test(test_decoding_together_equals_alone_bit_for_bit),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	        cmocka_unit_test(test_keys_shift_has_no_gradient),
	        cmocka_unit_test(test_packed_sequences_do_not_see_each_other),
	        cmocka_unit_test(test_decoding_and_training_agree_under_an_adapter),
	        cmocka_unit_test(test_what_does_not_fit_is_refused),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
