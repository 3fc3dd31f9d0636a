/*
 * See config.h. The command line is walked twice: once to see whether it names a configuration file, and once
 * more after that file, so that it wins.
 */
#include "daemon/config.h"

#include "core/mem.h"
#include "daemon/config_settings.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <string.h>

#define MAX_SETTINGS 64

enum {
	OPTION_CONFIG = 256,
	OPTION_CHECK,
	OPTION_BACKUP,
	OPTION_RESTORE,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_SETTING /* + index */
};

/* ---- the file ---- */

struct file_reader {
	struct config *config; /* borrowed */
	struct why *why;
	enum err result;
	bool seen[MAX_SETTINGS];
};

static enum err file_apply(struct file_reader *r, const char *section, const char *name, const char *value)
{
	const struct setting *all, *s = config_setting_find(name);
	size_t n, i;

	if (*section)
		return why_set(r->why, ERR_FORMAT, "there are no sections, but \"%s\" stands in [%s]", name,
		        section);
	if (!s)
		return why_set(r->why, ERR_FORMAT, "unknown key \"%s\"; redd --help lists them", name);
	all = config_settings(&n);
	i = (size_t)(s - all);
	if (r->seen[i])
		return why_set(r->why, ERR_FORMAT,
		        "\"%s\" is given twice (an indented line continues the one above)", name);
	r->seen[i] = true;
	if (config_setting_apply(s, value, r->config, r->why) == ERR_MEM)
		return ERR_MEM;
	if (r->why->message[0]) {
		why_prefix(r->why, "%s: ", name);
		return ERR_FORMAT;
	}
	return OK;
}

/* inih's handler: 0 is a failure. It would go on to later lines, but the first fault is the one we report. */
static int file_on_value(void *arg, const char *section, const char *name, const char *value)
{
	struct file_reader *r = arg;

	if (r->result == OK)
		r->result = file_apply(r, section, name, value);
	return r->result == OK;
}

/* inih's reader, as fgets(); stops at a line that inih cannot hold and would misread as two. */
static char *file_read_line(char *line, int size, void *stream)
{
	char *got = fgets(line, size, stream);
	size_t n = got ? strlen(got) : 0;

	return n + 1 == (size_t)size && got[n - 1] != '\n' ? NULL : got;
}

static enum err config_read_file(struct config *c, const char *path, struct why *why)
{
	struct file_reader r = {.config = c, .why = why};
	FILE *f = fopen(path, "re");
	bool whole;
	int line;

