/* See schedule.h. The formulas keep the shape of the originals, max(1, ...) included, so that they agree to
 * the bit. */
#include "worker/train/schedule.h"

#include <math.h>

double schedule_factor(enum train_schedule schedule, size_t step, size_t warmup, size_t total)
{
	double span = total > warmup ? (double)(total - warmup) : 1.0;

	if (step < warmup)
		return (double)step / (double)warmup;
	switch (schedule) {
	case SCHEDULE_LINEAR:
		return step < total ? (double)(total - step) / span : 0.0;
	case SCHEDULE_COSINE:
		return fmax(0.0, 0.5 * (1.0 + cos(M_PI * ((double)(step - warmup) / span))));
	case SCHEDULE_CONSTANT:
		break;
	}
	return 1.0;
}
