/* See job_json.h. Names of hyperparameters live in worker/job_field.c; here is the frame around them. */
#include "api/job_json.h"

#include "api/wire.h"
#include "core/mem.h"
#include "worker/job_name.h"
#include "worker/live.h"

#include <string.h>

#define METADATA_MAX_PAIRS 16
#define METADATA_KEY_MAX 64
#define METADATA_VALUE_MAX 512
#define USUAL_JOB_BYTES 2048

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

static const char *or_null(const char *s)
{
	return s && *s ? s : NULL;
}

static void number_or_null(struct json_text *t, const char *name, bool known, int64_t v)
{
	if (known)
		json_text_int(t, name, v);
	else
		json_text_null(t, name);
}

static void write_error(struct json_text *t, const struct job *j)
{
	if (j->status != JOB_FAILED) {
		json_text_null(t, "error");
		return;
	}
	json_text_open(t, "error", '{');
	json_text_string(t, "code", j->error_code);
	json_text_string(t, "message", j->error_message);
	json_text_string(t, "param", j->error_param);
	json_text_close(t, '}');
}

static void write_progress(struct json_text *t, const struct job *j)
{
	json_text_open(t, "progress", '{');
	json_text_int(t, "step", j->step);
	json_text_int(t, "total_steps", j->total_steps);
	json_text_tree(t, "epoch", json_real(j->epoch));
	json_text_tree(t, "tokens_per_second", json_real(j->tokens_per_second));
	json_text_close(t, '}');
}

/* When it will be done: if the steps to come are like those done and go on at the rate of late, pauses left
 * out; of a queued one, if all that comes before it and itself goes at that rate. Null unless that can be
 * said. */
static void write_estimated_finish(struct json_text *t, const struct job *j, const struct job_view *view)
{
	const struct job_place *place = &view->place;
	double tokens = 0, rate = 0;

	if (j->status == JOB_RUNNING && j->step > 0 && j->total_steps >= j->step) {
		tokens = (double)j->trained_tokens / (double)j->step * (double)(j->total_steps - j->step);
		rate = j->tokens_per_second;
	} else if (j->status == JOB_QUEUED && place->position >= 0 && place->tokens_left > 0) {
		tokens = (double)place->tokens_left;
		rate = place->tokens_per_second;
	}
	number_or_null(t, "estimated_finish", rate > 0, rate > 0 ? view->now + (int64_t)(tokens / rate) : 0);
}

static void write_result_files(struct json_text *t, const struct job *j)
{
	json_text_open(t, "result_files", '[');
	if (j->result_file[0])
		json_text_string(t, NULL, j->result_file);
	json_text_close(t, ']');
}

/* The name that answers from it while it is under way. */
static void write_live_model(
        struct json_text *t, const struct job *j, const char *suffix, const struct job_view *view)
{
	char name[STORE_MODEL_SIZE + sizeof(LIVE_SUFFIX)];

	if (job_status_terminal(j->status) || !j->started_at ||
	        job_model_name(view->base, view->tenant, suffix, j->id, name)) {
		json_text_null(t, "live_model");
		return;
	}
	strcat(name, LIVE_SUFFIX);
	json_text_string(t, "live_model", name);
}

void job_json(struct json_text *t, const struct job *j, const struct job_view *view)
{
	char suffix[JOB_SUFFIX_SIZE];

	(void)buf_reserve(&t->buf, USUAL_JOB_BYTES); /* at once, not piece by piece */
	json_text_open(t, NULL, '{');
	json_text_string(t, "id", j->id);
	json_text_string(t, "object", "fine_tuning.job");
	json_text_int(t, "created_at", j->created_at);
	number_or_null(t, "finished_at", j->finished_at != 0, j->finished_at);
	json_text_string(t, "model", j->model);
	json_text_string(t, "fine_tuned_model", or_null(j->fine_tuned_model));
	json_text_string(t, "organization_id", j->tenant_id);
	json_text_string(t, "status", job_status_name(j->status));
	job_terms_write(view->terms, view->moment, j, view->spec, t, suffix);
	write_live_model(t, j, suffix, view);
	json_text_string(t, "training_file", j->training_file);
	json_text_string(t, "validation_file", or_null(j->validation_file));
	write_result_files(t, j);
	number_or_null(
	        t, "trained_tokens", j->status == JOB_SUCCEEDED || j->trained_tokens, j->trained_tokens);
	write_error(t, j);
	write_estimated_finish(t, j, view);
	json_text_open(t, "integrations", '[');
	json_text_close(t, ']');
	number_or_null(t, "queue_position", view->place.position >= 0, view->place.position);
	write_progress(t, j);
	json_text_string(t, "adapter_sha256", or_null(j->adapter_sha256));
	json_text_close(t, '}');
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
