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

static bool set_real(json_t *object, const char *key, double x)
{
	return json_object_set_new(object, key, json_real(x)) == 0;
}

/* Of classes, the share of rows whose class was right; of numbers there is none. */
static bool set_accuracy(json_t *object, const char *key, enum labels_kind labels, size_t right, size_t n)
{
	return labels == LABELS_NUMBER || set_real(object, key, share(right, n));
}

static bool set_train(json_t *object, const struct train_step *step)
{
	return set_real(object, "train_loss", step->loss) &&
	       set_accuracy(
	               object, "train_mean_token_accuracy", step->labels, step->n_correct, step->n_labels);
}

/* A metric of an evaluation goes by its name after "valid_". */
static void metric_key(enum metric m, char key[32])
{
	snprintf(key, 32, "valid_%s", metric_name(m));
}

static bool set_valid(json_t *object, const struct train_eval *eval)
{
	bool ok = set_accuracy(
	        object, "valid_mean_token_accuracy", eval->labels, eval->n_correct, eval->n_labels);
	char key[32];

	for (enum metric m = 0; m < METRIC_COUNT; m++) {
		metric_key(m, key);
		ok = ok && (!train_eval_has(eval, m) || set_real(object, key, eval->metrics[m]));
	}
	return ok;
}

enum err job_report_step(
        struct store *s, const char *job_id, const struct train_step *step, size_t total_steps)
{
	char message[120];
	json_t *data =
	        json_pack("{s:I, s:I, s:f, s:f, s:f, s:I}", "step", (json_int_t)step->step, "total_steps",
	                (json_int_t)total_steps, "epoch", step->epoch, "learning_rate", step->learning_rate,
	                "grad_norm", step->grad_norm, "label_tokens", (json_int_t)step->n_labels);

	if (data && !set_train(data, step)) {
		json_decref(data);
		data = NULL;
	}
	snprintf(message, sizeof(message), "Step %zu/%zu: training loss=%.4f", step->step, total_steps,
	        step->loss);
	return put_metrics(s, job_id, message, data, key_of_step(step->step));
}

enum err job_report_eval(
        struct store *s, const char *job_id, size_t step, size_t total_steps, const struct train_eval *eval)
{
	json_t *data =
	        json_pack("{s:I, s:I}", "step", (json_int_t)step, "total_steps", (json_int_t)total_steps);
	char message[200];
	size_t used;

	if (data && !set_valid(data, eval)) {
		json_decref(data);
		data = NULL;
	}
	snprintf(message, sizeof(message), "Step %zu/%zu: validation loss=%.4f", step, total_steps,
	        eval->loss);
	for (enum metric m = METRIC_LOSS + 1; m < METRIC_COUNT; m++) {
		used = strlen(message);
		if (train_eval_has(eval, m))
			snprintf(message + used, sizeof(message) - used, ", %s=%.4f", metric_name(m),
			        eval->metrics[m]);
	}
	used = strlen(message);
	snprintf(message + used, sizeof(message) - used, "%s", eval->best ? " (best so far)" : "");
	return put_metrics(s, job_id, message, data, key_of_eval(step));
}

enum err job_report_metrics(const struct train_step *step, const struct train_eval *eval, char **json)
{
	json_t *object = json_object();
	char *text = NULL;
	bool ok = object != NULL;

	if (step)
		ok = ok && json_object_set_new(object, "step", json_integer((json_int_t)step->step)) == 0 &&
		     set_train(object, step);
	if (eval)
		ok = ok && set_valid(object, eval);
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
	const struct labels *labels = &data->train.labels;
	json_t *adapter = adapter_manifest(data->layout);
	json_t *manifest = json_pack("{s:s, s:s, s:o, s:I, s:I}", "base_hash", base->hash, "data_sha256",
	        data->train_sha256, "hyperparameters", job_spec_hyperparameters(spec), "seed",
	        (json_int_t)spec->seed, "steps", (json_int_t)steps);
	int failed = !manifest || !adapter || json_object_update(manifest, adapter);

	json_decref(adapter);
	if (!failed && data->has_valid)
		failed = json_object_set_new(manifest, "validation_sha256", json_string(data->valid_sha256));
	if (!failed && labels->names)
		failed = json_object_set_new(manifest, "labels", labels_json(labels));
	if (failed) {
		json_decref(manifest);
		return NULL;
	}
	return manifest;
}

/* The columns of the result file behind the step: an event's fields, and who has them. */
static const struct column {
	const char *title, *key;
	bool always;
	enum metric metric; /* else: where labels are measured so */
} columns[] = {
        {"train_loss", "train_loss", true, 0},
        {"train_accuracy", "train_mean_token_accuracy", true, 0},
        {"valid_loss", "valid_loss", true, 0},
        {"valid_mean_token_accuracy", "valid_mean_token_accuracy", true, 0},
        {"valid_accuracy", "valid_accuracy", false, METRIC_ACCURACY},
        {"valid_f1", "valid_f1", false, METRIC_F1},
        {"valid_matthews", "valid_matthews", false, METRIC_MATTHEWS},
        {"valid_pearson", "valid_pearson", false, METRIC_PEARSON},
        {"valid_spearman", "valid_spearman", false, METRIC_SPEARMAN},
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static bool column_shown(const struct column *c, enum labels_kind labels)
{
	const struct train_eval eval = {.labels = labels};

	return c->always || train_eval_has(&eval, c->metric);
}

/* One line of the result file, as it is collected. */
struct row {
	bool has[N_COLUMNS];
	double x[N_COLUMNS];
};

static void collect(const struct event *event, struct row *rows, size_t total_steps)
{
	json_t *data = event->data ? json_loads(event->data, 0, NULL) : NULL;
	json_int_t step = json_integer_value(json_object_get(data, "step"));

	for (size_t i = 0; step >= 1 && (uint64_t)step <= total_steps && i < N_COLUMNS; i++) {
		const json_t *value = json_object_get(data, columns[i].key);

		if (!value)
			continue;
		rows[step - 1].has[i] = true;
		rows[step - 1].x[i] = json_number_value(value);
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

static enum err put_row(struct buf *out, size_t step, const struct row *row, enum labels_kind labels)
{
	enum err e = buf_printf(out, "%zu", step);

	for (size_t i = 0; e == OK && i < N_COLUMNS; i++)
		if (column_shown(&columns[i], labels))
			e = put_cell(out, row->has[i], row->x[i]);
	return e == OK ? buf_puts(out, "\n") : e;
}

static enum err put_titles(struct buf *out, enum labels_kind labels)
{
	enum err e = buf_puts(out, "step");

	for (size_t i = 0; e == OK && i < N_COLUMNS; i++)
		if (column_shown(&columns[i], labels))
			e = buf_printf(out, ",%s", columns[i].title);
	return e == OK ? buf_puts(out, "\n") : e;
}

static bool row_is_empty(const struct row *row)
{
	for (size_t i = 0; i < N_COLUMNS; i++)
		if (row->has[i])
			return false;
	return true;
}

enum err job_report_csv(
        struct store *s, const char *job_id, size_t total_steps, enum labels_kind labels, struct buf *out)
{
	struct row *rows = mem_calloc(total_steps, sizeof(*rows));
	enum err e = rows ? collect_all(s, job_id, rows, total_steps) : ERR_MEM;

	if (e == OK)
		e = put_titles(out, labels);
	for (size_t i = 0; e == OK && i < total_steps; i++)
		if (!row_is_empty(&rows[i]))
			e = put_row(out, i + 1, &rows[i], labels);
	mem_free(rows);
	return e;
}
