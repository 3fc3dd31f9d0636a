/*
 * The demo: a daemon on a free port, two tenants, two jobs queued at the same moment over one frozen base,
 * one prompt answered by base and both adapters in one batch, then a new version of one adapter switched
 * while a stream runs. It says what it does and ends by itself; with KEEP=1 in the environment the daemon
 * stays up.
 *
 * A client of the HTTP API like redctl, whose parts it is made of. Threads: main, and one per answer that is
 * asked for at the same time, each with a client of its own.
 */
#include "core/buf.h"
#include "core/clock.h"
#include "core/mem.h"
#include "daemon/ctl/client.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/watch.h"
#include "tests/support/spawn.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_DIR "tests/demo/"
#define PROMPT "Tell me about the old lighthouse.\n"
#define ALIAS "storyteller"
#define N_VOICES 3
#define COLUMN_LINES 24
#define SWITCH_AFTER_EVENTS 12

struct tenant_demo {
	const char *name;
	char key[128];
	char model[256]; /* its adapter once trained */
};

struct demo {
	struct spawn spawn;
	struct ctl ctl; /* client, terminals and no arguments: what watch_jobs() needs */
	char admin_key[128];
	struct tenant_demo pirates, clerks;
	struct why why;
};

__attribute__((format(printf, 2, 3))) static void say(struct demo *d, const char *fmt, ...)
{
	va_list ap;

	printf("%s", term_colour(&d->ctl.out, TERM_BOLD));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("%s\n", term_colour(&d->ctl.out, TERM_PLAIN));
	fflush(stdout);
}

/* ---- requests ---- */

static enum err call(
        struct demo *d, const char *key, const char *method, const char *path, json_t *body, json_t **reply)
{
	enum err e = client_set_key(d->ctl.client, key);

	if (!e)
		e = client_request(d->ctl.client, method, path, body, reply, &d->why);
	json_decref(body);
	return e;
}

static enum err tenant_add(struct demo *d, const char *name, struct tenant_demo *t)
{
	json_t *reply = NULL;
	enum err e =
	        call(d, d->admin_key, "POST", "/v1/admin/tenants", json_pack("{s:s}", "name", name), &reply);

	if (e)
		return e;
	t->name = name;
	snprintf(t->key, sizeof(t->key), "%s", command_string(reply, "api_key"));
	json_decref(reply);
	return OK;
}

static enum err upload(struct demo *d, const struct tenant_demo *t, const char *name, char file[64])
{
	static const struct client_field form[] = {{"purpose", "fine-tune", false}, {NULL, NULL, false}};
	char path[128];
	json_t *reply = NULL;
	enum err e = client_set_key(d->ctl.client, t->key);

	snprintf(path, sizeof(path), DATA_DIR "%s", name);
	if (!e)
		e = client_upload(d->ctl.client, "/v1/files", path, form, &reply, &d->why);
	if (e)
		return e;
	snprintf(file, 64, "%s", command_string(reply, "id"));
	json_decref(reply);
	return OK;
}

static enum err submit(
        struct demo *d, const struct tenant_demo *t, const char *file, const char *suffix, char job[64])
{
	json_t *reply = NULL;
	json_t *body = json_pack("{s:s, s:s, s:s, s:i}", "model", "redd-base", "training_file", file,
	        "suffix", suffix, "seed", 1);
	enum err e = call(d, t->key, "POST", "/v1/fine_tuning/jobs", body, &reply);

	if (e)
		return e;
	snprintf(job, 64, "%s", command_string(reply, "id"));
	json_decref(reply);
	return OK;
}

static enum err follow(struct demo *d, struct watch_job *jobs, size_t n, struct tenant_demo *const *tenants)
{
	json_t *replies[2] = {NULL, NULL};
	enum err e = watch_jobs(&d->ctl, jobs, n, replies, &d->why);

	for (size_t i = 0; i < n; i++) {
		if (!e)
			snprintf(tenants[i]->model, sizeof(tenants[i]->model), "%s",
			        command_string(replies[i], "fine_tuned_model"));
		json_decref(replies[i]);
	}
	return e;
}

/* ---- one prompt, several voices ---- */

struct voice {
	const char *url, *key, *model, *title;
	size_t max_tokens;
	struct buf text;
	size_t n_events;
	void (*on_event)(struct voice *v); /* after each piece of text; NULL = none */
	void *arg;
	enum err err;
	struct why why;
	pthread_t thread;
};

static bool voice_event(void *arg, const json_t *event)
{
	struct voice *v = arg;
	const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
	const char *text = command_string(choice, "text");

	v->err = buf_puts(&v->text, text);
	v->n_events++;
	if (v->on_event)
		v->on_event(v);
	return !v->err;
}

static void *voice_run(void *arg)
{
	struct voice *v = arg;
	struct client *c = NULL;
	enum err e = client_new(v->url, v->key, &c, &v->why);
	json_t *body = json_pack("{s:s, s:s, s:I, s:f, s:b}", "model", v->model, "prompt", PROMPT,
	        "max_tokens", (json_int_t)v->max_tokens, "temperature", 0.0, "stream", 1);

	if (!e)
		e = client_stream(c, "POST", "/v1/completions", body, voice_event, v, &v->why);
	if (!v->err)
		v->err = e;
	json_decref(body);
	client_free(c);
	return NULL;
}

