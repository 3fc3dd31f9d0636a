/*
 * /v1/webhook_endpoints, as the official client's `webhooks` knows them: where a tenant wants to be told how
 * its jobs end. Pool threads. Deliveries are webhook_pump.h's.
 */
#include "api/edge.h"
#include "api/webhook_message.h"
#include "api/webhook_pump.h"
#include "api/wire.h"
#include "core/clock.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define PAGE 20
#define MAX_PER_TENANT 8
#define NAME_MAX_BYTES 64
#define HINT_CHARS 4
#define KEEP_OLD_SECONDS (24 * 3600)

static const char *const event_types[] = {
        "fine_tuning.job.succeeded",
        "fine_tuning.job.failed",
        "fine_tuning.job.cancelled",
};
#define N_TYPES (sizeof(event_types) / sizeof(event_types[0]))
#define TYPES_SIZE (N_TYPES * STORE_EVENT_TYPE_SIZE + 2)

/* ---- codec ---- */

static bool has_type(const char *types, const char *type)
{
	char between[STORE_EVENT_TYPE_SIZE + 2];

	snprintf(between, sizeof(between), " %s ", type);
	return strstr(types, between) != NULL;
}

static json_t *last_json(const struct webhook *w)
{
	const struct delivery_outcome *o = &w->last;

	if (!o->at)
		return json_null();
	return json_pack("{s:s, s:I, s:o, s:o}", "event_id", w->last_event, "created_at", (json_int_t)o->at,
	        "status", o->status ? json_integer((json_int_t)o->status) : json_null(), "error",
	        wire_string_or_null(o->error));
}

static json_t *webhook_json(const struct webhook *w, bool with_secret)
{
	char hint[HINT_CHARS + 4];
	json_t *types = json_array(), *json;

	for (size_t i = 0; i < N_TYPES; i++)
		if (has_type(w->event_types, event_types[i]))
			json_array_append_new(types, json_string(event_types[i]));
	snprintf(hint, sizeof(hint), "...%s", w->secret + strlen(w->secret) - HINT_CHARS);
	json = json_pack("{s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:s, s:o}", "id", w->id, "object",
	        "webhook_endpoint", "name", wire_string(w->name), "url", w->url, "event_types", types,
	        "created_at", (json_int_t)w->created_at, "updated_at", (json_int_t)w->updated_at,
	        "signing_secret_hint", hint, "last_delivery", last_json(w));
	if (json && with_secret)
		json_object_set_new(json, "signing_secret", json_string(w->secret));
	return json;
}

static enum err types_decode(const json_t *json, char out[TYPES_SIZE], struct why *why)
{
	json_t *item;
	size_t i, k, used = 1;

	snprintf(out, TYPES_SIZE, " ");
	if (!json_is_array(json) || !json_array_size(json))
		return why_param(why, ERR_INVALID, "event_types",
		        "'event_types' must be a list of some of fine_tuning.job.succeeded, "
		        "fine_tuning.job.failed and fine_tuning.job.cancelled.");
	json_array_foreach (json, i, item) {
		const char *type = json_is_string(item) ? json_string_value(item) : "";

		for (k = 0; k < N_TYPES && strcmp(event_types[k], type) != 0; k++)
			;
		if (k == N_TYPES)
			return why_param(why, ERR_INVALID, "event_types",
			        "There are no events '%.60s' here: fine_tuning.job.succeeded, "
			        "fine_tuning.job.failed and fine_tuning.job.cancelled.",
			        type);
		if (!has_type(out, type))
			used += (size_t)snprintf(out + used, TYPES_SIZE - used, "%s ", type);
	}
	return OK;
}

