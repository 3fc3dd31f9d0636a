/* See histogram.h. */
#include "worker/serve/histogram.h"

#include <stddef.h>

const double histogram_bounds[HISTOGRAM_BUCKETS - 1] = {
        1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

void histogram_add(struct histogram *h, int64_t ns)
{
	uint64_t duration = ns > 0 ? (uint64_t)ns : 0;
	size_t i = 0;

	while (i < HISTOGRAM_BUCKETS - 1 && (double)duration > histogram_bounds[i] * 1e9)
		i++;
	h->counts[i]++;
	h->n++;
	h->sum_ns += duration;
}
