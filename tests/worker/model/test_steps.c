/*
 * One training run of each golden whose rows are at hand as token ids: losses, gradient norms and first
 * gradients, step by step, and the vectors after the last. The optimiser here is a few lines of AdamW: what
 * is tested is the gradient.
 */
#include "core/buf.h"
#include "core/hash.h"
#include "core/mem.h"
#include "tests/support/golden.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_ROWS 1024
#define MAX_SEQS 4
#define MAX_STEPS 64

static const char *const families[] = {"mistral", "qwen2", "roberta", "bert", "t5", "t5v11", "umt5"};

/* The token ids of train.jsonl's rows: in golden.json, or beside it. */
static json_t *rows_open(const char *family, const json_t *golden)
{
	json_t *rows = json_object_get(json_object_get(golden, "train"), "rows");
	char path[256];

	if (rows)
		return json_incref(rows);
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/rows.json", family);
	rows = json_load_file(path, 0, NULL);
	assert_non_null(rows);
	return rows;
}

/* The rate of a step: a warm-up, then constant or falling linearly to zero. */
static double rate(const json_t *hyper, size_t step, size_t n_steps)
{
	double lr = json_number_value(json_object_get(hyper, "learning_rate"));
	size_t warmup = (size_t)json_integer_value(json_object_get(hyper, "warmup_steps"));

	if (step < warmup)
		return lr * (double)step / (double)warmup;
	if (strcmp(json_string_value(json_object_get(hyper, "schedule")), "linear") == 0)
		lr *= (double)(n_steps - step) / (double)(n_steps - warmup);
	return lr;
}

/* A step's rows, packed. */
struct rows {
	struct train_batch batch;
	int32_t tokens[MAX_ROWS], labels[MAX_ROWS], source[MAX_ROWS], classes[MAX_SEQS];
	size_t lengths[MAX_SEQS], source_lengths[MAX_SEQS], n_labels;
};

static size_t append(int32_t *to, size_t at, const json_t *ids)
{
	const json_t *id;
	size_t i;

	json_array_foreach (ids, i, id)
		to[at + i] = (int32_t)json_integer_value(id);
	return json_array_size(ids);
}

static void add_row(struct rows *r, const json_t *row, int32_t start)
{
	struct train_batch *b = &r->batch;
	const json_t *prompt = json_object_get(row, "prompt"),
	             *completion = json_object_get(row, "completion");
	int32_t *tokens = r->tokens, *labels = r->labels;
	size_t at = b->n_rows, n = 0, n_prompt;

	if (!completion) {
		n = append(tokens, at, json_object_get(row, "ids"));
		r->classes[b->n_seqs] = (int32_t)json_integer_value(json_object_get(row, "label"));
		r->n_labels++;
	} else {
		if (start >= 0) {
			size_t m = append(r->source, b->n_source_rows, prompt);

			r->source_lengths[b->n_seqs] = m;
			b->n_source_rows += m;
			tokens[at] = start;
			n = 1;
		} else {
			n = append(tokens, at, prompt);
		}
		n_prompt = n;
		n += append(tokens, at + n, completion) - 1;
		for (size_t i = 0; i < n; i++)
			labels[at + i] = i + 1 < n_prompt ? -1
			                                  : (int32_t)json_integer_value(json_array_get(
			                                            completion, i + 1 - n_prompt));
		r->n_labels += json_array_size(completion);
	}
	r->lengths[b->n_seqs++] = n;
	b->n_rows += n;
}

static void rows_fill(struct rows *r, const struct model *m, const json_t *rows, size_t first, size_t n)
{
	const struct model_info *info = model_info(m);

	memset(r, 0, sizeof(*r));
	r->batch.tokens = r->tokens;
	r->batch.lengths = r->lengths;
	r->batch.labels = r->labels;
	if (info->kind == MODEL_ENCODER)
		r->batch.classes = r->classes;
	r->batch.source_tokens = r->source;
	r->batch.source_lengths = r->source_lengths;
	for (size_t i = 0; i < n; i++)
		add_row(r, json_array_get(rows, first + i), info->decoder_start_id);
}

struct run {
	struct model *model;
	struct train_workspace *train;
	struct adapter_layout *layout;
	size_t n;
	float *params, *grads;
	double *mean, *square; /* Adam's */
};

