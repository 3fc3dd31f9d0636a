/* /v1/fine_tuning/jobs: creation with everything checked first, queries, and the moves a tenant may make.
 * Pool threads. */
#include "api/edge.h"
#include "api/job_json.h"
#include "api/wire.h"
#include "core/clock.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 20
#define IDEMPOTENCY_KEY_MAX 255
#define SCAN_PAGE 200

static enum exchange_verdict reply_job_error(struct exchange *x, enum err e, struct why *why)
{
	if (e == ERR_NOT_FOUND && !why->message[0])
		why_param(why, e, "id", "No such fine-tuning job: '%s'.", exchange_capture(x, 0));
	return exchange_reply_error(x, e, why);
}

/* Before the store is asked for the jobs to show. */
static struct job_view view_begin(struct exchange *x)
{
	struct worker *w = exchange_worker(x);
	struct job_terms *terms = exchange_api(x)->terms;

	return (struct job_view){.now = clock_now_ms() / 1000,
	        .base = w ? worker_base_name(w) : "",
	        .tenant = exchange_tenant(x)->name,
	        .terms = terms,
	        .moment = job_terms_moment(terms)};
}

/* For a queued job where nothing runs: the rate that stands in. */
static void view_rate(struct exchange *x, struct job_view *view)
{
	if (exchange_worker(x) && view->place.position >= 0 && view->place.tokens_per_second <= 0)
		view->place.tokens_per_second = worker_tokens_per_second(exchange_worker(x));
}

/* place NULL: it is asked for here. Then one that was queued when it was read may have none any more. */
static void write_job(struct exchange *x, const struct job *j, const struct job_place *place,
        struct job_view view, struct json_text *t)
{
	view.place = place ? *place : (struct job_place){.position = -1};
	if (!place && j->status == JOB_QUEUED)
		(void)store_job_place(exchange_store(x), j->id, &view.place);
	view_rate(x, &view);
	job_json(t, j, &view);
}

/* Takes j over. */
static enum exchange_verdict reply_job(struct exchange *x, struct job *j, const struct job_view *view)
{
	struct json_text t = {0};

	write_job(x, j, NULL, *view, &t);
	job_fini(j);
	return exchange_reply_text(x, 200, &t);
}

static void job_changed(struct exchange *x, const char *id)
{
	if (exchange_worker(x))
		worker_job_poke(exchange_worker(x), id);
	job_hub_poke(exchange_api(x)->jobs, id);
}

/* ---- creation ---- */

/* The client's own key, or one that makes its retries find the first attempt; "" when nothing calls for one.
 */
static enum err idempotency_key(struct exchange *x, char out[IDEMPOTENCY_KEY_MAX + 8], struct why *why)
{
	const char *key = exchange_header(x, "Idempotency-Key");
	const char *retries = exchange_header(x, "x-stainless-retry-count");
	char found[REPLAY_KEY_SIZE];
	enum err e;

	if (key && strlen(key) > IDEMPOTENCY_KEY_MAX)
		return why_param(why, ERR_INVALID, "Idempotency-Key", "Idempotency-Key may have %d bytes.",
		        IDEMPOTENCY_KEY_MAX);
	if (key && *key) {
		snprintf(out, IDEMPOTENCY_KEY_MAX + 8, "user-%s", key);
		return OK;
	}
	e = replay_key(exchange_api(x)->replay, exchange_tenant(x)->id, "/v1/fine_tuning/jobs",
	        exchange_body(x), retries && strtol(retries, NULL, 10) >= 1, found);
	if (!e)
		snprintf(out, IDEMPOTENCY_KEY_MAX + 8, "%s", found);
	return e;
}

/* *same: out is of r, and not the job of an earlier attempt with other settings. */
static enum err job_store(struct exchange *x, const struct job_request *r, size_t work_tokens,
        struct job *out, bool *same, struct why *why)
{
	const struct tenant *t = exchange_tenant(x);
	int64_t max_queued =
	        t->limits.queued_jobs ? t->limits.queued_jobs : exchange_default_limits(x).queued_jobs;
	char key[IDEMPOTENCY_KEY_MAX + 8];
	char *spec = NULL;
	enum err e = idempotency_key(x, key, why);

