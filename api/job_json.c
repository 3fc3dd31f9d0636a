/* See job_json.h. Names of hyperparameters live in worker/job_spec.c; here is the frame around them. */
#include "api/job_json.h"

#include "api/wire.h"
#include "core/mem.h"
#include "worker/job_name.h"
#include "worker/live.h"

#include <string.h>

#define METADATA_MAX_PAIRS 16
#define METADATA_KEY_MAX 64
#define METADATA_VALUE_MAX 512

/* ---- in ---- */

static enum err check_method(const json_t *body, struct why *why)
{
	const json_t *method = json_object_get(body, "method");
	const json_t *type = json_object_get(method, "type");

	if (!method || json_is_null(method))
		return OK;
	if (!json_is_object(method))
		return why_param(why, ERR_INVALID, "method", "'method' must be an object.");
	if (!json_is_string(type))
		return why_param(why, ERR_INVALID, "method.type", "'method.type' must be \"supervised\".");
	if (strcmp(json_string_value(type), "supervised") != 0)
		return why_param(why, ERR_INVALID, "method.type",
		        "The method '%s' is not offered here; the only one is 'supervised'.",
		        json_string_value(type));
	return OK;
}

static enum err check_integrations(const json_t *body, struct why *why)
{
	const json_t *v = json_object_get(body, "integrations");

	if (!v || json_is_null(v) || (json_is_array(v) && !json_array_size(v)))
		return OK;
	return why_param(why, ERR_INVALID, "integrations",
	        "Integrations are not offered here; leave 'integrations' out.");
}

static enum err metadata_decode(const json_t *body, char **out, struct why *why)
{
	const json_t *v = json_object_get(body, "metadata");
	const char *key;
	json_t *value;
	char *text;

	if (!v || json_is_null(v))
		return OK;
	if (!json_is_object(v) || json_object_size(v) > METADATA_MAX_PAIRS)
		return why_param(why, ERR_INVALID, "metadata",
		        "'metadata' must be an object of at most %d strings.", METADATA_MAX_PAIRS);
	json_object_foreach ((json_t *)v, key, value) {
		if (!json_is_string(value) || strlen(key) > METADATA_KEY_MAX ||
		        json_string_length(value) > METADATA_VALUE_MAX)
			return why_param(why, ERR_INVALID, "metadata",
			        "metadata['%.64s'] must be a string of at most %d bytes, its key of at most "
			        "%d.",
			        key, METADATA_VALUE_MAX, METADATA_KEY_MAX);
	}
	text = json_dumps(v, JSON_COMPACT);
	*out = text ? mem_strdup(text) : NULL;
	free(text);
	return *out ? OK : ERR_MEM;
}

enum err job_request_decode(const json_t *body, struct job_request *out, struct why *why)
{
	struct job_request r = {0};
	enum err e = wire_require_string(body, "model", &r.model, why);

	if (!e)
		e = wire_require_string(body, "training_file", &r.training_file, why);
	if (!e)
		e = wire_get_string(body, "validation_file", NULL, &r.validation_file, why);
	if (!e && r.validation_file && !*r.validation_file)
		r.validation_file = NULL;
	if (!e)
		e = check_method(body, why);
	if (!e)
		e = check_integrations(body, why);
	if (!e)
		e = job_spec_from_request(body, &r.spec, why);
	if (!e)
		e = metadata_decode(body, &r.metadata, why);
	if (!e)
		*out = r;
	return e;
}

void job_request_fini(struct job_request *r)
{
	mem_free(r->metadata);
	r->metadata = NULL;
}

/* ---- out ---- */

static json_t *job_error_json(const struct job *j)
{
	if (j->status != JOB_FAILED)
		return json_null();
	return json_pack("{s:o, s:o, s:o}", "code", wire_string(j->error_code), "message",
	        wire_string(j->error_message), "param", wire_string(j->error_param));
}

static json_t *progress_json(const struct job *j)
{
	return json_pack("{s:I, s:I, s:f, s:f}", "step", (json_int_t)j->step, "total_steps",
	        (json_int_t)j->total_steps, "epoch", j->epoch, "tokens_per_second", j->tokens_per_second);
}

/* When it will be done: if the steps to come are like those done and go on at the rate of late, pauses left
 * out; of a queued one, if all that comes before it and itself goes at that rate. Null unless that can be
 * said. */
static json_t *estimated_finish(const struct job *j, const struct job_view *view)
{
	const struct job_place *place = &view->place;
	double tokens, rate;

	if (j->status == JOB_RUNNING && j->step > 0 && j->total_steps >= j->step) {
		tokens = (double)j->trained_tokens / (double)j->step * (double)(j->total_steps - j->step);
		rate = j->tokens_per_second;
	} else if (j->status == JOB_QUEUED && place->position >= 0 && place->tokens_left > 0) {
		tokens = (double)place->tokens_left;
		rate = place->tokens_per_second;
	} else {
		return json_null();
	}
	return rate > 0 ? json_integer(view->now + (json_int_t)(tokens / rate)) : json_null();
}

static json_t *position_json(const struct job_view *view)
{
	return view->place.position < 0 ? json_null() : json_integer(view->place.position);
}

static json_t *result_files(const struct job *j)
{
	return j->result_file[0] ? json_pack("[s]", j->result_file) : json_array();
}

static int set(json_t *object, const char *name, json_t *value)
{
	return json_object_set_new(object, name, value);
}

