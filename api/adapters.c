/* /v1/adapters and /v1/aliases: adapters' files, and stable names for adapters. Pool threads. */
#include "api/adapter_files.h"
#include "api/edge.h"
#include "api/wire.h"
#include "core/mem.h"

#include <string.h>

#define ALIAS_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static enum err no_such_model(struct why *why, const char *name)
{
	why_param(why, ERR_NOT_FOUND, "model", "The model '%s' does not exist or is not yours.", name);
	memcpy(why->code, "model_not_found", sizeof("model_not_found"));
	return ERR_NOT_FOUND;
}

static enum exchange_verdict adapters_content(struct exchange *x)
{
	const char *name = exchange_capture(x, 0), *format = exchange_query(x, "format");
	struct adapter_record a = {0};
	struct buf content = {0};
	struct why why = {0};
	enum err e;

	if (format && strcmp(format, "folded") == 0)
		return adapter_reply_folded(x, name);
	if (format && strcmp(format, "safetensors") != 0) {
		e = why_param(&why, ERR_UNSUPPORTED, "format",
		        "format '%.40s' is not supported: safetensors and folded are.", format);
		return exchange_reply_error(x, e, &why);
	}
	e = store_adapter_get(exchange_store(x), exchange_tenant(x)->id, name, &a);
	if (e == ERR_NOT_FOUND)
		e = no_such_model(&why, name);
	if (!e)
		e = buf_append(&content, a.content, (size_t)a.bytes);
	adapter_record_fini(&a);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_bytes(x, 200, "application/octet-stream", &content);
}

static json_t *alias_json(const struct alias *a)
{
	return json_pack("{s:s, s:s, s:s, s:I}", "id", a->name, "object", "alias", "model", a->model,
	        "updated_at", (json_int_t)a->updated_at);
}

/* Names of models hold a colon and the base has its own: an alias can be mistaken for neither. */
static enum err check_name(struct exchange *x, const char *name, struct why *why)
{
	size_t n = strlen(name);

	if (n == 0 || n >= STORE_NAME_SIZE || strspn(name, ALIAS_LETTERS) != n)
		return why_param(why, ERR_INVALID, "alias",
		        "An alias has 1 to %d letters, digits, dots, dashes and underscores.",
		        STORE_NAME_SIZE - 1);
	if (strcmp(name, worker_base_name(exchange_worker(x))) == 0)
		return why_param(why, ERR_INVALID, "alias", "'%s' is the base model's name.", name);
	return OK;
}

static enum exchange_verdict aliases_put(struct exchange *x)
{
	const char *name = exchange_capture(x, 0), *model;
	json_t *body = exchange_json(x);
	struct alias alias;
	struct why why = {0};
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = check_name(x, name, &why);
	if (!e)
		e = wire_require_string(body, "model", &model, &why);
	if (!e) {
		e = store_alias_set(exchange_store(x), exchange_tenant(x)->id, name, model, &alias);
		if (e == ERR_NOT_FOUND)
			e = no_such_model(&why, model);
	}
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, alias_json(&alias));
}

static enum exchange_verdict reply_alias_error(struct exchange *x, enum err e, const char *name)
{
	struct why why = {0};

	if (e == ERR_NOT_FOUND)
		why_param(&why, e, "alias", "The alias '%.64s' does not exist.", name);
	return exchange_reply_error(x, e, &why);
}

static enum exchange_verdict aliases_get(struct exchange *x)
{
	const char *name = exchange_capture(x, 0);
	struct alias alias;
	enum err e = store_alias_get(exchange_store(x), exchange_tenant(x)->id, name, &alias);

	if (e)
		return reply_alias_error(x, e, name);
	return exchange_reply_json(x, 200, alias_json(&alias));
}

static enum exchange_verdict aliases_delete(struct exchange *x)
{
	const char *name = exchange_capture(x, 0);
	enum err e = store_alias_delete(exchange_store(x), exchange_tenant(x)->id, name);

	if (e)
		return reply_alias_error(x, e, name);
	return exchange_reply_json(x, 200, wire_deleted(name, "alias"));
}

static enum exchange_verdict aliases_list(struct exchange *x)
{
	struct alias *items;
	json_t *data;
	size_t n;
	enum err e = store_alias_list(exchange_store(x), exchange_tenant(x)->id, &items, &n);

	if (e)
		return exchange_reply_error(x, e, NULL);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, alias_json(&items[i]));
	mem_free(items);
	return exchange_reply_json(x, 200, wire_list(data, false));
}

const struct route adapters_routes[] = {
        {"POST", "/v1/adapters", ROUTE_TENANT, adapter_import_post},
        {"GET", "/v1/adapters/{}/content", ROUTE_TENANT, adapters_content},
        {"GET", "/v1/adapters/{}/edits", ROUTE_TENANT, adapter_edits_get},
        {"GET", "/v1/aliases", ROUTE_TENANT, aliases_list},
        {"GET", "/v1/aliases/{}", ROUTE_TENANT, aliases_get},
        {"PUT", "/v1/aliases/{}", ROUTE_TENANT, aliases_put},
        {"DELETE", "/v1/aliases/{}", ROUTE_TENANT, aliases_delete},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
