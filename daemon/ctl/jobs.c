/* Jobs: list, show, events, wait, and the verbs that change one. */
#include "core/clock.h"
#include "core/mem.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/watch.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define JOBS "/v1/fine_tuning/jobs"
#define ID_SIZE 64
#define LOST_AFTER_S 60
#define AGAIN_MS 500

static const struct args_option jobs_options[] = {
        {"metadata", 0, "KEY=VALUE", "Only those with this note; may be repeated."},
        {"limit", 'n', "N", "At most so many, newest first (default 20)."},
        {"after", 0, "ID", "Go on behind this one."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option events_options[] = {
        {"follow", 'f', NULL,
                "Print all events from the first on, then new ones as they come, to the job's end.\nWith "
                "--json one object a line."},
        {"limit", 'n', "N", "At most so many, newest first (default 20)."},
        {"after", 0, "ID", "Go on behind this one."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option wait_options[] = {
        {"label", 0, "TEXT", "What to call a job beside its bar; once per job, in their order."},
        {NULL, 0, NULL, NULL},
};

/* ---- list and show ---- */

static void progress_text(const json_t *job, char text[32])
{
	const json_t *progress = json_object_get(job, "progress"),
	             *position = json_object_get(job, "queue_position");
	int64_t total = command_integer(progress, "total_steps");

	if (json_is_integer(position))
		snprintf(text, 32, "%lld before it", (long long)json_integer_value(position));
	else if (total > 0)
		snprintf(text, 32, "%lld/%lld", (long long)command_integer(progress, "step"),
		        (long long)total);
	else
		snprintf(text, 32, "-");
}

static void print_jobs(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 5};
	const char *heading[] = {"JOB", "STATUS", "STEPS", "CREATED", "ADAPTER"};
	const json_t *job;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, job) {
		const char *adapter = command_string(job, "fine_tuned_model");
		char created[20], steps[32];
		const char *cells[] = {command_string(job, "id"), command_string(job, "status"), steps,
		        created, *adapter ? adapter : "-"};

		command_time(command_integer(job, "created_at"), created);
		progress_text(job, steps);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
	command_print_more(ctl, reply);
}

/* path grown by what stands before id, id escaped, and what stands behind it. */
static enum err grow_path(
        char *path, size_t size, const char *before, const char *id, const char *behind, struct why *why)
{
	char *prefix = mem_printf("%s%s", path, before);
	enum err e = prefix ? command_path(path, size, prefix, id, behind, why) : ERR_MEM;

	mem_free(prefix);
	return e;
}

/* "metadata[KEY]=VALUE" for every --metadata. */
static enum err add_filters(struct ctl *ctl, char *path, size_t size, struct why *why)
{
	const char *pair;
	enum err e = OK;

	for (size_t i = 0; !e && (pair = args_nth(&ctl->args, "metadata", i)); i++) {
		const char *equals = strchr(pair, '=');
		char key[256];

		if (!equals || equals == pair || equals - pair >= (ptrdiff_t)sizeof(key) || !equals[1])
			return args_wrong(why, "--metadata: \"%s\" is not KEY=VALUE", pair);
		snprintf(key, sizeof(key), "%.*s", (int)(equals - pair), pair);
		e = grow_path(path, size, "&metadata%5B", key, "%5D=", why);
		if (!e)
			e = grow_path(path, size, "", equals + 1, "", why);
	}
	return e;
}

static enum err run_jobs(struct ctl *ctl, struct why *why)
{
	char path[4096];
	enum err e = command_list_path(ctl, JOBS, path, sizeof(path), why);

	if (!e)
		e = add_filters(ctl, path, sizeof(path), why);
	return e ? e : command_show(ctl, path, print_jobs, why);
}

static void print_job(struct ctl *ctl, const json_t *job)
{
	const json_t *method = json_object_get(job, "hyperparameters");
	const json_t *error = json_object_get(job, "error");
	static const char *const texts[] = {
	        "id", "status", "model", "fine_tuned_model", "training_file", "validation_file"};
	static const char *const names[] = {
	        "job", "status", "model", "adapter", "training file", "validation file"};
	static const char *const times[] = {"created_at", "finished_at", "estimated_finish"};
	static const char *const time_names[] = {"created", "finished", "expected"};
	char text[64];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		command_print_field(ctl, names[i], command_string(job, texts[i]));
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		command_time(command_integer(job, times[i]), text);
		command_print_field(ctl, time_names[i], strcmp(text, "-") == 0 ? "" : text);
	}
	progress_text(job, text);
	command_print_field(ctl, "steps", text);
	snprintf(text, sizeof(text), "%lld", (long long)command_integer(job, "trained_tokens"));
	command_print_field(
	        ctl, "trained tokens", json_is_integer(json_object_get(job, "trained_tokens")) ? text : "");
	snprintf(text, sizeof(text), "%lld", (long long)command_integer(job, "seed"));
	command_print_field(ctl, "seed", text);
	command_print_field(ctl, "sha256", command_string(job, "adapter_sha256"));
	command_print_members(ctl, "hyperparameter", method);
	command_print_members(ctl, "edit", json_object_get(job, "adapter"));
	command_print_members(ctl, "metadata", json_object_get(job, "metadata"));
	command_print_field(ctl, "error", command_string(error, "message"));
}

static enum err run_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), JOBS "/", ctl->args.operands[0], "", why);

	return e ? e : command_show(ctl, path, print_job, why);
}

