/*
 * What every job works with: the store and the base it trains on. All borrowed and, but for the
 * budget, constant while jobs run.
 */
#ifndef REDD_WORKER_JOB_ENV_H
#define REDD_WORKER_JOB_ENV_H

#include "storage/store.h"
#include "worker/budget.h"
#include "worker/live.h"
#include "worker/model/model.h"
#include "worker/registry.h"
#include "worker/text/chat.h"
#include "worker/text/tokenizer.h"

struct job_env {
	struct store *store;
	const struct model *model;
	const struct tokenizer *tokenizer;
	const struct chat_format *chat;
	struct registry *registry;
	struct live *live; /* may be NULL */
	const char *base_name;
	size_t checkpoint_every; /* steps */
	struct budget *stems;    /* for train_keep_stems(); may be NULL */
	/* Called when a job's events or status changed; may be NULL. */
	void (*on_job)(void *arg, const char *job_id);
	void *on_job_arg;
};

#endif
