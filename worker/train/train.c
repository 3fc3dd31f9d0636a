/*
 * See train.h. Driver calls own the run; between train_begin() and train_end_*() the plan and params are
 * read-only, and train_item() writes nothing but the item's own gradient buffer and sums.
 */
#include "worker/train/train.h"

#include "core/mem.h"
#include "worker/train/adamw.h"
#include "worker/train/plan.h"
#include "worker/train/run.h"
#include "worker/train/schedule.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Sets the head's dropout apart from the order of rows, which comes from the same seed. */
#define DROPOUT_STREAM UINT64_C(0xd50b0075eed)

static enum err check_ids(
        const struct model_info *info, const int32_t *ids, size_t n, const char *param, struct why *why)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (size_t)ids[i] >= info->vocab_size)
			return why_param(why, ERR_MISMATCH, param,
			        "token id %d is outside the base's vocabulary of %zu: its tokenizer does not "
			        "fit",
			        (int)ids[i], info->vocab_size);
	return OK;
}

static enum err check_dataset(
        const struct model *m, const struct dataset *d, const char *param, struct why *why)
{
	const struct model_info *info = model_info(m);
	/* The last token of a text is only predicted. */
	size_t max = info->max_positions + (d->form == DATASET_LABELLED ? 0 : 1);
	enum err e;

	if (d->n_trained == 0)
		return why_param(why, ERR_INVALID, param, "no row has a token to train on");
	for (size_t i = 0; i < d->n_rows; i++) {
		const struct dataset_row *row = &d->rows[i];

		if (row->n_tokens > max || row->n_source > info->max_positions)
			return why_param(why, ERR_TOO_LONG, param,
			        "line %zu has %zu tokens; the base's context is %zu", row->line,
			        row->n_tokens > max ? row->n_tokens : row->n_source, info->max_positions);
	}
	e = check_ids(info, d->ids, d->n_tokens, param, why);
	return e ? e : check_ids(info, d->sources, d->n_sources, param, why);
}

static enum err allocate(struct train_run *r)
{
	size_t n = r->n_params, n_items, n_grads;
	enum err e;

	e = plan_init(&r->step_plan, r->train, r->config.batch_size);
	if (e == OK && r->valid)
		e = plan_init(&r->eval_plan, r->valid, r->valid->n_rows);
	if (e == OK)
		e = scorer_init(&r->scorer, r->valid);
	if (e != OK)
		return e;
	n_items = r->config.batch_size < r->train->n_rows ? r->config.batch_size : r->train->n_rows;
	if (n_items > PLAN_MAX_ITEMS)
		n_items = PLAN_MAX_ITEMS;
	if (!mem_mul(n_items, n, &n_grads))
		return ERR_MEM;
	r->params = mem_calloc(n, sizeof(float));
	r->m = mem_calloc(n, sizeof(float));
	r->v = mem_calloc(n, sizeof(float));
	r->best = mem_calloc(n, sizeof(float));
	r->grads = mem_calloc(n, sizeof(float));
	if (r->config.decay_towards == DECAY_TO_IDENTITY && !(r->identity = mem_calloc(n, sizeof(float))))
		return ERR_MEM;
	r->sum = mem_calloc(n, sizeof(double));
	r->item_grads = mem_calloc(n_grads, sizeof(float));
	r->item_sums = mem_calloc(PLAN_MAX_ITEMS, sizeof(*r->item_sums));
	r->order = mem_calloc(r->train->n_rows, sizeof(*r->order));
	if (!r->params || !r->m || !r->v || !r->best || !r->grads || !r->sum || !r->item_grads ||
	        !r->item_sums || !r->order)
		return ERR_MEM;
	return OK;
}

static void cut_eval(struct train_run *r)
{
	plan_cut(&r->eval_plan, r->valid, NULL, r->valid->n_rows, PLAN_MAX_ITEMS);
	r->eval_plan.outputs = r->scorer.outputs;
	r->eval_plan.n_outputs = r->valid->labels.n;
}

