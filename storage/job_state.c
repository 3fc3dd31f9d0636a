/*
 * The state machine of jobs. steps[] is all of it: what a step from one state (row) to another (column) is
 * called, and that there is no step where nothing stands. job_move() alone changes job.status.
 */
#include "storage/job.h"

#include "core/mem.h"
#include "storage/event.h"
#include "storage/handle.h"
#include "storage/webhook.h"

#include <stdio.h>

#define N_STATUS (JOB_CANCELLED + 1)

static const char *const steps[N_STATUS][N_STATUS] = {
        [JOB_VALIDATING] =
                {
                        [JOB_QUEUED] = "Files validated, moving job to queued state",
                        [JOB_FAILED] = "The job failed",
                        [JOB_CANCELLED] = "Fine-tuning job cancelled",
                },
        [JOB_QUEUED] =
                {
                        [JOB_RUNNING] = "Fine-tuning job started",
                        [JOB_FAILED] = "The job failed",
                        [JOB_CANCELLED] = "Fine-tuning job cancelled",
                },
        [JOB_RUNNING] =
                {
                        [JOB_QUEUED] = "Fine-tuning job interrupted, it will go on from its last checkpoint",
                        [JOB_PAUSED] = "Fine-tuning job paused",
                        [JOB_SUCCEEDED] = "The job has successfully completed",
                        [JOB_FAILED] = "The job failed",
                        [JOB_CANCELLED] = "Fine-tuning job cancelled",
                },
        [JOB_PAUSED] =
                {
                        [JOB_QUEUED] = "Fine-tuning job resumed, moving job to queued state",
                        [JOB_FAILED] = "The job failed",
                        [JOB_CANCELLED] = "Fine-tuning job cancelled",
                },
};

const char *job_step_message(enum job_status from, enum job_status to)
{
	return steps[from][to];
}

static enum err job_set_status(struct db *db, const char *id, const struct job_transition *t)
{
	bool failed = t->to == JOB_FAILED;
	struct query q;

	query_start(&q, db,
	        "UPDATE job SET status = ?2, lease_owner = NULL, lease_until = 0,"
	        " started_at = iif(started_at = 0 AND ?2 = 'running', ?3, started_at),"
	        " finished_at = ?4, error_code = ?5, error_message = ?6, error_param = ?7 WHERE id = ?1");
	query_bind_text(&q, id);
	query_bind_text(&q, job_status_name(t->to));
	query_bind_int(&q, store_now());
	query_bind_int(&q, job_status_terminal(t->to) ? store_now() : 0);
	query_bind_text(&q, failed ? t->error_code : NULL);
	query_bind_text(&q, failed ? t->error_message : NULL);
	query_bind_text(&q, failed ? t->error_param : NULL);
	return query_run(&q);
}

/* A job that has ended never goes on. */
static enum err job_drop_state(struct db *db, const char *id)
{
	struct query q;

	query_start(&q, db, "DELETE FROM job_state WHERE job_id = ?");
	query_bind_text(&q, id);
	return query_run(&q);
}

enum err job_move(struct db *db, const struct job *job, const struct job_transition *t)
{
	const char *message = job_step_message(job->status, t->to);
	bool failed = t->to == JOB_FAILED;
	char said[512];
	enum err err;

	if (!message)
		return ERR_STATE;
	if (failed && t->error_message) {
		snprintf(said, sizeof(said), "%s: %s", message, t->error_message);
		message = said;
	}
	err = job_set_status(db, job->id, t);
	if (!err && job_status_terminal(t->to))
		err = job_drop_state(db, job->id);
	if (!err && job_status_terminal(t->to))
		err = delivery_insert(db, job, t->to);
	if (err)
		return err;
	return event_insert(db, job->id,
	        &(struct event_new){.level = failed ? "error" : "info",
	                .type = "message",
	                .message = t->event ? t->event : message});
}

struct job_step {
	const char *tenant_id, *id;
	const struct job_transition *transition;
	struct job job; /* owned */
};

static enum err write_step(struct db *db, void *arg)
{
	struct job_step *s = arg;
	struct job before = {0};
	enum err err = job_load(db, s->tenant_id, s->id, &before);

	if (!err)
		err = job_move(db, &before, s->transition);
	job_fini(&before);
	return err ? err : job_load(db, s->tenant_id, s->id, &s->job);
}

enum err store_job_transition(struct store *s, const char *tenant_id, const char *id,
        const struct job_transition *t, struct job *out)
{
	struct job_step step = {.tenant_id = tenant_id, .id = id, .transition = t};
	enum err err = writer_call(s->writer, write_step, &step);

	if (!err && out)
		*out = step.job;
	else
		job_fini(&step.job);
	return err;
}
