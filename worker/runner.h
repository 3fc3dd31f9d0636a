/*
 * One job in training: its data, its run, and what it tells the store as it goes on. The pool decides which
 * thread does what; a runner only does it.
 *
 * Thread: one driver at a time, except runner_item(), which any threads may call for different items between
 * runner_begin() and the runner_end() or runner_abort() that follows. All may wait for the disk.
 */
#ifndef REDD_WORKER_RUNNER_H
#define REDD_WORKER_RUNNER_H

#include "worker/job_env.h"

struct runner;

/* Read the files of a job that is running, and go on from its saved state if there is one. env is borrowed,
 * job copied. Errors of job_data_read() and train_run_new(). */
enum err runner_new(const struct job_env *env, const struct job *job, struct runner **out, struct why *why);
void runner_free(struct runner *r);

/* What a train_workspace must take. */
size_t runner_max_rows(const struct runner *r);
size_t runner_steps_done(const struct runner *r);
uint64_t runner_tokens_done(const struct runner *r);

/* Begin the next step or evaluation. ERR_EMPTY: the job is trained, runner_finish() follows. */
enum err runner_begin(struct runner *r, size_t *n_items);
size_t runner_item_tokens(const struct runner *r, size_t item);
enum err runner_item(struct runner *r, size_t item, struct train_workspace *w);
/* After every item: end the phase, report it, and keep a checkpoint where one is due. ERR_INVALID, with why,
 * when the training diverged; ERR_CANCELLED when the store says that the job runs no more; ERR_DB, ERR_IO,
 * ERR_MEM. */
enum err runner_end(struct runner *r, struct why *why);
/* Give up the phase begun, once no item of it is being computed. */
void runner_abort(struct runner *r);
/* Keep the state, so that the job goes on from here. ERR_CANCELLED as above. */
enum err runner_save(struct runner *r);
/* Publish adapter and result file: the job has succeeded. ERR_CANCELLED as above. */
enum err runner_finish(struct runner *r, struct why *why);

#endif