/* The next line of text that fits width; returns where the one after it begins. */
static const char *wrap(const char *text, size_t width, size_t *n)
{
	size_t end = strcspn(text, "\n"), cut;

	if (end <= width) {
		*n = end;
		return text + end + (text[end] == '\n');
	}
	for (cut = width; cut > 0 && text[cut] != ' '; cut--)
		;
	*n = cut ? cut : width;
	return text + *n + (text[*n] == ' ');
}

static void print_columns(struct demo *d, const struct voice *voices, size_t n)
{
	const char *at[N_VOICES];
	size_t width = term_width(&d->ctl.out) / n;
	bool more = true;

	width = width > 44 ? 44 : width;
	for (size_t i = 0; i < n; i++) {
		printf("%s%-*s%s", term_colour(&d->ctl.out, TERM_CYAN), (int)width, voices[i].title,
		        term_colour(&d->ctl.out, TERM_PLAIN));
		at[i] = voices[i].text.data ? voices[i].text.data : "";
	}
	printf("\n");
	for (size_t line = 0; more && line < COLUMN_LINES; line++) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			size_t length;
			const char *start = at[i];

			at[i] = wrap(start, width - 2, &length);
			printf("%.*s%*s", (int)length, start, (int)(width - length), "");
			more = more || *at[i];
		}
		printf("\n");
	}
	fflush(stdout);
}

/* Ask all at the same moment, so that they are decoded in one batch. */
static enum err ask_together(struct demo *d, struct voice *voices, size_t n)
{
	enum err e = OK;

	for (size_t i = 0; i < n; i++)
		if (pthread_create(&voices[i].thread, NULL, voice_run, &voices[i]))
			abort();
	for (size_t i = 0; i < n; i++) {
		pthread_join(voices[i].thread, NULL);
		if (voices[i].err && !e) {
			e = voices[i].err;
			d->why = voices[i].why;
		}
	}
	return e;
}

/* ---- the acts ---- */

static bool is_to_stay(void)
{
	const char *keep = getenv("KEEP");

	return keep && strcmp(keep, "1") == 0;
}

static enum err act_start(struct demo *d)
{
	char log[4096];
	int64_t t0 = clock_mono_ns();

	snprintf(d->spawn.dir, sizeof(d->spawn.dir), "/tmp/redd-demo-XXXXXX");
	if (!mkdtemp(d->spawn.dir))
		return why_set(&d->why, ERR_IO, "no directory could be made in /tmp");
	d->spawn.outlives = is_to_stay();
	if (!spawn_start(&d->spawn, NULL)) {
		spawn_log(&d->spawn, log, sizeof(log));
		return why_set(&d->why, ERR_IO, "the daemon did not start: %.400s", log);
	}
	spawn_read_line(&d->spawn, "state/admin.key", d->admin_key, sizeof(d->admin_key));
	say(d, "1. redd serves its bundled base (7.5 M parameters) on %s, ready after %.2f s.", d->spawn.url,
	        (double)(clock_mono_ns() - t0) / 1e9);
	return client_new(d->spawn.url, NULL, &d->ctl.client, &d->why);
}

static enum err act_train(struct demo *d)
{
	char files[2][64], jobs[2][64];
	struct watch_job watch[2] = {{.id = jobs[0], .key = d->pirates.key, .label = "pirates"},
	        {.id = jobs[1], .key = d->clerks.key, .label = "clerks"}};
	struct tenant_demo *const tenants[2] = {&d->pirates, &d->clerks};
	enum err e;

	say(d, "\n2. Two tenants, \"pirates\" and \"clerks\", queue a job each: 320 lines in a style of "
	       "their own,\n"
	       "   one frozen base, both trained side by side.");
	if ((e = tenant_add(d, "pirates", &d->pirates)) || (e = tenant_add(d, "clerks", &d->clerks)) ||
	        (e = upload(d, &d->pirates, "pirate.jsonl", files[0])) ||
	        (e = upload(d, &d->clerks, "clerk.jsonl", files[1])) ||
	        (e = submit(d, &d->pirates, files[0], "pirate", jobs[0])) ||
	        (e = submit(d, &d->clerks, files[1], "clerk", jobs[1])))
		return e;
	return follow(d, watch, 2, tenants);
}

static enum err act_ask(struct demo *d)
{
	struct voice voices[N_VOICES] = {
	        {.key = d->pirates.key, .model = "redd-base", .title = "base"},
	        {.key = d->pirates.key, .model = d->pirates.model, .title = "pirates' adapter"},
	        {.key = d->clerks.key, .model = d->clerks.model, .title = "clerks' adapter"},
	};
	enum err e;

