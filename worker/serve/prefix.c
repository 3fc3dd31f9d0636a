/*
 * See prefix.h. Chunks are a forest in a hash table: each knows the one before it. In the order of use the
 * later ones of a path come before the earlier, so that the longest unused has none that follows it; and who
 * holds a chunk's pages holds those before it, so that none that follows an idle one is in use.
 */
#include "worker/serve/prefix.h"

#include "core/mem.h"

#include <assert.h>
#include <string.h>
#include <sys/queue.h>

#define FIRST_BUCKETS 256

struct chunk {
	struct chunk *before; /* borrowed; NULL = it begins a prompt */
	uint64_t version;
	float strength;
	uint64_t hash;
	size_t n_after; /* kept chunks that follow it */
	LIST_ENTRY(chunk) in_bucket;
	TAILQ_ENTRY(chunk) in_lru;
	int32_t *tokens;  /* (chunk_tokens), behind pages */
	uint32_t pages[]; /* held (chunk_pages) */
};

LIST_HEAD(bucket, chunk);

struct prefix {
	struct kv_pool *pool;             /* borrowed */
	size_t chunk_tokens, chunk_pages; /* chunk_pages 0 = nothing is kept */
	struct bucket *buckets;           /* owned (n_buckets), a power of two */
	size_t n_buckets, n_chunks;
	TAILQ_HEAD(, chunk) by_use; /* longest unused first */
};

enum err prefix_new(struct kv_pool *pool, size_t chunk_tokens, struct prefix **out)
{
	struct prefix *p = mem_calloc(1, sizeof(*p));
	size_t page_tokens = kv_pool_page_tokens(pool);

	if (!p)
		return ERR_MEM;
	p->pool = pool;
	p->chunk_tokens = chunk_tokens;
	p->chunk_pages = chunk_tokens % page_tokens ? 0 : chunk_tokens / page_tokens;
	p->n_buckets = FIRST_BUCKETS;
	p->buckets = mem_calloc(p->n_buckets, sizeof(*p->buckets));
	TAILQ_INIT(&p->by_use);
	if (!p->buckets) {
		mem_free(p);
		return ERR_MEM;
	}
	*out = p;
	return OK;
}

static void give_up(struct prefix *p, struct chunk *c)
{
	assert(c->n_after == 0);
	LIST_REMOVE(c, in_bucket);
	TAILQ_REMOVE(&p->by_use, c, in_lru);
	p->n_chunks--;
	if (c->before)
		c->before->n_after--;
	for (size_t i = 0; i < p->chunk_pages; i++)
		kv_page_give_up(p->pool, c->pages[i]);
	mem_free(c);
}

void prefix_free(struct prefix *p)
{
	struct chunk *c;

	if (!p)
		return;
	while ((c = TAILQ_FIRST(&p->by_use)))
		give_up(p, c);
	mem_free(p->buckets);
	mem_free(p);
}

/* ---- the table ---- */

static struct bucket *bucket_of(const struct prefix *p, uint64_t hash)
{
	return &p->buckets[hash & (p->n_buckets - 1)];
}

/* Of the chunk at `tokens` after `before`. */
static uint64_t hash_of(const struct prefix *p, const struct prefix_prompt *prompt,
        const struct chunk *before, const int32_t *tokens)
{
	uint64_t h = before ? before->hash : prompt->version * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < p->chunk_tokens; i++)
		h = (h ^ (uint32_t)tokens[i]) * 0x100000001b3u;
	return h ^ h >> 29;
}

static struct chunk *find(const struct prefix *p, const struct prefix_prompt *prompt,
        const struct chunk *before, const int32_t *tokens)
{
	uint64_t hash = hash_of(p, prompt, before, tokens);
	struct chunk *c;

	LIST_FOREACH(c, bucket_of(p, hash), in_bucket)
	if (c->hash == hash && c->before == before && c->version == prompt->version &&
	        memcmp(&c->strength, &prompt->strength, sizeof(c->strength)) == 0 &&
	        memcmp(c->tokens, tokens, p->chunk_tokens * sizeof(*tokens)) == 0)
		return c;
	return NULL;
}

/* The path was used: its end first, so that the beginning stays longest. */
static void note_use(struct prefix *p, struct chunk *end)
{
	for (struct chunk *c = end; c; c = c->before) {
		TAILQ_REMOVE(&p->by_use, c, in_lru);
		TAILQ_INSERT_TAIL(&p->by_use, c, in_lru);
	}
}

