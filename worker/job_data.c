/* See job_data.h. */
#include "worker/job_data.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum err read_file(const struct job_env *env, const char *tenant_id, const char *file_id,
        const char *param, size_t max_length, struct dataset *out, char sha256[HASH_HEX_SIZE],
        struct dataset_report *report, struct why *why)
{
	const struct model_info *info = model_info(env->model);
	const struct dataset_options options = {
	        .tokenizer = env->tokenizer,
	        .chat = env->chat,
	        .context = info->max_positions,
	        .max_length = max_length,
	        .eos_id = info->n_eos ? info->eos_ids[0] : -1,
	};
	struct file file;
	int fd;
	enum err e = store_file_get(env->store, tenant_id, file_id, &file);

	if (e == OK)
		e = store_file_open(env->store, tenant_id, file_id, &fd);
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

/* Whether two layouts of one base give every parameter the same meaning. */
static bool layouts_agree(const struct adapter_layout *a, const struct adapter_layout *b)
{
	size_t n = adapter_layout_n_sites(a);

	if (n != adapter_layout_n_sites(b) || adapter_layout_n_params(a) != adapter_layout_n_params(b) ||
	        adapter_layout_spec(a)->method != adapter_layout_spec(b)->method ||
	        adapter_layout_spec(a)->parts != adapter_layout_spec(b)->parts)
		return false;
	for (size_t i = 0; i < n; i++)
		if (adapter_layout_edits(a, i) != adapter_layout_edits(b, i))
			return false;
	return true;
}

static enum err lay_out(const struct job_env *env, const char *tenant_id, const char *parent,
        const struct job_spec *spec, struct job_data *d, struct why *why)
{
	size_t n_sites;
	const struct site *sites = model_sites(env->model, &n_sites);
	size_t context = model_info(env->model)->max_positions;
	enum err e;

	if (spec->max_length > context)
		return why_param(why, ERR_INVALID, "hyperparameters.max_length",
		        "max_length is %zu; the base's context is %zu tokens", spec->max_length, context);
	e = adapter_layout_new(&spec->adapter, sites, n_sites, &d->layout, why);
	if (e != OK)
		return e;
	e = registry_acquire(env->registry, tenant_id, parent, &d->parent, why);
	if (e != OK)
		return e;
	if (d->parent.layout && !layouts_agree(d->layout, d->parent.layout))
		return why_param(why, ERR_MISMATCH, "adapter",
		        "%.150s edits other modules or parts than this job asks for; to go on from it, give "
		        "the same \"adapter\"",
		        parent);
	return OK;
}

enum err job_data_read(const struct job_env *env, const char *tenant_id, const char *parent,
        const char *train_file, const char *valid_file, struct job_spec *spec, struct job_data *out,
        struct dataset_report *train_report, struct dataset_report *valid_report, struct why *why)
{
	struct job_data d = {.has_valid = valid_file && *valid_file};
	enum err e = lay_out(env, tenant_id, parent, spec, &d, why);

	if (e == OK)
		e = read_file(env, tenant_id, train_file, "training_file", spec->max_length, &d.train,
		        d.train_sha256, train_report, why);
	if (e == OK && d.has_valid)
		e = read_file(env, tenant_id, valid_file, "validation_file", spec->max_length, &d.valid,
		        d.valid_sha256, valid_report, why);
	if (e != OK) {
		job_data_fini(&d);
		return e;
	}
	job_spec_resolve(spec, &d.train);
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
	if (d->parent.release)
		d->parent.release(d->parent.owner);
	memset(d, 0, sizeof(*d));
}