enum err train_run_new(const struct model *m, const struct adapter_layout *layout, const float *start_params,
        const struct dataset *train, const struct dataset *valid, const struct train_config *config,
        struct train_run **out, struct why *why)
{
	struct train_run *r = NULL;
	enum err e;

	assert(config->n_epochs > 0 && config->batch_size > 0);
	e = check_dataset(m, train, "training_file", why);
	if (e == OK && valid)
		e = check_dataset(m, valid, "validation_file", why);
	if (e != OK)
		return e;
	r = mem_calloc(1, sizeof(*r));
	if (!r)
		return ERR_MEM;
	r->model = m;
	r->layout = layout;
	r->train = train;
	r->valid = valid;
	r->config = *config;
	r->n_params = adapter_layout_n_params(layout);
	r->steps_per_epoch = (train->n_rows - 1) / config->batch_size + 1;
	r->order_epoch = SIZE_MAX;
	r->phase = TRAIN_DONE;
	e = ERR_INVALID;
	if (!mem_mul(r->steps_per_epoch, config->n_epochs, &r->total_steps))
		goto fail;
	e = allocate(r);
	if (e != OK)
		goto fail;
	if (start_params)
		memcpy(r->params, start_params, r->n_params * sizeof(float));
	else
		adapter_layout_start(layout, r->params);
	if (r->identity)
		adapter_layout_start(layout, r->identity);
	if (valid)
		cut_eval(r);
	train_state_bind(r, r->params);
	*out = r;
	return OK;
fail:
	train_run_free(r);
	return e;
}

void train_run_free(struct train_run *r)
{
	if (!r)
		return;
	plan_fini(&r->step_plan);
	plan_fini(&r->eval_plan);
	scorer_fini(&r->scorer);
	mem_free(r->params);
	mem_free(r->m);
	mem_free(r->v);
	mem_free(r->best);
	mem_free(r->identity);
	mem_free(r->grads);
	mem_free(r->sum);
	mem_free(r->item_grads);
	mem_free(r->item_sums);
	mem_free(r->order);
	mem_free(r);
}

/* Steps between evaluations. */
static size_t eval_every(const struct train_run *r)
{
	return r->config.eval_every ? r->config.eval_every : r->steps_per_epoch;
}

static bool keeps_train(const struct train_run *r)
{
	return r->config.n_epochs > 1;
}

static bool keeps_valid(const struct train_run *r)
{
	return r->valid && r->total_steps > eval_every(r);
}

size_t train_stem_bytes(const struct train_run *r)
{
	size_t train = keeps_train(r) ? stems_bytes(r->model, r->layout, r->train) : 0;
	size_t valid = keeps_valid(r) ? stems_bytes(r->model, r->layout, r->valid) : 0;

	return train < SIZE_MAX - valid ? train + valid : SIZE_MAX;
}

enum err train_keep_stems(struct train_run *r)
{
	enum err e = OK;

	if (keeps_train(r))
		e = plan_keep(&r->step_plan, r->model, r->layout, r->train);
	if (e == OK && keeps_valid(r)) {
		e = plan_keep(&r->eval_plan, r->model, r->layout, r->valid);
		if (e == OK)
			cut_eval(r);
	}
	return e;
}

size_t train_total_steps(const struct train_run *r)
{
	return r->total_steps;
}

size_t train_steps_done(const struct train_run *r)
{
	return r->at.steps;
}

uint64_t train_tokens_done(const struct train_run *r)
{
	return r->at.tokens;
}

size_t train_max_item_rows(const struct train_run *r)
{
	size_t n = plan_max_rows(r->train);
	size_t n_valid = r->valid ? plan_max_rows(r->valid) : 0;

	return n > n_valid ? n : n_valid;
}

/* An evaluation follows step `at.steps` unless it has been made: when asked for, and always after the last.
 */
static bool eval_due(const struct train_run *r)
{
	if (!r->valid || r->at.steps == 0 || r->at.evaluated == r->at.steps)
		return false;
	return r->at.steps % eval_every(r) == 0 || r->at.steps == r->total_steps;
}

enum train_phase train_next(const struct train_run *r)
{
	if (eval_due(r))
		return TRAIN_EVAL;
	if (r->at.steps == r->total_steps)
		return TRAIN_DONE;
	if (r->config.patience && r->at.unimproved >= r->config.patience)
		return TRAIN_DONE;
	return TRAIN_STEP;
}