	if (!e)
		e = job_spec_encode(&r->spec, &spec);
	if (!e) {
		struct job_new in = {
		        .tenant_id = t->id,
		        .model = r->model,
		        .training_file = r->training_file,
		        .validation_file = r->validation_file,
		        .spec = spec,
		        .metadata = r->metadata,
		        .idempotency_key = key,
		        .work_tokens = (int64_t)work_tokens,
		        .max_queued = max_queued,
		};
		e = store_job_create(exchange_store(x), &in, out, NULL);
	}
	if (!e)
		*same = !strcmp(out->spec, spec);
	mem_free(spec);
	if (e == ERR_LIMIT)
		why_set(why, e,
		        "You have %lld unfinished jobs, as many as you may; wait for one or cancel it.",
		        (long long)max_queued);
	if (e == ERR_NOT_FOUND)
		e = why_param(
		        why, ERR_INVALID, "training_file", "The training or validation file was deleted.");
	return e;
}

/* A job's files and model must be right before it is accepted; what they lack is the request's fault. */
static enum err job_check(struct exchange *x, struct job_request *r, struct job_check *check, struct why *why)
{
	enum err e = worker_job_check(exchange_worker(x), exchange_tenant(x)->id, r->model, r->training_file,
	        r->validation_file, &r->spec, check, why);

	if (e == ERR_NOT_FOUND && strcmp(why->code, "model_not_found") != 0) /* one of its files */
		e = ERR_INVALID;
	return e;
}

static enum exchange_verdict jobs_create(struct exchange *x)
{
	struct job_view view = view_begin(x);
	json_t *body = exchange_json(x);
	struct job_request r = {0};
	struct job_check check = {0};
	struct job j = {0};
	struct why why = {0};
	bool same = false;
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = job_request_decode(body, &r, &why);
	if (!e && !exchange_worker(x))
		e = ERR_BUSY;
	if (!e)
		e = job_check(x, &r, &check, &why);
	job_check_fini(&check);
	if (!e)
		e = job_store(x, &r, check.n_tokens * r.spec.train.n_epochs, &j, &same, &why);
	if (e) {
		exchange_reply_error(x, e, &why);
	} else {
		view.spec = same ? &r.spec : NULL;
		job_changed(x, j.id);
		reply_job(x, &j, &view);
	}
	job_request_fini(&r);
	return EXCHANGE_DONE;
}

static bool report_speaks(const struct dataset_report *r)
{
	return r->n_faults || r->n_no_loss;
}

/* A file that is wrong is an answer here, not an error. */
static enum exchange_verdict jobs_preflight(struct exchange *x)
{
	json_t *body = exchange_json(x), *json;
	struct job_request r = {0};
	struct job_check check = {0};
	struct why why = {0};
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = job_request_decode(body, &r, &why);
	if (!e && !exchange_worker(x))
		e = ERR_BUSY;
	if (e) {
		job_request_fini(&r);
		return exchange_reply_error(x, e, &why);
	}
	e = job_check(x, &r, &check, &why);
	if (e == OK || (e == ERR_INVALID && (report_speaks(&check.train) || report_speaks(&check.valid)))) {
		json = preflight_json(&check, &r.spec, r.validation_file != NULL, e, &why);
		exchange_reply_json(x, 200, json);
	} else {
		exchange_reply_error(x, e, &why);
	}
	job_check_fini(&check);
	job_request_fini(&r);
	return EXCHANGE_DONE;
}

/* ---- queries ---- */

static enum exchange_verdict jobs_get(struct exchange *x)
{
	const struct job_view view = view_begin(x);
	struct job_place place;
	struct json_text t = {0};
	struct job j = {0};
	struct why why = {0};
	enum err e =
	        store_job_show(exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &j, &place);

	if (e)
		return reply_job_error(x, e, &why);
	write_job(x, &j, &place, view, &t);
	job_fini(&j);
	return exchange_reply_text(x, 200, &t);
}

static bool is_filter(const char *name)
{
	return !strncmp(name, "metadata[", 9) && name[strlen(name) - 1] == ']';
}

static bool is_filtered(struct exchange *x)
{
	const char *name, *wanted;
	size_t at = 0;

	while (pairs_next(&x->query, &at, &name, &wanted))
		if (is_filter(name))
			return true;
	return false;
}

