/*
 * The running batch: its sequences, the pages of their keys and values, the arrays of a step, and the step
 * itself: a chunk of a prompt, or short prompts in its stead, then one token for every sequence whose prompt
 * is through. Nothing is allocated in a step but pages of the pool, and what keeps prefixes.
 *
 * Sequences take pages as they grow. When none is left, beginnings of prompts that are kept for later go
 * first, then the youngest sequence is put off, to begin once more; the oldest always goes on, so that each
 * comes to its end. Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_BATCH_H
#define REDD_SERVE_BATCH_H

#include "worker/serve/histogram.h"
#include "worker/serve/sequence.h"

struct batch;

/* What a step did, to be added up. */
struct batch_work {
	size_t prompt_tokens;
	size_t generated_tokens;
	size_t steps;       /* decode steps: 0 or 1 */
	size_t decode_rows; /* rows in it */
};

/* Since the start, and how pages stand. */
struct batch_stats {
	size_t pages, pages_used, pages_kept; /* of those used, by prefixes alone */
	uint64_t prefix_hits, prefix_tokens;  /* prompts that found a beginning of theirs, and its tokens */
	uint64_t n_put_off;
	struct histogram first_token, next_token;
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
/* The most tokens of a sequence that takes n_rows rows, when it has all pages to itself. */
size_t batch_context(const struct batch *b, size_t n_rows);
/* Whether there are places for its rows and pages for what it begins with, beside a page for each row that
 * goes on. An empty batch has room for any. */
bool batch_has_room(const struct batch *b, const struct sequence *q);
/* Begin a sequence that there is room for, or one that was put off. What fails gives it an end. */
void batch_add(struct batch *b, struct sequence *q);
/* One step. Sequences that reach an end in it, or whose step failed, or that were cancelled have one then. */
void batch_step(struct batch *b, struct batch_work *work);
/* Remove a sequence that has an end; NULL when there is none. */
struct sequence *batch_take_ended(struct batch *b);
/* Remove one that was put off, the youngest first; NULL when there is none. */
struct sequence *batch_take_put_off(struct batch *b);
void batch_stats(const struct batch *b, struct batch_stats *out);

#endif
