/*
 * The transformer against the goldens, against itself (alone and together, packed and apart, chunked and
 * whole) and against finite differences.
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

#define LOGPROB_TOLERANCE 1e-4
#define MAX_ROWS 256

struct fixture {
	struct model *model;
	struct serve_workspace *serve;
	struct train_workspace *train;
	size_t V;
	float *logits; /* (MAX_ROWS,V) */
};

static const struct edit_run base_run = {.n_rows = 1, .strength = 1};

static void fixture_open(struct fixture *f, const char *family)
{
	char dir[256];
	struct why why = {0};

	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &f->model, &why))
		fail_msg("%s", why.message);
	f->V = model_info(f->model)->vocab_size;
	assert_int_equal(serve_workspace_new(f->model, MAX_ROWS, 32, &f->serve), OK);
	assert_int_equal(train_workspace_new(f->model, MAX_ROWS, 0, &f->train), OK);
	f->logits = mem_calloc(MAX_ROWS * f->V, sizeof(float));
	assert_non_null(f->logits);
}

static void fixture_close(struct fixture *f)
{
	mem_free(f->logits);
	train_workspace_free(f->train);
	serve_workspace_free(f->serve);
	model_close(f->model);
}

static double logprob(const float *logits, size_t V, int32_t id)
{
	return (double)logits[id] - log_sum_exp(V, logits);
}

/* Prefill ids in chunks; logits of every row into f->logits. */
static void prefill_all(struct fixture *f, struct kv *kv, const int32_t *ids, size_t n, size_t chunk)
{
	size_t rows[MAX_ROWS];

	for (size_t at = 0; at < n; at += chunk) {
		size_t m = n - at < chunk ? n - at : chunk;

		for (size_t i = 0; i < m; i++)
			rows[i] = i;
		assert_int_equal(model_prefill(f->model, f->serve, kv, ids + at, m, &base_run, rows, m,
		                         f->logits + at * f->V),
		        OK);
	}
}

static void check_forward_case(struct fixture *f, const json_t *c, size_t chunk)
{
	const json_t *expected = json_object_get(c, "logprob_of_next");
	const json_t *greedy = json_object_get(c, "greedy_24");
	const json_t *top = json_object_get(c, "last_top5");
	struct kv *kv;
	size_t n;
	int32_t *ids = golden_ids(json_object_get(c, "ids"), &n);
	const float *last = f->logits + (n - 1) * f->V;
	int32_t next;

	assert_int_equal(kv_new(f->model, n + json_array_size(greedy), &kv), OK);
	prefill_all(f, kv, ids, n, chunk);
	for (size_t i = 1; i < n; i++) {
		double want = json_real_value(json_array_get(expected, i));

		assert_true(
		        fabs(logprob(f->logits + (i - 1) * f->V, f->V, ids[i]) - want) < LOGPROB_TOLERANCE);
	}
	for (size_t i = 0; i < json_array_size(top); i++) {
		const json_t *pair = json_array_get(top, i);
		int32_t id = (int32_t)json_integer_value(json_array_get(pair, 0));

		assert_true(fabs(logprob(last, f->V, id) - json_real_value(json_array_get(pair, 1))) <
		            LOGPROB_TOLERANCE);
	}
	next = (int32_t)argmax(f->V, last);
	for (size_t i = 0; i < json_array_size(greedy); i++) {
		assert_int_equal(next, json_integer_value(json_array_get(greedy, i)));
		assert_int_equal(model_decode(f->model, f->serve, 1, &kv, &next, &base_run, f->logits), OK);
		next = (int32_t)argmax(f->V, f->logits);
	}
	kv_free(kv);
	mem_free(ids);
}