/* The fields of a body, over those that w has; *w borrows from body and types. Whole: all must be there. */
static enum err webhook_decode(
        const json_t *body, bool whole, char types[TYPES_SIZE], struct webhook *w, struct why *why)
{
	const json_t *asked = json_object_get(body, "event_types");
	const char *name = w->name, *url = w->url;
	enum err e = whole ? wire_require_string(body, "name", &name, why)
	                   : wire_get_string(body, "name", name, &name, why);

	if (!e && strlen(name) > NAME_MAX_BYTES)
		e = why_param(why, ERR_INVALID, "name", "'name' may have at most %d bytes.", NAME_MAX_BYTES);
	if (!e)
		e = whole ? wire_require_string(body, "url", &url, why)
		          : wire_get_string(body, "url", url, &url, why);
	if (!e)
		e = webhook_url_check(url, why);
	if (!e && (whole || asked)) {
		e = types_decode(asked, types, why);
		w->event_types = types;
	}
	w->name = (char *)name;
	w->url = (char *)url;
	return e;
}

/* ---- handlers ---- */

static enum exchange_verdict reply_webhook_error(struct exchange *x, enum err e, struct why *why)
{
	if (e == ERR_NOT_FOUND && !why->message[0])
		why_param(why, e, "id", "No such webhook endpoint: '%s'.", exchange_capture(x, 0));
	return exchange_reply_error(x, e, why);
}

/* Takes w over. */
static enum exchange_verdict reply_webhook(struct exchange *x, struct webhook *w, bool with_secret)
{
	json_t *json = webhook_json(w, with_secret);

	webhook_fini(w);
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict webhooks_create(struct exchange *x)
{
	json_t *body = exchange_json(x);
	char types[TYPES_SIZE];
	struct webhook in = {0}, w = {0};
	struct why why = {0};
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	memcpy(in.tenant_id, exchange_tenant(x)->id, sizeof(in.tenant_id));
	e = webhook_decode(body, true, types, &in, &why);
	if (!e)
		e = webhook_secret_new(in.secret);
	if (!e)
		e = store_webhook_create(exchange_store(x), &in, MAX_PER_TENANT, &w);
	if (e == ERR_LIMIT)
		why_set(&why, e, "You have %d webhook endpoints, as many as you may; delete one first.",
		        MAX_PER_TENANT);
	return e ? exchange_reply_error(x, e, &why) : reply_webhook(x, &w, true);
}

static enum exchange_verdict webhooks_list(struct exchange *x)
{
	struct page page;
	struct webhook *items = NULL;
	struct why why = {0};
	json_t *data;
	size_t n = 0;
	bool more;
	enum err e;

	if (exchange_page(x, PAGE, &page))
		return EXCHANGE_DONE;
	e = store_webhook_list(exchange_store(x), exchange_tenant(x)->id, &page, &items, &n, &more);
	if (e == ERR_NOT_FOUND)
		e = why_param(&why, ERR_INVALID, "after", "'after' names no webhook endpoint of yours.");
	if (e)
		return exchange_reply_error(x, e, &why);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, webhook_json(&items[i], false));
	webhook_list_free(items, n);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

static enum exchange_verdict webhooks_get(struct exchange *x)
{
	struct webhook w = {0};
	struct why why = {0};
	enum err e = store_webhook_get(exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &w);

	return e ? reply_webhook_error(x, e, &why) : reply_webhook(x, &w, false);
}

static enum exchange_verdict webhooks_update(struct exchange *x)
{
	json_t *body = exchange_json(x);
	char types[TYPES_SIZE];
	struct webhook old = {0}, in, w = {0};
	struct why why = {0};
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = store_webhook_get(exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &old);
	in = old;
	if (!e)
		e = webhook_decode(body, false, types, &in, &why);
	if (!e)
		e = store_webhook_update(exchange_store(x), &in, &w);
	webhook_fini(&old);
	return e ? reply_webhook_error(x, e, &why) : reply_webhook(x, &w, false);
}

/* A bodyless POST is as good as an empty object. */
static enum exchange_verdict webhooks_rotate(struct exchange *x)
{
	json_t *body = exchange_body(x)->len ? exchange_json(x) : NULL;
	bool keep = json_is_true(json_object_get(body, "keep_old_secret_active_for_24_hours"));
	struct webhook old = {0}, in, w = {0};
	struct why why = {0};
	enum err e;

