/*
 * What rows are before the first edit, kept from one call of model_train() to the next: read again, nothing
 * is computed of it, and no bit of loss or gradients changes.
 */
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N_SEQS 3
#define MAX_ROWS 64
#define N_LABELS 3

static const char *const families[] = {
        "gpt2", "llama2", "llama3", "mistral", "qwen2", "bert", "roberta", "t5", "t5v11", "umt5"};
/* Edits of a base of three layers, and what is kept of a row, in widths of the model: without a second stack,
 * and with one. */
static const struct {
	const char *spec;
	size_t widths, widths_seq2seq;
} cases[] = {
        {"{\"type\":\"red\"}", 2, 2},
        {"{\"type\":\"red\",\"positions\":[\"res\"]}", 2, 2},
        {"{\"type\":\"red\",\"positions\":[\"attn\"]}", 0, 0},
        {"{\"type\":\"red\",\"positions\":[\"qkv\",\"ffn\"]}", 0, 0},
        {"{\"type\":\"red\",\"layers\":[1,2]}", 2, 2},
        {"{\"type\":\"red\",\"positions\":[\"attn\",\"ffn\"],\"layers\":[1]}", 1, 1},
        {"{\"type\":\"red\",\"layers\":[2]}", 1, 2},
};

struct scene {
	struct model *model;
	const struct model_info *info;
	struct train_workspace *dense, *sparse;
	struct adapter_layout *layout;
	float *params;
	size_t n; /* params */
};

static void scene_open(struct scene *s, const char *family)
{
	struct why why = {0};
	char dir[256];

	memset(s, 0, sizeof(*s));
	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &s->model, &why))
		fail_msg("%s", why.message);
	s->info = model_info(s->model);
	assert_int_equal(train_workspace_new(s->model, MAX_ROWS, 0, &s->dense), OK);
	assert_int_equal(train_workspace_new(s->model, MAX_ROWS, 1, &s->sparse), OK);
}

static void scene_edit(struct scene *s, const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	struct adapter_spec spec;
	const struct site *sites;
	struct why why = {0};
	struct rng r;
	size_t n_sites;
	enum err e;

	assert_non_null(json);
	if (adapter_spec_parse(json, &spec, &why))
		fail_msg("%s", why.message);
	json_decref(json);
	adapter_layout_free(s->layout);
	mem_free(s->params);
	sites = model_sites(s->model, &n_sites);
	e = s->info->kind == MODEL_ENCODER ? adapter_layout_new_head(&spec, sites, n_sites, s->info->width,
	                                             N_LABELS, &s->layout, &why)
	                                   : adapter_layout_new(&spec, sites, n_sites, &s->layout, &why);
	if (e)
		fail_msg("%s", why.message);
	s->n = adapter_layout_n_params(s->layout);
	s->params = mem_calloc(s->n, sizeof(float));
	assert_non_null(s->params);
	rng_seed(&r, 5);
	adapter_layout_start(s->layout, s->params);
	for (size_t i = 0; i < s->n; i++)
		s->params[i] += 0.2f * (float)rng_uniform(&r) - 0.1f;
}

static void scene_close(struct scene *s)
{
	mem_free(s->params);
	adapter_layout_free(s->layout);
	train_workspace_free(s->sparse);
	train_workspace_free(s->dense);
	model_close(s->model);
}

/* Sequences of random tokens, and room for their stems. */
struct rows {
	int32_t tokens[MAX_ROWS], labels[MAX_ROWS], sources[MAX_ROWS], classes[N_SEQS];
	size_t lengths[N_SEQS], source_lengths[N_SEQS];
	float *stems[N_SEQS];
	struct train_batch batch;
};

static void other_tokens(const struct scene *s, struct rng *r, struct rows *x)
{
	int32_t *first = s->info->kind == MODEL_SEQ2SEQ ? x->sources : x->tokens;

	for (size_t i = 0; i < MAX_ROWS; i++)
		first[i] = (int32_t)rng_below(r, s->info->vocab_size);
}

