/*
 * Joining symbols by rank, leftmost first among equals. Words, being short, are scanned for the best pair
 * each time; what is longer goes through a heap, so that no text takes quadratic time. See bpe.h.
 */
#include "worker/text/bpe.h"

#include "worker/text/utf8.h"

#include <string.h>

#define SHORT_WORD 32 /* symbols */

/* ---- from text to symbols ---- */

struct symbols {
	int32_t *ids; /* room for one per byte */
	size_t n;
	int32_t unk; /* unknown characters not yet written down: their id, or -1 */
};

/* A character with the affixes its place in the piece asks for. */
static int32_t find_affixed(const struct token_model *m, const char *p, size_t n, bool first, bool last)
{
	const struct bpe *b = m->state;
	const char *prefix = b->prefix && !first ? b->prefix : "";
	const char *suffix = b->suffix && last ? b->suffix : "";
	size_t n_prefix = strlen(prefix), n_suffix = strlen(suffix);
	char text[128];

	if (n_prefix + n + n_suffix > sizeof(text))
		return -1;
	memcpy(text, prefix, n_prefix);
	memcpy(text + n_prefix, p, n);
	memcpy(text + n_prefix + n, suffix, n_suffix);
	return vocab_find(&m->vocab, text, n_prefix + n + n_suffix);
}

static int32_t find_character(const struct token_model *m, const char *p, size_t n, bool first, bool last)
{
	const struct bpe *b = m->state;
	uint32_t c;

	if (b->prefix || b->suffix)
		return find_affixed(m, p, n, first, last);
	c = utf8_get(p);
	return c < BPE_N_DIRECT ? b->direct[c] : vocab_find(&m->vocab, p, n);
}

static bool add_bytes(const struct bpe *b, struct symbols *s, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (b->bytes[(unsigned char)p[i]] < 0)
			return false;
	}
	for (size_t i = 0; i < n; i++)
		s->ids[s->n++] = b->bytes[(unsigned char)p[i]];
	return true;
}

static void add_symbols(const struct token_model *m, struct symbols *s, const char *p, size_t n)
{
	const struct bpe *b = m->state;

	for (size_t i = 0, len; i < n; i += len) {
		int32_t id;

		len = utf8_len(p[i]);
		id = find_character(m, p + i, len, i == 0, i + len == n);
		if (id < 0 && b->byte_fallback && add_bytes(b, s, p + i, len))
			continue;
		if (s->unk >= 0 && (id >= 0 || !b->fuse_unk)) {
			s->ids[s->n++] = s->unk;
			s->unk = -1;
		}
		if (id >= 0)
			s->ids[s->n++] = id;
		else
			s->unk = b->unk_id;
	}
	if (s->unk >= 0)
		s->ids[s->n++] = s->unk;
}

/* ---- joining a short word ---- */

static uint32_t rank_of(const struct bpe *b, int32_t left, int32_t right, int32_t *joined)
{
	const struct bpe_merge *merge = bpe_find(b, left, right);

	if (!merge)
		return BPE_NO_RANK;
	*joined = merge->id;
	return merge->rank;
}

static size_t join_short(const struct bpe *b, int32_t *ids, size_t n)
{
	uint32_t ranks[SHORT_WORD];
	int32_t joined[SHORT_WORD];

	for (size_t i = 0; i + 1 < n; i++)
		ranks[i] = rank_of(b, ids[i], ids[i + 1], &joined[i]);
	while (n > 1) {
		size_t best = 0;

		for (size_t i = 1; i + 1 < n; i++) {
			if (ranks[i] < ranks[best])
				best = i;
		}
		if (ranks[best] == BPE_NO_RANK)
			break;
		ids[best] = joined[best];
		n--;
		for (size_t i = best + 1; i < n; i++) {
			ids[i] = ids[i + 1];
			ranks[i] = ranks[i + 1];
			joined[i] = joined[i + 1];
		}
		if (best)
			ranks[best - 1] = rank_of(b, ids[best - 1], ids[best], &joined[best - 1]);
		if (best + 1 < n)
			ranks[best] = rank_of(b, ids[best], ids[best + 1], &joined[best]);
	}
	return n;
}

/* ---- joining a long one ---- */

struct link {
	int32_t id; /* -1 = joined to the one before */
	uint32_t prev, next;
};
#define NO_LINK UINT32_MAX

struct candidate {
	uint32_t rank, pos;
	int32_t left, right, joined;
};

struct heap {
	struct candidate *items; /* room for three per symbol: each join adds two and removes one */
	size_t n;
};

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static void heap_push(struct heap *h, struct candidate c)
{
	size_t i = h->n++;

	while (i) {
		size_t up = (i - 1) / 2;

		if (!before(&c, &h->items[up]))
			break;
		h->items[i] = h->items[up];
		i = up;
	}
	h->items[i] = c;
}

