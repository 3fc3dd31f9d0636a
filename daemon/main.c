/*
 * redd: reads its settings, prepares the process, hands over to lifecycle.c, and says how it ended. Nothing
 * else in the program exits.
 */
#include "core/log.h"
#include "daemon/backup.h"
#include "daemon/check.h"
#include "daemon/config.h"
#include "daemon/lifecycle.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_OPEN_FILES 65536

/* EXIT_USAGE: the settings are wrong, so that starting again is no use. */
enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

/* Everything a later thread inherits. */
static void prepare_process(void)
{
	struct rlimit files;

	(void)umask(077);
	(void)signal(SIGPIPE, SIG_IGN);
	/* Requests wait for the disk on libuv's pool, which has four threads unless told otherwise. */
	(void)setenv("UV_THREADPOOL_SIZE", "64", 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		if (files.rlim_cur < MAX_OPEN_FILES)
			files.rlim_cur = files.rlim_max < MAX_OPEN_FILES ? files.rlim_max : MAX_OPEN_FILES;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int fail(int status, enum err e, const struct why *why)
{
	fprintf(stderr, "%sredd: %s\n", log_to_journal() ? "<3>" : "",
	        why->message[0] ? why->message : err_text(e));
	if (status == EXIT_USAGE && e == ERR_INVALID)
		fputs("redd: see redd --help\n", stderr); /* of the command line; a file is named itself */
	return status;
}

static int run(struct config *config)
{
	struct lifecycle *l = NULL;
	struct why why = {0};
	enum err e;

	log_set_level((enum log_level)config->log_level);
	log_set_format((enum log_format)config->log_format);
	log_info("start", "version=%s pid=%d config=\"%s\"", REDD_VERSION, (int)getpid(),
	        config->config_file ? config->config_file : "");
	e = lifecycle_open(config, &l, &why);
	if (e)
		return fail(EXIT_FAILED, e, &why);
	if (!lifecycle_run(l))
		_exit(EXIT_FAILED);
	lifecycle_close(l);
	return EXIT_OK;
}

static int check(const struct config *config)
{
	struct why why = {0};
	enum err e;

	log_set_level(LOG_LEVEL_WARN);
	e = check_print(config, stdout, &why);
	(void)fflush(stdout);
	return e ? fail(EXIT_FAILED, e, &why) : EXIT_OK;
}

int main(int argc, char **argv)
{
	enum config_action action = CONFIG_RUN;
	struct config config = {0};
	struct why why = {0};
	int status = EXIT_OK;
	enum err e;

	prepare_process();
	e = config_load(argc, argv, CONFIG_DEFAULT_FILE, &config, &action, &why);
	if (e)
		return fail(e == ERR_INVALID || e == ERR_FORMAT ? EXIT_USAGE : EXIT_FAILED, e, &why);
	switch (action) {
	case CONFIG_HELP:
		config_help(stdout);
		break;
	case CONFIG_VERSION:
		puts("redd " REDD_VERSION);
		break;
	case CONFIG_CHECK:
		status = check(&config);
		break;
	case CONFIG_BACKUP:
		e = backup_to_file(&config, config.action_file, &why);
		break;
	case CONFIG_RESTORE:
		e = backup_from_file(&config, config.action_file, &why);
		break;
	case CONFIG_RUN:
		status = run(&config);
		break;
	}
	if (e)
		status = fail(EXIT_FAILED, e, &why);
	config_fini(&config);
	return status;
}
