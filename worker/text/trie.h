/*
 * A tree of the bytes of strings, for finding those that start at a place in text. Built once from all its
 * strings, then immutable; any thread may walk it.
 */
#ifndef REDD_TEXT_TRIE_H
#define REDD_TEXT_TRIE_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct trie_key {
	const char *p; /* borrowed while building */
	size_t n;
	int32_t value; /* not negative */
};

/* The children of node i are first[i] to first[i + 1] - 1: nodes are numbered breadth first. */
struct trie {
	uint32_t *first;       /* owned; n + 1 of them */
	int32_t *values;       /* owned; what ends here, or -1 */
	unsigned char *labels; /* owned; the byte that leads here */
	size_t n;              /* nodes; 0 = no strings */
	uint32_t roots[256];   /* the root's children by byte, or 0 */
};

/* Zero-initialise *out; fini it on failure too. keys is sorted in place; of equal strings the one with the
 * lowest value stays, and empty ones are left out. ERR_MEM, ERR_LIMIT. */
enum err trie_build(struct trie *out, struct trie_key *keys, size_t n);
void trie_fini(struct trie *t);

/* The child of a node (0 = the root) that byte leads to, or 0. t must not be empty. */
static inline uint32_t trie_child(const struct trie *t, uint32_t node, unsigned char byte)
{
	uint32_t first = t->first[node], n = t->first[node + 1] - first;
	const unsigned char *found;

	if (!node)
		return t->roots[byte];
	found = n ? memchr(t->labels + first, byte, n) : NULL;
	return found ? first + (uint32_t)(found - (t->labels + first)) : 0;
}

/* The value of the longest string that p goes on with after `node`, and its length; or -1. */
int32_t trie_longest(const struct trie *t, uint32_t node, const char *p, size_t n, size_t *len);

#endif