/* Whether j has every pair asked for as metadata[k]=v. */
static bool metadata_fits(struct exchange *x, const struct job *j)
{
	json_t *metadata = NULL;
	const char *name, *wanted;
	size_t at = 0;
	bool fits = true;

	while (fits && pairs_next(&x->query, &at, &name, &wanted)) {
		json_t *v;

		if (!is_filter(name))
			continue;
		if (!metadata)
			metadata = wire_parsed(j->metadata);
		v = json_object_getn(metadata, name + 9, strlen(name) - 10);
		fits = json_is_string(v) && !strcmp(json_string_value(v), wanted);
	}
	json_decref(metadata);
	return fits;
}

/* A list under way. */
struct job_page {
	struct job_view view;
	size_t limit, n;
	bool more; /* there is one beyond the limit */
	char first[STORE_ID_SIZE], last[STORE_ID_SIZE];
	struct json_text text;
};

/* Append the fitting jobs of one stored page. places may be NULL. */
static void jobs_take(struct exchange *x, const struct job *items, const struct job_place *places, size_t n,
        struct job_page *p)
{
	for (size_t i = 0; i < n && !p->more; i++) {
		if (!metadata_fits(x, &items[i]))
			continue;
		if (p->n == p->limit) {
			p->more = true;
			return;
		}
		write_job(x, &items[i], places ? &places[i] : NULL, p->view, &p->text);
		memcpy(p->last, items[i].id, sizeof(p->last));
		if (!p->n++)
			memcpy(p->first, items[i].id, sizeof(p->first));
	}
}

static enum err jobs_scan(struct exchange *x, const char *after_id, struct job_page *p)
{
	/* Mostly all of them fit, and one beyond the limit is enough. */
	struct page scan = {.after = after_id, .limit = p->limit < SCAN_PAGE ? p->limit + 1 : SCAN_PAGE};
	char after[STORE_ID_SIZE];
	bool filtered = is_filtered(x), stored_more = true;

	for (; !p->more && stored_more; scan.limit = SCAN_PAGE) {
		struct job *items = NULL;
		struct job_place *places = NULL;
		size_t n = 0;
		enum err e = store_job_list(exchange_store(x), exchange_tenant(x)->id, &scan, &items,
		        filtered ? NULL : &places, &n, &stored_more);

		if (e)
			return e;
		jobs_take(x, items, places, n, p);
		if (n)
			memcpy(after, items[n - 1].id, sizeof(after));
		scan.after = after;
		job_list_free(items, n);
		mem_free(places);
	}
	return OK;
}

static enum exchange_verdict jobs_list(struct exchange *x)
{
	struct job_page p = {.view = view_begin(x)};
	struct page page;
	struct why why = {0};
	enum err e = exchange_page(x, PAGE, &page);

	if (e)
		return EXCHANGE_DONE;
	p.limit = page.limit;
	json_text_open(&p.text, NULL, '{');
	json_text_string(&p.text, "object", "list");
	json_text_open(&p.text, "data", '[');
	e = jobs_scan(x, page.after, &p);
	if (e) {
		buf_fini(&p.text.buf);
		if (e == ERR_NOT_FOUND)
			e = why_param(&why, ERR_INVALID, "after", "'after' names no job of yours.");
		return exchange_reply_error(x, e, &why);
	}
	json_text_close(&p.text, ']');
	json_text_tree(&p.text, "has_more", json_boolean(p.more));
	json_text_string(&p.text, "first_id", p.n ? p.first : NULL);
	json_text_string(&p.text, "last_id", p.n ? p.last : NULL);
	json_text_close(&p.text, '}');
	return exchange_reply_text(x, 200, &p.text);
}

/* ---- moves ---- */

static enum exchange_verdict job_move(struct exchange *x, enum job_status to, const char *verb)
{
	const struct job_transition t = {.to = to};
	const struct job_view view = view_begin(x);
	const char *tenant = exchange_tenant(x)->id, *id = exchange_capture(x, 0);
	struct job before = {0}, j = {0};
	struct why why = {0};
	enum err e = store_job_get(exchange_store(x), tenant, id, &before);

