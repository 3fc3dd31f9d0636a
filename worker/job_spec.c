/* See job_spec.h: what a request asks for, and how its hyperparameters show on the wire. What is kept in the
 * store is made in job_spec_stored.c, the numbers nobody gave in job_resolve.c. */
#include "worker/job_spec.h"

#include "worker/job_field.h"

#include <stdio.h>
#include <string.h>

static enum err read_hyperparameters(const json_t *object, struct job_spec *spec, struct why *why)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return why_param(why, ERR_INVALID, "hyperparameters", "hyperparameters must be an object");
	json_object_foreach ((json_t *)object, name, value) {
		const struct job_field *f = job_field_named(name);
		enum err e;

		if (json_is_null(value))
			continue;
		if (!f) {
			char param[sizeof(why->param)];

			snprintf(param, sizeof(param), "hyperparameters.%.40s", name);
			return why_param(why, ERR_INVALID, param,
			        "%.40s is not a hyperparameter this base knows", name);
		}
		e = job_field_read(f, value, spec, why);
		if (e != OK)
			return e;
		if (!job_field_is_auto(spec, f))
			spec->given |= UINT64_C(1) << (f - job_fields);
		if (f->offset == JOB_FIELD_AT(train.warmup_steps))
			spec->warmup_steps_given = true;
	}
	if (!spec->auto_learning_rate && !spec->auto_multiplier && spec->learning_rate_multiplier != 1)
		return why_param(why, ERR_INVALID, "hyperparameters.learning_rate_multiplier",
		        "learning_rate_multiplier multiplies the automatic rate; give it or learning_rate, "
		        "not both");
	if (spec->max_length == 1)
		return job_field_refuse(
		        why, job_field_named("max_length"), "at least 2 tokens, or 0 for the context");
	return OK;
}

bool job_spec_asked(const struct job_spec *spec, const char *name)
{
	return spec->given >> (job_field_named(name) - job_fields) & 1;
}

/* Steps and ratio are two names of one thing. */
static bool asked_otherwise(const struct job_spec *spec, const struct job_field *f)
{
	return f->offset == JOB_FIELD_AT(train.warmup_steps) && job_spec_asked(spec, "warmup_ratio");
}

void job_spec_fill(struct job_spec *spec, const json_t *hyperparameters)
{
	for (size_t i = 0; i < JOB_FIELDS; i++) {
		const json_t *value = json_object_get(hyperparameters, job_fields[i].name);

		if (!value || (spec->given >> i & 1) || asked_otherwise(spec, &job_fields[i]))
			continue;
		job_field_read(&job_fields[i], value, spec, NULL);
		if (job_fields[i].offset == JOB_FIELD_AT(train.warmup_steps))
			spec->warmup_steps_given = true;
	}
}

/* Find the hyperparameters in method.supervised or, as older clients send them, at the top; NULL = none. */
static enum err find_hyperparameters(const json_t *body, const json_t **out, struct why *why)
{
	const json_t *method = json_object_get(body, "method"),
	             *top = json_object_get(body, "hyperparameters");
	const json_t *supervised, *inner;
	const char *type;

	if (json_is_null(top))
		top = NULL;
	if (!method || json_is_null(method)) {
		*out = top;
		return OK;
	}
	type = json_string_value(json_object_get(method, "type"));
	if (!type || strcmp(type, "supervised") != 0)
		return why_param(why, ERR_INVALID, "method.type", "method.type must be \"supervised\"");
	supervised = json_object_get(method, "supervised");
	if (supervised && !json_is_null(supervised) && !json_is_object(supervised))
		return why_param(
		        why, ERR_INVALID, "method.supervised", "method.supervised must be an object");
	inner = json_object_get(supervised, "hyperparameters");
	if (json_is_null(inner))
		inner = NULL;
	if (inner && top)
		return why_param(why, ERR_INVALID, "hyperparameters",
		        "give hyperparameters in method.supervised or at the top level, not in both");
	*out = inner ? inner : top;
	return OK;
}

enum err job_spec_from_request(const json_t *body, struct job_spec *out, struct why *why)
{
	const json_t *hyperparameters = NULL, *integrations = json_object_get(body, "integrations");
	const json_t *adapter = json_object_get(body, "adapter"), *preset = json_object_get(body, "preset");
	struct job_spec spec;
	enum err e;

	job_field_defaults(&spec);
	if (integrations && !json_is_null(integrations) &&
	        json_array_size(integrations) + json_object_size(integrations))
		return why_param(why, ERR_INVALID, "integrations", "integrations are not supported");
	e = job_field_read_suffix(json_object_get(body, "suffix"), &spec, why);
	if (e == OK)
		e = job_field_read_seed(json_object_get(body, "seed"), &spec, why);
	if (e == OK && preset && !json_is_null(preset))
		e = job_field_read(job_field_named("preset"), preset, &spec, why);
	if (e == OK)
		e = find_hyperparameters(body, &hyperparameters, why);
	if (e == OK && hyperparameters)
		e = read_hyperparameters(hyperparameters, &spec, why);
	if (e == OK)
		e = adapter_spec_parse(json_is_null(adapter) ? NULL : adapter, &spec.adapter, why);
	if (e != OK)
		return e;
	spec.adapter_given = adapter && !json_is_null(adapter);
	spec.train.seed = spec.seed;
	*out = spec;
	return OK;
}

json_t *job_spec_hyperparameters(const struct job_spec *spec)
{
	json_t *object = json_object();

	if (!object)
		return NULL;
	for (size_t i = 0; i < JOB_FIELDS; i++) {
		const struct job_field *f = &job_fields[i];
		bool is_auto = !spec->resolved && job_field_is_auto(spec, f);

		if (f->offset == JOB_FIELD_AT(train.warmup_steps) && !spec->resolved &&
		        !spec->warmup_steps_given)
			continue;
		if (f->offset == JOB_FIELD_AT(warmup_ratio) && spec->warmup_steps_given)
			continue;
		if (f->hide_first && job_field_choice(spec, f) == f->names[0])
			continue;
		if (json_object_set_new(
		            object, f->name, is_auto ? json_string("auto") : job_field_json(spec, f)) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}
