/* Whole runs on real bases against what an independent implementation in float64 computed. */
#include "tests/support/golden.h"

#include "core/mem.h"
#include "worker/math/cpu.h"
#include "worker/train/train.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LOSS_TOLERANCE 1e-4 /* relative */
#define PARAM_TOLERANCE 1e-3

struct base {
	json_t *golden;
	struct model *model;
	struct tokenizer *tokenizer;
	struct dataset rows;
	const struct site *sites;
	size_t n_sites;
	char dir[64];
};

static void must(enum err e, const struct why *why)
{
	if (e != OK)
		fail_msg("%s: %s", err_name(e), why->message);
}

static void base_open(struct base *b, const char *family)
{
	struct dataset_options options = {0};
	struct dataset_report report = {0};
	struct why why = {0};
	char path[96];
	int fd;

	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), GOLDEN_DIR "%s", family);
	b->golden = golden_open(family);
	must(model_open(b->dir, &b->model, &why), &why);
	must(tokenizer_open(b->dir, &b->tokenizer, &why), &why);
	b->sites = model_sites(b->model, &b->n_sites);
	snprintf(path, sizeof(path), "%s/train.jsonl", b->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	options.tokenizer = b->tokenizer;
	options.context = model_info(b->model)->max_positions;
	options.eos_id = model_info(b->model)->eos_ids[0];
	must(dataset_read(fd, &options, &b->rows, &report, &why), &why);
	dataset_report_fini(&report);
	close(fd);
}

static void base_close(struct base *b)
{
	dataset_fini(&b->rows);
	tokenizer_close(b->tokenizer);
	model_close(b->model);
	json_decref(b->golden);
}

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_number(value))
		fail_msg("golden has no number %s", key);
	return json_number_value(value);
}

static struct train_config config_of(const json_t *h, size_t n_epochs)
{
	const char *schedule = json_string_value(json_object_get(h, "schedule"));

	return (struct train_config){
	        .n_epochs = n_epochs,
	        .batch_size = (size_t)number(h, "batch_size"),
	        .learning_rate = number(h, "learning_rate"),
	        .schedule = strcmp(schedule, "linear") == 0   ? SCHEDULE_LINEAR
	                    : strcmp(schedule, "cosine") == 0 ? SCHEDULE_COSINE
	                                                      : SCHEDULE_CONSTANT,
	        .warmup_steps = (size_t)number(h, "warmup_steps"),
	        .weight_decay = number(h, "weight_decay"),
	        .beta1 = 0.9,
	        .beta2 = 0.999,
	        .eps = 1e-8,
	        .max_grad_norm = number(h, "max_grad_norm"),
	        .keep = KEEP_LAST,
	};
}

static void check_near(const char *what, size_t step, double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%s at %zu: %.9g, expected %.9g", what, step, got, want);
}

/* Train to the end, each step held against the golden's lists; norms and labels may be NULL. */
static void train_against(
        struct train_run *r, struct model *m, const json_t *losses, const json_t *norms, const json_t *labels)
{
	struct train_workspace *w;
	struct train_step step;
	size_t n_items, n_steps = 0;

	assert_int_equal(train_workspace_new(m, train_max_item_rows(r), 0, &w), OK);
	assert_int_equal(train_total_steps(r), json_array_size(losses));
	while (train_begin(r, &n_items) == TRAIN_STEP) {
		double loss = json_number_value(json_array_get(losses, n_steps));

		for (size_t i = 0; i < n_items; i++)
			assert_int_equal(train_item(r, i, w), OK);
		assert_int_equal(train_end_step(r, &step), OK);
		check_near("loss", n_steps, step.loss, loss, LOSS_TOLERANCE * loss);
		if (norms) {
			double norm = json_number_value(json_array_get(norms, n_steps));

			check_near("gradient norm", n_steps, step.grad_norm, norm, 1e-3 * norm);
			assert_int_equal(step.n_labels, json_integer_value(json_array_get(labels, n_steps)));
		}
		n_steps++;
	}
	assert_int_equal(n_steps, json_array_size(losses));
	train_workspace_free(w);
}

static void check_adapter(struct base *b, const struct train_run *r, const struct adapter_layout *layout)
{
	struct adapter_layout *expected_layout;
	struct buf file = {0};
	struct why why = {0};
	float *expected;
	char path[96];
	double worst = 0;

	snprintf(path, sizeof(path), "%s/adapter_expected.safetensors", b->dir);
	must(buf_read_file(&file, path, 1 << 20), &why);
	must(adapter_read(file.data, file.len, b->sites, b->n_sites, &expected_layout, &expected, NULL, &why),
	        &why);
	assert_int_equal(adapter_layout_n_params(layout), adapter_layout_n_params(expected_layout));
	for (size_t i = 0; i < adapter_layout_n_params(layout); i++)
		worst = fmax(worst, fabs((double)train_params(r)[i] - (double)expected[i]));
	check_near("largest difference of parameters", 0, worst, 0, PARAM_TOLERANCE);
	adapter_layout_free(expected_layout);
	mem_free(expected);
	buf_fini(&file);
}