static struct candidate heap_pop(struct heap *h)
{
	struct candidate top = h->items[0], last = h->items[--h->n];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && before(&h->items[child + 1], &h->items[child]))
			child++;
		if (!before(&h->items[child], &last))
			break;
		h->items[i] = h->items[child];
		i = child;
	}
	h->items[i] = last;
	return top;
}

static void consider(const struct bpe *b, const struct link *links, uint32_t left, struct heap *h)
{
	struct candidate c = {.pos = left};
	uint32_t right;

	if (left == NO_LINK || links[left].next == NO_LINK)
		return;
	right = links[left].next;
	c.left = links[left].id;
	c.right = links[right].id;
	c.rank = rank_of(b, c.left, c.right, &c.joined);
	if (c.rank != BPE_NO_RANK)
		heap_push(h, c);
}

static size_t join_long(const struct bpe *b, int32_t *ids, size_t n, struct link *links, struct heap *h)
{
	size_t n_left = 0;

	for (size_t i = 0; i < n; i++)
		links[i] = (struct link){
		        ids[i], i ? (uint32_t)i - 1 : NO_LINK, i + 1 < n ? (uint32_t)i + 1 : NO_LINK};
	for (size_t i = 0; i < n; i++)
		consider(b, links, (uint32_t)i, h);
	while (h->n) {
		struct candidate c = heap_pop(h);
		uint32_t right = links[c.pos].next;

		/* Either side may have been joined to something else meanwhile. */
		if (links[c.pos].id != c.left || right == NO_LINK || links[right].id != c.right)
			continue;
		links[c.pos].id = c.joined;
		links[c.pos].next = links[right].next;
		if (links[right].next != NO_LINK)
			links[links[right].next].prev = c.pos;
		links[right].id = -1;
		consider(b, links, links[c.pos].prev, h);
		consider(b, links, c.pos, h);
	}
	for (size_t i = 0; i < n; i++) {
		if (links[i].id >= 0)
			ids[n_left++] = links[i].id;
	}
	return n_left;
}

/* ---- one piece ---- */

static enum err encode_word(
        const struct token_model *m, struct token_scratch *scratch, const char *p, size_t n, struct ids *out)
{
	int32_t few[SHORT_WORD];
	struct symbols s = {few, 0, -1};
	struct heap heap = {0};
	struct link *links;
	char *memory;

	if (n <= SHORT_WORD) {
		add_symbols(m, &s, p, n);
		return ids_append(out, few, join_short(m->state, few, s.n));
	}
	if (n >= NO_LINK)
		return ERR_LIMIT;
	/* One symbol per byte at most. */
	memory = token_scratch_get(scratch, n * (3 * sizeof(*heap.items) + sizeof(*links) + sizeof(*s.ids)));
	if (!memory)
		return ERR_MEM;
	heap.items = (struct candidate *)(void *)memory;
	links = (struct link *)(void *)(heap.items + 3 * n);
	s.ids = (int32_t *)(void *)(links + n);
	add_symbols(m, &s, p, n);
	if (s.n <= SHORT_WORD)
		return ids_append(out, s.ids, join_short(m->state, s.ids, s.n));
	return ids_append(out, s.ids, join_long(m->state, s.ids, s.n, links, &heap));
}

/* The end of the word that starts at p: before the next cut character that follows another character. */
static size_t word_length(const char *cut, const char *p, size_t n)
{
	size_t n_cut = strlen(cut), i = 0;

	while (n - i >= n_cut && memcmp(p + i, cut, n_cut) == 0)
		i += n_cut;
	while (i < n) {
		const char *lead = memchr(p + i, cut[0], n - i);

		if (!lead)
			return n;
		i = (size_t)(lead - p);
		if (i && n - i >= n_cut && memcmp(lead, cut, n_cut) == 0)
			return i;
		i++;
	}
	return n;
}

static enum err bpe_encode(
        const struct token_model *m, struct token_scratch *s, const char *p, size_t n, struct ids *out)
{
	const struct bpe *b = m->state;
	int32_t whole;

	if (b->ignore_merges) {
		whole = vocab_find(&m->vocab, p, n);
		if (whole >= 0)
			return ids_append(out, &whole, 1);
	}
	if (!b->cut[0])
		return encode_word(m, s, p, n, out);
	for (size_t i = 0, len; i < n; i += len) {
		enum err e;

		len = word_length(b->cut, p + i, n - i);
		e = encode_word(m, s, p + i, len, out);
		if (e)
			return e;
	}
	return OK;
}

static bool bpe_recognise(const json_t *json)
{
	return json_object_get(json, "merges") != NULL;
}

const struct token_model_kind bpe_kind = {"BPE", bpe_recognise, bpe_parse, bpe_encode, bpe_free};
