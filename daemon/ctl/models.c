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
	return command_show(ctl, "/v1/models?limit=1000", print_models, why);
}

static void print_model(struct ctl *ctl, const json_t *model)
{
	char text[32];

	command_print_field(ctl, "model", command_string(model, "id"));
	command_print_field(ctl, "owner", command_string(model, "owned_by"));
	command_time(command_integer(model, "created"), text);
	command_print_field(ctl, "created", text);
	command_print_field(ctl, "parent", command_string(model, "parent"));
	command_print_members(ctl, "adapter", json_object_get(model, "adapter"));
}

static enum err run_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), "/v1/models/", ctl->args.operands[0], "", why);

	return e ? e : command_show(ctl, path, print_model, why);
}

static enum err run_delete(struct ctl *ctl, struct why *why)
{
	return command_delete(ctl, "/v1/models/", ctl->args.operands[0], why);
}

const struct command model_commands[] = {
        {"models", "", "List the base and the adapters that answer", NULL, NULL, 0, 0, false, run_models},
        {"model show", "MODEL", "Show one model; of an adapter, what it was made from", NULL, NULL, 1, 1,
                false, run_show},
        {"model delete", "MODEL", "Delete an adapter",
                "Requests that use it already are answered to their end.", NULL, 1, 1, false, run_delete},
        {0},
};