static void begin_step(struct train_run *r)
{
	size_t epoch = r->at.steps / r->steps_per_epoch;
	size_t first = r->at.steps % r->steps_per_epoch * r->config.batch_size;
	size_t n = r->train->n_rows - first;

	if (r->order_epoch != epoch) {
		plan_order(r->config.seed, epoch, r->config.shuffle, r->train->n_rows, r->order);
		r->order_epoch = epoch;
	}
	if (n > r->config.batch_size)
		n = r->config.batch_size;
	plan_cut(&r->step_plan, r->train, r->order + first, n, PLAN_MAX_ITEMS);
}

enum train_phase train_begin(struct train_run *r, size_t *n_items)
{
	enum train_phase phase = train_next(r);

	assert(r->phase == TRAIN_DONE);
	if (phase == TRAIN_STEP)
		begin_step(r);
	*n_items = phase == TRAIN_EVAL ? r->eval_plan.n_items : r->step_plan.n_items;
	r->phase = phase;
	return phase;
}

size_t train_item_tokens(const struct train_run *r, size_t item)
{
	const struct plan *plan = r->phase == TRAIN_STEP ? &r->step_plan : &r->eval_plan;
	size_t pack, end, n = 0;

	plan_item(plan, item, &pack, &end);
	for (; pack < end; pack++)
		n += plan->packs[pack].n_positions + plan->packs[pack].n_sources;
	return n;
}

void train_abort(struct train_run *r)
{
	r->phase = TRAIN_DONE;
}

/* What is dropped is a function of seed, step and row: rows are packed alike whoever computes them. */
static void set_dropout(const struct train_run *r, size_t pack, struct train_batch *batch)
{
	batch->dropout = (float)r->config.dropout;
	batch->dropout_seed = plan_mix(plan_mix(r->config.seed ^ DROPOUT_STREAM, r->at.steps), pack);
}

enum err train_item(struct train_run *r, size_t item, struct train_workspace *w)
{
	bool step = r->phase == TRAIN_STEP;
	const struct plan *plan = step ? &r->step_plan : &r->eval_plan;
	float *grads = step ? r->item_grads + item * r->n_params : NULL;
	float grad_scale = step && plan->label_weight > 0 ? (float)(1.0 / plan->label_weight) : 0;
	struct train_sums total = {0};
	size_t pack, end;

	assert(r->phase != TRAIN_DONE);
	if (grads)
		memset(grads, 0, r->n_params * sizeof(*grads));
	plan_item(plan, item, &pack, &end);
	for (; pack < end; pack++) {
		struct train_batch batch;
		struct train_sums sums;
		enum err e;

		plan_batch(plan, pack, &batch);
		if (step)
			set_dropout(r, pack, &batch);
		e = model_train(r->model, w, &batch, r->layout, r->params, grad_scale, grads, &sums);
		if (e != OK)
			return e;
		plan_seen(plan, pack);
		total.loss += sums.loss;
		total.weight += sums.weight;
		total.n_labels += sums.n_labels;
		total.n_correct += sums.n_correct;
	}
	r->item_sums[item] = total;
	return OK;
}

/* The items' sums, in item order. */
static struct train_sums reduce_sums(const struct train_run *r, const struct plan *plan)
{
	struct train_sums total = {0};

	for (size_t i = 0; i < plan->n_items; i++) {
		total.loss += r->item_sums[i].loss;
		total.weight += r->item_sums[i].weight;
		total.n_labels += r->item_sums[i].n_labels;
		total.n_correct += r->item_sums[i].n_correct;
	}
	return total;
}

/* The items' gradients, in item order, into r->grads. */
static void reduce_grads(struct train_run *r)
{
	memset(r->sum, 0, r->n_params * sizeof(*r->sum));
	for (size_t i = 0; i < r->step_plan.n_items; i++) {
		const float *grads = r->item_grads + i * r->n_params;

		for (size_t k = 0; k < r->n_params; k++)
			r->sum[k] += (double)grads[k];
	}
	for (size_t k = 0; k < r->n_params; k++)
		r->grads[k] = (float)r->sum[k];
}

