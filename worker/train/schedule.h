/*
 * Learning-rate schedules, as transformers.get_scheduler defines them. Pure functions; any thread.
 */
#ifndef REDD_TRAIN_SCHEDULE_H
#define REDD_TRAIN_SCHEDULE_H

#include "worker/train/train.h"

/* The factor on the base rate for the update with 0-based index `step` of `total`. Warm-up rises from 0
 * (the first update has factor 0) to 1 at step warmup; after it linear and cosine fall to 0 at total. */
double schedule_factor(enum train_schedule schedule, size_t step, size_t warmup, size_t total);

#endif
