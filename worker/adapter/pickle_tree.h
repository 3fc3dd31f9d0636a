/*
 * The memory of a pickle's values: blocks that only grow, freed together. Internal to pickle.c and
 * pickle_tree.c.
 */
#ifndef REDD_ADAPTER_PICKLE_TREE_H
#define REDD_ADAPTER_PICKLE_TREE_H

#include "worker/adapter/pickle.h"

struct pickle_block;

struct pickle {
	struct pickle_block *blocks; /* owned: all values, whether still reachable or not */
	struct pickle_value *root;
};

/* Zeroed, owned by p. */
enum err pickle_value_new(struct pickle *p, enum pickle_kind kind, struct pickle_value **out);
/* Give a value of the right kind one more item, or the bytes it has from now on (copied). */
enum err pickle_value_add(struct pickle_value *v, struct pickle_value *item);
enum err pickle_value_set(struct pickle_value *v, const void *p, size_t n);
/* Make room in a list of pointers for one more. */
enum err pickle_list_grow(struct pickle_value ***list, size_t n, size_t *cap);

#endif
