/* See watch.h. Progress goes to standard error, so that --json leaves one document on standard output. */
#include "daemon/ctl/watch.h"

#include "core/clock.h"
#include "core/mem.h"
#include "daemon/ctl/bar.h"

#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define POLL_MS 250
#define LOST_AFTER_S 60
#define LINE_EVERY_S 10
#define EVENT_PAGES_MAX 10
#define ID_SIZE 64

/* Set by Ctrl-C; a signal handler can reach nothing else. */
static volatile sig_atomic_t interrupted;

struct watched {
	const struct watch_job *job; /* borrowed */
	json_t *object;              /* owned: as last seen */
	bool over;

	char last_event[ID_SIZE];
	bool has_loss, has_valid_loss;
	double loss, valid_loss;

	int64_t first_step, first_ns; /* when steps were first seen, for the ETA; first_ns 0 = not yet */
	int64_t line_ns;              /* when its last line was printed, without a terminal */
	char line_status[24];
};

struct watch {
	struct ctl *ctl;
	struct watched *jobs; /* owned */
	size_t n_jobs;
	size_t n_drawn;  /* lines of bars on the terminal */
	int64_t lost_ns; /* since when no daemon answers, 0 = it does */
};

static void on_interrupt(int signum)
{
	(void)signum;
	interrupted = 1;
}

/* ---- asking ---- */

/* Newest first: losses are taken where none newer was seen. */
static void take_event(struct watched *w, const json_t *event, bool *loss_seen, bool *valid_seen)
{
	const json_t *data = json_object_get(event, "data");
	const json_t *loss = json_object_get(data, "train_loss"),
	             *valid = json_object_get(data, "valid_loss");

	if (!*loss_seen && json_is_number(loss)) {
		w->loss = json_number_value(loss);
		w->has_loss = *loss_seen = true;
	}
	if (!*valid_seen && json_is_number(valid)) {
		w->valid_loss = json_number_value(valid);
		w->has_valid_loss = *valid_seen = true;
	}
}

/* Everything newer than what was seen before; warnings are printed. */
static enum err poll_events(struct watch *watch, struct watched *w, struct why *why)
{
	char path[256], after[ID_SIZE] = "", newest[ID_SIZE] = "";
	bool loss_seen = false, valid_seen = false, more = true;
	const struct term *to = &watch->ctl->err;

	for (size_t page = 0; more && page < EVENT_PAGES_MAX; page++) {
		json_t *reply = NULL;
		const json_t *event;
		enum err e;
		size_t i;

		snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?limit=100%s%s", w->job->id,
		        *after ? "&after=" : "", after);
		e = client_request(watch->ctl->client, "GET", path, NULL, &reply, why);
		if (e)
			return e;
		more = json_is_true(json_object_get(reply, "has_more"));
		json_array_foreach (json_object_get(reply, "data"), i, event) {
			const char *id = command_string(event, "id"), *level = command_string(event, "level");

			if (strcmp(id, w->last_event) == 0) {
				more = false;
				break;
			}
			if (!*newest)
				snprintf(newest, sizeof(newest), "%s", id);
			snprintf(after, sizeof(after), "%s", id);
			take_event(w, event, &loss_seen, &valid_seen);
			if ((strcmp(level, "warn") == 0 || strcmp(level, "error") == 0) &&
			        !watch->ctl->quiet) {
				fputs(to->terminal ? "\r\033[K" : "", to->file);
				term_print(to, command_string(event, "message"));
				fputc('\n', to->file);
				watch->n_drawn = 0;
			}
		}
		more = more && *w->last_event;
		json_decref(reply);
	}
	if (*newest)
		memcpy(w->last_event, newest, sizeof(newest));
	return OK;
}

static bool is_over(const char *status)
{
	return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 ||
	       strcmp(status, "cancelled") == 0;
}

