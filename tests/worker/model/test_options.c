/*
 * RED's options against float64: a layer norm behind the edit, and edits after the residual. Each case of
 * tests/goldens/options.json is imported from what torch.save wrote, answers, is trained one step, and folded
 * or refused. See tests/goldens/make_options.py.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/golden.h"
#include "worker/adapter/safetensors.h"
#include "worker/math/cpu.h"
#include "worker/math/loss.h"
#include "worker/model/fold.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_ROWS 256
#define MAX_BYTES ((size_t)1 << 20)
#define LABELS 3
#define TOLERANCE 1e-4

struct scene {
	const json_t *c; /* the case */
	struct model *model;
	const struct site *sites;
	size_t n_sites;
	struct serve_workspace *serve;
	struct adapter_layout *layout;
	float *params;
};

static void scene_open(struct scene *s, const json_t *c)
{
	struct buf file = {0};
	struct why why = {0};
	char path[256];

	s->c = c;
	snprintf(path, sizeof(path), GOLDEN_DIR "%s", json_string_value(json_object_get(c, "family")));
	if (model_open(path, &s->model, &why))
		fail_msg("%s", why.message);
	s->sites = model_sites(s->model, &s->n_sites);
	assert_int_equal(serve_workspace_new(s->model, MAX_ROWS, 4, &s->serve), OK);
	snprintf(path, sizeof(path), GOLDEN_DIR "pth/options-%s.pth",
	        json_string_value(json_object_get(c, "name")));
	assert_int_equal(buf_read_file(&file, path, MAX_BYTES), OK);
	if (adapter_import(file.data, file.len, s->sites, s->n_sites, &s->layout, &s->params, &why))
		fail_msg("%s: %s", path, why.message);
	buf_fini(&file);
}

static void scene_close(struct scene *s)
{
	mem_free(s->params);
	adapter_layout_free(s->layout);
	serve_workspace_free(s->serve);
	model_close(s->model);
}

static void each_case(void (*check)(struct scene *s))
{
	json_t *cases = json_load_file(GOLDEN_DIR "options.json", 0, NULL);
	const json_t *c;
	size_t i;

	assert_true(json_array_size(cases) >= 7);
	json_array_foreach (cases, i, c) {
		struct scene s;

		scene_open(&s, c);
		check(&s);
		scene_close(&s);
	}
	json_decref(cases);
}

/* Whether the case's name has this in it. */
static bool is(const struct scene *s, const char *word)
{
	return strstr(json_string_value(json_object_get(s->c, "name")), word) != NULL;
}

static void assert_near(const struct scene *s, double got, const json_t *want, double tolerance)
{
	if (!(fabs(got - json_number_value(want)) <= tolerance))
		fail_msg("%s: %.9g instead of %.9g", json_string_value(json_object_get(s->c, "name")), got,
		        json_number_value(want));
}

/* ---- answers ---- */

static void check_classes(const struct scene *s, const struct model *m, const struct adapter_layout *l,
        const float *params, double tolerance)
{
	const json_t *ids;
	size_t i;

	json_array_foreach (json_object_get(s->c, "ids"), i, ids) {
		size_t n;
		int32_t *row = golden_ids(ids, &n);
		struct edit_run run = {n, l, params, 1};
		float outputs[LABELS];

		assert_int_equal(model_classify(m, s->serve, 1, row, &n, &run, LABELS, outputs), OK);
		for (size_t k = 0; k < LABELS; k++)
			assert_near(s, (double)outputs[k],
			        json_array_get(json_array_get(json_object_get(s->c, "outputs"), i), k),
			        tolerance);
		mem_free(row);
	}
}

static void check_next(const struct scene *s, float *logits, size_t V)
{
	const json_t *ids;
	size_t i;

	json_array_foreach (json_object_get(s->c, "ids"), i, ids) {
		const json_t *want = json_array_get(json_object_get(s->c, "outputs"), i);
		size_t n, rows[MAX_ROWS];
		int32_t *row = golden_ids(ids, &n);
		struct edit_run run = {n, s->layout, s->params, 1};
		struct kv *kv;

		for (size_t k = 0; k < n; k++)
			rows[k] = k;
		assert_int_equal(kv_new(s->model, n, &kv), OK);
		assert_int_equal(model_prefill(s->model, s->serve, kv, row, n, &run, rows, n, logits), OK);
		for (size_t k = 0; k + 1 < n; k++)
			assert_near(s,
			        (double)logits[k * V + (size_t)row[k + 1]] - log_sum_exp(V, logits + k * V),
			        json_array_get(want, k), TOLERANCE);
		kv_free(kv);
		mem_free(row);
	}
}

static void check_answers(struct scene *s)
{
	size_t V = model_info(s->model)->vocab_size;
	float *logits = mem_calloc(MAX_ROWS * V, sizeof(float));

	if (is(s, "roberta"))
		check_classes(s, s->model, s->layout, s->params, TOLERANCE);
	else
		check_next(s, logits, V);
	mem_free(logits);
}

static void test_adapters_with_options_answer_as_in_float64(void **state)
{
	(void)state;
	each_case(check_answers);
}

/* ---- gradients ---- */