/* The name that answers from it while it is under way. */
static json_t *live_model(const struct job *j, const struct job_spec *spec, const struct job_view *view)
{
	char name[STORE_MODEL_SIZE];

	if (job_status_terminal(j->status) || !j->started_at ||
	        job_model_name(view->base, view->tenant, spec->suffix, j->id, name))
		return json_null();
	return json_sprintf("%s" LIVE_SUFFIX, name);
}

/* What the job was asked to do. */
static int set_spec(json_t *json, const struct job *j, const struct job_view *view)
{
	struct job_spec spec;
	json_t *hyper;

	if (!j->spec || job_spec_decode(j->spec, &spec)) {
		set(json, "hyperparameters", json_object());
		return set(json, "method", json_null());
	}
	hyper = job_spec_hyperparameters(&spec);
	return set(json, "hyperparameters", json_incref(hyper)) ||
	       set(json, "method",
	               json_pack("{s:s, s:{s:o}}", "type", "supervised", "supervised", "hyperparameters",
	                       hyper)) ||
	       set(json, "seed", json_integer((json_int_t)spec.seed)) ||
	       set(json, "live_model", live_model(j, &spec, view)) ||
	       set(json, "user_provided_suffix", wire_string_or_null(spec.suffix)) ||
	       set(json, "adapter", adapter_spec_json(&spec.adapter));
}

json_t *job_json(const struct job *j, const struct job_view *view)
{
	json_t *json = json_pack("{s:s, s:s, s:I, s:o, s:s, s:o, s:s, s:s}", "id", j->id, "object",
	        "fine_tuning.job", "created_at", (json_int_t)j->created_at, "finished_at",
	        wire_time(j->finished_at), "model", j->model, "fine_tuned_model",
	        wire_string_or_null(j->fine_tuned_model), "organization_id", j->tenant_id, "status",
	        job_status_name(j->status));

	if (!json)
		return NULL;
	if (set_spec(json, j, view) || set(json, "training_file", json_string(j->training_file)) ||
	        set(json, "validation_file", wire_string_or_null(j->validation_file)) ||
	        set(json, "result_files", result_files(j)) ||
	        set(json, "trained_tokens",
	                j->status == JOB_SUCCEEDED || j->trained_tokens ? json_integer(j->trained_tokens)
	                                                                : json_null()) ||
	        set(json, "error", job_error_json(j)) ||
	        set(json, "estimated_finish", estimated_finish(j, view)) ||
	        set(json, "integrations", json_array()) || set(json, "metadata", wire_parsed(j->metadata)) ||
	        set(json, "queue_position", position_json(view)) || set(json, "progress", progress_json(j)) ||
	        set(json, "adapter_sha256", wire_string_or_null(j->adapter_sha256))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

json_t *event_json(const struct event *e)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:o, s:s, s:o}", "id", e->id, "object",
	        "fine_tuning.job.event", "created_at", (json_int_t)e->created_at, "level", e->level,
	        "message", wire_string(e->message), "type", e->type, "data", wire_parsed(e->data));
}

json_t *checkpoint_json(const struct checkpoint *c)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:o}", "id", c->id, "object",
	        "fine_tuning.job.checkpoint", "created_at", (json_int_t)c->created_at, "fine_tuning_job_id",
	        c->job_id, "fine_tuned_model_checkpoint", c->model, "step_number", (json_int_t)c->step,
	        "metrics", wire_parsed(c->metrics));
}

/* ---- preflight ---- */

static json_t *lines_json(const size_t *lines, size_t n)
{
	json_t *json = json_array();

	for (size_t i = 0; i < n && i < DATASET_MAX_FAULTS; i++)
		json_array_append_new(json, json_integer((json_int_t)lines[i]));
	return json;
}

static json_t *report_json(const struct dataset_report *r)
{
	json_t *faults = json_array();

	for (size_t i = 0; i < r->n_faults && i < DATASET_MAX_FAULTS; i++)
		json_array_append_new(faults, json_pack("{s:I, s:o}", "line", (json_int_t)r->faults[i].line,
		                                      "reason", wire_string(r->faults[i].reason)));
	return json_pack("{s:I, s:o, s:I, s:o, s:I, s:o}", "n_faults", (json_int_t)r->n_faults, "faults",
	        faults, "n_truncated", (json_int_t)r->n_truncated, "truncated_lines",
	        lines_json(r->truncated_lines, r->n_truncated), "n_without_loss", (json_int_t)r->n_no_loss,
	        "lines_without_loss", lines_json(r->no_loss_lines, r->n_no_loss));
}

json_t *preflight_json(const struct job_check *c, const struct job_spec *spec, bool has_valid,
        enum err failure, const struct why *why)
{
	json_t *hyper = job_spec_hyperparameters(spec);
	json_t *error = failure ? error_json(failure, why) : NULL;
	json_t *detail = error ? json_incref(json_object_get(error, "error")) : json_null();

	json_decref(error);
	return json_pack("{s:s, s:b, s:o, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "object",
	        "fine_tuning.preflight", "valid", failure == OK, "error", detail, "rows",
	        (json_int_t)c->n_rows, "tokens", (json_int_t)c->n_tokens, "trained_tokens",
	        (json_int_t)c->n_trained_tokens, "steps", (json_int_t)c->n_steps, "estimated_seconds",
	        c->estimated_seconds, "hyperparameters", hyper, "training_file", report_json(&c->train),
	        "validation_file", has_valid ? report_json(&c->valid) : json_null());
}
