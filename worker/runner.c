/*
 * See runner.h. Everything a job leaves behind is a function of its spec and data: a step that is computed
 * again after a crash writes the same events and checkpoints, which the store drops as known.
 */
#include "worker/runner.h"

#include "core/clock.h"
#include "core/mem.h"
#include "worker/job_data.h"
#include "worker/job_name.h"
#include "worker/job_report.h"
#include "worker/job_spec.h"
#include "worker/train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct runner {
	const struct job_env *env; /* borrowed */
	char id[STORE_ID_SIZE];
	char parent[STORE_MODEL_SIZE];
	char name[STORE_MODEL_SIZE]; /* of the finished adapter */
	struct job_spec spec;
	struct job_data data;   /* owned */
	struct train_run *run;  /* owned */
	struct live_seat *live; /* owned; NULL = nobody can look on */
	size_t stem_bytes;      /* taken of the budget */

	enum train_phase phase; /* begun, or TRAIN_DONE */
	struct train_step last_step;
	bool has_last_step; /* not right after a resume */
	int64_t started_ns;
	uint64_t tokens_at_start;
};

static void notify(const struct runner *r)
{
	if (r->env->on_job)
		r->env->on_job(r->env->on_job_arg, r->id);
}

static enum err make_name(struct runner *r, const struct job *job)
{
	struct tenant tenant;
	enum err e = store_tenant_get(r->env->store, job->tenant_id, &tenant);

	return e ? e : job_model_name(r->env->base_name, tenant.name, r->spec.suffix, job->id, r->name);
}

/* Show what trains from now on, from where it stands. */
static enum err go_live(struct runner *r, const struct job *job)
{
	enum err e;

	if (!r->env->live)
		return OK;
	e = live_begin(
	        r->env->live, job->tenant_id, r->name, r->data.layout, &r->data.train.labels, &r->live);
	if (e == OK)
		live_show(r->live, train_params(r->run));
	return e;
}

static enum err resume(struct runner *r, struct why *why)
{
	void *state;
	size_t n;
	enum err e = store_job_state_get(r->env->store, r->id, &state, &n);

	if (e == ERR_EMPTY)
		return OK;
	if (e != OK)
		return e;
	e = train_state_read(r->run, state, n, why);
	mem_free(state);
	return e;
}

/* Where there is room for all of it. */
static enum err keep_stems(struct runner *r)
{
	size_t n = train_stem_bytes(r->run);

	if (n == 0 || !r->env->stems || !budget_take(r->env->stems, n))
		return OK;
	r->stem_bytes = n;
	return train_keep_stems(r->run);
}

enum err runner_new(const struct job_env *env, const struct job *job, struct runner **out, struct why *why)
{
	struct runner *r = mem_calloc(1, sizeof(*r));
	struct dataset_report train_report = {0}, valid_report = {0};
	enum err e = ERR_MEM;

	if (!r)
		goto fail;
	r->env = env;
	r->phase = TRAIN_DONE;
	memcpy(r->id, job->id, sizeof(r->id));
	memcpy(r->parent, job->model, sizeof(r->parent));
	e = job_spec_decode(job->spec, &r->spec);
	if (e == OK)
		e = make_name(r, job);
	if (e == OK)
		e = job_data_read(env, job->tenant_id, job->model, job->training_file, job->validation_file,
		        &r->spec, &r->data, &train_report, &valid_report, why);
	if (e == OK)
		e = train_run_new(env->model, r->data.layout, r->data.start, &r->data.train,
		        r->data.has_valid ? &r->data.valid : NULL, &r->spec.train, &r->run, why);
	if (e == OK)
		e = keep_stems(r);
	if (e == OK)
		e = resume(r, why);
	if (e == OK)
		e = go_live(r, job);
	if (e == OK)
		e = job_report_start(env->store, r->id, &r->data, train_total_steps(r->run));
	if (e != OK)
		goto fail;
	dataset_report_fini(&train_report);
	dataset_report_fini(&valid_report);
	r->started_ns = clock_mono_ns();
	r->tokens_at_start = train_tokens_done(r->run);
	notify(r);
	*out = r;
	return OK;
fail:
	dataset_report_fini(&train_report);
	dataset_report_fini(&valid_report);
	runner_free(r);
	return e;
}

