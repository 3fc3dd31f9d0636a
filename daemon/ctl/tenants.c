/* Tenants and their keys, with the admin key. */
#include "core/mem.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

#include <string.h>

#define TENANTS "/v1/admin/tenants"

static const struct args_option limit_options[] = {
        {"queued-jobs", 0, "N", "At most so many unfinished jobs; -1 = no limit (as for all of these)."},
        {"running-jobs", 0, "N", "At most so many jobs running at once."},
        {"file-bytes", 0, "N", "At most so many bytes of files."},
        {"requests-per-minute", 0, "N", "At most so many requests for inference."},
        {"tokens-per-minute", 0, "N", "At most so many tokens of inference."},
        {NULL, 0, NULL, NULL},
};

static const char *const limits[][2] = {
        {"queued-jobs", "queued_jobs"},
        {"running-jobs", "running_jobs"},
        {"file-bytes", "file_bytes"},
        {"requests-per-minute", "requests_per_minute"},
        {"tokens-per-minute", "tokens_per_minute"},
};
#define N_LIMITS (sizeof(limits) / sizeof(limits[0]))

/* The limits of the command line; an empty object when there are none. */
static enum err limits_json(const struct args *a, json_t **out, struct why *why)
{
	json_t *given = json_object();
	enum err e = given ? OK : ERR_MEM;

	for (size_t i = 0; i < N_LIMITS && !e; i++) {
		int64_t v = 0;

		e = args_integer(a, limits[i][0], -1, INT64_MAX, &v, why);
		if (!e && args_text(a, limits[i][0]) &&
		        json_object_set_new(given, limits[i][1], json_integer(v)) < 0)
			e = ERR_MEM;
	}
	if (e)
		json_decref(given);
	else
		*out = given;
	return e;
}

static enum err tenant_body(const struct args *a, json_t **out, struct why *why)
{
	json_t *given = NULL, *body;
	enum err e = limits_json(a, &given, why);

	if (e)
		return e;
	body = json_pack("{s:s, s:o}", "name", a->operands[0], "limits", given);
	if (!body)
		return args_wrong(why, "the name is not UTF-8");
	if (!json_object_size(given))
		json_object_del(body, "limits");
	*out = body;
	return OK;
}

static void print_new_tenant(struct ctl *ctl, const json_t *reply)
{
	fprintf(ctl->out.file, "%s\n", command_string(reply, "api_key"));
	if (!ctl->quiet && ctl->out.terminal)
		fprintf(ctl->err.file, "This is the key of tenant %s (%s). It is shown only once.\n",
		        command_string(reply, "name"), command_string(reply, "id"));
}

static enum err run_add(struct ctl *ctl, struct why *why)
{
	json_t *body = NULL;
	enum err e = tenant_body(&ctl->args, &body, why);

	return e ? e : command_send(ctl, "POST", TENANTS, body, print_new_tenant, why);
}

/* "-" for the daemon's default, "none", or the number. */
static void limit_text(const json_t *given, const char *name, char text[24])
{
	int64_t v = command_integer(given, name);

	if (v == 0)
		strcpy(text, "-");
	else if (v < 0)
		strcpy(text, "none");
	else
		snprintf(text, 24, "%lld", (long long)v);
}

static void print_tenants(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3 + N_LIMITS};
	const char *heading[] = {
	        "TENANT", "NAME", "CREATED", "QUEUED", "RUNNING", "FILE BYTES", "REQUESTS/MIN", "TOKENS/MIN"};
	const json_t *tenant;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, tenant) {
		char created[20], texts[N_LIMITS][24];
		const char *cells[] = {command_string(tenant, "id"), command_string(tenant, "name"), created,
		        texts[0], texts[1], texts[2], texts[3], texts[4]};

		command_time(command_integer(tenant, "created_at"), created);
		for (size_t j = 0; j < N_LIMITS; j++)
			limit_text(json_object_get(tenant, "limits"), limits[j][1], texts[j]);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
	command_print_more(ctl, reply);
}

static void print_tenant(struct ctl *ctl, const json_t *tenant)
{
	char text[24];

	command_print_field(ctl, "tenant", command_string(tenant, "id"));
	command_print_field(ctl, "name", command_string(tenant, "name"));
	command_time(command_integer(tenant, "created_at"), text);
	command_print_field(ctl, "created", text);
	for (size_t i = 0; i < N_LIMITS; i++) {
		limit_text(json_object_get(tenant, "limits"), limits[i][1], text);
		command_print_field(
		        ctl, limits[i][0], strcmp(text, "-") == 0 ? "the daemon's default" : text);
	}
}

static enum err run_list(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_list_path(ctl, TENANTS, path, sizeof(path), why);

	return e ? e : command_show(ctl, path, print_tenants, why);
}

