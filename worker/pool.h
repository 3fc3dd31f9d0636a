/*
 * The training pool: threads that compute the items of several jobs side by side, fairly by tenant, and one
 * that claims jobs from the store's queue. A job alone has all threads; how many there are, and who else
 * trains, never shows in a result.
 * Thread: start/stop by one; poke and stats any, they do not wait for the disk.
 */
#ifndef REDD_WORKER_POOL_H
#define REDD_WORKER_POOL_H

#include "worker/job_env.h"

struct pool;

struct pool_options {
	const struct job_env *env; /* borrowed until stopped */
	size_t n_threads;
	size_t train_bytes;             /* what the threads' workspaces should touch together; 0 = no limit */
	size_t max_jobs;                /* in training side by side */
	int64_t max_running_per_tenant; /* <= 0 = no limit */
};

struct pool_stats {
	size_t running_jobs;
	uint64_t steps, tokens;
	double tokens_per_second; /* of all threads at work; 0 = nothing measured yet */
};

/* ERR_MEM, ERR_LIMIT when a thread cannot be started. */
enum err pool_start(const struct pool_options *options, struct pool **out, struct why *why);
/* Jobs in training are saved and go back to the queue; joins all threads and frees. */
void pool_stop(struct pool *p);
/* Something about this job changed in the store. */
void pool_poke(struct pool *p, const char *job_id);
void pool_stats(struct pool *p, struct pool_stats *out);

#endif