	if (exchange_body(x)->len && !body)
		return EXCHANGE_DONE;
	e = store_webhook_get(exchange_store(x), exchange_tenant(x)->id, exchange_capture(x, 0), &old);
	in = old;
	if (!e)
		e = webhook_secret_new(in.secret);
	memcpy(in.old_secret, old.secret, sizeof(in.old_secret));
	in.old_until = keep ? clock_now_ms() / 1000 + KEEP_OLD_SECONDS : 0;
	if (!e)
		e = store_webhook_update(exchange_store(x), &in, &w);
	webhook_fini(&old);
	return e ? reply_webhook_error(x, e, &why) : reply_webhook(x, &w, true);
}

/* The type that the body asks for, else the first that w is told of. */
static enum err test_type(
        const json_t *body, const struct webhook *w, char out[STORE_EVENT_TYPE_SIZE], struct why *why)
{
	const char *asked = NULL;
	enum err e = wire_get_string(body, "event_type", NULL, &asked, why);

	for (size_t i = 0; !e && i < N_TYPES; i++) {
		if (!has_type(w->event_types, event_types[i]) ||
		        (asked && strcmp(asked, event_types[i]) != 0))
			continue;
		snprintf(out, STORE_EVENT_TYPE_SIZE, "%s", event_types[i]);
		return OK;
	}
	return e ? e
	         : why_param(why, ERR_INVALID, "event_type",
	                   "'event_type' must be one of the webhook's 'event_types'.");
}

/* A bodyless POST is as good as an empty object. */
static enum exchange_verdict webhooks_test(struct exchange *x)
{
	const char *tenant = exchange_tenant(x)->id, *id = exchange_capture(x, 0);
	json_t *body = exchange_body(x)->len ? exchange_json(x) : NULL;
	char type[STORE_EVENT_TYPE_SIZE];
	struct webhook w = {0};
	struct delivery d;
	struct why why = {0};
	enum err e;

	if (exchange_body(x)->len && !body)
		return EXCHANGE_DONE;
	e = store_webhook_get(exchange_store(x), tenant, id, &w);
	if (!e)
		e = test_type(body, &w, type, &why);
	webhook_fini(&w);
	if (!e)
		e = store_delivery_test(exchange_store(x), tenant, id, type, &d);
	if (e == ERR_STATE)
		why_set(&why, e, "A test of this webhook is under way; ask again when it has ended.");
	if (e)
		return reply_webhook_error(x, e, &why);
	webhook_pump_poke(exchange_api(x)->webhooks);
	return exchange_reply_json(x, 200,
	        json_pack("{s:s, s:s, s:I, s:s, s:{s:s}}", "id", d.event_id, "object", "event", "created_at",
	                (json_int_t)d.created_at, "type", d.type, "data", "id", d.subject));
}

static enum exchange_verdict webhooks_delete(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	struct why why = {0};
	enum err e = store_webhook_delete(exchange_store(x), exchange_tenant(x)->id, id);

	if (e)
		return reply_webhook_error(x, e, &why);
	return exchange_reply_json(x, 200, wire_deleted(id, "webhook_endpoint.deleted"));
}

static enum exchange_verdict webhooks_types(struct exchange *x)
{
	json_t *data = json_array();

	for (size_t i = 0; i < N_TYPES; i++)
		json_array_append_new(data, json_string(event_types[i]));
	return exchange_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", data));
}

const struct route webhooks_routes[] = {
        {"POST", "/v1/webhook_endpoints", ROUTE_TENANT, webhooks_create},
        {"GET", "/v1/webhook_endpoints", ROUTE_TENANT, webhooks_list},
        {"GET", "/v1/webhook_endpoints/{}", ROUTE_TENANT, webhooks_get},
        {"POST", "/v1/webhook_endpoints/{}", ROUTE_TENANT, webhooks_update},
        {"DELETE", "/v1/webhook_endpoints/{}", ROUTE_TENANT, webhooks_delete},
        {"POST", "/v1/webhook_endpoints/{}/rotate_secret", ROUTE_TENANT, webhooks_rotate},
        {"POST", "/v1/webhook_endpoints/{}/test", ROUTE_TENANT, webhooks_test},
        {"GET", "/v1/webhook_event_types", ROUTE_TENANT, webhooks_types},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