/* The case's rows as one batch, freed with its arrays. */
static void fill_batch(const struct scene *s, struct train_batch *b, int32_t *tokens, int32_t *labels,
        int32_t *classes, size_t *lengths)
{
	const json_t *ids;
	size_t i;

	*b = (struct train_batch){.tokens = tokens, .lengths = lengths};
	json_array_foreach (json_object_get(s->c, "ids"), i, ids) {
		int32_t *row = golden_ids(ids, &lengths[i]);

		assert_true(b->n_rows + lengths[i] <= MAX_ROWS);
		for (size_t k = 0; k < lengths[i]; k++) {
			tokens[b->n_rows + k] = row[k];
			labels[b->n_rows + k] = k + 1 < lengths[i] ? row[k + 1] : -1;
		}
		classes[i] = (int32_t)(i % LABELS);
		b->n_rows += lengths[i];
		b->n_seqs++;
		mem_free(row);
	}
	if (is(s, "roberta"))
		b->classes = classes;
	else
		b->labels = labels;
}

/* Gradients are looked up by tensor name in what would be written of them. */
static void check_grads(const struct scene *s, const float *grads)
{
	struct buf file = {0};
	struct safetensors *tensors;
	json_t *all = json_object_get(s->c, "grads"), *want;
	const char *name;

	assert_int_equal(adapter_write(s->layout, grads, NULL, &file), OK);
	assert_int_equal(safetensors_new(file.data, file.len, &tensors, NULL), OK);
	json_object_foreach (all, name, want) {
		const struct tensor *t = safetensors_find(tensors, name);
		double most = 0;
		float x;

		assert_non_null(t);
		assert_int_equal(t->n_elements, json_array_size(want));
		for (size_t i = 0; i < t->n_elements; i++)
			most = fmax(most, fabs(json_number_value(json_array_get(want, i))));
		for (size_t i = 0; i < t->n_elements; i++) {
			assert_int_equal(tensor_read_f32(t, i, 1, &x), OK);
			assert_near(s, (double)x, json_array_get(want, i), TOLERANCE * most);
		}
	}
	safetensors_free(tensors);
	buf_fini(&file);
}

static void check_training(struct scene *s)
{
	int32_t tokens[MAX_ROWS], labels[MAX_ROWS], classes[8];
	size_t lengths[8];
	struct train_batch batch;
	struct train_workspace *w;
	struct train_sums sums;
	float *grads = mem_calloc(adapter_layout_n_params(s->layout), sizeof(float));

	fill_batch(s, &batch, tokens, labels, classes, lengths);
	assert_int_equal(train_workspace_new(s->model, MAX_ROWS, 0, &w), OK);
	assert_int_equal(model_train(s->model, w, &batch, s->layout, s->params, 1, grads, &sums), OK);
	assert_near(s, sums.loss, json_object_get(s->c, "loss"),
	        TOLERANCE * json_number_value(json_object_get(s->c, "loss")));
	check_grads(s, grads);
	train_workspace_free(w);
	mem_free(grads);
}

static void test_their_gradients_are_those_of_float64(void **state)
{
	(void)state;
	each_case(check_training);
}

/* ---- folding ---- */

/* The folded base with the same head answers as the base with the adapter. */
static void check_folded(const struct scene *s, const char *dir)
{
	struct adapter_spec spec;
	struct adapter_layout *l;
	struct model *m;
	struct why why = {0};
	float *params;
	size_t n, n_edits;

	if (model_open(dir, &m, &why))
		fail_msg("%s", why.message);
	adapter_spec_default(&spec);
	spec.positions = 0;
	assert_int_equal(
	        adapter_layout_new_head(&spec, s->sites, s->n_sites, model_info(m)->width, LABELS, &l, NULL),
	        OK);
	n = adapter_layout_n_params(l);
	n_edits = adapter_layout_n_params(s->layout) - n;
	params = mem_calloc(n, sizeof(float));
	memcpy(params, s->params + n_edits, n * sizeof(float));
	check_classes(s, m, l, params, TOLERANCE);
	mem_free(params);
	adapter_layout_free(l);
	model_close(m);
}

static void check_fold(struct scene *s)
{
	char dir[] = "/tmp/redd-options-XXXXXX", path[64], command[256];
	bool folds = is(s, "roberta") && !is(s, "ln");
	struct why why = {0};
	enum err e;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.tar", dir);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	e = model_fold(s->model, s->layout, s->params, fd, &why);
	close(fd);
	assert_int_equal(e, folds ? OK : ERR_UNSUPPORTED);
	snprintf(command, sizeof(command), "cd '%s' && tar -xf x.tar", dir);
	if (folds) {
		assert_int_equal(system(command), 0);
		check_folded(s, dir);
	} else {
		assert_non_null(strstr(why.message, is(s, "gpt2-res") ? "residual stream" : "layer norm"));
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

static void test_what_is_affine_after_an_encoders_residual_folds_and_no_more(void **state)
{
	(void)state;
	each_case(check_fold);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_adapters_with_options_answer_as_in_float64),
	        cmocka_unit_test(test_their_gradients_are_those_of_float64),
	        cmocka_unit_test(test_what_is_affine_after_an_encoders_residual_folds_and_no_more),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
