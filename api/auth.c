/*
 * See auth.h. A lookup that began before a revocation must not be remembered after it: auth_forget() counts
 * generations, and auth_ask() stores only what it found in the generation it began in.
 */
#include "api/auth.h"

#include "core/clock.h"
#include "core/mem.h"

#include <nettle/memops.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#define CACHE_SLOTS 4096
#define CACHE_WAYS 8
#define CACHE_TTL_MS 30000 /* another daemon on the same store may revoke too */
#define KEY_MAX_LENGTH 512

struct entry {
	uint8_t key_hash[HASH_BYTES];
	int64_t until_ms; /* 0 = free */
	struct tenant tenant;
};

struct auth {
	const struct api_options *options; /* borrowed */
	struct store *store;               /* borrowed */
	pthread_mutex_t lock;
	/* under lock */
	uint64_t generation;
	struct entry *entries; /* owned, CACHE_SLOTS */
	bool has_default;
	struct tenant default_tenant;
};

enum err auth_new(const struct api_options *options, struct store *store, struct auth **out)
{
	struct auth *a = mem_calloc(1, sizeof(*a));

	if (!a)
		return ERR_MEM;
	a->entries = mem_calloc(CACHE_SLOTS, sizeof(*a->entries));
	if (!a->entries) {
		mem_free(a);
		return ERR_MEM;
	}
	a->options = options;
	a->store = store;
	pthread_mutex_init(&a->lock, NULL);
	*out = a;
	return OK;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	pthread_mutex_destroy(&a->lock);
	mem_free(a->entries);
	mem_free(a);
}

/* The key's hash, or ERR_AUTH with the words for a header that holds none. */
static enum err bearer_hash(const char *authorization, uint8_t hash[HASH_BYTES], struct why *why)
{
	size_t n;

	if (!authorization)
		return why_set(why, ERR_AUTH,
		        "You didn't provide an API key. Send it as Authorization: Bearer KEY.");
	if (strncasecmp(authorization, "Bearer ", 7) != 0)
		return why_set(why, ERR_AUTH, "The Authorization header must be: Bearer KEY.");
	authorization += 7;
	authorization += strspn(authorization, " ");
	n = strcspn(authorization, " \t");
	if (!n || n > KEY_MAX_LENGTH)
		return why_set(why, ERR_AUTH, "The Authorization header holds no key.");
	hash_bytes(authorization, n, hash);
	return OK;
}

static struct entry *slot(struct auth *a, const uint8_t hash[HASH_BYTES], size_t way)
{
	size_t h = (size_t)hash[0] | (size_t)hash[1] << 8;

	return &a->entries[(h + way) % CACHE_SLOTS];
}

static bool cache_get(struct auth *a, const uint8_t hash[HASH_BYTES], struct tenant *out)
{
	int64_t now = clock_now_ms();
	bool found = false;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < CACHE_WAYS && !found; i++) {
		const struct entry *e = slot(a, hash, i);

		found = e->until_ms > now && !memcmp(e->key_hash, hash, HASH_BYTES);
		if (found)
			*out = e->tenant;
	}
	pthread_mutex_unlock(&a->lock);
	return found;
}

/* Into the slot of this key, a free one, or the one that expires first. */
static void cache_put(
        struct auth *a, const uint8_t hash[HASH_BYTES], const struct tenant *tenant, uint64_t generation)
{
	struct entry *best;

	pthread_mutex_lock(&a->lock);
	best = slot(a, hash, 0);
	for (size_t i = 0; i < CACHE_WAYS; i++) {
		struct entry *e = slot(a, hash, i);

		if (e->until_ms && !memcmp(e->key_hash, hash, HASH_BYTES)) {
			best = e;
			break;
		}
		if (e->until_ms < best->until_ms)
			best = e;
	}
	if (generation == a->generation) {
		memcpy(best->key_hash, hash, HASH_BYTES);
		best->until_ms = clock_now_ms() + CACHE_TTL_MS;
		best->tenant = *tenant;
	}
	pthread_mutex_unlock(&a->lock);
}

static uint64_t generation_now(struct auth *a)
{
	uint64_t g;

	pthread_mutex_lock(&a->lock);
	g = a->generation;
	pthread_mutex_unlock(&a->lock);
	return g;
}

void auth_forget(struct auth *a, const char *tenant_id)
{
	pthread_mutex_lock(&a->lock);
	a->generation++;
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		if (a->entries[i].until_ms && !strcmp(a->entries[i].tenant.id, tenant_id))
			memset(&a->entries[i], 0, sizeof(a->entries[i]));
	if (a->has_default && !strcmp(a->default_tenant.id, tenant_id))
		a->has_default = false;
	pthread_mutex_unlock(&a->lock);
}

static bool default_get(struct auth *a, struct tenant *out)
{
	bool has;

	pthread_mutex_lock(&a->lock);
	has = a->has_default;
	if (has)
		*out = a->default_tenant;
	pthread_mutex_unlock(&a->lock);
	return has;
}

/* Without authentication there is one tenant, made when first asked for. */
static enum err default_ask(struct auth *a, struct tenant *out)
{
	static const struct tenant_limits none = {0};
	uint64_t generation = generation_now(a);
	enum err e = store_tenant_by_name(a->store, "default", out);

	if (e == ERR_NOT_FOUND)
		e = store_tenant_create(a->store, "default", &none, out);
	if (e == ERR_EXISTS) /* someone else was faster */
		e = store_tenant_by_name(a->store, "default", out);
	if (e)
		return e;
	pthread_mutex_lock(&a->lock);
	if (generation == a->generation) {
		a->default_tenant = *out;
		a->has_default = true;
	}
	pthread_mutex_unlock(&a->lock);
	return OK;
}

enum err auth_peek(struct auth *a, const char *authorization, struct principal *out, struct why *why)
{
	struct principal p = {.has_tenant = true};
	uint8_t hash[HASH_BYTES];
	enum err e;

	if (a->options->no_auth) {
		p.is_admin = true;
		if (!default_get(a, &p.tenant))
			return ERR_BUSY;
		*out = p;
		return OK;
	}
	e = bearer_hash(authorization, hash, why);
	if (e)
		return e;
	if (memeql_sec(hash, a->options->admin_key_hash, HASH_BYTES)) {
		p.is_admin = true;
		p.has_tenant = false;
	} else if (!cache_get(a, hash, &p.tenant)) {
		return ERR_BUSY;
	}
	*out = p;
	return OK;
}

enum err auth_ask(struct auth *a, const char *authorization, struct principal *out, struct why *why)
{
	struct principal p = {.has_tenant = true};
	uint64_t generation = generation_now(a);
	uint8_t hash[HASH_BYTES];
	enum err e = auth_peek(a, authorization, out, why);

	if (e != ERR_BUSY)
		return e;
	if (a->options->no_auth) {
		p.is_admin = true;
		e = default_ask(a, &p.tenant);
	} else {
		e = bearer_hash(authorization, hash, why);
		if (!e)
			e = store_tenant_by_key(a->store, hash, &p.tenant);
		if (e == ERR_NOT_FOUND)
			return why_set(why, ERR_AUTH, "Incorrect API key provided.");
		if (!e)
			cache_put(a, hash, &p.tenant, generation);
	}
	if (e)
		return e;
	*out = p;
	return OK;
}
