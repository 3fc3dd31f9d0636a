/*
 * The numbers of a job that nobody gave: what works for RED on a kind of base, or what its authors used.
 * Pure; any thread. See job_spec.h.
 */
#include "worker/job_spec.h"

#include "worker/model/model.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* RED's rates are large (its authors train GPT-2 at 0.06). These are measured on small bases, linear schedule
 * and the usual warm-up; an encoder's head is trained at the same rate and wants a smaller one. */
static const struct {
	double learning_rate;
	size_t batch_size, n_epochs;
} autos[] = {
        [MODEL_CAUSAL] = {0.03, 16, 3},
        [MODEL_ENCODER] = {0.003, 32, 5},
        [MODEL_SEQ2SEQ] = {0.03, 16, 3},
};
/* Small data is seen more often; beyond a few hundred rows the usual epochs do. */
#define AUTO_MAX_EPOCHS 25
#define AUTO_ROWS_SEEN 1200
/* RED moves few numbers by many steps: on small data the batch shrinks before the steps do. */
#define AUTO_STEPS 256

/* Between the sizes of the GLUE tasks that the authors give rates for: RTE has 2,490 rows, SST-2 67,349. */
#define SMALL_TASK 10000

/* The authors' recipes, of their text and of their scripts: heads drop half of their inputs, gradients are
 * not clipped (but for LLaMA's, which their trainer clips at 1). The first row that fits counts. */
static const struct recipe {
	const char *family;
	size_t min_layers;       /* of the base: the larger ones first */
	enum labels_kind labels; /* LABELS_NONE = any */
	size_t max_rows;         /* 0 = any */
	const char *hyperparameters;
} recipes[] = {
#define GLUE(rate, decay, epochs, warmup)                                                                    \
	"{\"learning_rate\":" rate ",\"weight_decay\":" decay ",\"batch_size\":32,\"n_epochs\":" epochs      \
	",\"lr_scheduler\":\"linear\",\"warmup_ratio\":" warmup ",\"dropout\":0.5,\"max_grad_norm\":0}"
#define E2E(rate, decay, epochs)                                                                             \
	"{\"learning_rate\":" rate ",\"weight_decay\":" decay ",\"batch_size\":10,\"n_epochs\":" epochs      \
	",\"lr_scheduler\":\"linear\",\"warmup_steps\":500,\"eval_every\":500,\"max_grad_norm\":0}"
        {"roberta", 24, LABELS_NUMBER, 0, GLUE("5e-3", "0", "10", "0.06")},
        {"roberta", 24, LABELS_CLASSES, SMALL_TASK, GLUE("5e-3", "1e-4", "20", "0.01")},
        {"roberta", 24, LABELS_CLASSES, 0, GLUE("3e-3", "0", "10", "0.06")},
        {"roberta", 0, LABELS_NUMBER, 0, GLUE("3e-3", "0", "40", "0.06")},
        {"roberta", 0, LABELS_CLASSES, SMALL_TASK, GLUE("8e-3", "0", "40", "0.06")},
        {"roberta", 0, LABELS_CLASSES, 0, GLUE("1e-3", "0", "40", "0.06")},
        {"bert", 0, LABELS_NUMBER, 0, GLUE("3e-3", "0", "40", "0.06")},
        {"bert", 0, LABELS_CLASSES, SMALL_TASK, GLUE("8e-3", "0", "40", "0.06")},
        {"bert", 0, LABELS_CLASSES, 0, GLUE("1e-3", "0", "40", "0.06")},
        {"gpt2", 36, LABELS_NONE, 0, E2E("6e-3", "0", "10")},
        {"gpt2", 0, LABELS_NONE, 0, E2E("6e-2", "1e-4", "5")},
        {"t5", 0, LABELS_NONE, 0,
                "{\"learning_rate\":5e-2,\"weight_decay\":0,\"batch_size\":32,\"n_epochs\":10,"
                "\"lr_scheduler\":\"linear\",\"warmup_ratio\":0.01,\"max_grad_norm\":0}"},
        {"llama", 0, LABELS_NONE, 0,
                "{\"learning_rate\":2e-5,\"weight_decay\":0,\"batch_size\":128,\"n_epochs\":3,"
                "\"lr_scheduler\":\"cosine\",\"warmup_ratio\":0.1,\"max_length\":512,\"max_grad_norm\":1}"},
};

/* train NULL = not known yet. */
static const struct recipe *find_recipe(const struct model_info *base, const struct dataset *train)
{
	for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
		const struct recipe *r = &recipes[i];

		if (strcmp(r->family, base->family) != 0 || base->n_layers < r->min_layers)
			continue;
		if (!train || ((r->labels == LABELS_NONE || r->labels == train->labels.kind) &&
		                      (r->max_rows == 0 || train->n_rows <= r->max_rows)))
			return r;
	}
	return NULL;
}

static enum err fill_preset(
        struct job_spec *spec, const struct model_info *base, const struct dataset *train, struct why *why)
{
	const struct recipe *r;
	json_t *hyperparameters;

