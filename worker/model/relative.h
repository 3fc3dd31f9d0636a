/*
 * Relative position buckets (Raffel et al., 2020): distances near by have a bucket each, farther ones share
 * buckets that grow logarithmically, and all from a greatest distance on share the last. Internal to model/.
 * Thread: any.
 */
#ifndef REDD_MODEL_RELATIVE_H
#define REDD_MODEL_RELATIVE_H

#include <stdbool.h>
#include <stddef.h>

/* The bucket of a key `ahead` of its query (negative = behind). Both sides have half of the buckets each, or
 * without both_sides what is behind has them all. n_buckets >= 4, max_distance > n_buckets / 2. */
size_t relative_bucket(ptrdiff_t ahead, size_t n_buckets, size_t max_distance, bool both_sides);
/* spread (H, 2 * max_distance + 1) = the bias of each distance from -max_distance to max_distance, from table
 * (n_buckets, H). Beyond either end nothing changes. */
void relative_spread(size_t n_heads, size_t n_buckets, size_t max_distance, bool both_sides,
        const float *table, float *spread);

#endif
