/*
 * `redd --backup FILE` and `redd --restore FILE`: the state directory as one file, beside a daemon that may
 * be running. Thread: main.
 */
#ifndef REDD_DAEMON_BACKUP_H
#define REDD_DAEMON_BACKUP_H

#include "daemon/config.h"

/* file "-" = standard output; else it is made (mode 0600), whole or not at all. Errors as
 * store_backup_dir(). */
enum err backup_to_file(const struct config *c, const char *file, struct why *why);
/* Into the configured state directory, which must not hold a state yet. file "-" = standard input. Errors as
 * store_restore(), ERR_NOT_FOUND: the file. */
enum err backup_from_file(const struct config *c, const char *file, struct why *why);

#endif