static void test_runs_agree_with_the_goldens(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct base b;
		struct adapter_spec spec;
		struct adapter_layout *layout;
		struct train_run *r;
		struct train_config c;
		struct why why = {0};
		const json_t *train;

		base_open(&b, golden_families[i]);
		train = json_object_get(b.golden, "train");
		c = config_of(json_object_get(train, "hyperparameters"),
		        (size_t)number(json_object_get(train, "hyperparameters"), "epochs"));
		adapter_spec_default(&spec);
		must(adapter_layout_new(&spec, b.sites, b.n_sites, &layout, &why), &why);
		assert_int_equal(adapter_layout_n_params(layout), number(train, "trainable_parameters_red"));
		must(train_run_new(b.model, layout, NULL, &b.rows, NULL, &c, &r, &why), &why);
		must(train_keep_stems(r), &why);
		train_against(r, b.model, json_object_get(train, "loss_per_step"),
		        json_object_get(train, "grad_norm_per_step"),
		        json_object_get(train, "label_tokens_per_step"));
		check_adapter(&b, r, layout);
		train_run_free(r);
		adapter_layout_free(layout);
		base_close(&b);
	}
}

/* The sum of a trained tensor of one module, read from the adapter's file. */
static double sum_of(
        const struct adapter_layout *layout, const float *params, struct base *b, size_t site, enum part part)
{
	const struct edit_run run = {.n_rows = 2, .layout = layout, .params = params, .strength = 1};
	size_t width = b->sites[site].width;
	float *h = mem_calloc(2 * width, sizeof(*h));
	double sum = 0;

	/* Rows of zeros and ones come out as bias and scale + bias. */
	for (size_t c = 0; c < width; c++)
		h[width + c] = 1;
	adapter_forward(&run, 1, site, 0, SIZE_MAX, h, width);
	if (part == PART_BIAS && strstr(b->sites[site].name, "attn.c_attn"))
		memset(h + width / 3, 0, width / 3 * sizeof(*h)); /* see is_noise() */
	for (size_t c = 0; c < width; c++)
		sum += part == PART_BIAS ? (double)h[c] : (double)h[width + c] - (double)h[c];
	mem_free(h);
	return sum;
}

/* A shift of all keys moves no softmax, so a key's bias has a gradient of 0, or nearly so where positions are
 * rotary: what Adam makes of it in float32 is rounding, blown up to whole steps. */
static bool is_noise(const char *site, enum part part)
{
	return part == PART_BIAS && strstr(site, "k_proj");
}

static void check_sums(struct base *b, const struct train_run *r, const struct adapter_layout *layout,
        const json_t *sums, enum part part)
{
	size_t n_found = 0;

	for (size_t site = 0; site < b->n_sites; site++) {
		const json_t *want = json_object_get(sums, b->sites[site].name);

		assert_int_equal(want != NULL, adapter_layout_edits(layout, site));
		if (!want)
			continue;
		n_found++;
		if (is_noise(b->sites[site].name, part))
			continue;
		check_near(b->sites[site].name, site, sum_of(layout, train_params(r), b, site, part),
		        json_number_value(want), PARAM_TOLERANCE);
	}
	assert_int_equal(n_found, json_object_size(sums));
}

static void run_variant(struct base *b, const json_t *variant)
{
	struct dataset first = b->rows; /* "the first 12 lines, one epoch" */
	struct adapter_spec spec;
	struct adapter_layout *layout;
	struct train_config c = config_of(json_object_get(variant, "hyperparameters"), 1);
	struct train_run *r;
	struct why why = {0};

	first.n_rows = 12;
	must(adapter_spec_parse(json_object_get(variant, "red"), &spec, &why), &why);
	must(adapter_layout_new(&spec, b->sites, b->n_sites, &layout, &why), &why);
	assert_int_equal(adapter_layout_n_params(layout), number(variant, "trainable_parameters"));
	must(train_run_new(b->model, layout, NULL, &first, NULL, &c, &r, &why), &why);
	train_against(r, b->model, json_object_get(variant, "loss_per_step"), NULL, NULL);
	check_sums(b, r, layout, json_object_get(variant, "sum_scale"), PART_SCALE);
	check_sums(b, r, layout, json_object_get(variant, "sum_bias"), PART_BIAS);
	train_run_free(r);
	adapter_layout_free(layout);
}

static void test_variants_agree_with_the_goldens(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct base b;
		const json_t *variant;
		size_t k;

		base_open(&b, golden_families[i]);
		json_array_foreach (json_object_get(b.golden, "variants"), k, variant)
			run_variant(&b, variant);
		assert_true(k > 0);
		base_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_runs_agree_with_the_goldens),
	        cmocka_unit_test(test_variants_agree_with_the_goldens),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