/* Edits start as the identity, a head from its file. */
/* max_bytes: as train_workspace_new() */
static void run_start(struct run *r, const char *family, const struct adapter_spec *spec, size_t max_bytes)
{
	char path[256];
	struct why why = {0};
	size_t n_sites, n_head;
	const struct site *sites;
	struct adapter_layout *head;
	struct buf file = {0};
	float *head_params;

	memset(r, 0, sizeof(*r));
	snprintf(path, sizeof(path), GOLDEN_DIR "%s", family);
	if (model_open(path, &r->model, &why))
		fail_msg("%s", why.message);
	sites = model_sites(r->model, &n_sites);
	if (model_info(r->model)->kind != MODEL_ENCODER) {
		assert_int_equal(adapter_layout_new(spec, sites, n_sites, &r->layout, NULL), OK);
	} else {
		assert_int_equal(adapter_layout_new_head(spec, sites, n_sites, model_info(r->model)->width, 3,
		                         &r->layout, NULL),
		        OK);
	}
	r->n = adapter_layout_n_params(r->layout);
	r->params = mem_calloc(r->n, sizeof(float));
	r->grads = mem_calloc(r->n, sizeof(float));
	r->mean = mem_calloc(r->n, sizeof(double));
	r->square = mem_calloc(r->n, sizeof(double));
	adapter_layout_start(r->layout, r->params);
	assert_int_equal(train_workspace_new(r->model, 2 * MAX_ROWS, max_bytes, &r->train), OK);
	if (!adapter_layout_head_labels(r->layout))
		return;
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/classifier_init.safetensors", family);
	assert_int_equal(buf_read_file(&file, path, 1 << 20), OK);
	if (adapter_read(file.data, file.len, sites, n_sites, &head, &head_params, NULL, &why))
		fail_msg("%s", why.message);
	n_head = adapter_layout_n_params(head);
	memcpy(r->params + r->n - n_head, head_params, n_head * sizeof(float));
	adapter_layout_free(head);
	mem_free(head_params);
	buf_fini(&file);
}

static void run_stop(struct run *r)
{
	train_workspace_free(r->train);
	adapter_layout_free(r->layout);
	mem_free(r->params);
	mem_free(r->grads);
	mem_free(r->mean);
	mem_free(r->square);
	model_close(r->model);
}

static void adam_step(struct run *r, double lr, size_t step)
{
	double c1 = 1 - pow(0.9, (double)(step + 1)), c2 = 1 - pow(0.999, (double)(step + 1));

	for (size_t i = 0; i < r->n; i++) {
		double g = (double)r->grads[i];

		r->mean[i] = 0.9 * r->mean[i] + 0.1 * g;
		r->square[i] = 0.999 * r->square[i] + 0.001 * g * g;
		r->params[i] -= (float)(lr * (r->mean[i] / c1) / (sqrt(r->square[i] / c2) + 1e-8));
	}
}

/* One step over n rows from `first` on; returns the mean loss. */
static double run_step(struct run *r, const json_t *rows, size_t first, size_t n, double lr, size_t step)
{
	static struct rows batch;
	struct train_sums sums;

	rows_fill(&batch, r->model, rows, first, n);
	memset(r->grads, 0, r->n * sizeof(float));
	assert_int_equal(model_train(r->model, r->train, &batch.batch, r->layout, r->params,
	                         1 / (float)batch.n_labels, r->grads, &sums),
	        OK);
	assert_int_equal(sums.n_labels, batch.n_labels);
	adam_step(r, lr, step);
	return sums.loss / (double)batch.n_labels;
}

static void assert_close(const char *what, double got, double want, double relative)
{
	if (!(fabs(got - want) <= relative * fabs(want)))
		fail_msg("%s: %.9g, expected %.9g", what, got, want);
}

static void check_first_gradients(const struct run *r, const json_t *expected)
{
	size_t n_sites;
	const struct site *sites = model_sites(r->model, &n_sites);
	const float *at = r->grads;

	for (size_t i = 0; i < n_sites; i++) {
		const json_t *e = json_object_get(expected, sites[i].name);

		if (!adapter_layout_edits(r->layout, i))
			continue;
		assert_non_null(e);
		for (size_t c = 0; c < 4; c++) {
			double scale = json_real_value(json_array_get(json_object_get(e, "scale_first4"), c));
			double bias = json_real_value(json_array_get(json_object_get(e, "bias_first4"), c));

			assert_true(fabs((double)at[c] - scale) < 1e-6);
			assert_true(fabs((double)at[sites[i].width + c] - bias) < 1e-6);
		}
		at += 2 * sites[i].width;
	}
}

static void check_adapter(const struct run *r, const char *path)
{
	struct buf file = {0};
	struct adapter_layout *layout;
	size_t n_sites;
	const struct site *sites = model_sites(r->model, &n_sites);
	float *expected;

	assert_int_equal(buf_read_file(&file, path, 1 << 20), OK);
	assert_int_equal(
	        adapter_read(file.data, file.len, sites, n_sites, &layout, &expected, NULL, NULL), OK);
	assert_int_equal(adapter_layout_n_params(layout), r->n);
	for (size_t i = 0; i < r->n; i++)
		assert_true(fabs((double)r->params[i] - (double)expected[i]) < 1e-4);
	mem_free(expected);
	adapter_layout_free(layout);
	buf_fini(&file);
}