static enum err poll_job(struct watch *watch, struct watched *w, struct why *why)
{
	int64_t step, now = clock_mono_ns();
	json_t *reply = NULL;
	char path[256];
	enum err e;

	if (w->job->key && client_set_key(watch->ctl->client, w->job->key))
		return ERR_MEM;
	e = command_path(path, sizeof(path), "/v1/fine_tuning/jobs/", w->job->id, "", why);
	if (!e)
		e = client_request(watch->ctl->client, "GET", path, NULL, &reply, why);
	if (e)
		return e;
	json_decref(w->object);
	w->object = reply;
	step = command_integer(json_object_get(reply, "progress"), "step");
	if ((!w->first_ns && step > 0) || step < w->first_step) {
		w->first_ns = now;
		w->first_step = step;
	}
	e = poll_events(watch, w, why);
	/* Only now: its last events have been seen. */
	if (!e)
		w->over = is_over(command_string(reply, "status"));
	return e;
}

/* ---- showing ---- */

/* Seconds left, by the speed seen so far, else by the daemon's estimate; < 0 = nobody knows. */
static double seconds_left(const struct watched *w, int64_t step, int64_t total)
{
	double seen_s = (double)(clock_mono_ns() - w->first_ns) / 1e9;
	int64_t finish = command_integer(w->object, "estimated_finish");

	if (w->first_ns && step > w->first_step && seen_s > 1)
		return (double)(total - step) * seen_s / (double)(step - w->first_step);
	/* In its first second a job seems to be done at once. */
	return finish > clock_now_ms() / 1000 ? (double)(finish - clock_now_ms() / 1000) : -1;
}

static void bar_of(const struct watched *w, struct bar *bar)
{
	const json_t *progress = json_object_get(w->object, "progress");
	const json_t *position = json_object_get(w->object, "queue_position");

	*bar = (struct bar){
	        .label = w->job->label,
	        .status = w->object ? command_string(w->object, "status") : "?",
	        .step = command_integer(progress, "step"),
	        .total_steps = command_integer(progress, "total_steps"),
	        .epoch = command_real(progress, "epoch"),
	        .has_loss = w->has_loss,
	        .has_valid_loss = w->has_valid_loss,
	        .loss = w->loss,
	        .valid_loss = w->valid_loss,
	        .tokens_per_second = command_real(progress, "tokens_per_second"),
	        .queue_position = json_is_integer(position) ? json_integer_value(position) : -1,
	};
	bar->eta_s = seconds_left(w, bar->step, bar->total_steps);
}

static void draw_bars(struct watch *watch)
{
	const struct term *to = &watch->ctl->err;
	struct bar_style style = {
	        .width = term_width(to) - 1,
	        .unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
	        .rest = term_colour(to, TERM_DIM),
	        .end = term_colour(to, TERM_PLAIN),
	};
	char line[BAR_LINE_SIZE];
	struct bar bar;

	for (size_t i = 0; i < watch->n_jobs; i++)
		if (strlen(watch->jobs[i].job->label) > style.label_width)
			style.label_width = strlen(watch->jobs[i].job->label);
	if (watch->n_drawn)
		fprintf(to->file, "\033[%zuA", watch->n_drawn);
	for (size_t i = 0; i < watch->n_jobs; i++) {
		bar_of(&watch->jobs[i], &bar);
		style.fill = term_colour(to, strcmp(bar.status, "failed") == 0 ? TERM_RED : TERM_GREEN);
		bar_format(&bar, &style, line);
		fprintf(to->file, "\r\033[K%s\n", line);
	}
	watch->n_drawn = watch->n_jobs;
	fflush(to->file);
}