/* ---- events ---- */

static void print_event(struct ctl *ctl, const json_t *event)
{
	char when[20];

	command_time(command_integer(event, "created_at"), when);
	fprintf(ctl->out.file, "%s  %-5s  ", when, command_string(event, "level"));
	term_print(&ctl->out, command_string(event, "message"));
	fputc('\n', ctl->out.file);
}

static void print_events(struct ctl *ctl, const json_t *reply)
{
	const json_t *list = json_object_get(reply, "data");

	for (size_t i = json_array_size(list); i-- > 0;)
		print_event(ctl, json_array_get(list, i));
	command_print_more(ctl, reply);
}

/* ---- events as they come ---- */

struct follower {
	struct ctl *ctl;
	char last[ID_SIZE]; /* the last event printed; "" = none */
	bool skipping;      /* a stream begun again repeats what was printed */
};

static bool on_followed(void *arg, const json_t *event)
{
	struct follower *f = arg;
	const char *id = command_string(event, "id");

	if (f->skipping) {
		f->skipping = strcmp(id, f->last) != 0;
		return true;
	}
	snprintf(f->last, sizeof(f->last), "%s", id);
	if (f->ctl->json) {
		json_dumpf(event, f->ctl->out.file, JSON_COMPACT);
		fputc('\n', f->ctl->out.file);
	} else {
		print_event(f->ctl, event);
	}
	fflush(f->ctl->out.file);
	return true;
}

/* A stream that breaks because the daemon restarts is taken up again. */
static enum err follow_events(struct ctl *ctl, const char *path, struct why *why)
{
	struct follower f = {.ctl = ctl};
	int64_t lost_ns = 0;
	enum err e;

	for (;;) {
		f.skipping = *f.last != '\0';
		e = client_stream(ctl->client, "GET", path, NULL, on_followed, &f, why);
		if (e != ERR_IO && e != ERR_BUSY && (e != ERR_FORMAT || !*f.last))
			return e;
		if (!f.skipping && *f.last)
			lost_ns = 0; /* it brought something new before it broke */
		if (!lost_ns)
			lost_ns = clock_mono_ns();
		if (!*f.last || clock_mono_ns() - lost_ns > LOST_AFTER_S * 1000000000LL)
			return e;
		(void)poll(NULL, 0, AGAIN_MS);
	}
}

static enum err run_events(struct ctl *ctl, struct why *why)
{
	char prefix[256], path[1024];
	bool follow = args_flag(&ctl->args, "follow");
	enum err e = command_path(prefix, sizeof(prefix), JOBS "/", ctl->args.operands[0],
	        follow ? "/events?stream=true" : "/events", why);

	if (!e && follow)
		return follow_events(ctl, prefix, why);
	if (!e)
		e = command_list_path(ctl, prefix, path, sizeof(path), why);
	return e ? e : command_show(ctl, path, print_events, why);
}

/* ---- checkpoints ---- */

