/*
 * See registry.h. One mutex guards table, order and counts; it is held for a look-up, never for the store. A
 * version is listed or not, and a listed one has the table for a holder; its count is atomic, since holders
 * let go anywhere.
 */
#include "worker/registry.h"

#include "core/clock.h"
#include "core/hash.h"
#include "core/mem.h"
#include "worker/version.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BUCKETS 256
/* Between a final adapter's name and a checkpoint's number. */
#define CHECKPOINT_SUFFIX ":ckpt-"

LIST_HEAD(bucket, version);

struct registry {
	struct store *store;       /* borrowed */
	const struct model *model; /* borrowed */
	const char *base_name;     /* borrowed */
	size_t max_bytes;

	pthread_mutex_t lock;
	/* under lock */
	struct bucket *buckets; /* owned, n_buckets, a power of two */
	size_t n_buckets, n_listed, n_adapters, n_bytes;
	uint64_t last_serial;
	uint64_t n_forgets; /* so that a load begun before a deletion is not published after it */
	struct histogram load;
	struct shapes shapes;
	TAILQ_HEAD(, version) by_use; /* longest unused first */
};

enum err registry_new(struct store *store, const struct model *model, const char *base_name, size_t max_bytes,
        struct registry **out)
{
	struct registry *r = mem_calloc(1, sizeof(*r));
	struct bucket *buckets = mem_calloc(FIRST_BUCKETS, sizeof(*buckets));

	if (!r || !buckets) {
		mem_free(r);
		mem_free(buckets);
		return ERR_MEM;
	}
	r->store = store;
	r->model = model;
	r->base_name = base_name;
	r->max_bytes = max_bytes;
	r->buckets = buckets;
	r->n_buckets = FIRST_BUCKETS;
	TAILQ_INIT(&r->by_use);
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return OK;
}

/* ---- versions ---- */

/* Under lock. */
static void version_drop(struct version *v)
{
	if (atomic_fetch_sub(&v->n_holders, 1) != 1)
		return;
	shape_give(v->shape);
	version_free(v);
}

static void version_release(void *owner)
{
	struct version *v = owner;
	struct registry *r = v->registry;

	/* The table's hold outlasts all others but when it has been given up. */
	if (atomic_fetch_sub(&v->n_holders, 1) != 1)
		return;
	pthread_mutex_lock(&r->lock);
	shape_give(v->shape);
	pthread_mutex_unlock(&r->lock);
	version_free(v);
}

/* ---- the table; under lock ---- */

/* How much of a name says which bucket: a checkpoint's lies where its final adapter's does. */
static size_t stem_length(const char *name)
{
	const char *suffix = strstr(name, CHECKPOINT_SUFFIX);

	return suffix ? (size_t)(suffix - name) : strlen(name);
}

static struct bucket *bucket_of(struct registry *r, const char *tenant_id, const char *name)
{
	uint64_t h = hash_table(HASH_TABLE_BEGIN, tenant_id, strlen(tenant_id) + 1); /* tenant, NUL, stem */

	h = hash_table(h, name, stem_length(name));
	return &r->buckets[hash_table_end(h) & (r->n_buckets - 1)];
}

static struct version *find(struct registry *r, const char *tenant_id, const char *name)
{
	struct version *v;

	LIST_FOREACH(v, bucket_of(r, tenant_id, name), in_bucket)
	if (strcmp(v->name, name) == 0 && strcmp(v->key, tenant_id) == 0)
		return v;
	return NULL;
}

static void unlist(struct registry *r, struct version *v)
{
	LIST_REMOVE(v, in_bucket);
	TAILQ_REMOVE(&r->by_use, v, in_lru);
	r->n_listed--;
	r->n_adapters -= v->shape != NULL;
	r->n_bytes -= v->bytes;
	version_drop(v);
}

void registry_free(struct registry *r)
{
	struct version *v;

	if (!r)
		return;
	while ((v = TAILQ_FIRST(&r->by_use)))
		unlist(r, v);
	pthread_mutex_destroy(&r->lock);
	mem_free(r->buckets);
	mem_free(r);
}

