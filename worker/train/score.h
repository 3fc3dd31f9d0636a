/*
 * The outputs of a head over a validation set, and what its metrics say of them. Room is made once; measuring
 * allocates nothing. Internal to train/. Thread: the run's driver; outputs are written by its items.
 */
#ifndef REDD_TRAIN_SCORE_H
#define REDD_TRAIN_SCORE_H

#include "worker/text/dataset.h"
#include "worker/train/metrics.h"

struct scorer {
	const struct dataset *rows; /* borrowed; NULL = nothing is labelled */
	float *outputs;             /* owned (rows, labels.n) */
	struct tally tally;         /* of classes */
	double *x, *y;              /* owned (rows): of numbers, as the next */
	size_t *order;
};

/* rows NULL or without labels: there is nothing to measure. ERR_MEM. */
enum err scorer_init(struct scorer *s, const struct dataset *rows);
void scorer_fini(struct scorer *s);
/* Set those metrics, other than the loss, that fit the labels. */
void scorer_measure(struct scorer *s, double metrics[METRIC_COUNT]);

#endif