static void check_family(const char *family)
{
	json_t *golden = golden_open(family), *train = json_object_get(golden, "train");
	json_t *rows = rows_open(family, golden);
	const json_t *hyper = json_object_get(train, "hyperparameters");
	size_t n_steps = json_array_size(json_object_get(train, "loss_per_step"));
	double losses[MAX_STEPS], norms[MAX_STEPS];
	struct golden_run expected;
	struct adapter_spec spec;
	struct run r;

	assert_true(n_steps <= MAX_STEPS);
	adapter_spec_default(&spec);
	run_start(&r, family, &spec, 0);
	for (size_t step = 0; step < n_steps; step++) {
		double square = 0;

		losses[step] = run_step(&r, rows, step * MAX_SEQS % json_array_size(rows), MAX_SEQS,
		        rate(hyper, step, n_steps), step);
		for (size_t i = 0; i < r.n; i++)
			square += (double)r.grads[i] * (double)r.grads[i];
		norms[step] = sqrt(square);
		if (step == 0 && json_is_object(json_object_get(golden, "grad_step0")))
			check_first_gradients(&r, json_object_get(golden, "grad_step0"));
	}
	golden_run_open(family, golden, norms, &expected);
	for (size_t step = 0; step < n_steps; step++) {
		assert_close(
		        "loss", losses[step], json_real_value(json_array_get(expected.losses, step)), 1e-6);
		assert_close("norm", norms[step], json_real_value(json_array_get(expected.grad_norms, step)),
		        1e-5);
	}
	check_adapter(&r, expected.adapter);
	golden_run_close(&expected);
	run_stop(&r);
	json_decref(rows);
	json_decref(golden);
}

static void test_every_step_of_training_matches_goldens(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
		check_family(families[f]);
}

/* The spec of a variant, from its JSON. */
static void check_variant(const char *family, const json_t *rows, const json_t *variant, size_t max_bytes)
{
	const json_t *losses = json_object_get(variant, "loss_per_step");
	const json_t *name;
	struct adapter_spec spec;
	struct why why = {0};
	struct run r;
	const struct site *sites;
	size_t n_sites, n = 0, i;

	if (adapter_spec_parse(json_object_get(variant, "red"), &spec, &why))
		fail_msg("%s", why.message);
	run_start(&r, family, &spec, max_bytes);
	sites = model_sites(r.model, &n_sites);
	json_array_foreach (json_object_get(variant, "modules"), i, name) {
		while (n < n_sites && !adapter_layout_edits(r.layout, n))
			n++;
		assert_string_equal(sites[n++].name, json_string_value(name));
	}
	for (size_t step = 0; step < json_array_size(losses); step++)
		assert_close("variant's loss", run_step(&r, rows, step * MAX_SEQS, MAX_SEQS, 0.02, step),
		        json_real_value(json_array_get(losses, step)), 1e-6);
	run_stop(&r);
}

static void test_positions_parts_and_layers_match_goldens(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		json_t *golden = golden_open(families[f]);
		json_t *rows = rows_open(families[f], golden);
		const json_t *variant;
		size_t i;

		json_array_foreach (json_object_get(golden, "variants"), i, variant)
			for (size_t max_bytes = 0; max_bytes < 2; max_bytes++)
				check_variant(families[f], rows, variant, max_bytes);
		json_decref(rows);
		json_decref(golden);
	}
}

/* What is learned in a few steps, by processors that fuse: the first digits of the SHA-256 of the numbers. */
static const struct {
	const char *family, *digest;
} learned[] = {{"qwen2", "db14e9fdcf4040d6"}, {"roberta", "f05ebfa39ab56e8c"}, {"t5", "ed27e2f1e458bb5f"}};

static void check_bits(const char *family, const char *digest, size_t max_bytes)
{
	json_t *golden = golden_open(family), *rows = rows_open(family, golden);
	uint8_t bytes[HASH_BYTES];
	char hex[HASH_HEX_SIZE];
	struct adapter_spec spec;
	struct run r;

	adapter_spec_default(&spec);
	run_start(&r, family, &spec, max_bytes);
	for (size_t step = 0; step < 3; step++)
		run_step(&r, rows, step * MAX_SEQS % json_array_size(rows), MAX_SEQS, 0.02, step);
	hash_bytes(r.params, r.n * sizeof(*r.params), bytes);
	hash_hex(bytes, hex);
	if (strncmp(hex, digest, strlen(digest)) != 0)
		fail_msg("%s (%s): %.16s, expected %s", family, cpu_level_name(cpu_level()), hex, digest);
	run_stop(&r);
	json_decref(rows);
	json_decref(golden);
}

static void test_the_processor_does_not_show(void **state)
{
	(void)state;
	for (enum cpu_level level = CPU_AVX2; level < CPU_BEST; level++) {
		cpu_init(level);
		for (size_t i = 0; cpu_level() == level && i < sizeof(learned) / sizeof(learned[0]); i++) {
			check_bits(learned[i].family, learned[i].digest, 0);
			check_bits(learned[i].family, learned[i].digest, 1); /* all computed twice */
		}
	}
	cpu_init(CPU_BEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_processor_does_not_show),
	        cmocka_unit_test(test_every_step_of_training_matches_goldens),
	        cmocka_unit_test(test_positions_parts_and_layers_match_goldens),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
