/*
 * The inside of a running batch, for batch.c and batch_prompt.c. Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_BATCH_STATE_H
#define REDD_SERVE_BATCH_STATE_H

#include "worker/serve/batch.h"
#include "worker/serve/classify.h"

struct batch {
	const struct model *model;         /* borrowed */
	const struct model_info *info;     /* borrowed from model */
	struct serve_workspace *workspace; /* owned */
	struct sampler *sampler;           /* owned */
	const struct tokenizer *tokenizer; /* borrowed */
	struct classifier *classifier;     /* owned; of an encoder base, which has nothing else to do */
	struct kv_pool *pool;              /* owned, as prefix; NULL with a classifier */
	struct prefix *prefix;
	size_t max_rows, prefill_rows;
	struct batch_stats stats;

	float *logits; /* owned (max(prefill_rows, max_rows), V); pages cost memory once touched */
	size_t logit_bytes;
	size_t *logit_rows; /* owned (prefill_rows) */

	struct sequence **seqs; /* owned (max_rows): in order of arrival; the sequences are the engine's */
	size_t n_seqs;
	size_t n_rows; /* they take */
	size_t turn;   /* whose prompt is looked at first */

	/* one decode step, owned (max_rows) each; the rows of a sequence lie together */
	struct sequence **rows;
	struct kv **kvs;
	int32_t *tokens;
	struct edit_run *runs;
};

/* See that n pages are free for q. False: it had to be put off itself. */
bool batch_make_room(struct batch *b, struct sequence *q, size_t n);
/* q's next token or tokens from logits (V, of each of its rows), which are spent. */
void batch_advance(struct batch *b, struct sequence *q, float *logits, struct batch_work *work);

/* Whether some of q's prompt is still to be read. */
bool batch_in_prompt(const struct sequence *q);
/* Read of the prompts what a step has time for. */
void batch_read_prompts(struct batch *b, struct batch_work *work);

#endif