void runner_free(struct runner *r)
{
	if (!r)
		return;
	live_end(r->live);
	train_run_free(r->run);
	if (r->stem_bytes)
		budget_give(r->env->stems, r->stem_bytes);
	job_data_fini(&r->data);
	mem_free(r);
}

size_t runner_max_rows(const struct runner *r)
{
	return train_max_item_rows(r->run);
}

size_t runner_steps_done(const struct runner *r)
{
	return train_steps_done(r->run);
}

uint64_t runner_tokens_done(const struct runner *r)
{
	return train_tokens_done(r->run);
}

enum err runner_begin(struct runner *r, size_t *n_items)
{
	size_t n;

	r->phase = train_begin(r->run, &n);
	if (r->phase == TRAIN_DONE)
		return ERR_EMPTY;
	*n_items = n;
	return OK;
}

size_t runner_item_tokens(const struct runner *r, size_t item)
{
	return train_item_tokens(r->run, item);
}

enum err runner_item(struct runner *r, size_t item, struct train_workspace *w)
{
	return train_item(r->run, item, w);
}

void runner_abort(struct runner *r)
{
	if (r->phase != TRAIN_DONE)
		train_abort(r->run);
	r->phase = TRAIN_DONE;
}

/* The adapter as a file, and its manifest as the store shows it: the file's own plus the base's name. */
static enum err write_adapter(
        const struct runner *r, const float *params, size_t steps, struct buf *content, char **manifest)
{
	json_t *json = job_report_manifest(model_info(r->env->model), &r->spec, &r->data, steps);
	enum err e = json ? adapter_write(r->data.layout, params, json, content) : ERR_MEM;
	char *text = NULL;

	if (e == OK && json_object_set_new(json, "base", json_string(r->env->base_name)) < 0)
		e = ERR_MEM;
	if (e == OK)
		text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
	json_decref(json);
	if (e == OK) {
		*manifest = text ? mem_strdup(text) : NULL;
		e = *manifest ? OK : ERR_MEM;
	}
	free(text);
	return e;
}

/* What the store calls a job in the wrong state is, seen from here, a job that someone has stopped. */
static enum err stopped_meanwhile(enum err e)
{
	return e == ERR_STATE || e == ERR_NOT_FOUND ? ERR_CANCELLED : e;
}

/* Keep the state, and with it, unless it is only for resuming, an adapter that can be served. */
static enum err checkpoint(struct runner *r, bool serveable, const struct train_eval *eval)
{
	struct checkpoint_new c = {.job_id = r->id, .step = (int64_t)train_steps_done(r->run)};
	struct buf state = {0}, content = {0};
	char name[STORE_MODEL_SIZE], *metrics = NULL, *manifest = NULL;
	enum err e = train_state_write(r->run, &state);

	if (e == OK && serveable)
		e = write_adapter(r, train_params(r->run), (size_t)c.step, &content, &manifest);
	if (e == OK && serveable)
		e = job_report_metrics(r->has_last_step ? &r->last_step : NULL, eval, &metrics);
	if (e == OK) {
		c.state = state.data;
		c.n_state = state.len;
		if (serveable) {
			snprintf(name, sizeof(name), "%.220s:ckpt-step-%lld", r->name, (long long)c.step);
			c.name = name;
			c.parent = r->parent;
			c.metrics = metrics;
			c.manifest = manifest;
			c.content = content.data;
			c.n_content = content.len;
		}
		e = stopped_meanwhile(store_checkpoint_put(r->env->store, &c));
	}
	buf_fini(&state);
	buf_fini(&content);
	mem_free(metrics);
	mem_free(manifest);
	return e;
}

