/*
 * /admin: tenants and their keys, for the holder of the admin key. A key is shown once and stored hashed.
 * Pool threads. Served under /v1 as well, since clients configured with the /v1 base add their paths to it.
 */
#include "api/edge.h"
#include "api/wire.h"
#include "core/log.h"
#include "core/mem.h"

#include <string.h>

#define TENANTS_PAGE 100
#define KEY_PREFIX "sk-redd-"
#define KEY_CHARS 40
#define KEY_SIZE (sizeof(KEY_PREFIX) + KEY_CHARS)
#define HINT_CHARS 4

static const struct {
	const char *name;
	size_t offset;
} limit_fields[] = {
        {"queued_jobs", offsetof(struct tenant_limits, queued_jobs)},
        {"running_jobs", offsetof(struct tenant_limits, running_jobs)},
        {"file_bytes", offsetof(struct tenant_limits, file_bytes)},
        {"requests_per_minute", offsetof(struct tenant_limits, requests_per_minute)},
        {"tokens_per_minute", offsetof(struct tenant_limits, tokens_per_minute)},
};
#define N_LIMITS (sizeof(limit_fields) / sizeof(limit_fields[0]))

/* {"queued_jobs": 10, ...}: 0 = the daemon's default, negative = no limit. Unknown names are refused: a limit
 * misspelt would be a limit missing. Those that are not named stay as they are in *out. */
static enum err limits_decode(const json_t *json, struct tenant_limits *out, struct why *why)
{
	struct tenant_limits limits = *out;
	const char *key;
	json_t *v;
	size_t i;

	if (json && !json_is_null(json) && !json_is_object(json))
		return why_param(why, ERR_INVALID, "limits", "'limits' must be an object of integers.");
	json_object_foreach ((json_t *)json, key, v) {
		for (i = 0; i < N_LIMITS && strcmp(limit_fields[i].name, key) != 0; i++)
			;
		if (i == N_LIMITS)
			return why_param(why, ERR_INVALID, "limits",
			        "Unknown limit '%.40s'; known: queued_jobs, running_jobs, file_bytes, "
			        "requests_per_minute, tokens_per_minute.",
			        key);
		if (!json_is_integer(v))
			return why_param(
			        why, ERR_INVALID, "limits", "The limit '%s' must be an integer.", key);
		*(int64_t *)(void *)((char *)&limits + limit_fields[i].offset) = json_integer_value(v);
	}
	*out = limits;
	return OK;
}

static json_t *tenant_json(const struct tenant *t)
{
	json_t *limits = json_object();

	for (size_t i = 0; i < N_LIMITS; i++)
		json_object_set_new(limits, limit_fields[i].name,
		        json_integer(*(const int64_t *)(const void *)((const char *)&t->limits +
		                                                      limit_fields[i].offset)));
	return json_pack("{s:s, s:s, s:s, s:I, s:o}", "id", t->id, "object", "tenant", "name", t->name,
	        "created_at", (json_int_t)t->created_at, "limits", limits);
}

static enum err name_check(const char *name, struct why *why)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t n = strlen(name);

	if (n >= STORE_NAME_SIZE || strspn(name, allowed) != n)
		return why_param(why, ERR_INVALID, "name",
		        "A tenant's name has 1 to %d characters of a-z, 0-9 and '-': it shows in model "
		        "names.",
		        STORE_NAME_SIZE - 1);
	return OK;
}

static enum err key_make(struct store *s, const char *tenant_id, char secret[KEY_SIZE], struct api_key *out)
{
	uint8_t hash[HASH_BYTES];
	enum err e = random_id(KEY_PREFIX, KEY_CHARS, secret);

	if (e)
		return e;
	hash_bytes(secret, strlen(secret), hash);
	return store_key_create(s, tenant_id, hash, secret + strlen(secret) - HINT_CHARS, out);
}

static enum exchange_verdict reply_no_tenant(struct exchange *x, enum err e, const char *id)
{
	struct why why = {0};

	if (e == ERR_NOT_FOUND)
		why_param(&why, e, "id", "No such tenant: '%s'.", id);
	return exchange_reply_error(x, e, &why);
}

