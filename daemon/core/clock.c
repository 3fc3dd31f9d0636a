/* See clock.h. */
#include "core/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t frozen_ms = -1;

int64_t clock_now_ms(void)
{
	int64_t frozen = atomic_load_explicit(&frozen_ms, memory_order_relaxed);
	struct timespec ts;

	if (frozen >= 0)
		return frozen;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void clock_set_ms(int64_t ms)
{
	atomic_store(&frozen_ms, ms);
}
