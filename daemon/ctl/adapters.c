/* Adapters as files, and aliases: the stable names that point at them. */
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

#include <string.h>

#define ADAPTERS "/v1/adapters"
#define ALIASES "/v1/aliases"

static const struct args_option download_options[] = {
        {"folded", 0, NULL,
                "A tar of the whole model in Hugging Face's layout, the edits folded into its\n"
                "weights, instead of the adapter's own safetensors."},
        {"output", 'o', "FILE", "Write to FILE (default: standard output)."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option import_options[] = {
        {"name", 0, "TEXT", "Part of the new model's name."},
        {"classifier", 0, "FILE", "The classifier that goes with it, in a file of its own."},
        {NULL, 0, NULL, NULL},
};

/* ---- adapters ---- */

static enum err run_download(struct ctl *ctl, struct why *why)
{
	const char *suffix =
	        args_flag(&ctl->args, "folded") ? "/content?format=folded" : "/content?format=safetensors";
	char path[1024];
	enum err e = command_path(path, sizeof(path), ADAPTERS "/", ctl->args.operands[0], suffix, why);

	return e ? e : command_save(ctl, path, true, why);
}

static enum err run_import(struct ctl *ctl, struct why *why)
{
	const char *name = args_text(&ctl->args, "name"), *classifier = args_text(&ctl->args, "classifier");
	struct client_field form[3] = {{NULL, NULL, false}};
	json_t *model = NULL;
	size_t n = 0;
	enum err e;

	if (name)
		form[n++] = (struct client_field){"name", name, false};
	if (classifier)
		form[n] = (struct client_field){"classifier", classifier, true};
	e = client_upload(ctl->client, ADAPTERS, ctl->args.operands[0], form, &model, why);
	if (e)
		return e;
	if (ctl->json)
		command_print_json(model);
	else
		printf("%s\n", command_string(model, "id"));
	json_decref(model);
	return OK;
}

/* "0.0213 (max 0.4)" of a part's sizes; "-" when it has none. */
static void size_text(const json_t *sizes, char text[48])
{
	if (json_is_object(sizes))
		snprintf(text, 48, "%.4g (max %.4g)", command_real(sizes, "rms"), command_real(sizes, "max"));
	else
		strcpy(text, "-");
}

static void print_edits(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 5};
	const char *heading[] = {"LAYER", "POSITION", "SCALE - 1", "BIAS", "MODULE"};
	const json_t *edit;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, edit) {
		char layer[24], scale[48], bias[48];
		const char *cells[] = {
		        layer, command_string(edit, "position"), scale, bias, command_string(edit, "site")};

		snprintf(layer, sizeof(layer), "%lld", (long long)command_integer(edit, "layer"));
		size_text(json_object_get(edit, "scale"), scale);
		size_text(json_object_get(edit, "bias"), bias);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_edits(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), ADAPTERS "/", ctl->args.operands[0], "/edits", why);

	return e ? e : command_show(ctl, path, print_edits, why);
}

/* ---- aliases ---- */

static void print_aliases(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3};
	const char *heading[] = {"ALIAS", "SWITCHED", "MODEL"};
	const json_t *alias;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, alias) {
		char when[20];
		const char *cells[] = {command_string(alias, "id"), when, command_string(alias, "model")};

		command_time(command_integer(alias, "updated_at"), when);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_aliases(struct ctl *ctl, struct why *why)
{
	return command_show(ctl, ALIASES, print_aliases, why);
}

static void print_alias(struct ctl *ctl, const json_t *alias)
{
	fprintf(ctl->out.file, "%s\n", command_string(alias, "model"));
}

static enum err run_alias_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), ALIASES "/", ctl->args.operands[0], "", why);

	return e ? e : command_show(ctl, path, print_alias, why);
}

static enum err run_alias_set(struct ctl *ctl, struct why *why)
{
	json_t *body = json_pack("{s:s}", "model", ctl->args.operands[1]);
	char path[1024];
	enum err e = command_path(path, sizeof(path), ALIASES "/", ctl->args.operands[0], "", why);

	if (!e && !body)
		e = args_wrong(why, "the model's name is not UTF-8");
	if (!e)
		return command_send(ctl, "PUT", path, body, NULL, why);
	json_decref(body);
	return e;
}

static enum err run_alias_delete(struct ctl *ctl, struct why *why)
{
	return command_delete(ctl, ALIASES "/", ctl->args.operands[0], why);
}

const struct command adapter_commands[] = {
        {"adapter download", "MODEL", "Download an adapter, or the model with it folded in", NULL,
                download_options, 1, 1, false, run_download},
        {"adapter import", "FILE", "Make a model of an adapter's file and print its name",
                "FILE holds safetensors as redd writes them, or what the authors of RED saved with PyTorch\n"
                "(delta_vector.pth), which is read without executing anything in it. - is standard input.",
                import_options, 1, 1, false, run_import},
        {"adapter edits", "MODEL", "Show how far an adapter edits each module",
                "Root mean square and largest of what it adds to a scale of one, and of its biases.", NULL, 1,
                1, false, run_edits},
        {"aliases", "", "List aliases", NULL, NULL, 0, 0, false, run_aliases},
        {"alias set", "ALIAS MODEL", "Point a stable name at an adapter, new or not",
                "Switched at once; requests in flight end on the version they began with.", NULL, 2, 2, false,
                run_alias_set},
        {"alias show", "ALIAS", "Print the model an alias points at", NULL, NULL, 1, 1, false,
                run_alias_show},
        {"alias delete", "ALIAS", "Delete an alias; the adapter stays", NULL, NULL, 1, 1, false,
                run_alias_delete},
        {0},
};
