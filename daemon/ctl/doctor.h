/*
 * What `redctl doctor` keeps: a list of checks with what to do about those that failed. Pure but for
 * doctor_local.c and doctor.c, which look at the machine and the daemon. Thread: main.
 */
#ifndef REDD_CTL_DOCTOR_H
#define REDD_CTL_DOCTOR_H

#include "daemon/ctl/command.h"

#define DOCTOR_MAX_CHECKS 24

enum doctor_status { DOCTOR_OK, DOCTOR_SKIPPED, DOCTOR_WARNING, DOCTOR_FAILED };

struct doctor_check {
	const char *name; /* constant */
	enum doctor_status status;
	char found[512]; /* what was found */
	char mend[384];  /* what to do about it; "" = nothing */
};

/* Zero-initialise; doctor_fini(). */
struct doctor {
	size_t n;
	struct doctor_check checks[DOCTOR_MAX_CHECKS];
	char *facts; /* owned: the lines of `redd --check`; NULL = it could not be run */
};

/* Add a check. mend is kept only when it is not OK. The list is long enough for all there are. */
__attribute__((format(printf, 5, 6))) void doctor_note(struct doctor *d, const char *name,
        enum doctor_status status, const char *mend, const char *fmt, ...);
/* The value of the first line "key: value" of the facts into value; false when there is none. */
bool doctor_fact(const struct doctor *d, const char *key, char *value, size_t size);
/* The worst status there is. */
enum doctor_status doctor_verdict(const struct doctor *d);
/* {"ok", "checks": [{"name", "status", "found", "mend"}]}, a new reference; NULL when memory is short. */
json_t *doctor_json(const struct doctor *d);
void doctor_fini(struct doctor *d);

/* Run a program without a shell; what it wrote to both outputs goes to *text (mem_free()), its exit code to
 * *status. ERR_NOT_FOUND: it cannot be run; ERR_MEM. */
enum err doctor_run(const char *const *argv, char **text, int *status);

/* The program, its configuration, its base and kernels; config NULL = the default file. */
void doctor_check_program(struct doctor *d, const char *redd, const char *config);
/* State directory, free space, admin key, unit: from the facts. */
void doctor_check_state(struct doctor *d);
void doctor_check_admin_key(struct doctor *d);
void doctor_check_unit(struct doctor *d);
/* Whether the address of the facts is free, for when no daemon answers. */
void doctor_check_port(struct doctor *d);

#endif
