/*
 * Memory that several share: whoever wants some takes all of it before he uses it, or goes without.
 * Thread: any.
 */
#ifndef REDD_WORKER_BUDGET_H
#define REDD_WORKER_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
	atomic_size_t left; /* bytes */
};

static inline bool budget_take(struct budget *b, size_t n)
{
	size_t left = atomic_load(&b->left);

	do {
		if (n > left)
			return false;
	} while (!atomic_compare_exchange_weak(&b->left, &left, left - n));
	return true;
}

/* What was taken. */
static inline void budget_give(struct budget *b, size_t n)
{
	atomic_fetch_add(&b->left, n);
}

#endif
