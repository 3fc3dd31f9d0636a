/*
 * What happens to a job between its items: loading, ending a step and beginning the next, looking whether
 * someone has stopped it, saving, finishing, failing. One turn is taken by one thread, outside the pool's
 * lock.
 */
#ifndef REDD_WORKER_JOB_TURN_H
#define REDD_WORKER_JOB_TURN_H

#include "worker/runner.h"

#include <stdbool.h>

/* A job in the pool as its turns see it; all fields belong to the thread that takes the turn. */
struct job_seat {
	struct runner *runner; /* owned; NULL until loaded */
	size_t next_item;      /* items handed out of the phase begun */
	size_t n_items;        /* 0 = none is begun */
	uint64_t n_steps;      /* ended so far, in this process */
};

struct turn_orders {
	const struct job *job; /* as claimed, for loading; not used once there is a runner */
	bool stopping;         /* the daemon stops: save and go back to the queue */
	bool look;             /* the job may have been stopped in the store: look there */
	enum err item_error;   /* of an item of the phase begun; OK = none */
};

enum turn {
	TURN_ITEMS, /* there are items to compute */
	TURN_AGAIN, /* take another turn */
	TURN_LEFT,  /* the job has left the pool, the runner is freed */
};

/* Take a turn: no item of the job is being computed and, unless ordered otherwise, all were. Failures become
 * the job's, in the store and the log. */
enum turn job_take_turn(const struct job_env *env, const char *job_id, const struct turn_orders *orders,
        struct job_seat *state);

#endif