	if (spec->preset == PRESET_NONE || spec->resolved)
		return OK;
	r = find_recipe(base, train);
	if (!r)
		return why_param(why, ERR_INVALID, "hyperparameters.preset",
		        "the paper has no recipe for %s; it has them for roberta, bert, gpt2, t5 and llama",
		        base->family);
	hyperparameters = json_loads(r->hyperparameters, 0, NULL);
	if (!hyperparameters)
		return ERR_MEM;
	job_spec_fill(spec, hyperparameters);
	json_decref(hyperparameters);
	/* A recipe's limit is none where the context is shorter. */
	if (!job_spec_asked(spec, "max_length") && spec->max_length > base->max_positions)
		spec->max_length = 0;
	return OK;
}

enum err job_spec_prepare(struct job_spec *spec, const struct model_info *base, struct why *why)
{
	enum err e = fill_preset(spec, base, NULL, why);

	if (e != OK)
		return e;
	if (spec->max_length > base->max_positions)
		return why_param(why, ERR_INVALID, "hyperparameters.max_length",
		        "max_length is %zu; the base's context is %zu tokens", spec->max_length,
		        base->max_positions);
	if (base->kind != MODEL_ENCODER && spec->train.dropout > 0)
		return why_param(why, ERR_INVALID, "hyperparameters.dropout",
		        "dropout belongs to a classification head, which this base has not");
	if (base->kind != MODEL_ENCODER && spec->problem != LABELS_NONE)
		return why_param(why, ERR_INVALID, "hyperparameters.problem_type",
		        "problem_type is about labels, which this base does not learn");
	return OK;
}

/* By which evaluations are compared. */
static enum err resolve_metric(struct job_spec *spec, enum labels_kind labels, struct why *why)
{
	static const enum metric usual[] = {[LABELS_NONE] = METRIC_LOSS,
	        [LABELS_CLASSES] = METRIC_ACCURACY,
	        [LABELS_NUMBER] = METRIC_PEARSON};
	static const char *const fitting[] = {[LABELS_NONE] = "loss",
	        [LABELS_CLASSES] = "accuracy, f1, matthews or loss",
	        [LABELS_NUMBER] = "pearson, spearman or loss"};
	enum metric m = spec->train.metric;

	if (spec->auto_metric)
		spec->train.metric = usual[labels];
	else if (labels == LABELS_NONE     ? m != METRIC_LOSS
	         : labels == LABELS_NUMBER ? !metric_of_numbers(m)
	                                   : !metric_of_classes(m))
		return why_param(why, ERR_INVALID, "hyperparameters.metric",
		        "%s does not measure what this data holds; it may be %s", metric_name(m),
		        fitting[labels]);
	return OK;
}

static size_t clamp_size(size_t n, size_t min, size_t max)
{
	return n < min ? min : n > max ? max : n;
}

static void resolve_counts(struct job_spec *spec, enum model_kind kind, size_t n_rows)
{
	struct train_config *c = &spec->train;

	if (spec->auto_epochs)
		c->n_epochs =
		        clamp_size((AUTO_ROWS_SEEN - 1) / n_rows + 1, autos[kind].n_epochs, AUTO_MAX_EPOCHS);
	if (spec->auto_batch_size)
		c->batch_size = clamp_size(n_rows * c->n_epochs / AUTO_STEPS, 1, autos[kind].batch_size);
}

enum err job_spec_resolve(
        struct job_spec *spec, const struct model_info *base, const struct dataset *train, struct why *why)
{
	struct train_config *c = &spec->train;
	size_t total;
	enum err e;

	assert(train->n_rows > 0);
	if (spec->resolved)
		return OK;
	e = fill_preset(spec, base, train, why);
	if (e == OK)
		e = resolve_metric(spec, train->labels.kind, why);
	if (e != OK)
		return e;
	spec->problem = train->labels.kind;
	resolve_counts(spec, base->kind, train->n_rows);
	if (spec->auto_multiplier)
		spec->learning_rate_multiplier = 1;
	if (spec->auto_learning_rate)
		c->learning_rate = autos[base->kind].learning_rate;
	if (!job_spec_asked(spec, "learning_rate"))
		c->learning_rate *= spec->learning_rate_multiplier;
	total = ((train->n_rows - 1) / c->batch_size + 1) * c->n_epochs;
	/* A recipe's number of steps is for its own task. */
	if (spec->preset != PRESET_NONE && !job_spec_asked(spec, "warmup_steps") && c->warmup_steps >= total)
		spec->warmup_steps_given = false;
	/* A run must not end within its warm-up: its first step has rate 0. */
	if (!spec->warmup_steps_given) {
		c->warmup_steps = (size_t)ceil(spec->warmup_ratio * (double)total);
		if (c->warmup_steps >= total)
			c->warmup_steps = total - 1;
	}
	spec->resolved = true;
	return OK;
}