	if (!f)
		return why_set(
		        why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
	line = ini_parse_stream(file_read_line, f, file_on_value, &r);
	whole = feof(f) && !ferror(f);
	fclose(f);
	if (r.result == ERR_MEM || line == -2)
		return ERR_MEM;
	if (r.result) {
		why_prefix(why, "%s:%d: ", path, line);
		return r.result;
	}
	if (line > 0)
		return why_set(why, ERR_FORMAT, "%s:%d: not \"key = value\"", path, line);
	if (!whole)
		return why_set(
		        why, ERR_FORMAT, "%s: it cannot be read, or a line is longer than 190 bytes", path);
	c->config_file = mem_strdup(path);
	return c->config_file ? OK : ERR_MEM;
}

/* ---- the command line ---- */

/* All long options, ended by a zeroed one. */
static void build_options(struct option options[MAX_SETTINGS + 8])
{
	const struct setting *all;
	size_t n, at = 0;

	all = config_settings(&n);
	options[at++] = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
	options[at++] = (struct option){"check", no_argument, NULL, OPTION_CHECK};
	options[at++] = (struct option){"backup", required_argument, NULL, OPTION_BACKUP};
	options[at++] = (struct option){"restore", required_argument, NULL, OPTION_RESTORE};
	options[at++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	options[at++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
	for (size_t i = 0; i < n; i++)
		options[at++] = (struct option){all[i].name,
		        all[i].kind == SETTING_BOOL ? no_argument : required_argument, NULL,
		        OPTION_SETTING + (int)i};
	options[at] = (struct option){NULL, 0, NULL, 0};
}

/* What one walk is told. */
struct walk {
	const char *config_file, *action_file;
	enum config_action action;
};

/* An option that is no setting. --help and --version win over others, whatever their order. */
static void walk_take(struct walk *w, int option)
{
	enum config_action asked = w->action;

	switch (option) {
	case OPTION_CONFIG:
		w->config_file = optarg;
		return;
	case OPTION_CHECK:
		asked = CONFIG_CHECK;
		break;
	case OPTION_BACKUP:
	case OPTION_RESTORE:
		asked = option == OPTION_BACKUP ? CONFIG_BACKUP : CONFIG_RESTORE;
		w->action_file = optarg;
		break;
	case OPTION_HELP:
	case 'h':
		asked = CONFIG_HELP;
		break;
	case OPTION_VERSION:
		asked = CONFIG_VERSION;
		break;
	}
	if (asked > w->action)
		w->action = asked;
}

/* One walk. Settings go to c unless it is NULL. */
static enum err walk_arguments(int argc, char **argv, struct config *c, struct walk *w, struct why *why)
{
	struct option options[MAX_SETTINGS + 8];
	const struct setting *all, *s;
	enum err e;
	size_t n;
	int o;

	build_options(options);
	all = config_settings(&n);
	optind = 0;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (o == ':')
			return why_set(why, ERR_INVALID, "%s needs a value", argv[optind - 1]);
		if (o == '?')
			return why_set(
			        why, ERR_INVALID, "%s: no such option, or not clear which", argv[optind - 1]);
		if (o < OPTION_SETTING) {
			walk_take(w, o);
		} else if (c) {
			s = &all[o - OPTION_SETTING];
			e = config_setting_apply(s, optarg ? optarg : "yes", c, why);
			if (e == ERR_INVALID)
				why_prefix(why, "--%s: ", s->name);
			if (e)
				return e;
		}
	}
	if (optind < argc)
		return why_set(why, ERR_INVALID, "\"%s\" is one argument too many", argv[optind]);
	return OK;
}

enum err config_load(int argc, char **argv, const char *default_file, struct config *out,
        enum config_action *action, struct why *why)
{
	struct config c = {0};
	struct walk w = {.action = CONFIG_RUN};
	struct why ignored;
	enum err e;

	if (!why)
		why = &ignored;
	memset(why, 0, sizeof(*why));
	e = config_defaults(&c);
	if (e)
		goto fail;
	e = walk_arguments(argc, argv, NULL, &w, why);
	if (e)
		goto fail;
	if (w.action < CONFIG_HELP && (w.config_file || default_file)) {
		e = config_read_file(&c, w.config_file ? w.config_file : default_file, why);
		if (e == ERR_NOT_FOUND && !w.config_file)
			e = OK;
		if (e)
			goto fail;
		memset(why, 0, sizeof(*why));
	}
	e = walk_arguments(argc, argv, &c, &w, why);
	if (e)
		goto fail;
	c.action_file = w.action_file;
	c.argc = argc;
	c.argv = argv;
	c.default_file = default_file;
	*out = c;
	*action = w.action;
	return OK;
fail:
	config_fini(&c);
	return e;
}

void config_fini(struct config *c)
{
	if (!c)
		return;
	mem_free(c->config_file);
	mem_free(c->model_dir);
	mem_free(c->model_name);
	mem_free(c->state_dir);
	mem_free(c->host);
	mem_free(c->port_file);
	mem_free(c->admin_key_file);
	memset(c, 0, sizeof(*c));
}

/* ---- help ---- */

/* Every line of text, indented. */
static void print_indented(FILE *to, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		fprintf(to, "        %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

void config_help(FILE *to)
{
	const struct setting *all;
	const char *group = NULL;
	size_t n;

	fputs("Usage: redd [OPTION]...\n\n"
	      "redd fine-tunes one frozen base model for many tenants at once, and answers for\n"
	      "the base and everything they trained, over the HTTP API of OpenAI.\n\n"
	      "An option given here overrides the configuration file, whose keys are the\n"
	      "options' names without dashes, one \"key = value\" per line.\n",
	        to);
	all = config_settings(&n);
	for (size_t i = 0; i < n; i++) {
		if (!all[i].help)
			continue;
		if (group != all[i].group)
			fprintf(to, "\n%s:\n", all[i].group);
		group = all[i].group;
		fprintf(to, "  --%s%s%s\n", all[i].name, all[i].argument ? " " : "",
		        all[i].argument ? all[i].argument : "");
		print_indented(to, all[i].help);
	}
	fputs("  --config FILE\n"
	      "        Read FILE instead of " CONFIG_DEFAULT_FILE ".\n"
	      "  --check\n"
	      "        Read the configuration and the base as a start would, print what was found,\n"
	      "        one \"key: value\" per line, and end. Touches no state.\n"
	      "  --backup FILE\n"
	      "        Copy the whole state, as it is at one moment, into FILE (- for standard\n"
	      "        output), beside a running daemon or without one, and end.\n"
	      "  --restore FILE\n"
	      "        Make the state directory of such a FILE (- for standard input), and end.\n"
	      "        Nothing is overwritten, and what is damaged is refused.\n"
	      "  -h, --help\n"
	      "        Show this text.\n"
	      "  --version\n"
	      "        Show the version.\n\n"
	      "Signals:\n"
	      "  SIGTERM, SIGINT\n"
	      "        Refuse what is new, finish requests in flight, checkpoint and requeue\n"
	      "        running jobs, end. A second one ends at once; nothing accepted is lost.\n"
	      "  SIGHUP\n"
	      "        Read the settings again. In force at once: log-level, log-format,\n"
	      "        drain-seconds, max-body, max-file, and the limits of tenants but for\n"
	      "        limit-running-jobs; the log names what else differs and needs a restart.\n\n"
	      "Environment:\n"
	      "  UV_THREADPOOL_SIZE\n"
	      "        Threads for requests that wait for the disk. Default: 64.\n\n"
	      "Exit status: 0 after an orderly stop, 1 when it cannot start or was cut short, 2\n"
	      "for a wrong command line.\n",
	        to);
}
