/*
 * One HTTP request and its answer, as handlers see them. Only server.c knows libmicrohttpd.
 *
 * A handler runs on libuv's thread pool with the whole body read, may wait for the store, fills the answer
 * and returns; the loop sends it. A long answer returns EXCHANGE_LATER instead and is finished or streamed
 * from any thread afterwards. An exchange lives until its answer has been sent or the client has gone, and,
 * when it was deferred, until exchange_finish()/exchange_end() was called.
 */
#ifndef REDD_API_EXCHANGE_H
#define REDD_API_EXCHANGE_H

#include "api/api.h"
#include "api/json_text.h"
#include "core/buf.h"

#include <jansson.h>

struct exchange;

enum exchange_verdict {
	EXCHANGE_DONE,  /* the answer is complete */
	EXCHANGE_LATER, /* exchange_finish() or the streaming calls follow, maybe before the handler has
	                   returned */
};
typedef enum exchange_verdict exchange_handler(struct exchange *x);

/* ---- the request (handler's thread, and later until finished) ---- */
struct store *exchange_store(struct exchange *x);
struct worker *exchange_worker(struct exchange *x);
const struct api_options *exchange_options(struct exchange *x);
/* The limits of a tenant that has none of its own; a reload changes them. */
struct tenant_limits exchange_default_limits(struct exchange *x);
/* Who asks; NULL for routes without authentication and for the admin. */
const struct tenant *exchange_tenant(struct exchange *x);
bool exchange_is_admin(struct exchange *x);
/* The i-th captured segment of the route's pattern, decoded once; never NULL for captures that exist. */
const char *exchange_capture(struct exchange *x, size_t i);
/* A query parameter or header, NULL when absent. */
const char *exchange_query(struct exchange *x, const char *name);
const char *exchange_header(struct exchange *x, const char *name);
const char *exchange_request_id(struct exchange *x);
const struct buf *exchange_body(struct exchange *x);
/* The body as JSON object, borrowed; parsed on first use. On failure NULL, and the 400 answer is in place. */
json_t *exchange_json(struct exchange *x);
/* limit and after of a list; the strings are borrowed. ERR_INVALID with the 400 answer in place. */
enum err exchange_page(struct exchange *x, size_t default_limit, struct page *out);

/* ---- the answer, whole ---- */
/* Steals the reference. Memory shortage becomes a 500. */
enum exchange_verdict exchange_reply_json(struct exchange *x, unsigned status, json_t *body);
/* Takes over its content; its error becomes a 500. */
enum exchange_verdict exchange_reply_text(struct exchange *x, unsigned status, struct json_text *body);
/* Takes over the buffer's content. */
enum exchange_verdict exchange_reply_bytes(
        struct exchange *x, unsigned status, const char *content_type, struct buf *body);
/* The error body of the wire contract for e and why (NULL = the default words); status by err_http_status().
 */
enum exchange_verdict exchange_reply_error(struct exchange *x, enum err e, const struct why *why);
/* An extra header for the answer; before replying. */
void exchange_set_header(struct exchange *x, const char *name, const char *value);
/* Deferred whole answers: after an exchange_reply_*() from any thread, hand the answer to the loop. */
void exchange_finish(struct exchange *x);

/* ---- the answer, as server-sent events; any thread ---- */
/* Status 200, text/event-stream; comment pings every 15 s are the server's own. Then return EXCHANGE_LATER.
 */
void exchange_stream_begin(struct exchange *x);
/* Queue bytes ("data: ...\n\n"), copied; false when the client has gone (the caller stops soon and still
 * calls exchange_end()). Never blocks. */
bool exchange_stream_write(struct exchange *x, const char *data, size_t n);
/* One event "data: JSON\n\n"; steals the reference. */
bool exchange_stream_json(struct exchange *x, json_t *event);
/* Nothing more follows; x must not be touched afterwards. */
void exchange_end(struct exchange *x);
/* Called on the loop, at most once and before exchange_finish()/exchange_end() have been called, when the
 * client has gone; must neither block nor finish x itself. Set in the handler. Once
 * exchange_finish()/exchange_end() has returned, gone is neither running nor about to: arg may be freed. They
 * wait for it, so do not call them under a lock that gone takes. */
void exchange_on_gone(struct exchange *x, void (*gone)(void *arg), void *arg);

/* ---- errors on the wire ---- */
unsigned err_http_status(enum err e);
/* {"error":{...}}, a new reference. */
json_t *error_json(enum err e, const struct why *why);

/* ---- routes ---- */
enum route_auth {
	ROUTE_OPEN,
	ROUTE_TENANT,
	ROUTE_ADMIN,
	ROUTE_TENANT_UPLOAD, /* a tenant's multipart body, streamed to the store while it arrives: see
	                        upload.h */
};
struct route {
	const char *method;
	const char *pattern; /* "/v1/files/{}/content": {} captures one segment */
	enum route_auth auth;
	exchange_handler *handler;
};
/* Each resource offers its table, ended by a NULL method; server.c joins them. */
extern const struct route files_routes[], jobs_routes[], models_routes[], adapters_routes[],
        inference_routes[], classify_routes[], admin_routes[], operation_routes[], session_routes[],
        web_routes[], webhooks_routes[], openapi_routes[];

#endif
