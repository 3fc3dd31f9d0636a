/*
 * One fine-tuning run: hyperparameters, optimiser, schedule, the order of rows, steps cut into items that any
 * thread may compute, evaluation, and state that can be saved and resumed bit for bit.
 *
 * Everything that shows in the result is a function of base, data, hyperparameters and seed. Items are cut
 * without looking at the number of threads, each item's gradient goes to its own buffer, and the sum runs
 * in item order.
 *
 * Thread: a train_run has one driver at a time, except train_item(), which any threads may call at once for
 * different items between train_begin() and train_end().
 */
#ifndef REDD_TRAIN_TRAIN_H
#define REDD_TRAIN_TRAIN_H

#include "core/buf.h"
#include "worker/adapter/adapter.h"
#include "worker/model/model.h"
#include "worker/text/dataset.h"
#include "worker/train/metrics.h"

enum train_schedule { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT };
enum train_keep { KEEP_BEST, KEEP_LAST };
enum train_decay { DECAY_TO_ZERO, DECAY_TO_IDENTITY };

/* All numbers resolved; nothing is "auto" here. */
struct train_config {
	size_t n_epochs;
	size_t batch_size; /* rows per optimizer step */
	double learning_rate;
	enum train_schedule schedule;
	size_t warmup_steps;
	double weight_decay;
	enum train_decay
	        decay_towards; /* zero as the authors do, or the unedited base: scale - 1 decays then */
	double dropout;        /* in the classification head; the same seed drops the same */
	double beta1, beta2, eps;
	double max_grad_norm; /* 0 = no clipping */
	bool shuffle;         /* each epoch anew, from seed */
	size_t eval_every;    /* steps; 0 = after each epoch. Only with a validation set */
	size_t patience;      /* evaluations without improvement before stopping; 0 = never */
	enum train_keep keep; /* the best evaluation, or the last step; best needs a validation set */
	enum metric metric;   /* by which an evaluation is best; one that fits the data's labels */
	uint64_t seed;
};

/* What one optimizer step did. */
struct train_step {
	size_t step;          /* 1-based: the number of steps done */
	double epoch;         /* rows seen / rows */
	double loss;          /* mean over tokens or labelled rows, before the update */
	double grad_norm;     /* global 2-norm, before clipping and before the update */
	double learning_rate; /* used by this update */
	double label_weight;  /* the loss's denominator */
	size_t n_labels;
	size_t n_correct;
	enum labels_kind labels; /* what they are: of numbers none is correct */
	size_t n_tokens;         /* rows' tokens pushed through the model */
};

struct train_eval {
	double loss; /* mean over tokens or labelled rows */
	size_t n_labels;
	size_t n_correct;
	enum labels_kind labels;      /* which metrics there are: */
	double metrics[METRIC_COUNT]; /* those that train_eval_has() */
	bool best;                    /* so far, by the run's metric */
};
bool train_eval_has(const struct train_eval *e, enum metric m);

enum train_phase { TRAIN_STEP, TRAIN_EVAL, TRAIN_DONE };

struct train_run;

/* Borrowed for the life of the run: model, layout, train, valid (NULL = none). start_params (n_params, NULL =
 * identity) is copied: training goes on from an adapter. */
enum err train_run_new(const struct model *m, const struct adapter_layout *layout, const float *start_params,
        const struct dataset *train, const struct dataset *valid, const struct train_config *config,
        struct train_run **out, struct why *why);
void train_run_free(struct train_run *r);

/* Bytes that the stems (model.h) of all rows would take which the run passes more than once; 0: there is
 * nothing to gain. */
size_t train_stem_bytes(const struct train_run *r);
/* Keep them, before anything begins: what no edit changes is computed once. It shows in nothing but time.
 * ERR_MEM. */
enum err train_keep_stems(struct train_run *r);

size_t train_total_steps(const struct train_run *r);
size_t train_steps_done(const struct train_run *r);
/* Tokens pushed through the model by the steps done; evaluations do not count. */
uint64_t train_tokens_done(const struct train_run *r);
/* The most rows (tokens) any item of this run holds: what a train_workspace must take. */
size_t train_max_item_rows(const struct train_run *r);

/* What comes next: a step, an evaluation, or nothing. */
enum train_phase train_next(const struct train_run *r);
/* Cut the next step or evaluation into items, *n_items >= 1. Allocates nothing. */
enum train_phase train_begin(struct train_run *r, size_t *n_items);
/* Tokens of an item of the phase begun: what it costs. */
size_t train_item_tokens(const struct train_run *r, size_t item);
/* Give up what was begun, once no thread computes an item of it: the run stands where it stood before. */
void train_abort(struct train_run *r);
/* Compute one item on this thread. */
enum err train_item(struct train_run *r, size_t item, struct train_workspace *w);
/* After every item of a step: reduce in item order, clip, update. ERR_STATE if the loss or gradient is not
 * finite (params unchanged; the run cannot go on). */
enum err train_end_step(struct train_run *r, struct train_step *out);
/* After every item of an evaluation. */
enum err train_end_eval(struct train_run *r, struct train_eval *out);

/* Current parameters (n_params), borrowed; stable between begin and end calls. */
const float *train_params(const struct train_run *r);
/* What the finished adapter is: the best or the last, as `keep` says. */
const float *train_result(const struct train_run *r, size_t *step);

/* Between end and begin: everything a resume needs (params, best, optimiser, counters), as opaque bytes that
 * only the same config, layout and data accept. */
enum err train_state_write(const struct train_run *r, struct buf *out);
/* ERR_FORMAT for damaged bytes, ERR_MISMATCH for another run's; the run is unchanged then. */
enum err train_state_read(struct train_run *r, const void *data, size_t n, struct why *why);

#endif