static void report_progress(const struct runner *r)
{
	double seconds = (double)(clock_mono_ns() - r->started_ns) / 1e9;
	uint64_t tokens = train_tokens_done(r->run);
	const struct job_progress p = {
	        .step = (int64_t)train_steps_done(r->run),
	        .total_steps = (int64_t)train_total_steps(r->run),
	        .trained_tokens = (int64_t)tokens,
	        .epoch = r->last_step.epoch,
	        .tokens_per_second = seconds > 0 ? (double)(tokens - r->tokens_at_start) / seconds : 0,
	};

	store_job_progress_later(r->env->store, r->id, &p);
}

static enum err diverged(const struct runner *r, const char *what, struct why *why)
{
	enum err e = why_param(why, ERR_INVALID, "hyperparameters.learning_rate",
	        "the %s is not a finite number after step %zu: try a lower learning_rate", what,
	        train_steps_done(r->run));

	if (why)
		snprintf(why->code, sizeof(why->code), "training_diverged");
	return e;
}

static enum err end_step(struct runner *r, struct why *why)
{
	struct train_step step;
	bool epoch_ends;
	enum err e = train_end_step(r->run, &step);

	if (e == ERR_STATE)
		return diverged(r, "training loss or its gradient", why);
	if (e != OK)
		return e;
	r->last_step = step;
	r->has_last_step = true;
	if (r->live)
		live_show(r->live, train_params(r->run));
	e = job_report_step(r->env->store, r->id, &step, train_total_steps(r->run));
	if (e != OK)
		return e;
	report_progress(r);
	/* Where an evaluation follows, the checkpoint waits for its metrics. */
	if (train_next(r->run) == TRAIN_EVAL)
		return OK;
	epoch_ends = step.epoch == floor(step.epoch);
	if (epoch_ends || step.step % r->env->checkpoint_every == 0)
		return checkpoint(r, epoch_ends, NULL);
	return OK;
}

static enum err end_eval(struct runner *r, struct why *why)
{
	struct train_eval eval;
	enum err e = train_end_eval(r->run, &eval);

	if (e == ERR_STATE)
		return diverged(r, "validation loss", why);
	if (e == OK)
		e = job_report_eval(
		        r->env->store, r->id, train_steps_done(r->run), train_total_steps(r->run), &eval);
	return e == OK ? checkpoint(r, true, &eval) : e;
}

enum err runner_end(struct runner *r, struct why *why)
{
	enum train_phase phase = r->phase;
	enum err e;

	r->phase = TRAIN_DONE;
	e = phase == TRAIN_STEP ? end_step(r, why) : end_eval(r, why);
	notify(r);
	return e;
}

enum err runner_save(struct runner *r)
{
	return checkpoint(r, false, NULL);
}

enum err runner_finish(struct runner *r, struct why *why)
{
	struct job_success success = {.job_id = r->id, .name = r->name, .parent = r->parent};
	struct buf content = {0}, csv = {0};
	char *manifest = NULL;
	struct job job = {0};
	size_t step;
	const float *params = train_result(r->run, &step);
	enum err e = store_flush(r->env->store);

	if (e == OK)
		e = write_adapter(r, params, step, &content, &manifest);
	if (e == OK)
		e = job_report_csv(
		        r->env->store, r->id, train_total_steps(r->run), r->data.train.labels.kind, &csv);
	if (e == OK) {
		success.manifest = manifest;
		success.content = content.data;
		success.n_content = content.len;
		success.result_csv = csv.data;
		success.n_result_csv = csv.len;
		success.trained_tokens = (int64_t)train_tokens_done(r->run);
		e = stopped_meanwhile(store_job_succeed(r->env->store, &success, &job));
	}
	if (e != OK && e != ERR_CANCELLED)
		why_set(why, e, "the finished adapter could not be stored: %s", err_text(e));
	job_fini(&job);
	buf_fini(&content);
	buf_fini(&csv);
	mem_free(manifest);
	notify(r);
	return e;
}