static void rows_init(const struct scene *s, struct rng *r, struct rows *x)
{
	bool source = s->info->kind == MODEL_SEQ2SEQ;
	size_t n_floats = model_stem_floats(s->model, s->layout);
	struct train_batch *b = &x->batch;

	memset(x, 0, sizeof(*x));
	b->n_seqs = N_SEQS;
	for (size_t i = 0; i < N_SEQS; i++) {
		x->lengths[i] = 4 + 3 * i;
		x->source_lengths[i] = 9 - 2 * i;
		x->classes[i] = (int32_t)i;
		b->n_rows += x->lengths[i];
		b->n_source_rows += source ? x->source_lengths[i] : 0;
		x->stems[i] = mem_calloc(9 + 1, n_floats * sizeof(float));
		assert_non_null(x->stems[i]);
	}
	for (size_t i = 0; i < MAX_ROWS; i++) {
		x->tokens[i] = (int32_t)rng_below(r, s->info->vocab_size);
		x->labels[i] = i % 3 ? (int32_t)rng_below(r, s->info->vocab_size) : -1;
	}
	other_tokens(s, r, x);
	b->tokens = x->tokens;
	b->lengths = x->lengths;
	b->labels = s->info->kind == MODEL_ENCODER ? NULL : x->labels;
	b->classes = s->info->kind == MODEL_ENCODER ? x->classes : NULL;
	b->source_tokens = source ? x->sources : NULL;
	b->source_lengths = source ? x->source_lengths : NULL;
}

static void rows_fini(struct rows *x)
{
	for (size_t i = 0; i < N_SEQS; i++)
		mem_free(x->stems[i]);
}

/* Loss and gradients are as `grads` and `sums` have them. */
static void check_same(const struct scene *s, struct train_workspace *w, const struct rows *x,
        const struct train_sums *sums, const float *grads)
{
	float *again = mem_calloc(s->n, sizeof(float));
	struct train_sums now;

	assert_non_null(again);
	assert_int_equal(model_train(s->model, w, &x->batch, s->layout, s->params, 1, again, &now), OK);
	assert_memory_equal(again, grads, s->n * sizeof(float));
	assert_true(now.loss == sums->loss && now.n_correct == sums->n_correct);
	assert_int_equal(model_train(s->model, w, &x->batch, s->layout, s->params, 1, NULL, &now), OK);
	assert_true(now.loss == sums->loss);
	mem_free(again);
}

static void check_case(struct scene *s, struct rng *r)
{
	float *grads = mem_calloc(s->n, sizeof(float));
	struct train_sums sums;
	struct rows x;

	assert_non_null(grads);
	rows_init(s, r, &x);
	assert_int_equal(
	        model_train(s->model, s->dense, &x.batch, s->layout, s->params, 1, grads, &sums), OK);
	x.batch.stems = x.stems;
	check_same(s, s->dense, &x, &sums, grads);
	x.batch.stems_known = true;
	/* what the first stack would begin from is not there any more */
	if (model_stem_floats(s->model, s->layout))
		other_tokens(s, r, &x);
	check_same(s, s->dense, &x, &sums, grads);
	check_same(s, s->sparse, &x, &sums, grads);
	rows_fini(&x);
	mem_free(grads);
}

static void test_what_is_kept_is_what_would_be_computed(void **state)
{
	struct rng r;

	(void)state;
	rng_seed(&r, 11);
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		struct scene s;

		scene_open(&s, families[f]);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			bool source = s.info->kind == MODEL_SEQ2SEQ;
			size_t widths = source ? cases[i].widths_seq2seq : cases[i].widths;

			scene_edit(&s, cases[i].spec);
			if (model_stem_floats(s.model, s.layout) != widths * s.info->width)
				fail_msg("%s, %s: %zu floats", families[f], cases[i].spec,
				        model_stem_floats(s.model, s.layout));
			check_case(&s, &r);
		}
		scene_close(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_what_is_kept_is_what_would_be_computed),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
