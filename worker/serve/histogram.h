/*
 * Durations counted in buckets of fixed bounds, for operators: how many, their sum, how they spread. Neither
 * locks nor allocates. Thread: the owner's.
 */
#ifndef REDD_SERVE_HISTOGRAM_H
#define REDD_SERVE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 18

/* Upper bounds in seconds, rising; the last bucket has none. */
extern const double histogram_bounds[HISTOGRAM_BUCKETS - 1];

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS]; /* each bucket's own, not cumulated */
	uint64_t n;
	uint64_t sum_ns;
};

/* Negative durations count as 0. */
void histogram_add(struct histogram *h, int64_t ns);

#endif
