/* See rate.h. A table with chains; accounts that are full again are dropped when their chain grows, for a
 * fresh one is full too. */
#include "api/rate.h"

#include "core/hash.h"
#include "core/mem.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define CHAINS 1024
#define MINUTE_MS 60000
/* Beyond, amounts are all the same: so no sum of a few levels overflows. */
#define UNITS_MAX ((int64_t)1 << 40)
#define LEVEL_MAX (UNITS_MAX * MINUTE_MS)

/* level is exact: units times MINUTE_MS, so that every millisecond adds per_minute of them. */
struct bucket {
	int64_t capacity, level, at_ms;
};

struct account {
	struct account *next;
	char tenant_id[STORE_ID_SIZE];
	struct bucket buckets[RATE_KINDS];
};

struct rate {
	pthread_mutex_t lock;
	struct account *chains[CHAINS]; /* owned; under lock */
};

enum err rate_new(struct rate **out)
{
	struct rate *r = mem_calloc(1, sizeof(*r));

	if (!r)
		return ERR_MEM;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return OK;
}

void rate_free(struct rate *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < CHAINS; i++) {
		while (r->chains[i]) {
			struct account *a = r->chains[i];

			r->chains[i] = a->next;
			mem_free(a);
		}
	}
	pthread_mutex_destroy(&r->lock);
	mem_free(r);
}

static struct account **chain_of(struct rate *r, const char *tenant_id)
{
	uint64_t h = hash_table(HASH_TABLE_BEGIN, tenant_id, strlen(tenant_id));

	return &r->chains[hash_table_end(h) % CHAINS];
}

/* Fill up to now. A budget that has changed keeps what is there, as far as it fits. */
static void bucket_fill(struct bucket *b, int64_t per_minute, int64_t now_ms)
{
	int64_t added;

	if (!b->capacity)
		*b = (struct bucket){.level = per_minute * MINUTE_MS, .at_ms = now_ms};
	b->capacity = per_minute * MINUTE_MS;
	if (now_ms > b->at_ms) {
		if (__builtin_mul_overflow(per_minute, now_ms - b->at_ms, &added) ||
		        added > b->capacity - b->level)
			added = b->capacity - b->level;
		b->level += added;
		b->at_ms = now_ms;
	}
	if (b->level > b->capacity)
		b->level = b->capacity;
}

static bool account_full(const struct account *a, int64_t now_ms)
{
	for (size_t i = 0; i < RATE_KINDS; i++) {
		struct bucket b = a->buckets[i];

		if (!b.capacity)
			continue;
		bucket_fill(&b, b.capacity / MINUTE_MS, now_ms);
		if (b.level < b.capacity)
			return false;
	}
	return true;
}

/* With lock. NULL when memory is short. */
static struct account *account_get(struct rate *r, const char *tenant_id, int64_t now_ms)
{
	struct account **chain = chain_of(r, tenant_id), **at = chain, *a;

	for (a = *at; a; a = *at) {
		if (!strcmp(a->tenant_id, tenant_id))
			return a;
		if (account_full(a, now_ms)) {
			*at = a->next;
			mem_free(a);
		} else {
			at = &a->next;
		}
	}
	a = mem_calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	snprintf(a->tenant_id, sizeof(a->tenant_id), "%s", tenant_id);
	a->next = *chain;
	*chain = a;
	return a;
}

/* Milliseconds until level units more are there, at per_minute of them a millisecond. */
static int64_t ms_until(int64_t level, int64_t per_minute)
{
	return level <= 0 ? 0 : (level + per_minute - 1) / per_minute;
}

static int64_t clamp(int64_t n, int64_t max)
{
	return n > max ? max : n < -max ? -max : n;
}

enum err rate_take(struct rate *r, const char *tenant_id, enum rate_kind kind, int64_t per_minute, int64_t n,
        int64_t now_ms, struct rate_state *out)
{
	int64_t want = clamp(n, UNITS_MAX) * MINUTE_MS;
	struct account *a;
	struct bucket *b;
	enum err e = OK;

	per_minute = clamp(per_minute, UNITS_MAX);
	pthread_mutex_lock(&r->lock);
	a = account_get(r, tenant_id, now_ms);
	if (a) {
		b = &a->buckets[kind];
		bucket_fill(b, per_minute, now_ms);
		e = want > b->level ? ERR_LIMIT : OK;
		*out = (struct rate_state){.wait_ms = ms_until(want - b->level, per_minute)};
		if (want > b->capacity)
			out->wait_ms = -1;
		if (!e)
			b->level -= want;
		out->remaining = b->level > 0 ? b->level / MINUTE_MS : 0;
		out->reset_ms = ms_until(b->capacity - b->level, per_minute);
	}
	pthread_mutex_unlock(&r->lock);
	return a ? e : ERR_MEM;
}

void rate_give(struct rate *r, const char *tenant_id, enum rate_kind kind, int64_t per_minute, int64_t n,
        int64_t now_ms)
{
	struct account *a;
	struct bucket *b;

	per_minute = clamp(per_minute, UNITS_MAX);
	pthread_mutex_lock(&r->lock);
	a = account_get(r, tenant_id, now_ms);
	if (a) {
		b = &a->buckets[kind];
		bucket_fill(b, per_minute, now_ms);
		b->level = clamp(b->level + clamp(n, UNITS_MAX) * MINUTE_MS, LEVEL_MAX);
		if (b->level > b->capacity)
			b->level = b->capacity;
	}
	pthread_mutex_unlock(&r->lock);
}

void rate_forget(struct rate *r, const char *tenant_id)
{
	struct account **at, *a;

	pthread_mutex_lock(&r->lock);
	for (at = chain_of(r, tenant_id); (a = *at); at = &a->next)
		if (!strcmp(a->tenant_id, tenant_id))
			break;
	if (a) {
		*at = a->next;
		mem_free(a);
	}
	pthread_mutex_unlock(&r->lock);
}
