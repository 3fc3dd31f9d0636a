/*
 * A request as its handler sees it, and the answer as the handler gives it. What crosses threads does so
 * under api->lock, and wakes the loop with one uv_async_send(). Knows nothing of libmicrohttpd.
 */
#include "api/edge.h"
#include "api/wire.h"
#include "core/log.h"
#include "core/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JSON_TYPE "application/json"
#define RETRY_AFTER_SECONDS "5"

struct exchange *exchange_new(struct api *a, const char *method, const char *path)
{
	struct exchange *x = mem_calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->api = a;
	x->answer_fd = -1;
	x->method = mem_strdup(method);
	x->path = mem_strdup(path);
	if (!x->method || !x->path || random_id("req_", 24, x->request_id)) {
		exchange_free(x);
		return NULL;
	}
	return x;
}

void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	upload_free(x->upload);
	if (x->answer_fd >= 0)
		close(x->answer_fd);
	json_decref(x->json);
	for (size_t i = 0; i < ROUTER_MAX_CAPTURES; i++)
		mem_free(x->captures[i]);
	mem_free(x->method);
	mem_free(x->path);
	pairs_fini(&x->headers);
	pairs_fini(&x->query);
	pairs_fini(&x->answer_headers);
	buf_fini(&x->body);
	buf_fini(&x->answer);
	buf_fini(&x->stream);
	mem_free(x);
}

/* ---- the request ---- */

struct api *exchange_api(struct exchange *x)
{
	return x->api;
}

bool exchange_draining(struct exchange *x)
{
	bool draining;

	pthread_mutex_lock(&x->api->lock);
	draining = x->api->draining;
	pthread_mutex_unlock(&x->api->lock);
	return draining;
}

void exchange_count_answers(struct exchange *x, uint64_t out[6])
{
	pthread_mutex_lock(&x->api->lock);
	memcpy(out, x->api->n_answers, sizeof(x->api->n_answers));
	pthread_mutex_unlock(&x->api->lock);
}

struct store *exchange_store(struct exchange *x)
{
	return x->api->store;
}

struct worker *exchange_worker(struct exchange *x)
{
	return x->api->worker;
}

const struct api_options *exchange_options(struct exchange *x)
{
	return &x->api->options;
}

const struct tenant *exchange_tenant(struct exchange *x)
{
	return x->who.has_tenant ? &x->who.tenant : NULL;
}

bool exchange_is_admin(struct exchange *x)
{
	return x->who.is_admin;
}

const char *exchange_capture(struct exchange *x, size_t i)
{
	return i < ROUTER_MAX_CAPTURES ? x->captures[i] : NULL;
}

const char *exchange_query(struct exchange *x, const char *name)
{
	return pairs_get(&x->query, name, false);
}

const char *exchange_header(struct exchange *x, const char *name)
{
	return pairs_get(&x->headers, name, true);
}

const char *exchange_request_id(struct exchange *x)
{
	return x->request_id;
}

const struct buf *exchange_body(struct exchange *x)
{
	return &x->body;
}

struct upload *exchange_upload(struct exchange *x)
{
	return x->upload;
}

json_t *exchange_json(struct exchange *x)
{
	json_error_t at;
	struct why why;
	enum err e;

	if (x->json)
		return x->json;
	if (!x->body.len) {
		e = why_set(&why, ERR_INVALID, "The request needs a JSON body, and came without any.");
		exchange_reply_error(x, e, &why);
		return NULL;
	}
	x->json = json_loadb(x->body.data, x->body.len, 0, &at);
	if (json_is_object(x->json))
		return x->json;
	if (x->json)
		e = why_set(&why, ERR_INVALID, "The JSON body must be an object.");
	else
		e = why_set(&why, ERR_INVALID, "The body is not valid JSON: line %d, column %d: %s.", at.line,
		        at.column, at.text);
	json_decref(x->json);
	x->json = NULL;
	exchange_reply_error(x, e, &why);
	return NULL;
}

enum err exchange_page(struct exchange *x, size_t default_limit, struct page *out)
{
	const char *limit = exchange_query(x, "limit");
	struct page page = {.after = exchange_query(x, "after"), .limit = default_limit};
	struct why why;
	char *end;
	long n;

	if (page.after && !*page.after)
		page.after = NULL;
	if (limit) {
		errno = 0;
		n = strtol(limit, &end, 10);
		if (!*limit || *end || errno || n < 1 || n > 1000) {
			why_param(&why, ERR_INVALID, "limit", "'limit' must be an integer from 1 to 1000.");
			exchange_reply_error(x, ERR_INVALID, &why);
			return ERR_INVALID;
		}
		page.limit = (size_t)n;
	}
	*out = page;
	return OK;
}

/* ---- the answer ---- */

void exchange_set_header(struct exchange *x, const char *name, const char *value)
{
	/* An answer that lacks a header for want of memory is still an answer. */
	(void)pairs_add(&x->answer_headers, name, value);
}

static int dump_into(const char *p, size_t n, void *arg)
{
	return buf_append(arg, p, n) ? -1 : 0;
}

/* Takes text over. */
static enum exchange_verdict reply_json_text(
        struct exchange *x, unsigned status, struct buf *text, bool whole)
{
	static const char last_words[] = "{\"error\":{\"message\":\"out of "
	                                 "memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";

	if (!whole || buf_append(text, "\n", 1)) {
		log_error("reply_failed", "request=%s reason=\"out of memory\"", x->request_id);
		buf_fini(text);
		status = 500;
		(void)buf_puts(text, last_words);
	}
	return exchange_reply_bytes(x, status, JSON_TYPE, text);
}

