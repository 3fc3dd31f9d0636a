/* What the operator asks: tenants, with the admin key, and health. */
#include "core/mem.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

#include <string.h>

#define TENANTS "/v1/admin/tenants"

static const struct args_option add_options[] = {
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

static enum err tenant_body(const struct args *a, json_t **out, struct why *why)
{
	json_t *body = json_pack("{s:s, s:{}}", "name", a->operands[0], "limits");
	json_t *given = json_object_get(body, "limits");
	enum err e = body ? OK : args_wrong(why, "the name is not UTF-8");

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]) && !e; i++) {
		int64_t v = 0;

		e = args_integer(a, limits[i][0], -1, INT64_MAX, &v, why);
		if (!e && args_text(a, limits[i][0]) &&
		        json_object_set_new(given, limits[i][1], json_integer(v)) < 0)
			e = ERR_MEM;
	}
	if (e) {
		json_decref(body);
		return e;
	}
	if (!json_object_size(given))
		json_object_del(body, "limits");
	*out = body;
	return OK;
}

static enum err run_add(struct ctl *ctl, struct why *why)
{
	json_t *body = NULL, *reply = NULL;
	enum err e = tenant_body(&ctl->args, &body, why);

	if (!e)
		e = client_request(ctl->client, "POST", TENANTS, body, &reply, why);
	json_decref(body);
	if (e)
		return e;
	if (ctl->json)
		command_print_json(reply);
	else
		printf("%s\n", command_string(reply, "api_key"));
	if (!ctl->json && !ctl->quiet && ctl->out.terminal)
		fprintf(ctl->err.file, "This is the key of tenant %s (%s). It is shown only once.\n",
		        command_string(reply, "name"), command_string(reply, "id"));
	json_decref(reply);
	return OK;
}

static void print_tenants(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3};
	const char *heading[] = {"TENANT", "NAME", "CREATED"};
	const json_t *tenant;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, tenant) {
		char created[20];
		const char *cells[] = {command_string(tenant, "id"), command_string(tenant, "name"), created};

		command_time(command_integer(tenant, "created_at"), created);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_list(struct ctl *ctl, struct why *why)
{
	return command_show(ctl, TENANTS "?limit=1000", print_tenants, why);
}

/* A tenant's id, given its id or its name. */
static enum err tenant_id(struct ctl *ctl, const char *name, char **id, struct why *why)
{
	json_t *reply = NULL;
	const json_t *tenant;
	enum err e = client_request(ctl->client, "GET", TENANTS "?limit=1000", NULL, &reply, why);
	size_t i;

	if (e)
		return e;
	e = why_set(why, ERR_NOT_FOUND, "there is no tenant \"%s\"", name);
	json_array_foreach (json_object_get(reply, "data"), i, tenant) {
		const char *found = command_string(tenant, "id");

		if (strcmp(found, name) != 0 && strcmp(command_string(tenant, "name"), name) != 0)
			continue;
		*id = mem_strdup(found);
		e = *id ? OK : ERR_MEM;
		break;
	}
	json_decref(reply);
	return e;
}

static enum err run_remove(struct ctl *ctl, struct why *why)
{
	json_t *reply = NULL;
	char *id = NULL, path[1024];
	enum err e = tenant_id(ctl, ctl->args.operands[0], &id, why);

	if (!e)
		e = command_path(path, sizeof(path), TENANTS "/", id, "", why);
	if (!e)
		e = client_request(ctl->client, "DELETE", path, NULL, &reply, why);
	if (!e && ctl->json)
		command_print_json(reply);
	json_decref(reply);
	mem_free(id);
	return e;
}

static enum err run_health(struct ctl *ctl, struct why *why)
{
	static const char *const paths[] = {"/healthz", "/readyz"};
	static const char *const names[] = {"healthy", "ready"};
	json_t *report = json_object();
	char *text = NULL;
	enum err e = report ? OK : ERR_MEM;

	for (size_t i = 0; i < 2 && !e; i++) {
		e = client_get_text(ctl->client, paths[i], &text, why);
		if (!ctl->json && !ctl->quiet && e != ERR_IO)
			printf("%-8s %s%s%s\n", names[i], term_colour(&ctl->out, e ? TERM_RED : TERM_GREEN),
			        e ? "no" : "yes", term_colour(&ctl->out, TERM_PLAIN));
		(void)json_object_set_new(report, names[i], json_boolean(!e));
		mem_free(text);
		text = NULL;
	}
	if (ctl->json && e != ERR_IO)
		command_print_json(report);
	json_decref(report);
	return e;
}

const struct command tenant_commands[] = {
        {"tenant add", "NAME", "Create a tenant and print its key",
                "The key is shown this once and stored hashed.", add_options, 1, 1, true, run_add},
        {"tenant list", "", "List tenants", NULL, NULL, 0, 0, true, run_list},
        {"tenant remove", "TENANT", "Erase a tenant and all that is theirs", "TENANT is its id or its name.",
                NULL, 1, 1, true, run_remove},
        {"health", "", "Say whether the daemon lives and is ready", NULL, NULL, 0, 0, false, run_health},
        {0},
};
