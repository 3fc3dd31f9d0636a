/*
 * A few threads that share one loop: crew_run() cuts work into items and every thread, the caller among them,
 * takes the next one until none is left. What an item computes must depend on its number alone; then results
 * do not depend on how many threads there are or who was faster. A thread that the system has put aside holds
 * nobody up, but for the item it has begun.
 *
 * Between runs the threads watch for the next for a moment and then sleep.
 * Thread: start, run and stop by one owner; no other thread runs a crew of his.
 */
#ifndef REDD_MATH_CREW_H
#define REDD_MATH_CREW_H

#include "core/err.h"

#include <stddef.h>

struct crew;

#define CREW_MAX_THREADS 256
#define CREW_MAX_ITEMS ((size_t)1 << 20)

/* n_threads with the caller's, 1 .. CREW_MAX_THREADS. ERR_MEM, ERR_LIMIT when the system allows no further
 * thread. */
enum err crew_start(size_t n_threads, struct crew **out);
/* Joins. NULL is allowed. */
void crew_stop(struct crew *c);
/* The caller's among them; 1 where c is NULL. */
size_t crew_size(const struct crew *c);
/* work(arg, item, thread) for each item of 0 .. n_items - 1 (at most CREW_MAX_ITEMS), in any order, at most
 * crew_size() at once; `thread` (0 .. crew_size() - 1, the caller's is 0) is the same for no two of them.
 * Returns when all are done. c NULL: the caller does them in turn. */
void crew_run(struct crew *c, size_t n_items, void (*work)(void *arg, size_t item, size_t thread), void *arg);
/* The same of parts of 0 .. n - 1 that are `size` long, the last one perhaps shorter: work(arg, begin, end).
 * c NULL: all at once. */
void crew_run_parts(
        struct crew *c, size_t n, size_t size, void (*work)(void *arg, size_t begin, size_t end), void *arg);

#endif