	/* A running job may go back to the queue, but only a paused one is resumed. */
	if (!e && to == JOB_QUEUED && before.status != JOB_PAUSED)
		e = ERR_STATE;
	if (!e)
		e = store_job_transition(exchange_store(x), tenant, id, &t, &j);
	if (e == ERR_STATE)
		why_set(&why, e, "Job '%s' cannot be %s: it is %s.", id, verb,
		        job_status_name(before.status));
	job_fini(&before);
	if (e)
		return reply_job_error(x, e, &why);
	job_changed(x, id);
	return reply_job(x, &j, &view);
}

static enum exchange_verdict jobs_cancel(struct exchange *x)
{
	return job_move(x, JOB_CANCELLED, "cancelled");
}

static enum exchange_verdict jobs_pause(struct exchange *x)
{
	return job_move(x, JOB_PAUSED, "paused");
}

static enum exchange_verdict jobs_resume(struct exchange *x)
{
	return job_move(x, JOB_QUEUED, "resumed");
}

/* ---- events and checkpoints ---- */

static enum err job_exists(struct exchange *x)
{
	struct job j = {0};
	enum err e = store_job_get(exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &j);

	if (!e)
		job_fini(&j);
	return e;
}

static enum exchange_verdict events_stream(struct exchange *x)
{
	const char *last = exchange_header(x, "Last-Event-ID");
	struct why why = {0};
	int64_t after_seq = 0;
	char *end;
	enum err e = OK;

	if (last && *last) {
		after_seq = strtoll(last, &end, 10);
		if (*end || after_seq < 0)
			e = why_param(&why, ERR_INVALID, "Last-Event-ID",
			        "Last-Event-ID must be an id this stream gave.");
	}
	if (!e)
		e = job_exists(x);
	if (e)
		return reply_job_error(x, e, &why);
	return job_stream_open(x, exchange_capture(x, 0), after_seq);
}

/* ERR_NOT_FOUND of a list may mean the job or the item named by `after`. */
static enum exchange_verdict reply_list_error(struct exchange *x, enum err e)
{
	struct why why = {0};

	if (e == ERR_NOT_FOUND && !job_exists(x))
		e = why_param(&why, ERR_INVALID, "after", "'after' names no item of this list.");
	return reply_job_error(x, e, &why);
}

static enum exchange_verdict jobs_events(struct exchange *x)
{
	const char *stream = exchange_query(x, "stream");
	struct page page;
	struct event *items = NULL;
	json_t *data;
	size_t n = 0;
	bool more;
	enum err e;

	if (stream && !strcmp(stream, "true"))
		return events_stream(x);
	if (exchange_page(x, PAGE, &page))
		return EXCHANGE_DONE;
	e = store_event_list(
	        exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &page, &items, &n, &more);
	if (e)
		return reply_list_error(x, e);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, event_json(&items[i]));
	event_list_free(items, n);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

static enum exchange_verdict jobs_checkpoints(struct exchange *x)
{
	struct page page;
	struct checkpoint *items = NULL;
	json_t *data;
	size_t n = 0;
	bool more;
	enum err e;

	if (exchange_page(x, PAGE, &page))
		return EXCHANGE_DONE;
	e = store_checkpoint_list(
	        exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &page, &items, &n, &more);
	if (e)
		return reply_list_error(x, e);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, checkpoint_json(&items[i]));
	checkpoint_list_free(items, n);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

const struct route jobs_routes[] = {
        {"POST", "/v1/fine_tuning/jobs", ROUTE_TENANT, jobs_create},
        {"POST", "/v1/fine_tuning/jobs/preflight", ROUTE_TENANT, jobs_preflight},
        {"GET", "/v1/fine_tuning/jobs", ROUTE_TENANT, jobs_list},
        {"GET", "/v1/fine_tuning/jobs/{}", ROUTE_TENANT, jobs_get},
        {"POST", "/v1/fine_tuning/jobs/{}/cancel", ROUTE_TENANT, jobs_cancel},
        {"POST", "/v1/fine_tuning/jobs/{}/pause", ROUTE_TENANT, jobs_pause},
        {"POST", "/v1/fine_tuning/jobs/{}/resume", ROUTE_TENANT, jobs_resume},
        {"GET", "/v1/fine_tuning/jobs/{}/events", ROUTE_TENANT, jobs_events},
        {"GET", "/v1/fine_tuning/jobs/{}/checkpoints", ROUTE_TENANT, jobs_checkpoints},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
