/*
 * How good predictions are, in the measures that tasks are judged by. Pure; sums in double, in order. What is
 * undefined (a constant has no correlation, no class was predicted) counts as 0. Thread: any.
 */
#ifndef REDD_TRAIN_METRICS_H
#define REDD_TRAIN_METRICS_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric {
	METRIC_LOSS, /* lower is better; of all others higher */
	METRIC_ACCURACY,
	METRIC_F1,       /* two classes: of the second; more: the mean over those that occur */
	METRIC_MATTHEWS, /* correlation of classes; more than two: Gorodkin's R_K */
	METRIC_PEARSON,
	METRIC_SPEARMAN, /* Pearson of ranks, equals sharing theirs */
	METRIC_COUNT,
};

extern const char *const metric_names[METRIC_COUNT + 1]; /* ended by NULL */
const char *metric_name(enum metric m);
/* Whether it measures classes (or else numbers); the loss measures both. */
bool metric_of_classes(enum metric m);
bool metric_of_numbers(enum metric m);

/* What predicted classes come to, counted class by class. */
struct tally {
	size_t n_classes, n;
	size_t *right, *predicted, *actual; /* owned (n_classes): in one piece, from right on */
};
enum err tally_init(struct tally *t, size_t n_classes);
void tally_fini(struct tally *t);
void tally_clear(struct tally *t);
/* Both are below n_classes. */
void tally_add(struct tally *t, size_t predicted, size_t actual);
double tally_accuracy(const struct tally *t);
double tally_f1(const struct tally *t);
double tally_matthews(const struct tally *t);

double metric_pearson(size_t n, const double *x, const double *y);
/* Replace x (n) by the ranks of its numbers, from 1; order (n) is scratch. */
void metric_ranks(size_t n, double *x, size_t *order);

#endif