enum exchange_verdict exchange_reply_json(struct exchange *x, unsigned status, json_t *body)
{
	struct buf text = {0};
	bool whole = body && !json_dump_callback(body, dump_into, &text, JSON_COMPACT);

	json_decref(body);
	return reply_json_text(x, status, &text, whole);
}

enum exchange_verdict exchange_reply_text(struct exchange *x, unsigned status, struct json_text *body)
{
	return reply_json_text(x, status, &body->buf, !body->err);
}

enum exchange_verdict exchange_reply_bytes(
        struct exchange *x, unsigned status, const char *content_type, struct buf *body)
{
	buf_fini(&x->answer);
	x->answer = *body;
	memset(body, 0, sizeof(*body));
	x->status = status;
	x->content_type = content_type;
	return EXCHANGE_DONE;
}

enum exchange_verdict exchange_reply_fd(struct exchange *x, const char *content_type, int fd, uint64_t size)
{
	buf_fini(&x->answer);
	x->status = 200;
	x->content_type = content_type;
	x->answer_fd = fd;
	x->answer_left = size;
	return EXCHANGE_DONE;
}

enum exchange_verdict exchange_reply_error(struct exchange *x, enum err e, const struct why *why)
{
	unsigned status = err_http_status(e);
	bool quota = e == ERR_LIMIT && !(why && !strcmp(why->code, "rate_limit_exceeded"));

	if (status == 500)
		log_error("request_failed", "request=%s method=%s path=%s tenant=%s error=%s message=\"%s\"",
		        x->request_id, x->method, x->path, x->who.has_tenant ? x->who.tenant.id : "-",
		        err_name(e), why && why->message[0] ? why->message : err_text(e));
	if (e == ERR_AUTH)
		exchange_set_header(x, "WWW-Authenticate", "Bearer realm=\"redd\"");
	if (quota)
		exchange_set_header(x, "x-should-retry", "false");
	if (status == 503)
		exchange_set_header(x, "Retry-After", RETRY_AFTER_SECONDS);
	return exchange_reply_json(x, status, error_json(e, why));
}

/* ---- from other threads to the loop ---- */

/* Put x on the list of those the loop must look at. Under the lock, so that the loop cannot end in between.
 */
static void wake_locked(struct exchange *x)
{
	struct api *a = x->api;

	if (!x->ready) {
		x->ready = true;
		x->next_ready = a->ready;
		a->ready = x;
	}
	uv_async_send(&a->async);
}

static void say_over(struct exchange *x, bool *flag)
{
	struct api *a = x->api;

	pthread_mutex_lock(&a->lock);
	while (x->gone_running)
		pthread_cond_wait(&a->gone_returned, &a->lock);
	*flag = true;
	wake_locked(x);
	pthread_mutex_unlock(&a->lock);
}

void exchange_finish(struct exchange *x)
{
	say_over(x, &x->finished);
}

void exchange_end(struct exchange *x)
{
	say_over(x, &x->ended);
}

void exchange_stream_begin(struct exchange *x)
{
	struct api *a = x->api;

	x->status = 200;
	x->content_type = "text/event-stream";
	exchange_set_header(x, "Cache-Control", "no-cache");
	exchange_set_header(x, "X-Accel-Buffering", "no");
	pthread_mutex_lock(&a->lock);
	x->streaming = true;
	wake_locked(x);
	pthread_mutex_unlock(&a->lock);
}

bool exchange_stream_write(struct exchange *x, const char *data, size_t n)
{
	struct api *a = x->api;
	bool taken = false;

	pthread_mutex_lock(&a->lock);
	if (!x->gone) {
		taken = n <= EDGE_MAX_STREAM_BYTES - (x->stream.len - x->stream_at) &&
		        buf_append(&x->stream, data, n) == OK;
		/* A client that does not read, or memory that is short: a stream with a hole would be a lie.
		 */
		x->gone = !taken;
		if (n || !taken)
			wake_locked(x);
	}
	pthread_mutex_unlock(&a->lock);
	return taken;
}

bool exchange_stream_json(struct exchange *x, json_t *event)
{
	struct buf text = {0};
	bool taken = event && !buf_puts(&text, "data: ") &&
	             !json_dump_callback(event, dump_into, &text, JSON_COMPACT) && !buf_puts(&text, "\n\n") &&
	             exchange_stream_write(x, text.data, text.len);

	buf_fini(&text);
	json_decref(event);
	return taken;
}

size_t exchange_stream_backlog(struct exchange *x)
{
	size_t n;

	pthread_mutex_lock(&x->api->lock);
	n = x->stream.len - x->stream_at;
	pthread_mutex_unlock(&x->api->lock);
	return n;
}

void exchange_on_gone(struct exchange *x, void (*gone)(void *arg), void *arg)
{
	pthread_mutex_lock(&x->api->lock);
	x->on_gone = gone;
	x->gone_arg = arg;
	if (x->gone) /* before anyone could be told: the loop makes up for it */
		wake_locked(x);
	pthread_mutex_unlock(&x->api->lock);
}

void exchange_gone(struct exchange *x)
{
	struct api *a = x->api;
	void (*tell)(void *arg) = NULL;

	pthread_mutex_lock(&a->lock);
	x->gone = true;
	if (x->on_gone && !x->gone_called && !x->finished && !x->ended) {
		tell = x->on_gone;
		x->gone_called = x->gone_running = true;
	}
	pthread_mutex_unlock(&a->lock);
	if (!tell)
		return;
	tell(x->gone_arg);
	pthread_mutex_lock(&a->lock);
	x->gone_running = false;
	pthread_cond_broadcast(&a->gone_returned);
	pthread_mutex_unlock(&a->lock);
}
