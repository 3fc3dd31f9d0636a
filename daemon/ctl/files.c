/* Files: list, upload, delete. */
#include "daemon/ctl/bar.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

static const struct args_option upload_options[] = {
        {"purpose", 0, "WORD", "What it is for (default fine-tune)."},
        {NULL, 0, NULL, NULL},
};

static void print_files(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 5};
	const char *heading[] = {"FILE", "BYTES", "PURPOSE", "CREATED", "NAME"};
	const json_t *file;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, file) {
		char created[20], bytes[24];
		const char *cells[] = {command_string(file, "id"), bytes, command_string(file, "purpose"),
		        created, command_string(file, "filename")};

		command_time(command_integer(file, "created_at"), created);
		bar_rate((double)command_integer(file, "bytes"), bytes);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

static enum err run_files(struct ctl *ctl, struct why *why)
{
	return command_show(ctl, "/v1/files?limit=1000", print_files, why);
}

static enum err run_upload(struct ctl *ctl, struct why *why)
{
	const char *purpose = args_text(&ctl->args, "purpose");
	json_t *file = NULL;
	enum err e = client_upload(
	        ctl->client, ctl->args.operands[0], purpose ? purpose : "fine-tune", &file, why);

	if (e)
		return e;
	if (ctl->json)
		command_print_json(file);
	else
		printf("%s\n", command_string(file, "id"));
	json_decref(file);
	return OK;
}

static enum err run_delete(struct ctl *ctl, struct why *why)
{
	json_t *reply = NULL;
	char path[1024];
	enum err e = command_path(path, sizeof(path), "/v1/files/", ctl->args.operands[0], "", why);

	if (!e)
		e = client_request(ctl->client, "DELETE", path, NULL, &reply, why);
	if (!e && ctl->json)
		command_print_json(reply);
	json_decref(reply);
	return e;
}

const struct command file_commands[] = {
        {"files", "", "List uploaded files", NULL, NULL, 0, 0, false, run_files},
        {"upload", "FILE", "Upload a file and print its id", "- is standard input.", upload_options, 1, 1,
                false, run_upload},
        {"delete-file", "FILE-ID", "Delete an uploaded file", NULL, NULL, 1, 1, false, run_delete},
        {0},
};
