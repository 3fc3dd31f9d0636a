/*
 * The running batch: sequences that have their memory, the arrays of a step, and the step itself: at most one
 * chunk of one prompt, then one token for every sequence whose prompt is through. Nothing is allocated in a
 * step. Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_BATCH_H
#define REDD_SERVE_BATCH_H

#include "worker/serve/sequence.h"

struct batch;

/* What a step did, to be added up. */
struct batch_work {
	size_t prompt_tokens;
	size_t generated_tokens;
	size_t steps;       /* decode steps: 0 or 1 */
	size_t decode_rows; /* rows in it */
};

/* The rows of a prompt chunk when the options leave it open: all their logits, which scoring a prompt needs,
 * stay within 64 MiB. */
size_t batch_default_prefill_rows(size_t n_vocab);

/* options->prefill_rows and max_batch are > 0. ERR_MEM. */
enum err batch_new(const struct serve_options *options, struct batch **out);
/* Empty. */
void batch_free(struct batch *b);
size_t batch_length(const struct batch *b);
/* Rows its sequences take, at most max_batch. */
size_t batch_rows(const struct batch *b);
/* Take in a sequence that has begun; there must be room for its rows. */
void batch_add(struct batch *b, struct sequence *q);
/* One step. Sequences that reach an end in it, or whose step failed, or that were cancelled have one then. */
void batch_step(struct batch *b, struct batch_work *work);
/* Remove a sequence that has an end; NULL when there is none. */
struct sequence *batch_take_ended(struct batch *b);

#endif
