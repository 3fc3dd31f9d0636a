/* See trie.h. Sorted strings make every node a range of them, so nodes come out in order, without a search.
 */
#include "worker/text/trie.h"

#include "core/mem.h"

#include <stdlib.h>

static int compare_keys(const void *a, const void *b)
{
	const struct trie_key *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int order = n ? memcmp(x->p, y->p, n) : 0;

	if (order)
		return order;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return (x->value > y->value) - (x->value < y->value);
}

/* The strings that go through a node, which all share their first `depth` bytes. */
struct range {
	uint32_t start, end, depth;
};

/* Take what ends at node i off its range, then append a node for each byte that goes on from there. */
static void add_children(struct trie *t, struct range *ranges, const struct trie_key *keys, size_t i)
{
	struct range r = ranges[i];

	t->first[i] = (uint32_t)t->n;
	t->values[i] = -1;
	while (r.start < r.end && keys[r.start].n == r.depth) {
		if (r.depth && t->values[i] < 0)
			t->values[i] = keys[r.start].value;
		r.start++;
	}
	while (r.start < r.end) {
		unsigned char byte = (unsigned char)keys[r.start].p[r.depth];
		uint32_t end = r.start + 1;

		while (end < r.end && (unsigned char)keys[end].p[r.depth] == byte)
			end++;
		if (!i)
			t->roots[byte] = (uint32_t)t->n;
		t->labels[t->n] = byte;
		ranges[t->n++] = (struct range){r.start, end, r.depth + 1};
		r.start = end;
	}
}

enum err trie_build(struct trie *out, struct trie_key *keys, size_t n)
{
	size_t max = 1;
	struct range *ranges;

	for (size_t i = 0; i < n; i++) {
		max += keys[i].n;
		if (max >= UINT32_MAX || keys[i].n >= UINT32_MAX)
			return ERR_LIMIT;
	}
	if (max == 1)
		return OK;
	qsort(keys, n, sizeof(*keys), compare_keys);
	ranges = mem_calloc(max, sizeof(*ranges));
	out->first = mem_calloc(max + 1, sizeof(*out->first));
	out->values = mem_calloc(max, sizeof(*out->values));
	out->labels = mem_calloc(max, sizeof(*out->labels));
	if (!ranges || !out->first || !out->values || !out->labels) {
		mem_free(ranges);
		return ERR_MEM;
	}
	ranges[0] = (struct range){0, (uint32_t)n, 0};
	out->n = 1;
	for (size_t i = 0; i < out->n; i++)
		add_children(out, ranges, keys, i);
	out->first[out->n] = (uint32_t)out->n;
	mem_free(ranges);
	return OK;
}

void trie_fini(struct trie *t)
{
	if (!t)
		return;
	mem_free(t->first);
	mem_free(t->values);
	mem_free(t->labels);
	*t = (struct trie){0};
}

int32_t trie_longest(const struct trie *t, uint32_t node, const char *p, size_t n, size_t *len)
{
	int32_t found = -1;

	for (size_t i = 0; i < n; i++) {
		node = trie_child(t, node, (unsigned char)p[i]);
		if (!node)
			break;
		if (t->values[node] >= 0) {
			found = t->values[node];
			*len = i + 1;
		}
	}
	return found;
}
