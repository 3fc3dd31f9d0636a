/*
 * What the daemon is told: built-in values, overridden by a configuration file, overridden by the command
 * line. The three share one table of settings (config_settings.h), so none knows a key the others lack.
 * It only reads: nothing is created, opened or started here.
 * Thread: main, before others start; afterwards the loop's, which alone may merge into it.
 */
#ifndef REDD_DAEMON_CONFIG_H
#define REDD_DAEMON_CONFIG_H

#include "core/err.h"
#include "core/log.h"
#include "storage/store.h"
#include "worker/math/matrix.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_DEFAULT_FILE "/etc/redd/redd.conf"

struct config {
	/* Owned strings; NULL = not said, and paths.h or the room concerned knows what then. */
	char *config_file; /* the file that was read, NULL = none */
	char *model_dir;
	char *model_name;
	char *state_dir;
	char *host; /* never NULL; an IPv6 address without its brackets */
	char *port_file;
	char *admin_key_file;

	int64_t weights; /* enum matrix_format */
	bool train_bf16;
	int64_t port; /* 0 = any free one */
	bool no_auth;
	bool webhook_private;
	int64_t train_threads; /* 0 = the worker's own choice, as for the next seven */
	int64_t train_bytes;
	int64_t max_running_jobs;
	int64_t checkpoint_every; /* steps */
	int64_t serve_threads;
	int64_t max_batch;
	int64_t max_queue;
	int64_t kv_bytes;
	int64_t max_body_bytes;
	int64_t max_file_bytes;
	int64_t max_connections;
	int64_t drain_seconds;
	struct tenant_limits limits; /* < 0 = none; never 0 */
	int64_t log_level;           /* enum log_level */
	int64_t log_format;          /* enum log_format */

	const char *action_file; /* of --backup and --restore; borrowed from the command line */

	/* What config_load() was given, to load once more; borrowed. */
	int argc;
	char **argv;
	const char *default_file;
};

/* What the command line asks for besides running. */
enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_BACKUP, CONFIG_RESTORE, CONFIG_HELP, CONFIG_VERSION };

/* Read default_file (absent is fine; NULL = none), or instead of it the one --config names, then the command
 * line. On success *out is to be released with config_fini(), also when *action is not CONFIG_RUN.
 * ERR_INVALID: the command line is wrong.  ERR_FORMAT: the file is, and why names file and line.
 * ERR_NOT_FOUND, ERR_IO: the file cannot be read.  ERR_MEM. */
enum err config_load(int argc, char **argv, const char *default_file, struct config *out,
        enum config_action *action, struct why *why);
void config_fini(struct config *c);

/* What a reload changed, as names with blanks between. */
struct config_changes {
	char applied[512]; /* in force now */
	char pending[512]; /* different, but only a restart can change it */
};
/* Take over from fresh those settings that can change at run time (config_setting_is_live()), and say what
 * else differs. */
void config_merge(struct config *c, const struct config *fresh, struct config_changes *out);

/* The text of --help. */
void config_help(FILE *to);

#endif
