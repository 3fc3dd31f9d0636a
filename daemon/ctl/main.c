/*
 * redctl: finds the command, the address and the key, runs it, and turns how it ended into an exit code.
 * Nothing else in the program exits.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "daemon/ctl/help.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8080"
#define MAX_KEY_BYTES 512

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

/* ---- keys ---- */

/* The one word in a file; mem_free(*key). ERR_NOT_FOUND, ERR_FORMAT. */
static enum err read_key(const char *path, char **key, struct why *why)
{
	struct buf b = {0};
	enum err e = buf_read_file(&b, path, MAX_KEY_BYTES);
	const char *start;

	if (e) {
		buf_fini(&b);
		return why_set(why, ERR_NOT_FOUND, "%s: %s", path, err_text(e));
	}
	start = b.len ? b.data + strspn(b.data, " \t\r\n") : "";
	*key = mem_printf("%.*s", (int)strcspn(start, " \t\r\n"), start);
	buf_fini(&b);
	return *key ? OK : ERR_MEM;
}

/* The admin key from where the daemon may have put it. */
static enum err find_admin_key(char **key, struct why *why)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *paths[] = {state ? mem_printf("%s/redd/admin.key", state) : NULL,
	        home ? mem_printf("%s/.local/state/redd/admin.key", home) : NULL,
	        mem_strdup("/var/lib/redd/admin.key")};
	enum err e = ERR_NOT_FOUND;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (e && paths[i])
			e = read_key(paths[i], key, NULL);
		mem_free(paths[i]);
	}
	return e ? why_set(why, e, "no admin key is readable here: use --admin-key-file FILE") : OK;
}

static enum err choose_key(const struct args *a, bool admin, char **key, struct why *why)
{
	const char *file = args_text(a, admin ? "admin-key-file" : "key-file");
	const char *text = args_text(a, "key");

	if (!file && admin)
		file = getenv("REDD_ADMIN_KEY_FILE");
	if (!file && !text && !admin)
		text = getenv("REDD_API_KEY");
	if (file)
		return read_key(file, key, why);
	if (admin && !text)
		return find_admin_key(key, why);
	*key = mem_strdup(text);
	return text && !*key ? ERR_MEM : OK;
}

/* ---- running ---- */

static enum ctl_exit run(struct ctl *ctl, const struct command *c)
{
	const char *url = args_text(&ctl->args, "url");
	struct why why = {0};
	char *key = NULL;
	enum err e;

	if (!url)
		url = getenv("REDD_URL");
	e = choose_key(&ctl->args, c->admin || args_flag(&ctl->args, "admin"), &key, &why);
	if (!e)
		e = client_new(url && *url ? url : DEFAULT_URL, key, &ctl->client, &why);
	mem_free(key);
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
