/* See job_report.h. Numbers are written with the digits that read back exactly. */
#include "worker/job_report.h"

#include "core/mem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_PER_READ 500

/* Events of a step: each leaves one trace however often the step is replayed. */
static int64_t key_of_step(size_t step)
{
	return 2 * (int64_t)step;
}

static int64_t key_of_eval(size_t step)
{
	return 2 * (int64_t)step + 1;
}

static double share(size_t part, size_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* Queue an event; steals data, where NULL means memory was short. */
static enum err put_metrics(
        struct store *s, const char *job_id, const char *message, json_t *data, int64_t once_key)
{
	char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	const struct event_new event = {
	        .level = "info", .type = "metrics", .message = message, .data = text, .once_key = once_key};
	enum err e = text ? store_event_later(s, job_id, &event) : ERR_MEM;

	free(text);
	json_decref(data);
	return e;
}

enum err job_report_start(
        struct store *s, const char *job_id, const struct job_data *data, size_t total_steps)
{
	char message[200];
	const struct event_new event = {
	        .level = "info", .type = "message", .message = message, .once_key = key_of_eval(0)};

	snprintf(message, sizeof(message),
	        "Training on %zu rows, %zu tokens (%zu of them with loss): %zu steps", data->train.n_rows,
	        data->train.n_tokens, data->train.n_trained, total_steps);
	return store_event_later(s, job_id, &event);
}

enum err job_report_step(
        struct store *s, const char *job_id, const struct train_step *step, size_t total_steps)
{
	char message[120];
	json_t *data = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:f}", "step", (json_int_t)step->step,
	        "total_steps", (json_int_t)total_steps, "epoch", step->epoch, "train_loss", step->loss,
	        "learning_rate", step->learning_rate, "grad_norm", step->grad_norm, "label_tokens",
	        (json_int_t)step->n_labels, "train_mean_token_accuracy",
	        share(step->n_correct, step->n_labels));

	snprintf(message, sizeof(message), "Step %zu/%zu: training loss=%.4f", step->step, total_steps,
	        step->loss);
	return put_metrics(s, job_id, message, data, key_of_step(step->step));
}

enum err job_report_eval(
        struct store *s, const char *job_id, size_t step, size_t total_steps, const struct train_eval *eval)
{
	char message[120];
	json_t *data = json_pack("{s:I, s:I, s:f, s:f}", "step", (json_int_t)step, "total_steps",
	        (json_int_t)total_steps, "valid_loss", eval->loss, "valid_mean_token_accuracy",
	        share(eval->n_correct, eval->n_labels));

	snprintf(message, sizeof(message), "Step %zu/%zu: validation loss=%.4f%s", step, total_steps,
	        eval->loss, eval->best ? " (best so far)" : "");
	return put_metrics(s, job_id, message, data, key_of_eval(step));
}

static bool set_real(json_t *object, const char *key, double x)
{
	return json_object_set_new(object, key, json_real(x)) == 0;
}

enum err job_report_metrics(const struct train_step *step, const struct train_eval *eval, char **json)
{
	json_t *object = json_object();
	char *text = NULL;
	bool ok = object != NULL;

	if (step)
		ok = ok && json_object_set_new(object, "step", json_integer((json_int_t)step->step)) == 0 &&
		     set_real(object, "train_loss", step->loss) &&
		     set_real(object, "train_mean_token_accuracy", share(step->n_correct, step->n_labels));
	if (eval)
		ok = ok && set_real(object, "valid_loss", eval->loss) &&
		     set_real(object, "valid_mean_token_accuracy", share(eval->n_correct, eval->n_labels));
	if (ok)
		text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
	json_decref(object);
	if (text)
		*json = mem_strdup(text);
	ok = text && *json;
	free(text);
	return ok ? OK : ERR_MEM;
}

