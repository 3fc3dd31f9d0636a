/*
 * `redd --check`: read what a start would read, say what it found, one "key: value" a line, and end. Nothing
 * is created, locked or listened on, so it may run beside a daemon. `redctl doctor` reads these lines.
 * Thread: main.
 */
#ifndef REDD_DAEMON_CHECK_H
#define REDD_DAEMON_CHECK_H

#include "daemon/config.h"

/* Lines leave as they become known: what is missing behind a failure was not reached. ERR_NOT_FOUND,
 * ERR_FORMAT, ERR_UNSUPPORTED, ERR_IO, ERR_MEM: the base cannot be used, and why says why. */
enum err check_print(const struct config *c, FILE *to, struct why *why);

#endif
