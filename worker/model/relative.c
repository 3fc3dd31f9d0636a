/* See relative.h. */
#include "worker/model/relative.h"

#include <math.h>

size_t relative_bucket(ptrdiff_t ahead, size_t n_buckets, size_t max_distance, bool both_sides)
{
	size_t n = both_sides ? n_buckets / 2 : n_buckets, exact = n / 2;
	size_t first = both_sides && ahead > 0 ? n : 0;
	size_t distance = ahead < 0 ? (size_t)-ahead : both_sides ? (size_t)ahead : 0;
	size_t bucket;
	float ratio;

	if (distance < exact)
		return first + distance;
	/* In float32, as PyTorch computes it: at the borders of buckets the rounding shows. */
	ratio = (float)log((double)((float)distance / (float)exact));
	ratio /= (float)log((double)max_distance / (double)exact);
	bucket = exact + (size_t)(ratio * (float)(n - exact));
	return first + (bucket < n ? bucket : n - 1);
}

void relative_spread(size_t n_heads, size_t n_buckets, size_t max_distance, bool both_sides,
        const float *table, float *spread)
{
	size_t n = 2 * max_distance + 1;

	for (size_t i = 0; i < n; i++) {
		ptrdiff_t ahead = (ptrdiff_t)i - (ptrdiff_t)max_distance;
		size_t bucket = relative_bucket(ahead, n_buckets, max_distance, both_sides);

		for (size_t h = 0; h < n_heads; h++)
			spread[h * n + i] = table[bucket * n_heads + h];
	}
}