json_t *job_report_manifest(
        const struct model_info *base, const struct job_spec *spec, const struct job_data *data, size_t steps)
{
	json_t *adapter = adapter_spec_json(&spec->adapter),
	       *hyperparameters = job_spec_hyperparameters(spec);
	json_t *manifest = json_pack("{s:s, s:O, s:O, s:O, s:O, s:s, s:O, s:I, s:I}", "base_hash", base->hash,
	        "method", json_object_get(adapter, "type"), "positions",
	        json_object_get(adapter, "positions"), "parts", json_object_get(adapter, "parts"), "layers",
	        json_object_get(adapter, "layers"), "data_sha256", data->train_sha256, "hyperparameters",
	        hyperparameters, "seed", (json_int_t)spec->seed, "steps", (json_int_t)steps);

	json_decref(adapter);
	json_decref(hyperparameters);
	if (manifest && data->has_valid &&
	        json_object_set_new(manifest, "validation_sha256", json_string(data->valid_sha256)) < 0) {
		json_decref(manifest);
		return NULL;
	}
	return manifest;
}

/* One line of the result file, as it is collected. */
struct row {
	bool has_train, has_valid;
	double train_loss, train_accuracy, valid_loss, valid_accuracy;
};

static void collect(const struct event *event, struct row *rows, size_t total_steps)
{
	json_t *data = event->data ? json_loads(event->data, 0, NULL) : NULL;
	json_int_t step = json_integer_value(json_object_get(data, "step"));
	const json_t *train_loss = json_object_get(data, "train_loss");
	const json_t *valid_loss = json_object_get(data, "valid_loss");

	if (step >= 1 && (uint64_t)step <= total_steps) {
		struct row *row = &rows[step - 1];

		if (train_loss) {
			row->has_train = true;
			row->train_loss = json_number_value(train_loss);
			row->train_accuracy =
			        json_number_value(json_object_get(data, "train_mean_token_accuracy"));
		}
		if (valid_loss) {
			row->has_valid = true;
			row->valid_loss = json_number_value(valid_loss);
			row->valid_accuracy =
			        json_number_value(json_object_get(data, "valid_mean_token_accuracy"));
		}
	}
	json_decref(data);
}

static enum err collect_all(struct store *s, const char *job_id, struct row *rows, size_t total_steps)
{
	int64_t after = 0;

	for (;;) {
		struct event *events;
		size_t n;
		enum err e = store_event_since(s, job_id, after, EVENTS_PER_READ, &events, &n);

		if (e != OK)
			return e;
		for (size_t i = 0; i < n; i++)
			if (strcmp(events[i].type, "metrics") == 0)
				collect(&events[i], rows, total_steps);
		if (n)
			after = events[n - 1].seq;
		event_list_free(events, n);
		if (n == 0)
			return OK;
	}
}

/* ",x", x with as few digits as read back exactly; "," when there is no x. */
static enum err put_cell(struct buf *out, bool has, double x)
{
	char text[40];
	int digits = 15;

	if (!has)
		return buf_puts(out, ",");
	do
		snprintf(text, sizeof(text), "%.*g", digits, x);
	while (strtod(text, NULL) != x && ++digits <= 17);
	return buf_printf(out, ",%s", text);
}

static enum err put_row(struct buf *out, size_t step, const struct row *row)
{
	enum err e = buf_printf(out, "%zu", step);

	if (e == OK)
		e = put_cell(out, row->has_train, row->train_loss);
	if (e == OK)
		e = put_cell(out, row->has_train, row->train_accuracy);
	if (e == OK)
		e = put_cell(out, row->has_valid, row->valid_loss);
	if (e == OK)
		e = put_cell(out, row->has_valid, row->valid_accuracy);
	return e == OK ? buf_puts(out, "\n") : e;
}

enum err job_report_csv(struct store *s, const char *job_id, size_t total_steps, struct buf *out)
{
	struct row *rows = mem_calloc(total_steps, sizeof(*rows));
	enum err e = rows ? collect_all(s, job_id, rows, total_steps) : ERR_MEM;

	if (e == OK)
		e = buf_puts(out, "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n");
	for (size_t i = 0; e == OK && i < total_steps; i++)
		if (rows[i].has_train || rows[i].has_valid)
			e = put_row(out, i + 1, &rows[i]);
	mem_free(rows);
	return e;
}