	say(d, "\n3. The same prompt, three voices, decoded in one batch: %.*s", (int)strlen(PROMPT) - 1,
	        PROMPT);
	for (size_t i = 0; i < N_VOICES; i++) {
		voices[i].url = d->spawn.url;
		voices[i].max_tokens = 48;
	}
	e = ask_together(d, voices, N_VOICES);
	if (!e)
		print_columns(d, voices, N_VOICES);
	for (size_t i = 0; i < N_VOICES; i++)
		buf_fini(&voices[i].text);
	return e;
}

static enum err point_alias(struct demo *d, const char *model)
{
	return call(d, d->pirates.key, "PUT", "/v1/aliases/" ALIAS, json_pack("{s:s}", "model", model), NULL);
}

/* What a stream needs to switch the alias under itself and ask again. */
struct switching {
	struct demo *demo;
	const char *to;
	struct voice after; /* asked for once the alias points elsewhere, while the first still runs */
	bool switched;
	enum err err;
};

static void switch_under(struct voice *v)
{
	struct switching *s = v->arg;

	if (s->switched || v->n_events < SWITCH_AFTER_EVENTS)
		return;
	s->switched = true;
	s->err = point_alias(s->demo, s->to);
	if (!s->err && pthread_create(&s->after.thread, NULL, voice_run, &s->after))
		abort();
}

static enum err act_switch(struct demo *d)
{
	char file[64], job[64], first[256];
	struct watch_job watch = {.id = job, .key = d->pirates.key, .label = "pirates v2"};
	struct tenant_demo *const tenants[1] = {&d->pirates};
	struct voice running = {.url = d->spawn.url,
	        .key = d->pirates.key,
	        .model = ALIAS,
	        .title = "began on version 1",
	        .max_tokens = 48,
	        .on_event = switch_under};
	struct switching s = {.demo = d, .to = d->pirates.model};
	enum err e;

	say(d, "\n4. A second version for the pirates, who have retired; the name \"" ALIAS
	       "\" still answers with the\n"
	       "   first, and is switched to the second in the middle of a stream.");
	memcpy(first, d->pirates.model, sizeof(first));
	s.after = running;
	s.after.title = "asked after the switch";
	s.after.on_event = NULL;
	running.arg = &s;
	if ((e = point_alias(d, first)) || (e = upload(d, &d->pirates, "retired-pirate.jsonl", file)) ||
	        (e = submit(d, &d->pirates, file, "pirate-v2", job)) || (e = follow(d, &watch, 1, tenants)))
		return e;
	e = ask_together(d, &running, 1);
	if (!e && !s.switched)
		e = why_set(&d->why, ERR_STATE, "the stream ended before the switch");
	if (s.switched && !s.err)
		pthread_join(s.after.thread, NULL);
	e = e ? e : s.err ? s.err : s.after.err;
	if (!e)
		print_columns(d, (struct voice[]){running, s.after}, 2);
	buf_fini(&running.text);
	buf_fini(&s.after.text);
	return e;
}

/* How large an adapter is, as the daemon says. */
static enum err act_sum_up(struct demo *d, double seconds)
{
	char path[300];
	json_t *model = NULL;
	enum err e;

	snprintf(path, sizeof(path), "/v1/models/%s", d->clerks.model);
	e = call(d, d->clerks.key, "GET", path, NULL, &model);
	if (e)
		return e;
	say(d, "\nDone in %.0f s. Each adapter is %lld bytes; the base was mapped once and never changed.",
	        seconds, (long long)command_integer(json_object_get(model, "adapter"), "bytes"));
	json_decref(model);
	return OK;
}

static void act_end(struct demo *d, enum err e)
{
	char log[4096], command[128];

	if (e) {
		spawn_log(&d->spawn, log, sizeof(log));
		fprintf(stderr, "\nThe demo stopped: %s\n%s", *d->why.message ? d->why.message : err_text(e),
		        log);
	}
	client_free(d->ctl.client);
	if (!e && is_to_stay()) {
		say(d, "\nThe daemon stays up (pid %d): REDD_URL=%s REDD_API_KEY=%s\nState: %s",
		        (int)d->spawn.pid, d->spawn.url, d->pirates.key, d->spawn.dir);
		return;
	}
	spawn_signal(&d->spawn, SIGTERM);
	snprintf(command, sizeof(command), "rm -rf '%s'", d->spawn.dir);
	if (*d->spawn.dir && system(command))
		fprintf(stderr, "%s could not be removed\n", d->spawn.dir);
}

int main(void)
{
	struct demo d;
	int64_t t0 = clock_mono_ns();
	enum err e;

	memset(&d, 0, sizeof(d));
	signal(SIGPIPE, SIG_IGN);
	term_init(&d.ctl.out, stdout);
	term_init(&d.ctl.err, stderr);
	e = act_start(&d);
	if (!e)
		e = act_train(&d);
	if (!e)
		e = act_ask(&d);
	if (!e)
		e = act_switch(&d);
	if (!e)
		e = act_sum_up(&d, (double)(clock_mono_ns() - t0) / 1e9);
	act_end(&d, e);
	return e ? EXIT_FAILURE : EXIT_SUCCESS;
}