static void print_checkpoints(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 4};
	const char *heading[] = {"STEP", "CREATED", "METRICS", "MODEL"};
	const json_t *checkpoint;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, checkpoint) {
		char step[24], created[20];
		char *metrics = json_dumps(json_object_get(checkpoint, "metrics"),
		        JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
		const char *cells[] = {step, created, metrics ? metrics : "-",
		        command_string(checkpoint, "fine_tuned_model_checkpoint")};

		snprintf(step, sizeof(step), "%lld", (long long)command_integer(checkpoint, "step_number"));
		command_time(command_integer(checkpoint, "created_at"), created);
		if (!e)
			e = table_row(&t, cells);
		free(metrics);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
	command_print_more(ctl, reply);
}

static enum err run_checkpoints(struct ctl *ctl, struct why *why)
{
	char prefix[256], path[1024];
	enum err e =
	        command_path(prefix, sizeof(prefix), JOBS "/", ctl->args.operands[0], "/checkpoints", why);

	if (!e)
		e = command_list_path(ctl, prefix, path, sizeof(path), why);
	return e ? e : command_show(ctl, path, print_checkpoints, why);
}

/* ---- verbs ---- */

static void print_change(struct ctl *ctl, const json_t *job)
{
	if (!ctl->quiet)
		fprintf(ctl->out.file, "%s %s\n", command_string(job, "id"), command_string(job, "status"));
}

static enum err change(struct ctl *ctl, const char *verb, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), JOBS "/", ctl->args.operands[0], verb, why);

	return e ? e : command_send(ctl, "POST", path, NULL, print_change, why);
}

static enum err run_cancel(struct ctl *ctl, struct why *why)
{
	return change(ctl, "/cancel", why);
}

static enum err run_pause(struct ctl *ctl, struct why *why)
{
	return change(ctl, "/pause", why);
}

static enum err run_resume(struct ctl *ctl, struct why *why)
{
	return change(ctl, "/resume", why);
}

/* ---- wait ---- */

/* One job's object, or a list of them. */
static void print_waited(const struct ctl *ctl, json_t *const *jobs, size_t n)
{
	json_t *list;

	if (ctl->json && n > 1) {
		list = json_pack("{s:s, s:[], s:b}", "object", "list", "data", "has_more", 0);
		for (size_t i = 0; list && i < n; i++)
			if (jobs[i])
				(void)json_array_append(json_object_get(list, "data"), jobs[i]);
		command_print_json(list);
		json_decref(list);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const char *adapter = command_string(jobs[i], "fine_tuned_model");

		if (ctl->json && jobs[i])
			command_print_json(jobs[i]);
		else if (*adapter)
			printf("%s\n", adapter);
	}
}

static enum err run_wait(struct ctl *ctl, struct why *why)
{
	struct watch_job jobs[WATCH_MAX_JOBS] = {{0}};
	json_t *last[WATCH_MAX_JOBS] = {NULL};
	size_t n = ctl->args.n_operands;
	enum err e;

	for (size_t i = 0; i < n; i++) {
		const char *label = args_nth(&ctl->args, "label", i);

		jobs[i] = (struct watch_job){
		        .id = ctl->args.operands[i],
		        .key = args_nth(&ctl->args, "key", 1) ? args_nth(&ctl->args, "key", i) : NULL,
		        .label = label   ? label
		                 : n > 1 ? ctl->args.operands[i]
		                         : "",
		};
	}
	e = watch_jobs(ctl, jobs, n, last, why);
	print_waited(ctl, last, n);
	for (size_t i = 0; i < n; i++)
		json_decref(last[i]);
	return e;
}

const struct command job_commands[] = {
        {"jobs", "", "List jobs, newest first", NULL, jobs_options, 0, 0, false, run_jobs},
        {"show", "JOB", "Show one job with its settings", NULL, NULL, 1, 1, false, run_show},
        {"events", "JOB", "Show what happened to a job, oldest first", NULL, events_options, 1, 1, false,
                run_events},
        {"checkpoints", "JOB", "List a job's checkpoints, each a model that answers", NULL, list_options, 1,
                1, false, run_checkpoints},
        {"wait", "JOB...", "Follow jobs to their end",
                "Prints the adapters' names. Exit status 0 when all succeeded. --key may be given once per "
                "job, when they belong\n"
                "to several tenants. Ctrl-C leaves the jobs running.",
                wait_options, 1, WATCH_MAX_JOBS, false, run_wait},
        {"cancel", "JOB", "End a job for good", NULL, NULL, 1, 1, false, run_cancel},
        {"pause", "JOB", "Take a job off the machine, keeping its state", NULL, NULL, 1, 1, false, run_pause},
        {"resume", "JOB", "Queue a paused job again", NULL, NULL, 1, 1, false, run_resume},
        {0},
};
