/* Jobs, for other subjects of this room. */
#ifndef REDD_STORAGE_JOB_H
#define REDD_STORAGE_JOB_H

#include "storage/db.h"
#include "storage/store.h"

/* tenant_id NULL = any. ERR_NOT_FOUND. */
enum err job_load(struct db *db, const char *tenant_id, const char *id, struct job *out);
enum err job_exists(struct db *db, const char *tenant_id, const char *id);

/* Where jobs stand in the queue, asked for within one reading: one job, or those of one tenant from the
 * newest to the oldest, leaving out none that is queued. Begin with zeros. */
struct job_walk {
	bool begun;
	int64_t older;            /* queued jobs of the tenant that are older than the last one */
	struct job_place running; /* what all wait for */
};
/* ERR_EMPTY: it is not queued. */
enum err job_walk_place(struct db *db, struct job_walk *w, const char *id, struct job_place *out);

/* The message of the event that a step of a job from one state to another leaves; NULL: there is no such
 * step. This table is the state machine. */
const char *job_step_message(enum job_status from, enum job_status to);
/* Take the step, with its event. ERR_STATE. On the writer; *job was loaded in the same write. */
enum err job_move(struct db *db, const struct job *job, const struct job_transition *t);

#endif
