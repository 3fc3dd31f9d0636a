/* Files: list, upload, show, download, delete. */
#include "daemon/ctl/bar.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

#include <string.h>

static const struct args_option files_options[] = {
        {"purpose", 0, "WORD", "Only those uploaded for this."},
        {"limit", 'n', "N", "At most so many, newest first (default 20)."},
        {"after", 0, "ID", "Go on behind this one."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option upload_options[] = {
        {"purpose", 0, "WORD", "What it is for (default fine-tune)."},
        {"expires-after", 0, "SECONDS", "Delete it by itself then."},
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
	command_print_more(ctl, reply);
}

static enum err run_files(struct ctl *ctl, struct why *why)
{
	const char *purpose = args_text(&ctl->args, "purpose");
	char list[1024], path[1024];
	enum err e = command_list_path(ctl, "/v1/files", list, sizeof(list) - 16, why);

	if (e || !purpose)
		return e ? e : command_show(ctl, list, print_files, why);
	strcat(list, "&purpose=");
	e = command_path(path, sizeof(path), list, purpose, "", why);
	return e ? e : command_show(ctl, path, print_files, why);
}

static enum err run_upload(struct ctl *ctl, struct why *why)
{
	const char *purpose = args_text(&ctl->args, "purpose");
	const char *expires = args_text(&ctl->args, "expires-after");
	const struct client_field form[] = {
	        {"purpose", purpose ? purpose : "fine-tune", false},
	        {expires ? "expires_after[anchor]" : NULL, "created_at", false},
	        {"expires_after[seconds]", expires, false},
	        {NULL, NULL, false},
	};
	json_t *file = NULL;
	int64_t seconds = 0;
	enum err e = args_integer(&ctl->args, "expires-after", 1, INT64_MAX, &seconds, why);

	if (!e)
		e = client_upload(ctl->client, "/v1/files", ctl->args.operands[0], form, &file, why);
	if (e)
		return e;
	if (ctl->json)
		command_print_json(file);
	else
		printf("%s\n", command_string(file, "id"));
	json_decref(file);
	return OK;
}

static void print_file(struct ctl *ctl, const json_t *file)
{
	char text[32];

	command_print_field(ctl, "file", command_string(file, "id"));
	command_print_field(ctl, "name", command_string(file, "filename"));
	command_print_field(ctl, "purpose", command_string(file, "purpose"));
	command_print_field(ctl, "status", command_string(file, "status"));
	snprintf(text, sizeof(text), "%lld", (long long)command_integer(file, "bytes"));
	command_print_field(ctl, "bytes", text);
	command_time(command_integer(file, "created_at"), text);
	command_print_field(ctl, "created", text);
	command_time(command_integer(file, "expires_at"), text);
	command_print_field(ctl, "expires", strcmp(text, "-") == 0 ? "" : text);
}

static enum err run_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), "/v1/files/", ctl->args.operands[0], "", why);

	return e ? e : command_show(ctl, path, print_file, why);
}

static enum err run_content(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), "/v1/files/", ctl->args.operands[0], "/content", why);

	return e ? e : command_save(ctl, path, false, why);
}

static enum err run_delete(struct ctl *ctl, struct why *why)
{
	return command_delete(ctl, "/v1/files/", ctl->args.operands[0], why);
}

const struct command file_commands[] = {
        {"files", "", "List uploaded files, newest first", NULL, files_options, 0, 0, false, run_files},
        {"upload", "FILE", "Upload a file and print its id", "- is standard input.", upload_options, 1, 1,
                false, run_upload},
        {"file show", "FILE-ID", "Show one file", NULL, NULL, 1, 1, false, run_show},
        {"file content", "FILE-ID", "Download a file", NULL, output_options, 1, 1, false, run_content},
        {"file delete", "FILE-ID", "Delete a file", NULL, NULL, 1, 1, false, run_delete},
        {0},
};