static enum exchange_verdict tenants_create(struct exchange *x)
{
	json_t *body = exchange_json(x), *json;
	struct store *s = exchange_store(x);
	struct tenant_limits limits = {0};
	struct tenant t;
	struct api_key key;
	struct why why = {0};
	char secret[KEY_SIZE];
	const char *name;
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = wire_require_string(body, "name", &name, &why);
	if (!e)
		e = name_check(name, &why);
	if (!e)
		e = limits_decode(json_object_get(body, "limits"), &limits, &why);
	if (!e) {
		e = store_tenant_create(s, name, &limits, &t);
		if (e == ERR_EXISTS)
			why_param(&why, e, "name", "There is a tenant named '%s' already.", name);
	}
	if (!e) {
		e = key_make(s, t.id, secret, &key);
		if (e)
			store_tenant_delete(s, t.id); /* a tenant nobody can be is of no use */
	}
	if (e)
		return exchange_reply_error(x, e, &why);
	log_info("tenant_created", "tenant=%s name=%s", t.id, t.name);
	json = tenant_json(&t);
	json_object_set_new(json, "api_key", json_string(secret));
	json_object_set_new(json, "key_id", json_string(key.id));
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict tenants_list(struct exchange *x)
{
	struct page page;
	struct tenant *items;
	struct why why = {0};
	json_t *data;
	size_t n;
	bool more;
	enum err e;

	if (exchange_page(x, TENANTS_PAGE, &page))
		return EXCHANGE_DONE;
	e = store_tenant_list(exchange_store(x), &page, &items, &n, &more);
	if (e == ERR_NOT_FOUND)
		e = why_param(&why, ERR_INVALID, "after", "'after' names no tenant.");
	if (e)
		return exchange_reply_error(x, e, &why);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, tenant_json(&items[i]));
	mem_free(items);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

static enum exchange_verdict tenants_get(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	struct tenant t;
	enum err e = store_tenant_get(exchange_store(x), id, &t);

	return e ? reply_no_tenant(x, e, id) : exchange_reply_json(x, 200, tenant_json(&t));
}

/* {"limits": {...}}: those named are set, the others stay. */
static enum exchange_verdict tenants_update(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	json_t *body = exchange_json(x);
	struct store *s = exchange_store(x);
	struct tenant t;
	struct why why = {0};
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = store_tenant_get(s, id, &t);
	if (e)
		return reply_no_tenant(x, e, id);
	e = limits_decode(json_object_get(body, "limits"), &t.limits, &why);
	if (e)
		return exchange_reply_error(x, e, &why);
	e = store_tenant_limit(s, id, &t.limits, &t);
	auth_forget(exchange_api(x)->auth, id);
	if (e)
		return reply_no_tenant(x, e, id);
	if (exchange_worker(x))
		worker_job_poke(exchange_worker(x), ""); /* more of its jobs may run now */
	log_info("tenant_limited", "tenant=%s", id);
	return exchange_reply_json(x, 200, tenant_json(&t));
}

/* Cancel what is not over yet, so that nothing of the tenant runs on while it is erased. */
static enum err jobs_stop(struct exchange *x, const char *tenant_id)
{
	static const struct job_transition cancel = {.to = JOB_CANCELLED};
	struct store *s = exchange_store(x);
	struct page page = {.limit = 1000};
	char after[STORE_ID_SIZE];
	bool more = true;

