/* /v1/models: the base and the tenant's own adapters. Pool threads. */
#include "api/edge.h"
#include "api/model_json.h"
#include "api/wire.h"

#include <string.h>

#define PAGE 1000

static json_t *base_json(const struct worker *w)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:n, s:n}", "id", worker_base_name(w), "object", "model",
	        "created", (json_int_t)worker_base_created(w), "owned_by", "redd", "parent", "adapter");
}

/* The manifest, and beside it what the store knows of the content. */
static json_t *adapter_json(const struct adapter_record *a)
{
	json_t *manifest = wire_parsed(a->manifest);

	if (json_is_object(manifest)) {
		json_object_set_new(manifest, "bytes", json_integer(a->bytes));
		json_object_set_new(manifest, "sha256", json_string(a->sha256));
	}
	return manifest;
}

json_t *model_json(const struct tenant *owner, const struct adapter_record *a)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:o, s:o}", "id", a->name, "object", "model", "created",
	        (json_int_t)a->created_at, "owned_by", owner->name, "parent", wire_string_or_null(a->parent),
	        "adapter", adapter_json(a));
}

static bool is_base(struct exchange *x, const char *name)
{
	const struct worker *w = exchange_worker(x);

	return w && !strcmp(name, worker_base_name(w));
}

static enum exchange_verdict reply_model_error(struct exchange *x, enum err e, const char *name)
{
	struct why why = {0};

	if (e == ERR_NOT_FOUND) {
		why_param(&why, e, "model", "The model '%s' does not exist or is not yours.", name);
		memcpy(why.code, "model_not_found", sizeof("model_not_found"));
	}
	return exchange_reply_error(x, e, &why);
}

/* `after` names a model; the store counts in ids. The base comes first and has none. */
static enum err page_resolve(struct exchange *x, struct page *page, char id[STORE_ID_SIZE])
{
	struct adapter_record a = {0};
	enum err e;

	if (is_base(x, page->after)) {
		page->after = NULL;
		return OK;
	}
	e = store_adapter_get(exchange_store(x), exchange_tenant(x)->id, page->after, &a);
	if (e)
		return e;
	memcpy(id, a.id, STORE_ID_SIZE);
	page->after = id;
	adapter_record_fini(&a);
	return OK;
}

static enum exchange_verdict models_list(struct exchange *x)
{
	struct page page;
	struct adapter_record *items = NULL;
	struct why why = {0};
	char id[STORE_ID_SIZE];
	json_t *data = NULL;
	size_t n = 0;
	bool more, with_base;
	enum err e = OK;

	if (exchange_page(x, PAGE, &page))
		return EXCHANGE_DONE;
	with_base = exchange_worker(x) && !page.after;
	if (page.after)
		e = page_resolve(x, &page, id);
	if (!e)
		e = store_adapter_list(
		        exchange_store(x), exchange_tenant(x)->id, false, &page, &items, &n, &more);
	if (e == ERR_NOT_FOUND)
		e = why_param(&why, ERR_INVALID, "after", "'after' names no model of yours.");
	if (e)
		return exchange_reply_error(x, e, &why);
	data = json_array();
	if (with_base)
		json_array_append_new(data, base_json(exchange_worker(x)));
	for (size_t i = 0; i < n && json_array_size(data) < page.limit; i++)
		json_array_append_new(data, model_json(exchange_tenant(x), &items[i]));
	more = more || json_array_size(data) < n + with_base;
	adapter_record_list_free(items, n);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

static enum exchange_verdict models_get(struct exchange *x)
{
	const char *name = exchange_capture(x, 0);
	struct adapter_record a = {0};
	json_t *json;
	enum err e;

	if (is_base(x, name))
		return exchange_reply_json(x, 200, base_json(exchange_worker(x)));
	e = store_adapter_get(exchange_store(x), exchange_tenant(x)->id, name, &a);
	if (e)
		return reply_model_error(x, e, name);
	json = model_json(exchange_tenant(x), &a);
	adapter_record_fini(&a);
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict models_delete(struct exchange *x)
{
	const char *name = exchange_capture(x, 0);
	const struct tenant *t = exchange_tenant(x);
	struct why why = {0};
	enum err e;

	if (is_base(x, name)) {
		e = why_param(&why, ERR_FORBIDDEN, "model", "The base model '%s' cannot be deleted.", name);
		return exchange_reply_error(x, e, &why);
	}
	e = store_adapter_delete(exchange_store(x), t->id, name);
	if (e)
		return reply_model_error(x, e, name);
	/* Checkpoints went with it; what remains is loaded again on its next use. */
	if (exchange_worker(x))
		worker_adapter_forget(exchange_worker(x), t->id, NULL);
	return exchange_reply_json(x, 200, wire_deleted(name, "model"));
}

const struct route models_routes[] = {
        {"GET", "/v1/models", ROUTE_TENANT, models_list},
        {"GET", "/v1/models/{}", ROUTE_TENANT, models_get},
        {"DELETE", "/v1/models/{}", ROUTE_TENANT, models_delete},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