/* Twice the buckets; when memory is short the chains just grow longer. */
static void grow(struct prefix *p)
{
	size_t n = p->n_buckets * 2;
	struct bucket *buckets = mem_calloc(n, sizeof(*buckets));
	struct chunk *c;

	if (!buckets)
		return;
	mem_free(p->buckets);
	p->buckets = buckets;
	p->n_buckets = n;
	TAILQ_FOREACH(c, &p->by_use, in_lru)
	LIST_INSERT_HEAD(bucket_of(p, c->hash), c, in_bucket);
}

/* Keep the index-th chunk of a prompt, whose pages kv holds; NULL when memory is short. */
static struct chunk *add(struct prefix *p, const struct prefix_prompt *prompt, struct chunk *before,
        const struct kv *kv, size_t index)
{
	const int32_t *tokens = prompt->tokens + index * p->chunk_tokens;
	struct chunk *c = mem_calloc(
	        1, sizeof(*c) + p->chunk_pages * sizeof(c->pages[0]) + p->chunk_tokens * sizeof(*tokens));

	if (!c)
		return NULL;
	c->before = before;
	c->version = prompt->version;
	c->strength = prompt->strength;
	c->hash = hash_of(p, prompt, before, tokens);
	c->tokens = (int32_t *)(c->pages + p->chunk_pages);
	memcpy(c->tokens, tokens, p->chunk_tokens * sizeof(*tokens));
	for (size_t i = 0; i < p->chunk_pages; i++) {
		c->pages[i] = kv_page(kv, index * p->chunk_pages + i);
		kv_page_keep(p->pool, c->pages[i]);
	}
	if (before)
		before->n_after++;
	LIST_INSERT_HEAD(bucket_of(p, c->hash), c, in_bucket);
	TAILQ_INSERT_TAIL(&p->by_use, c, in_lru);
	if (++p->n_chunks > p->n_buckets)
		grow(p);
	return c;
}

/* ---- the face ---- */

static bool keeps(const struct prefix *p, const struct prefix_prompt *prompt)
{
	return p->chunk_pages > 0 && prompt->version != 0;
}

size_t prefix_adopt(struct prefix *p, const struct prefix_prompt *prompt, struct kv *kv)
{
	size_t have = kv_length(kv), n = 0;
	struct chunk *end = NULL, *c;

	if (!keeps(p, prompt))
		return 0;
	for (size_t at = 0; at + p->chunk_tokens < prompt->n_tokens; at += p->chunk_tokens) {
		c = find(p, prompt, end, prompt->tokens + at);
		if (!c)
			break;
		end = c;
		if (at < have)
			continue;
		kv_adopt(kv, c->pages, p->chunk_pages);
		n += p->chunk_tokens;
	}
	note_use(p, end);
	return n;
}

void prefix_keep(struct prefix *p, const struct prefix_prompt *prompt, const struct kv *kv)
{
	size_t n = kv_length(kv) < prompt->n_tokens ? kv_length(kv) : prompt->n_tokens;
	struct chunk *end = NULL, *c;

	for (size_t i = 0; keeps(p, prompt) && (i + 1) * p->chunk_tokens <= n; i++) {
		c = find(p, prompt, end, prompt->tokens + i * p->chunk_tokens);
		if (!c)
			c = add(p, prompt, end, kv, i);
		if (!c)
			break;
		end = c;
	}
	note_use(p, end);
}

static bool is_idle(const struct prefix *p, const struct chunk *c)
{
	return kv_page_is_idle(p->pool, c->pages[0]);
}

size_t prefix_shared_pages(const struct prefix *p, const struct prefix_prompt *prompt)
{
	const struct chunk *c = NULL;
	size_t n = 0;

	if (!keeps(p, prompt))
		return 0;
	for (size_t at = 0; at + p->chunk_tokens < prompt->n_tokens; at += p->chunk_tokens) {
		c = find(p, prompt, c, prompt->tokens + at);
		if (!c)
			break;
		n += is_idle(p, c) ? 0 : p->chunk_pages;
	}
	return n;
}

bool prefix_make_room(struct prefix *p, size_t n)
{
	struct chunk *c, *next;

	for (c = TAILQ_FIRST(&p->by_use); c && kv_pool_free_pages(p->pool) < n; c = next) {
		next = TAILQ_NEXT(c, in_lru);
		if (is_idle(p, c) && c->n_after == 0)
			give_up(p, c);
	}
	return kv_pool_free_pages(p->pool) >= n;
}
