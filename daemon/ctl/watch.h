/*
 * Follow jobs to their end: bars on a terminal, a line now and then elsewhere. Polls the daemon four times a
 * second, and waits through a restart of it. Ctrl-C stops the watching, not the job. Thread: main.
 */
#ifndef REDD_CTL_WATCH_H
#define REDD_CTL_WATCH_H

#include "daemon/ctl/command.h"

#define WATCH_MAX_JOBS 32

/* One job to follow. */
struct watch_job {
	const char *id;    /* borrowed */
	const char *key;   /* borrowed; NULL = the client's */
	const char *label; /* borrowed; "" = none */
};

/* Watch until all jobs are over. replies (n, new references) are their last objects.
 * OK: all succeeded. ERR_STATE: one failed or was cancelled, and why says which. ERR_CANCELLED: Ctrl-C.
 * Others as client.h; replies that are not NULL are the caller's in any case. */
enum err watch_jobs(
        struct ctl *ctl, const struct watch_job *jobs, size_t n, json_t **replies, struct why *why);

#endif