	while (more) {
		struct job *jobs = NULL;
		size_t n = 0;
		enum err e = store_job_list(s, tenant_id, &page, &jobs, NULL, &n, &more);

		if (e)
			return e;
		for (size_t i = 0; i < n; i++) {
			/* ERR_STATE: it has just ended by itself. */
			if (!job_status_terminal(jobs[i].status) &&
			        !store_job_transition(s, tenant_id, jobs[i].id, &cancel, NULL) &&
			        exchange_worker(x))
				worker_job_poke(exchange_worker(x), jobs[i].id);
			memcpy(after, jobs[i].id, STORE_ID_SIZE);
		}
		page.after = after;
		more = more && n;
		job_list_free(jobs, n);
	}
	return OK;
}

static enum exchange_verdict tenants_delete(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	enum err e = jobs_stop(x, id);

	if (!e)
		e = store_tenant_delete(exchange_store(x), id);
	auth_forget(exchange_api(x)->auth, id);
	rate_forget(exchange_api(x)->rate, id);
	job_terms_forget(exchange_api(x)->terms, id);
	if (e)
		return reply_no_tenant(x, e, id);
	if (exchange_worker(x))
		worker_adapter_forget(exchange_worker(x), id, NULL);
	log_info("tenant_deleted", "tenant=%s", id);
	return exchange_reply_json(x, 200, wire_deleted(id, "tenant"));
}

static json_t *key_json(const struct api_key *k)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:I}", "id", k->id, "object", "api_key", "tenant_id",
	        k->tenant_id, "hint", wire_string(k->hint), "created_at", (json_int_t)k->created_at);
}

static enum exchange_verdict keys_create(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	char secret[KEY_SIZE];
	struct api_key key;
	json_t *json;
	enum err e = key_make(exchange_store(x), id, secret, &key);

	if (e)
		return reply_no_tenant(x, e, id);
	json = key_json(&key);
	json_object_set_new(json, "api_key", json_string(secret));
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict keys_list(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	struct tenant t;
	struct api_key *items = NULL;
	json_t *data;
	size_t n = 0;
	enum err e = store_tenant_get(exchange_store(x), id, &t);

	if (!e)
		e = store_key_list(exchange_store(x), id, &items, &n);
	if (e)
		return reply_no_tenant(x, e, id);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, key_json(&items[i]));
	mem_free(items);
	return exchange_reply_json(x, 200, wire_list(data, false));
}

static enum exchange_verdict key_delete(struct exchange *x, const char *key_id)
{
	const char *id = exchange_capture(x, 0);
	struct why why = {0};
	enum err e = store_key_delete(exchange_store(x), id, key_id);

	auth_forget(exchange_api(x)->auth, id);
	if (e == ERR_NOT_FOUND)
		why_param(&why, e, "id", "The tenant has no key '%s'.", key_id);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, wire_deleted(key_id, "api_key"));
}

static enum exchange_verdict keys_delete(struct exchange *x)
{
	return key_delete(x, exchange_capture(x, 1));
}

/* DELETE .../keys with {"id": ...} in the body or ?id=. */
static enum exchange_verdict keys_delete_named(struct exchange *x)
{
	const char *key_id = exchange_query(x, "id");
	json_t *body;
	struct why why;
	enum err e;

	if (key_id)
		return key_delete(x, key_id);
	body = exchange_json(x);
	if (!body)
		return EXCHANGE_DONE;
	e = wire_require_string(body, "id", &key_id, &why);
	return e ? exchange_reply_error(x, e, &why) : key_delete(x, key_id);
}

#define ROUTES_UNDER(prefix)                                                                                 \
	{"POST", prefix "/admin/tenants", ROUTE_ADMIN, tenants_create},                                      \
	        {"GET", prefix "/admin/tenants", ROUTE_ADMIN, tenants_list},                                 \
	        {"GET", prefix "/admin/tenants/{}", ROUTE_ADMIN, tenants_get},                               \
	        {"POST", prefix "/admin/tenants/{}", ROUTE_ADMIN, tenants_update},                           \
	        {"DELETE", prefix "/admin/tenants/{}", ROUTE_ADMIN, tenants_delete},                         \
	        {"POST", prefix "/admin/tenants/{}/keys", ROUTE_ADMIN, keys_create},                         \
	        {"GET", prefix "/admin/tenants/{}/keys", ROUTE_ADMIN, keys_list},                            \
	        {"DELETE", prefix "/admin/tenants/{}/keys", ROUTE_ADMIN, keys_delete_named},                 \
	{                                                                                                    \
		"DELETE", prefix "/admin/tenants/{}/keys/{}", ROUTE_ADMIN, keys_delete                       \
	}

const struct route admin_routes[] = {
        ROUTES_UNDER(""),
        ROUTES_UNDER("/v1"),
        {NULL, NULL, ROUTE_OPEN, NULL},
};
