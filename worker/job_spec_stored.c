/* See job_spec.h: the form of a spec that the store keeps. */
#include "worker/job_spec.h"

#include "core/mem.h"
#include "worker/job_field.h"

#include <stdlib.h>

enum err job_spec_encode(const struct job_spec *spec, char **json)
{
	json_t *hyperparameters = json_object(), *was_auto = json_array(), *given = json_array(),
	       *root = NULL;
	json_t *adapter = adapter_spec_json(&spec->adapter);
	char *text = NULL;
	enum err e = ERR_MEM;

	for (size_t i = 0; i < JOB_FIELDS; i++) {
		const struct job_field *f = &job_fields[i];

		if (json_object_set_new(hyperparameters, f->name, job_field_json(spec, f)) < 0)
			goto fail;
		if (job_field_is_auto(spec, f) && json_array_append_new(was_auto, json_string(f->name)) < 0)
			goto fail;
		if ((spec->given >> i & 1) && json_array_append_new(given, json_string(f->name)) < 0)
			goto fail;
	}
	root = json_pack("{s:s, s:I, s:O, s:O, s:O, s:O, s:b, s:b, s:b}", "suffix", spec->suffix, "seed",
	        (json_int_t)spec->seed, "adapter", adapter, "hyperparameters", hyperparameters, "auto",
	        was_auto, "given", given, "warmup_steps_given", (int)spec->warmup_steps_given, "resolved",
	        (int)spec->resolved, "adapter_given", (int)spec->adapter_given);
	text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	if (!text)
		goto fail;
	*json = mem_strdup(text);
	e = *json ? OK : ERR_MEM;
fail:
	free(text);
	json_decref(root);
	json_decref(adapter);
	json_decref(hyperparameters);
	json_decref(was_auto);
	json_decref(given);
	return e;
}

static enum err decode_root(const json_t *root, struct job_spec *spec)
{
	const json_t *was_auto = json_object_get(root, "auto"), *given = json_object_get(root, "given"),
	             *name;
	enum err e;
	size_t i;

	e = job_field_read_suffix(json_object_get(root, "suffix"), spec, NULL);
	if (e == OK)
		e = job_field_read_seed(json_object_get(root, "seed"), spec, NULL);
	if (e == OK)
		e = adapter_spec_parse(json_object_get(root, "adapter"), &spec->adapter, NULL);
	for (i = 0; e == OK && i < JOB_FIELDS; i++)
		e = job_field_read(&job_fields[i],
		        json_object_get(json_object_get(root, "hyperparameters"), job_fields[i].name), spec,
		        NULL);
	json_array_foreach (was_auto, i, name) {
		const struct job_field *f =
		        json_is_string(name) ? job_field_named(json_string_value(name)) : NULL;

		if (!f || f->auto_offset == JOB_FIELD_NEVER_AUTO)
			return ERR_FORMAT;
		job_field_set_auto(spec, f);
	}
	json_array_foreach (given, i, name) {
		const struct job_field *f =
		        json_is_string(name) ? job_field_named(json_string_value(name)) : NULL;

		if (!f)
			return ERR_FORMAT;
		spec->given |= UINT64_C(1) << (f - job_fields);
	}
	spec->warmup_steps_given = json_is_true(json_object_get(root, "warmup_steps_given"));
	spec->resolved = json_is_true(json_object_get(root, "resolved"));
	spec->adapter_given = json_is_true(json_object_get(root, "adapter_given"));
	spec->train.seed = spec->seed;
	return e;
}

enum err job_spec_decode(const char *json, struct job_spec *out)
{
	json_t *root = json_loads(json, 0, NULL);
	struct job_spec spec;
	enum err e;

	job_field_defaults(&spec);
	e = json_is_object(root) ? decode_root(root, &spec) : ERR_FORMAT;
	json_decref(root);
	if (e == ERR_INVALID)
		return ERR_FORMAT;
	if (e == OK)
		*out = spec;
	return e;
}