static void test_forward_matches_goldens(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct fixture f;
		json_t *golden = golden_open(golden_families[i]);
		const json_t *c;
		size_t k;

		fixture_open(&f, golden_families[i]);
		json_array_foreach (json_object_get(golden, "forward"), k, c) {
			check_forward_case(&f, c, MAX_ROWS);
			check_forward_case(&f, c, 7);
		}
		fixture_close(&f);
		json_decref(golden);
	}
}

static void test_decoding_together_equals_alone_bit_for_bit(void **state)
{
	enum { N = 16, STEPS = 5 };
	(void)state;
	for (size_t family = 0; family < n_golden_families; family++) {
		struct fixture f;
		struct kv *alone[N], *together[N];
		int32_t tokens[N];
		struct edit_run runs[N];
		struct rng rng = {family};
		float *all;

		fixture_open(&f, golden_families[family]);
		all = mem_calloc(N * f.V, sizeof(float));
		for (size_t i = 0; i < N; i++) {
			int32_t prompt[N + 3];
			size_t n = i + 3;

			for (size_t j = 0; j < n; j++)
				prompt[j] = (int32_t)rng_below(&rng, f.V);
			assert_int_equal(kv_new(f.model, 64, &alone[i]), OK);
			assert_int_equal(kv_new(f.model, 64, &together[i]), OK);
			prefill_all(&f, alone[i], prompt, n, MAX_ROWS);
			prefill_all(&f, together[i], prompt, n, MAX_ROWS);
			tokens[i] = (int32_t)rng_below(&rng, f.V);
			runs[i] = base_run;
		}
		for (size_t step = 0; step < STEPS; step++) {
			assert_int_equal(model_decode(f.model, f.serve, N, together, tokens, runs, all), OK);
			for (size_t i = 0; i < N; i++) {
				assert_int_equal(model_decode(f.model, f.serve, 1, &alone[i], &tokens[i],
				                         &runs[i], f.logits),
				        OK);
				assert_memory_equal(f.logits, all + i * f.V, f.V * sizeof(float));
				tokens[i] = (int32_t)argmax(f.V, f.logits);
			}
		}
		for (size_t i = 0; i < N; i++) {
			kv_free(alone[i]);
			kv_free(together[i]);
		}
		mem_free(all);
		fixture_close(&f);
	}
}

/* A random batch of three sequences, loss on about half of the rows. */
struct random_batch {
	struct train_batch batch;
	int32_t tokens[64], labels[64];
	float weights[64];
	size_t lengths[3];
};

static void random_batch_fill(struct random_batch *b, size_t V, struct rng *rng)
{
	static const size_t lengths[] = {11, 1, 23};

	*b = (struct random_batch){.batch = {.n_rows = 35, .n_seqs = 3}};
	memcpy(b->lengths, lengths, sizeof(lengths));
	for (size_t i = 0; i < 35; i++) {
		b->tokens[i] = (int32_t)rng_below(rng, V);
		b->labels[i] = rng_below(rng, 2) ? (int32_t)rng_below(rng, V) : -1;
		b->weights[i] = rng_below(rng, 2) ? 1.0f : 0.5f;
	}
	b->batch.tokens = b->tokens;
	b->batch.labels = b->labels;
	b->batch.weights = b->weights;
	b->batch.lengths = b->lengths;
}

static void random_params(const struct adapter_layout *l, float *params, struct rng *rng)
{
	adapter_layout_start(l, params);
	for (size_t i = 0; i < adapter_layout_n_params(l); i++)
		params[i] += (float)(rng_uniform(rng) - 0.5) * 0.2f;
}

/* Beside positions: a layer norm behind every edit. */
#define WITH_NORM 64u

