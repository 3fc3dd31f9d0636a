/* See replay.h. A set-associative table of fixed size: under a flood the oldest entries of a set are
 * forgotten. */
#include "api/replay.h"

#include "core/clock.h"
#include "core/hash.h"
#include "core/mem.h"

#include <pthread.h>
#include <string.h>

#define SLOTS 16384
#define WAYS 8
#define REMEMBER_MS (10 * 60 * 1000)

struct seen {
	uint8_t hash[HASH_BYTES];
	int64_t at_ms; /* 0 = free */
	char key[REPLAY_KEY_SIZE];
};

struct replay {
	pthread_mutex_t lock;
	struct seen *seen; /* owned, SLOTS; under lock */
};

enum err replay_new(struct replay **out)
{
	struct replay *r = mem_calloc(1, sizeof(*r));

	if (!r)
		return ERR_MEM;
	r->seen = mem_calloc(SLOTS, sizeof(*r->seen));
	if (!r->seen) {
		mem_free(r);
		return ERR_MEM;
	}
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return OK;
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	mem_free(r->seen);
	mem_free(r);
}

static void request_hash(
        const char *tenant_id, const char *path, const struct buf *body, uint8_t hash[HASH_BYTES])
{
	struct hash h;

	hash_init(&h);
	hash_update(&h, tenant_id, strlen(tenant_id) + 1);
	hash_update(&h, path, strlen(path) + 1);
	hash_update(&h, body->data, body->len);
	hash_final(&h, hash);
}

/* The entry of hash, or the one of its set to be overwritten next. */
static struct seen *find(struct replay *r, const uint8_t hash[HASH_BYTES])
{
	size_t set = ((size_t)hash[0] | (size_t)hash[1] << 8) % (SLOTS / WAYS) * WAYS;
	struct seen *best = &r->seen[set];

	for (size_t i = 0; i < WAYS; i++) {
		struct seen *s = &r->seen[set + i];

		if (s->at_ms && !memcmp(s->hash, hash, HASH_BYTES))
			return s;
		if (s->at_ms < best->at_ms)
			best = s;
	}
	return best;
}

enum err replay_key(struct replay *r, const char *tenant_id, const char *path, const struct buf *body,
        bool retry, char out[REPLAY_KEY_SIZE])
{
	char fresh[REPLAY_KEY_SIZE];
	uint8_t hash[HASH_BYTES];
	int64_t now = clock_now_ms();
	struct seen *s;
	enum err e = random_id("auto-", 24, fresh);

	if (e)
		return e;
	request_hash(tenant_id, path, body, hash);
	pthread_mutex_lock(&r->lock);
	s = find(r, hash);
	if (!retry || !s->at_ms || memcmp(s->hash, hash, HASH_BYTES) != 0 || now - s->at_ms > REMEMBER_MS) {
		memcpy(s->hash, hash, HASH_BYTES);
		memcpy(s->key, fresh, sizeof(fresh));
		s->at_ms = now;
	}
	memcpy(out, s->key, REPLAY_KEY_SIZE);
	pthread_mutex_unlock(&r->lock);
	return OK;
}