static double learning_rate(const struct train_run *r)
{
	const struct train_config *c = &r->config;

	return c->learning_rate * schedule_factor(c->schedule, r->at.steps, c->warmup_steps, r->total_steps);
}

static double epoch_after(const struct train_run *r, size_t steps)
{
	size_t rows = steps % r->steps_per_epoch * r->config.batch_size;

	return (double)(steps / r->steps_per_epoch) + (double)rows / (double)r->train->n_rows;
}

enum err train_end_step(struct train_run *r, struct train_step *out)
{
	const struct train_config *c = &r->config;
	const struct adamw adamw = {c->beta1, c->beta2, c->eps, c->weight_decay, r->identity};
	const struct plan *plan = &r->step_plan;
	struct train_sums sums = reduce_sums(r, plan);
	double weight = plan->label_weight, rate = learning_rate(r), norm;

	assert(r->phase == TRAIN_STEP);
	r->phase = TRAIN_DONE;
	reduce_grads(r);
	norm = grad_norm(r->n_params, r->grads);
	if (!isfinite(sums.loss) || !isfinite(norm))
		return ERR_STATE;
	if (c->max_grad_norm > 0)
		grad_clip(r->n_params, r->grads, norm, c->max_grad_norm);
	/* A step whose rows carry no loss moves nothing, not even by momentum; only the schedule goes on. */
	if (weight > 0)
		adamw_update(&adamw, ++r->at.updates, rate, r->n_params, r->grads, r->params, r->m, r->v);
	r->at.steps++;
	r->at.tokens += plan->n_positions + plan->n_sources;
	*out = (struct train_step){
	        .step = r->at.steps,
	        .epoch = epoch_after(r, r->at.steps),
	        .loss = weight > 0 ? sums.loss / weight : 0,
	        .grad_norm = norm,
	        .learning_rate = rate,
	        .label_weight = weight,
	        .n_labels = plan->n_labels,
	        .n_correct = sums.n_correct,
	        .labels = r->train->labels.kind,
	        .n_tokens = plan->n_positions + plan->n_sources,
	};
	return OK;
}

bool train_eval_has(const struct train_eval *e, enum metric m)
{
	switch (e->labels) {
	case LABELS_NONE:
		break;
	case LABELS_CLASSES:
		return metric_of_classes(m);
	case LABELS_NUMBER:
		return metric_of_numbers(m);
	}
	return m == METRIC_LOSS;
}

enum err train_end_eval(struct train_run *r, struct train_eval *out)
{
	struct train_sums sums = reduce_sums(r, &r->eval_plan);
	struct train_eval eval = {.loss = sums.loss / r->eval_plan.label_weight,
	        .n_labels = r->eval_plan.n_labels,
	        .n_correct = sums.n_correct,
	        .labels = r->valid->labels.kind};
	double score;

	assert(r->phase == TRAIN_EVAL);
	r->phase = TRAIN_DONE;
	if (!isfinite(eval.loss))
		return ERR_STATE;
	eval.metrics[METRIC_LOSS] = eval.loss;
	scorer_measure(&r->scorer, eval.metrics);
	score = r->config.metric == METRIC_LOSS ? -eval.loss : eval.metrics[r->config.metric];
	eval.best = r->at.best_step == 0 || score > r->at.best_score;
	r->at.evaluated = r->at.steps;
	r->at.unimproved = eval.best ? 0 : r->at.unimproved + 1;
	if (eval.best) {
		r->at.best_step = r->at.steps;
		r->at.best_score = score;
		memcpy(r->best, r->params, r->n_params * sizeof(*r->best));
	}
	*out = eval;
	return OK;
}

const float *train_params(const struct train_run *r)
{
	return r->params;
}

const float *train_result(const struct train_run *r, size_t *step)
{
	bool best = r->config.keep == KEEP_BEST && r->at.best_step != 0;

	if (step)
		*step = best ? r->at.best_step : r->at.steps;
	return best ? r->best : r->params;
}