/* Twice the buckets; when memory is short the chains just grow longer. */
static void grow(struct registry *r)
{
	size_t n = r->n_buckets * 2;
	struct bucket *buckets = mem_calloc(n, sizeof(*buckets));
	struct version *v;

	if (!buckets)
		return;
	mem_free(r->buckets);
	r->buckets = buckets;
	r->n_buckets = n;
	TAILQ_FOREACH(v, &r->by_use, in_lru)
	LIST_INSERT_HEAD(bucket_of(r, v->key, v->name), v, in_bucket);
}

/* Into the table, which holds it from now on; whoever has been longest unused makes room. */
static void list(struct registry *r, struct version *v)
{
	atomic_fetch_add(&v->n_holders, 1);
	LIST_INSERT_HEAD(bucket_of(r, v->key, v->name), v, in_bucket);
	TAILQ_INSERT_TAIL(&r->by_use, v, in_lru);
	r->n_bytes += v->bytes;
	r->n_adapters += v->shape != NULL;
	if (++r->n_listed > r->n_buckets)
		grow(r);
	while (r->n_bytes > r->max_bytes && TAILQ_FIRST(&r->by_use) != v)
		unlist(r, TAILQ_FIRST(&r->by_use));
}

static void note_use(struct registry *r, struct version *v)
{
	TAILQ_REMOVE(&r->by_use, v, in_lru);
	TAILQ_INSERT_TAIL(&r->by_use, v, in_lru);
}

/* ---- acquiring ---- */

/* Hand out what the table holds, or false. */
static bool acquire_resident(struct registry *r, const char *tenant_id, const char *name,
        struct version **out, uint64_t *n_forgets)
{
	struct version *v;

	pthread_mutex_lock(&r->lock);
	*n_forgets = r->n_forgets;
	v = find(r, tenant_id, name);
	if (v) {
		note_use(r, v);
		atomic_fetch_add(&v->n_holders, 1);
		*out = v;
	}
	pthread_mutex_unlock(&r->lock);
	return v != NULL;
}

static enum err load_version(
        struct registry *r, const char *tenant_id, const char *name, struct version **out, struct why *why)
{
	struct adapter_record record;
	struct adapter_layout *layout;
	struct version *v = NULL;
	enum err e = store_adapter_get(r->store, tenant_id, name, &record);

	if (e == ERR_NOT_FOUND) {
		why_param(why, e, "model", "the model '%.200s' does not exist", name);
		if (why)
			memcpy(why->code, "model_not_found", sizeof("model_not_found"));
	}
	if (e)
		return e;
	e = version_new(r, tenant_id, name, &v);
	if (!e)
		e = version_read(v, r->model, &record, &layout, why);
	adapter_record_fini(&record);
	if (!e) {
		pthread_mutex_lock(&r->lock);
		e = shape_take(&r->shapes, layout, &v->shape);
		pthread_mutex_unlock(&r->lock);
	}
	if (e)
		version_free(v);
	else
		*out = v;
	return e;
}

/* Put a fresh version under its name, unless another thread was first (then that one is handed out) or names
 * were forgotten meanwhile. Not being published is no failure: the caller has its version. */
static struct version *publish(struct registry *r, struct version *v, uint64_t n_forgets, int64_t load_ns)
{
	struct version *known, *mine = v;

	pthread_mutex_lock(&r->lock);
	histogram_add(&r->load, load_ns);
	v->serial = ++r->last_serial;
	known = find(r, v->key, v->name);
	if (known) {
		v = known;
		atomic_fetch_add(&v->n_holders, 1);
	} else if (r->n_forgets == n_forgets) {
		list(r, v);
	}
	pthread_mutex_unlock(&r->lock);
	if (v != mine)
		version_release(mine);
	return v;
}

/* What an alias of the tenant's points at now, or the name itself: adapters' names hold a colon, aliases'
 * never. Asked of the store each time, so a switch counts from the moment it is on disk. */