static struct adapter_layout *layout_for(
        const struct model *m, unsigned positions, const uint8_t *layers, size_t n)
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
		memcpy(spec.layers, layers, n);
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
static void check_gradient(struct fixture *f, const struct adapter_layout *l, struct rng *rng)
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
		assert_true(fabs((plus - minus) / (2 * h) - slope) < 2e-3 * norm);
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
	static const uint8_t upper[] = {0, 1, 1};
	struct rng rng = {3};

	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct fixture f;

		fixture_open(&f, golden_families[i]);
		for (size_t j = 0; j < sizeof(positions) / sizeof(positions[0]); j++) {
			struct adapter_layout *all = layout_for(f.model, positions[j], NULL, 0);
			struct adapter_layout *some = layout_for(f.model, positions[j], upper, sizeof(upper));

			check_gradient(&f, all, &rng);
			check_gradient(&f, some, &rng);
			adapter_layout_free(all);
			adapter_layout_free(some);
		}
		fixture_close(&f);
	}
}

static void test_packed_sequences_do_not_see_each_other(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct fixture f;
		struct rng rng = {i};
		struct random_batch b;
		struct adapter_layout *l;
		float *params;
		double whole, apart = 0;
		size_t row = 0;

		fixture_open(&f, golden_families[i]);
		l = layout_for(f.model, POSITION_FFN, NULL, 0);
		params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
		random_params(l, params, &rng);
		random_batch_fill(&b, f.V, &rng);
		whole = loss_at(&f, &b.batch, l, params);
		for (size_t s = 0; s < b.batch.n_seqs; s++) {
			struct train_batch one = {.n_rows = b.lengths[s],
			        .tokens = b.tokens + row,
			        .labels = b.labels + row,
			        .weights = b.weights + row,
			        .n_seqs = 1,
			        .lengths = &b.lengths[s]};

			apart += loss_at(&f, &one, l, params);
			row += b.lengths[s];
		}
		assert_true(fabs(whole - apart) < 1e-5 * whole);
		mem_free(params);
		adapter_layout_free(l);
		fixture_close(&f);
	}
}

static void test_bad_batches_are_refused(void **state)
{
	struct fixture f;
	struct rng rng = {9};
	struct random_batch b;
	struct adapter_layout *l;
	struct train_sums sums;
	float *params;

	(void)state;
	fixture_open(&f, "gpt2");
	l = layout_for(f.model, POSITION_FFN, NULL, 0);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(float));
	random_batch_fill(&b, f.V, &rng);
	b.tokens[3] = (int32_t)f.V;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.tokens[3] = -1;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_INVALID);
	b.tokens[3] = 0;
	b.lengths[2] = 24;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_TOO_LONG);
	b.batch.n_rows = MAX_ROWS + 1;
	assert_int_equal(model_train(f.model, f.train, &b.batch, l, params, 1, NULL, &sums), ERR_TOO_LARGE);
	mem_free(params);
	adapter_layout_free(l);
	fixture_close(&f);
}

static void test_a_full_cache_is_refused_and_unchanged(void **state)
{
	struct fixture f;
	struct kv *kv;
	int32_t ids[5] = {1, 2, 3, 4, 5};

	(void)state;
	fixture_open(&f, "llama2");
	assert_int_equal(kv_new(f.model, 4, &kv), OK);
	assert_int_equal(model_prefill(f.model, f.serve, kv, ids, 5, &base_run, NULL, 0, NULL), ERR_TOO_LONG);
	assert_int_equal(kv_length(kv), 0);
	assert_int_equal(model_prefill(f.model, f.serve, kv, ids, 4, &base_run, NULL, 0, NULL), OK);
	assert_int_equal(model_decode(f.model, f.serve, 1, &kv, ids, &base_run, f.logits), ERR_TOO_LONG);
	assert_int_equal(kv_length(kv), 4);
	kv_free(kv);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_forward_matches_goldens),
	        cmocka_unit_test(test_decoding_together_equals_alone_bit_for_bit),
	        cmocka_unit_test(test_gradients_match_finite_differences),
	        cmocka_unit_test(test_packed_sequences_do_not_see_each_other),
	        cmocka_unit_test(test_bad_batches_are_refused),
	        cmocka_unit_test(test_a_full_cache_is_refused_and_unchanged),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