/* A tenant's id, given its id or its name; pages through them all. mem_free(*id). */
static enum err tenant_id(struct ctl *ctl, const char *name, char **id, struct why *why)
{
	char path[256], after[64] = "";
	bool more = true;
	enum err e = OK;

	while (!e && more && !*id) {
		json_t *reply = NULL;
		const json_t *tenant;
		size_t i;

		snprintf(path, sizeof(path), TENANTS "?limit=1000%s%s", *after ? "&after=" : "", after);
		e = client_request(ctl->client, "GET", path, NULL, &reply, why);
		json_array_foreach (json_object_get(reply, "data"), i, tenant) {
			const char *found = command_string(tenant, "id");

			snprintf(after, sizeof(after), "%s", found);
			if (strcmp(found, name) != 0 && strcmp(command_string(tenant, "name"), name) != 0)
				continue;
			*id = mem_strdup(found);
			e = *id ? OK : ERR_MEM;
			break;
		}
		more = json_is_true(json_object_get(reply, "has_more"));
		json_decref(reply);
	}
	if (!e && !*id)
		e = why_set(why, ERR_NOT_FOUND, "there is no tenant \"%s\"", name);
	return e;
}

/* The path of the tenant named by the first operand, suffix behind it. */
static enum err tenant_path(struct ctl *ctl, const char *suffix, char *path, size_t size, struct why *why)
{
	char *id = NULL;
	enum err e = tenant_id(ctl, ctl->args.operands[0], &id, why);

	if (!e)
		e = command_path(path, size, TENANTS "/", id, suffix, why);
	mem_free(id);
	return e;
}

static enum err run_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = tenant_path(ctl, "", path, sizeof(path), why);

	return e ? e : command_show(ctl, path, print_tenant, why);
}

static enum err run_limit(struct ctl *ctl, struct why *why)
{
	json_t *given = NULL;
	char path[1024];
	enum err e = limits_json(&ctl->args, &given, why);

	if (!e && !json_object_size(given))
		e = args_wrong(why, "no limit is given");
	if (!e)
		e = tenant_path(ctl, "", path, sizeof(path), why);
	if (!e)
		return command_send(
		        ctl, "POST", path, json_pack("{s:o}", "limits", given), print_tenant, why);
	json_decref(given);
	return e;
}

static enum err run_remove(struct ctl *ctl, struct why *why)
{
	char *id = NULL;
	enum err e = tenant_id(ctl, ctl->args.operands[0], &id, why);

	if (!e)
		e = command_delete(ctl, TENANTS "/", id, why);
	mem_free(id);
	return e;
}

/* ---- keys ---- */

static void print_new_key(struct ctl *ctl, const json_t *reply)
{
	fprintf(ctl->out.file, "%s\n", command_string(reply, "api_key"));
}

static enum err run_key_add(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = tenant_path(ctl, "/keys", path, sizeof(path), why);

	return e ? e : command_send(ctl, "POST", path, NULL, print_new_key, why);
}

static void print_keys(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3};
	const char *heading[] = {"KEY", "ENDS IN", "CREATED"};
	const json_t *key;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, key) {
		char created[20];
		const char *cells[] = {command_string(key, "id"), command_string(key, "hint"), created};

		command_time(command_integer(key, "created_at"), created);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_key_list(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = tenant_path(ctl, "/keys", path, sizeof(path), why);

	return e ? e : command_show(ctl, path, print_keys, why);
}

static enum err run_key_remove(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = tenant_path(ctl, "/keys/", path, sizeof(path), why);

	return e ? e : command_delete(ctl, path, ctl->args.operands[1], why);
}

const struct command tenant_commands[] = {
        {"tenant add", "NAME", "Create a tenant and print its key",
                "The key is shown this once and stored hashed.", limit_options, 1, 1, true, run_add},
        {"tenant list", "", "List tenants with their limits", NULL, list_options, 0, 0, true, run_list},
        {"tenant show", "TENANT", "Show one tenant", "TENANT is its id or its name.", NULL, 1, 1, true,
                run_show},
        {"tenant limit", "TENANT", "Change those of a tenant's limits that are given",
                "0 is the daemon's default. In force at once.", limit_options, 1, 1, true, run_limit},
        {"tenant remove", "TENANT", "Erase a tenant and all that is theirs", "TENANT is its id or its name.",
                NULL, 1, 1, true, run_remove},
        {"key add", "TENANT", "Give a tenant a further key and print it",
                "The key is shown this once and stored hashed.", NULL, 1, 1, true, run_key_add},
        {"key list", "TENANT", "List a tenant's keys by their last characters", NULL, NULL, 1, 1, true,
                run_key_list},
        {"key remove", "TENANT KEY-ID", "Revoke a key, at once", NULL, NULL, 2, 2, true, run_key_remove},
        {0},
};