static void print_lines(struct watch *watch)
{
	struct bar_style style = {.width = 0, .fill = "", .rest = "", .end = ""};
	int64_t now = clock_mono_ns();
	char line[BAR_LINE_SIZE];
	struct bar bar;

	style.width = BAR_LINE_SIZE / 4;
	for (size_t i = 0; i < watch->n_jobs; i++) {
		struct watched *w = &watch->jobs[i];

		bar_of(w, &bar);
		if (strcmp(bar.status, w->line_status) == 0 &&
		        (w->over || now - w->line_ns < LINE_EVERY_S * 1000000000LL))
			continue;
		snprintf(w->line_status, sizeof(w->line_status), "%s", bar.status);
		w->line_ns = now;
		bar_format(&bar, &style, line);
		fprintf(watch->ctl->err.file, "%s\n", line);
	}
}

static void show(struct watch *watch)
{
	if (watch->ctl->quiet)
		return;
	if (watch->ctl->err.terminal)
		draw_bars(watch);
	else
		print_lines(watch);
}

/* ---- the loop ---- */

/* One round over all jobs. A daemon that is gone or draining is waited for. */
static enum err poll_all(struct watch *watch, bool *over, struct why *why)
{
	enum err e = OK;

	*over = true;
	for (size_t i = 0; i < watch->n_jobs && !e; i++) {
		if (!watch->jobs[i].over)
			e = poll_job(watch, &watch->jobs[i], why);
		*over = *over && watch->jobs[i].over;
	}
	if (e != ERR_IO && e != ERR_BUSY) {
		/* The speed is measured anew: the outage was not training. */
		for (size_t i = 0; watch->lost_ns && i < watch->n_jobs; i++)
			watch->jobs[i].first_ns = 0;
		watch->lost_ns = 0;
		return e;
	}
	*over = false;
	if (!watch->lost_ns) {
		watch->lost_ns = clock_mono_ns();
		if (!watch->ctl->quiet)
			fprintf(watch->ctl->err.file, "%s; trying again for %d s\n", why->message,
			        LOST_AFTER_S);
		watch->n_drawn = 0;
	}
	return clock_mono_ns() - watch->lost_ns < LOST_AFTER_S * 1000000000LL ? OK : e;
}

static enum err verdict(const struct watch *watch, struct why *why)
{
	for (size_t i = 0; i < watch->n_jobs; i++) {
		const json_t *object = watch->jobs[i].object;
		const char *status = command_string(object, "status");
		const char *reason = command_string(json_object_get(object, "error"), "message");

		if (strcmp(status, "succeeded") != 0)
			return why_set(why, ERR_STATE, "job %s %s%s%s", watch->jobs[i].job->id, status,
			        *reason ? ": " : "", reason);
	}
	return OK;
}

enum err watch_jobs(
        struct ctl *ctl, const struct watch_job *jobs, size_t n, json_t **replies, struct why *why)
{
	struct watch watch = {.ctl = ctl, .n_jobs = n};
	struct sigaction on_int = {.sa_handler = on_interrupt}, former;
	bool over = false;
	enum err e = OK;

	watch.jobs = mem_calloc(n, sizeof(*watch.jobs));
	if (!watch.jobs)
		return ERR_MEM;
	for (size_t i = 0; i < n; i++)
		watch.jobs[i].job = &jobs[i];
	interrupted = 0;
	sigaction(SIGINT, &on_int, &former);
	while (!e && !over && !interrupted) {
		e = poll_all(&watch, &over, why);
		if (!e && !watch.lost_ns)
			show(&watch);
		if (!e && !over && !interrupted)
			(void)poll(NULL, 0, POLL_MS); /* Ctrl-C ends it early */
	}
	sigaction(SIGINT, &former, NULL);
	if (!e && !over)
		e = why_set(why, ERR_CANCELLED,
		        "no longer watching; the job goes on (redctl wait %s%s, redctl cancel %s)",
		        jobs[0].id, n > 1 ? " ..." : "", jobs[0].id);
	if (!e)
		e = verdict(&watch, why);
	for (size_t i = 0; i < n; i++)
		replies[i] = watch.jobs[i].object;
	mem_free(watch.jobs);
	return e;
}
