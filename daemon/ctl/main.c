/*
 * redctl: finds the command, runs it, and turns how it ended into an exit code.
 * Nothing else in the program exits.
 */
#include "daemon/ctl/complete.h"
#include "daemon/ctl/connect.h"
#include "daemon/ctl/help.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

static enum ctl_exit exit_of(enum err e)
{
	return e == OK ? CTL_OK : e == ERR_IO ? CTL_UNREACHABLE : CTL_FAILED;
}

static enum ctl_exit usage(const struct why *why, const struct command *c)
{
	fprintf(stderr, "redctl: %s\nredctl: see redctl%s%s --help\n", why->message, c ? " " : "",
	        c ? c->name : "");
	return CTL_USAGE;
}

/* A word that is no command; maybe the first of two. */
static enum ctl_exit unknown(const char *word)
{
	struct why why = {0};

	if (!help_group(NULL, word)) {
		why_set(&why, ERR_INVALID, "there is no command \"%s\"", word);
		return usage(&why, NULL);
	}
	fprintf(stderr, "redctl: %s goes with one of: ", word);
	(void)help_group(stderr, word);
	fputs("\nredctl: see redctl --help\n", stderr);
	return CTL_USAGE;
}

/* ---- running ---- */

static enum ctl_exit run(struct ctl *ctl, const struct command *c)
{
	bool admin = c->admin || args_flag(&ctl->args, "admin");
	struct why why = {0};
	enum err e = connect_client(&ctl->args, admin, &ctl->client, &why);

	if (!e)
		e = c->run(ctl, &why);
	client_free(ctl->client);
	fflush(stdout);
	if (args_is_wrong(e, &why))
		return usage(&why, c);
	if (e)
		fprintf(stderr, "redctl: %s\n", why.message[0] ? why.message : err_text(e));
	return exit_of(e);
}

int main(int argc, char **argv)
{
	struct ctl ctl = {0};
	const struct command *c = NULL;
	struct why why = {0};
	size_t n_words = 0;
	int skip;

	setlocale(LC_CTYPE, "");
	if (argc > 1 && strcmp(argv[1], COMPLETE_WORD) == 0) {
		complete_print(stdout, argv + 2, (size_t)argc - 2);
		return CTL_OK;
	}
	if (args_parse(&ctl.args, argc, argv, NULL, global_options, true, &why))
		return usage(&why, NULL);
	if (args_flag(&ctl.args, "version")) {
		puts("redctl " REDD_VERSION);
		return CTL_OK;
	}
	if (ctl.args.n_operands)
		c = help_find(ctl.args.operands, ctl.args.n_operands, &n_words);
	if (!c && (args_flag(&ctl.args, "help") || !ctl.args.n_operands)) {
		help_all(ctl.args.n_operands || args_flag(&ctl.args, "help") ? stdout : stderr);
		return args_flag(&ctl.args, "help") ? CTL_OK : CTL_USAGE;
	}
	if (!c)
		return unknown(ctl.args.operands[0]);
	/* The last word of the command's name stands where a program's name would. */
	skip = argc - (int)ctl.args.n_operands + (int)n_words - 1;
	if (args_parse(&ctl.args, argc - skip, argv + skip, c->options, global_options, false, &why))
		return usage(&why, c);
	if (args_flag(&ctl.args, "help")) {
		help_command(stdout, c);
		return CTL_OK;
	}
	if (ctl.args.n_operands < c->min_operands || ctl.args.n_operands > c->max_operands) {
		why_set(&why, ERR_INVALID, "%s takes %s", c->name,
		        *c->operands ? c->operands : "no arguments");
		return usage(&why, c);
	}
	ctl.json = args_flag(&ctl.args, "json");
	ctl.quiet = args_flag(&ctl.args, "quiet");
	term_init(&ctl.out, stdout);
	term_init(&ctl.err, stderr);
	return run(&ctl, c);
}
