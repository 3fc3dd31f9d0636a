/* Models: the base and the tenant's adapters. */
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

static void print_models(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3};
	const char *heading[] = {"MODEL", "CREATED", "TRAINED FROM"};
	const json_t *model;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, model) {
		const char *parent = command_string(model, "parent");
		char created[20];
		const char *cells[] = {command_string(model, "id"), created, *parent ? parent : "-"};

		command_time(command_integer(model, "created"), created);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_models(struct ctl *ctl, struct why *why)
{
	return command_show(ctl, "/v1/models", print_models, why);
}

static enum err run_delete(struct ctl *ctl, struct why *why)
{
	json_t *reply = NULL;
	char path[1024];
	enum err e = command_path(path, sizeof(path), "/v1/models/", ctl->args.operands[0], "", why);

	if (!e)
		e = client_request(ctl->client, "DELETE", path, NULL, &reply, why);
	if (!e && ctl->json)
		command_print_json(reply);
	json_decref(reply);
	return e;
}

const struct command model_commands[] = {
        {"models", "", "List the base and the adapters that answer", NULL, NULL, 0, 0, false, run_models},
        {"delete-model", "MODEL", "Delete an adapter",
                "Requests that use it already are answered to their end.", NULL, 1, 1, false, run_delete},
        {0},
};
