/* See help.h. */
#include "daemon/ctl/help.h"

#include <string.h>

const struct args_option global_options[] = {
        {"url", 'u', "URL", "Where redd answers (default $REDD_URL, else http://127.0.0.1:8080)."},
        {"key", 'k', "KEY", "The tenant's key (default $REDD_API_KEY)."},
        {"key-file", 0, "FILE", "A file that holds it."},
        {"admin-key-file", 0, "FILE",
                "A file that holds the admin key, for tenant commands (default\n"
                "$REDD_ADMIN_KEY_FILE, else admin.key in redd's state directory, if readable)."},
        {"json", 'j', NULL, "Print the API's own objects, as one JSON document."},
        {"quiet", 'q', NULL, "Print results and errors only."},
        {"help", 'h', NULL, "Explain the command."},
        {"version", 'V', NULL, "Show the version."},
        {NULL, 0, NULL, NULL},
};

static const struct {
	const char *title; /* NULL = goes on under the one before */
	const struct command *commands;
} tables[] = {
        {"Training", submit_commands},
        {NULL, preflight_commands},
        {NULL, job_commands},
        {"Files", file_commands},
        {"Models, adapters and aliases", model_commands},
        {NULL, adapter_commands},
        {"Asking", ask_commands},
        {NULL, text_commands},
        {"Webhooks", webhook_commands},
        {"Tenants, with the admin key", tenant_commands},
        {"Operation", operation_commands},
        {NULL, doctor_commands},
};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

const struct command *help_each(const struct command *after)
{
	bool next = !after;

	for (size_t i = 0; i < N_TABLES; i++)
		for (const struct command *c = tables[i].commands; c->name; c++) {
			if (next)
				return c;
			next = c == after;
		}
	return NULL;
}

const struct command *help_find(char *const *words, size_t n, size_t *n_words)
{
	for (const struct command *c = NULL; n && (c = help_each(c));) {
		size_t first = strcspn(c->name, " ");

		if (strlen(words[0]) != first || memcmp(words[0], c->name, first) != 0)
			continue;
		if (c->name[first] && (n < 2 || strcmp(words[1], c->name + first + 1) != 0))
			continue;
		*n_words = c->name[first] ? 2 : 1;
		return c;
	}
	return NULL;
}

bool help_group(FILE *to, const char *word)
{
	size_t n = strlen(word);
	bool found = false;

	for (const struct command *c = NULL; (c = help_each(c));) {
		if (strncmp(c->name, word, n) != 0 || c->name[n] != ' ')
			continue;
		if (to)
			fprintf(to, "%s%s", found ? ", " : "", c->name + n + 1);
		found = true;
	}
	return found;
}

static void print_lines(FILE *to, const char *text, const char *indent)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		fprintf(to, "%s%.*s\n", indent, (int)n, text);
		text += n + (text[n] == '\n');
	}
}

static void print_options(FILE *to, const struct args_option *o)
{
	for (; o->name; o++) {
		if (o->letter)
			fprintf(to, "  -%c, --%s", o->letter, o->name);
		else
			fprintf(to, "  --%s", o->name);
		fprintf(to, "%s%s\n", o->argument ? " " : "", o->argument ? o->argument : "");
		if (o->help)
			print_lines(to, o->help, "        ");
	}
}

void help_all(FILE *to)
{
	fputs("Usage: redctl [OPTION]... COMMAND [ARGUMENT]...\n\n"
	      "redctl submits fine-tuning jobs to redd, follows them, and asks the base and the\n"
	      "adapters they made.\n",
	        to);
	for (size_t i = 0; i < N_TABLES; i++) {
		if (tables[i].title)
			fprintf(to, "\n%s:\n", tables[i].title);
		for (const struct command *c = tables[i].commands; c->name; c++)
			fprintf(to, "  %-16s %s\n", c->name, c->summary);
	}
	fputs("\nOptions, before or behind the command:\n", to);
	print_options(to, global_options);
	fputs("\nredctl COMMAND --help explains a command and lists its options. Colours and bars\n"
	      "appear on a terminal only; NO_COLOR switches colours off.\n\n"
	      "Exit status: 0 when it worked, 1 when the request or the job failed, 2 for a\n"
	      "wrong command line, 3 when no daemon answers.\n\n"
	      "Example:\n"
	      "  export REDD_API_KEY=$(redctl tenant add alice)\n"
	      "  model=$(redctl submit data.jsonl --epochs 3 --watch)\n"
	      "  redctl complete --model \"$model\" 'Once upon a time'\n",
	        to);
}

void help_command(FILE *to, const struct command *c)
{
	fprintf(to, "Usage: redctl %s [OPTION]...%s%s\n\n%s.\n", c->name, *c->operands ? " " : "",
	        c->operands, c->summary);
	if (c->details) {
		fputc('\n', to);
		print_lines(to, c->details, "");
	}
	if (c->options) {
		fputs("\nOptions:\n", to);
		print_options(to, c->options);
	}
	fputs("\nOptions of all commands:\n", to);
	print_options(to, global_options);
}
