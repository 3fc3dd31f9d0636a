/*
 * What becomes of a request: route, principal, size, body. Decides and leaves the doing to server.c: phases
 * say what has been decided. Functions named run_ are the pool's, the others the loop's.
 */
#include "api/edge.h"
#include "core/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FORM_SLACK_BYTES 65536 /* a multipart body is that much larger than its file, at most */

const struct route *const route_tables[] = {files_routes, jobs_routes, models_routes, adapters_routes,
        inference_routes, classify_routes, admin_routes, operation_routes, session_routes, web_routes,
        webhooks_routes, openapi_routes, NULL};

static void refuse_route(struct exchange *x, enum router_verdict verdict, const struct router_match *match)
{
	struct buf empty = {0};
	struct why why = {0};

	if (verdict == ROUTER_NO_PATH) {
		why_set(&why, ERR_NOT_FOUND, "Unknown path: %s %s.", x->method, x->path);
		exchange_reply_error(x, ERR_NOT_FOUND, &why);
		return;
	}
	exchange_set_header(x, "Allow", match->allow);
	if (!strcmp(x->method, "OPTIONS")) {
		exchange_reply_bytes(x, 204, NULL, &empty);
		return;
	}
	why_set(&why, ERR_INVALID, "%s is not possible here; allowed: %s.", x->method, match->allow);
	exchange_reply_error(x, ERR_INVALID, &why);
	x->status = 405;
}

static void authorise(struct exchange *x)
{
	struct why why;

	if (x->route->auth == ROUTE_ADMIN && !x->who.is_admin) {
		why_set(&why, ERR_FORBIDDEN, "This needs the admin key.");
		exchange_reply_error(x, ERR_FORBIDDEN, &why);
	} else if (x->route->auth != ROUTE_ADMIN && !x->who.has_tenant) {
		why_set(&why, ERR_FORBIDDEN, "The admin key belongs to no tenant; use a tenant's key here.");
		exchange_reply_error(x, ERR_FORBIDDEN, &why);
	}
}

void request_run_ask(struct exchange *x)
{
	struct why why = {0};
	enum err e = auth_ask(x->api->auth, exchange_header(x, "Authorization"), &x->who, &why);

	if (e)
		exchange_reply_error(x, e, &why);
	else
		authorise(x);
}

void request_head(struct exchange *x)
{
	struct router_match match;
	struct why why = {0};
	enum router_verdict verdict = router_find(route_tables, x->method, x->path, &match);
	enum err e;

	x->phase = PHASE_READY;
	if (x->status) /* no memory for its headers */
		return;
	if (verdict != ROUTER_FOUND) {
		refuse_route(x, verdict, &match);
		return;
	}
	x->route = match.route;
	for (size_t i = 0; i < match.n_captures; i++) {
		x->captures[i] = mem_printf("%.*s", (int)match.captures[i].n, match.captures[i].p);
		if (!x->captures[i] || !url_decode(x->captures[i])) {
			why_set(&why, ERR_INVALID, "The path holds a malformed escape.");
			exchange_reply_error(x, x->captures[i] ? ERR_INVALID : ERR_MEM, &why);
			return;
		}
	}
	if (x->route->auth == ROUTE_OPEN)
		return;
	if (exchange_draining(x)) {
		why_set(&why, ERR_BUSY, "The server is shutting down; try again in a few seconds.");
		exchange_reply_error(x, ERR_BUSY, &why);
		return;
	}
	e = auth_peek(x->api->auth, exchange_header(x, "Authorization"), &x->who, &why);
	if (e == ERR_BUSY) {
		x->phase = PHASE_ASKING;
	} else if (e) {
		exchange_reply_error(x, e, &why);
	} else {
		authorise(x);
	}
}

/* Declared length of the body; -1 when it comes in chunks. */
static int64_t body_length(struct exchange *x)
{
	const char *length = exchange_header(x, "Content-Length");

	if (exchange_header(x, "Transfer-Encoding"))
		return -1;
	return length ? strtoll(length, NULL, 10) : 0;
}

static void refuse_size(struct exchange *x)
{
	const struct api_options *o = &x->api->options;
	struct why why;

	if (x->route->auth == ROUTE_TENANT_UPLOAD)
		why_param(&why, ERR_TOO_LARGE, "file",
		        "The file is larger than the limit of %lld bytes; split it.",
		        (long long)o->max_file_bytes);
	else
		why_set(&why, ERR_TOO_LARGE, "The body is larger than the limit of %zu bytes.",
		        o->max_body_bytes);
	exchange_reply_error(x, ERR_TOO_LARGE, &why);
}

bool request_ready(struct exchange *x)
{
	const struct api_options *o = &x->api->options;
	int64_t length = body_length(x);
	struct why why = {0};
	bool upload = x->route && x->route->auth == ROUTE_TENANT_UPLOAD;
	enum err e = OK;

	if (!x->status &&
	        length > (upload ? o->max_file_bytes + FORM_SLACK_BYTES : (int64_t)o->max_body_bytes))
		refuse_size(x);
	if (!x->status && upload)
		e = upload_new(x->api->store, exchange_header(x, "Content-Type"), o->max_file_bytes,
		        &x->upload, &why);
	if (e)
		exchange_reply_error(x, e, &why);
	x->phase = x->status ? PHASE_DISCARD : PHASE_BODY;
	x->linger = x->status && length &&
	            (length > EDGE_MAX_DISCARD_BYTES || exchange_header(x, "Expect") != NULL);
	return !x->linger;
}

void request_run_feed(struct exchange *x)
{
	struct why why = {0};
	enum err e = upload_feed(x->upload, x->body.data, x->body.len, &why);

	x->body.len = 0;
	if (e)
		exchange_reply_error(x, e, &why);
}

void request_run_handler(struct exchange *x)
{
	struct why why = {0};
	enum err e = OK;

	x->verdict = EXCHANGE_DONE;
	if (x->upload) {
		e = upload_feed(x->upload, x->body.data, x->body.len, &why);
		if (!e)
			e = upload_end(x->upload, &why);
	}
	if (e)
		exchange_reply_error(x, e, &why);
	else
		x->verdict = x->route->handler(x);
}

bool request_body(struct exchange *x, const char *data, size_t n)
{
	size_t max = x->upload ? SIZE_MAX : x->api->options.max_body_bytes;

	if (x->phase == PHASE_DISCARD) {
		x->discarded += (int64_t)n;
		return x->discarded <= EDGE_MAX_DISCARD_BYTES;
	}
	if (n > max - x->body.len)
		refuse_size(x);
	else if (buf_append(&x->body, data, n))
		exchange_reply_error(x, ERR_MEM, NULL);
	else if (x->upload && x->body.len >= EDGE_CHUNK_BYTES)
		x->phase = PHASE_FEEDING;
	if (x->status) {
		buf_fini(&x->body);
		x->phase = PHASE_DISCARD;
	}
	return true;
}
