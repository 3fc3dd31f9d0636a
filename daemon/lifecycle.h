/*
 * The life of the process between reading its settings and its exit: store, worker and HTTP edge opened in
 * order on one libuv loop, signals, the orderly stop.
 *
 *   OPEN --ready--> RUNNING --SIGTERM, SIGINT--> DRAINING --worker stopped--> CLOSING --edge closed--> CLOSED
 *                                                   a second signal in DRAINING or CLOSING: CUT SHORT
 *
 * DRAINING: new requests are refused, those in flight are answered, running jobs save a checkpoint and go
 * back to the queue. CLOSING: connections are closed. Being cut short loses nothing that was accepted.
 * SIGHUP in RUNNING reads the settings again and puts in force those that can change at run time.
 * Thread: main, which becomes the loop's.
 */
#ifndef REDD_DAEMON_LIFECYCLE_H
#define REDD_DAEMON_LIFECYCLE_H

#include "core/err.h"
#include "daemon/config.h"

#include <stdbool.h>

struct lifecycle;

/* Open the state and the base, listen. Serves once lifecycle_run() turns the loop. config is borrowed until
 * close, and changed by SIGHUP. On failure why says what to mend, and nothing is left open. */
enum err lifecycle_open(struct config *config, struct lifecycle **out, struct why *why);
/* Serve until told to stop. True: everything was stopped in order; lifecycle_close() follows. False: a second
 * signal cut it short; threads still run, so the caller leaves by _exit() and touches nothing more. */
bool lifecycle_run(struct lifecycle *l);
void lifecycle_close(struct lifecycle *l);

#endif