static enum err resolve_alias(
        struct registry *r, const char *tenant_id, const char *name, struct alias *alias, const char **model)
{
	enum err e = strchr(name, ':') ? ERR_NOT_FOUND : store_alias_get(r->store, tenant_id, name, alias);

	*model = e ? name : alias->model;
	return e == ERR_NOT_FOUND ? OK : e;
}

/* The base edits nothing and is held by nobody, but each tenant's use of it has a number of its own: that of
 * an entry without content, or 0 where memory is too short for one. */
static uint64_t base_serial(struct registry *r, const char *tenant_id)
{
	struct version *v = NULL, *fresh = NULL;
	uint64_t serial = 0;

	pthread_mutex_lock(&r->lock);
	v = find(r, tenant_id, r->base_name);
	if (v)
		note_use(r, v);
	else if (version_new(r, tenant_id, r->base_name, &fresh) == OK) {
		v = fresh;
		v->serial = ++r->last_serial;
		list(r, v);
	}
	if (v)
		serial = v->serial;
	if (fresh)
		version_drop(fresh);
	pthread_mutex_unlock(&r->lock);
	return serial;
}

enum err registry_acquire(
        struct registry *r, const char *tenant_id, const char *name, struct adapter_ref *ref, struct why *why)
{
	struct version *v = NULL;
	struct alias alias;
	const char *model;
	uint64_t n_forgets;
	enum err e;

	if (strcmp(name, r->base_name) == 0) {
		*ref = (struct adapter_ref){.version = base_serial(r, tenant_id)};
		return OK;
	}
	e = resolve_alias(r, tenant_id, name, &alias, &model);
	if (e)
		return e;
	if (!acquire_resident(r, tenant_id, model, &v, &n_forgets)) {
		int64_t start = clock_mono_ns();

		e = load_version(r, tenant_id, model, &v, why);
		if (e)
			return e;
		v = publish(r, v, n_forgets, clock_mono_ns() - start);
	}
	*ref = (struct adapter_ref){.layout = v->shape->layout,
	        .params = v->params,
	        .labels = v->labels,
	        .version = v->serial,
	        .release = version_release,
	        .owner = v};
	return OK;
}

/* ---- forgetting and counting ---- */

/* A final adapter's checkpoints go with it: they bear its name and a suffix. */
static bool forgotten_with(const struct version *v, const char *name)
{
	size_t n = strlen(name);

	return strncmp(v->name, name, n) == 0 &&
	       (v->name[n] == '\0' ||
	               strncmp(v->name + n, CHECKPOINT_SUFFIX, strlen(CHECKPOINT_SUFFIX)) == 0);
}

static void forget_tenant(struct registry *r, const char *tenant_id)
{
	struct version *v, *next;

	for (v = TAILQ_FIRST(&r->by_use); v; v = next) {
		next = TAILQ_NEXT(v, in_lru);
		if (strcmp(v->key, tenant_id) == 0)
			unlist(r, v);
	}
}

void registry_forget(struct registry *r, const char *tenant_id, const char *name)
{
	struct version *v, *next;

	pthread_mutex_lock(&r->lock);
	r->n_forgets++;
	if (!name)
		forget_tenant(r, tenant_id);
	for (v = name ? LIST_FIRST(bucket_of(r, tenant_id, name)) : NULL; v; v = next) {
		next = LIST_NEXT(v, in_bucket);
		if (strcmp(v->key, tenant_id) == 0 && forgotten_with(v, name))
			unlist(r, v);
	}
	pthread_mutex_unlock(&r->lock);
}

void registry_stats(struct registry *r, struct registry_stats *out)
{
	pthread_mutex_lock(&r->lock);
	out->n_adapters = r->n_adapters;
	out->bytes = r->n_bytes;
	out->load = r->load;
	pthread_mutex_unlock(&r->lock);
}

size_t registry_count(struct registry *r)
{
	struct registry_stats stats;

	registry_stats(r, &stats);
	return stats.n_adapters;
}
