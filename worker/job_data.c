/* See job_data.h. */
#include "worker/job_data.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where the rows of a job come from, and what they are read for. */
struct reading {
	const struct job_env *env; /* borrowed, as the rest */
	const char *tenant_id;
	const struct job_spec *spec;
	const struct labels *labels; /* known already; NULL = none */
};

static enum err read_file(const struct reading *r, const char *file_id, const char *param,
        struct dataset *out, char sha256[HASH_HEX_SIZE], struct dataset_report *report, struct why *why)
{
	static const enum dataset_form forms[] = {[MODEL_CAUSAL] = DATASET_TEXT,
	        [MODEL_ENCODER] = DATASET_LABELLED,
	        [MODEL_SEQ2SEQ] = DATASET_SOURCED};
	const struct job_env *env = r->env;
	const struct model_info *info = model_info(env->model);
	const struct dataset_options options = {
	        .form = forms[info->kind],
	        .tokenizer = env->tokenizer,
	        .chat = env->chat,
	        .context = info->max_positions,
	        .max_length = r->spec->max_length,
	        .eos_id = info->n_eos ? info->eos_ids[0] : -1,
	        .start_id = info->decoder_start_id,
	        .problem = r->spec->problem,
	        .labels = r->labels,
	};
	struct file file;
	int fd;
	enum err e = store_file_get(env->store, r->tenant_id, file_id, &file);

	if (e == OK)
		e = store_file_open(env->store, r->tenant_id, file_id, &fd);
	if (e == ERR_NOT_FOUND)
		return why_param(why, ERR_INVALID, param, "%s: there is no file '%.100s'", param, file_id);
	if (e != OK)
		return e;
	memcpy(sha256, file.sha256, HASH_HEX_SIZE);
	file_fini(&file);
	e = dataset_read(fd, &options, out, report, why);
	close(fd);
	if (why && e != OK && e != ERR_MEM) {
		why_prefix(why, "%s: ", param);
		snprintf(why->param, sizeof(why->param), "%s", param);
	}
	return e;
}

static enum err check_parent(const struct job_spec *spec, const struct adapter_ref *parent, struct why *why)
{
	if (spec->problem == LABELS_NONE || !parent->labels || parent->labels->kind == spec->problem)
		return OK;
	return why_param(why, ERR_MISMATCH, "hyperparameters.problem_type",
	        "the model to go on from was trained for %s",
	        spec->problem == LABELS_CLASSES ? "regression" : "classification");
}

/* A job that names no adapter goes on with its parent's, unless that is a head alone. */
static void inherit(struct job_spec *spec, const struct adapter_ref *parent)
{
	const struct adapter_spec *inherited = parent->layout ? adapter_layout_spec(parent->layout) : NULL;

	if (inherited && inherited->positions && !spec->adapter_given)
		spec->adapter = *inherited;
}

/* The layout that was asked for, with a head where rows are labelled. */
static enum err lay_out(
        const struct job_env *env, const struct job_spec *spec, struct job_data *d, struct why *why)
{
	const struct model_info *info = model_info(env->model);
	size_t n_sites;
	const struct site *sites = model_sites(env->model, &n_sites);

	if (d->train.form == DATASET_LABELLED)
		return adapter_layout_new_head(
		        &spec->adapter, sites, n_sites, info->width, d->train.labels.n, &d->layout, why);
	return adapter_layout_new(&spec->adapter, sites, n_sites, &d->layout, why);
}

/* The unedited base and a fresh head, or what the parent has of them. */
static enum err start(const struct job_spec *spec, const char *parent_name, const struct adapter_ref *parent,
        struct job_data *d, struct why *why)
{
	enum err e = OK;

	d->start = mem_calloc(adapter_layout_n_params(d->layout), sizeof(*d->start));
	if (!d->start)
		return ERR_MEM;
	adapter_layout_start(d->layout, d->start);
	if (d->train.form == DATASET_LABELLED)
		adapter_layout_start_head(d->layout, d->start, spec->seed);
	if (parent->layout)
		e = adapter_transfer(parent->layout, parent->params, d->layout, d->start);
	if (e == ERR_MISMATCH)
		return why_param(why, e, "adapter",
		        "%.150s edits modules or parts that this job does not ask for; to go on from it, "
		        "give "
		        "the same \"adapter\"",
		        parent_name);
	return e;
}

enum err job_data_read(const struct job_env *env, const char *tenant_id, const char *parent,
        const char *train_file, const char *valid_file, struct job_spec *spec, struct job_data *out,
        struct dataset_report *train_report, struct dataset_report *valid_report, struct why *why)
{
	struct job_data d = {.has_valid = valid_file && *valid_file};
	struct reading reading = {env, tenant_id, spec, NULL};
	struct adapter_ref held = {0};
	enum err e = job_spec_prepare(spec, model_info(env->model), why);

	if (e == OK)
		e = registry_acquire(env->registry, tenant_id, parent, &held, why);
	if (e == OK)
		e = check_parent(spec, &held, why);
	reading.labels = held.labels;
	if (e == OK)
		e = read_file(
		        &reading, train_file, "training_file", &d.train, d.train_sha256, train_report, why);
	reading.labels = &d.train.labels;
	if (e == OK && d.has_valid)
		e = read_file(
		        &reading, valid_file, "validation_file", &d.valid, d.valid_sha256, valid_report, why);
	if (e == OK)
		e = job_spec_resolve(spec, model_info(env->model), &d.train, why);
	if (e == OK)
		inherit(spec, &held);
	if (e == OK)
		e = lay_out(env, spec, &d, why);
	if (e == OK)
		e = start(spec, parent, &held, &d, why);
	if (held.release)
		held.release(held.owner);
	if (e != OK) {
		job_data_fini(&d);
		return e;
	}
	*out = d;
	return OK;
}

void job_data_fini(struct job_data *d)
{
	if (!d)
		return;
	dataset_fini(&d->train);
	dataset_fini(&d->valid);
	adapter_layout_free(d->layout);
	mem_free(d->start);
	memset(d, 0, sizeof(*d));
}
