/*
 * See registry.h. One mutex guards table, list and counts of entries; a version's own count is atomic, since
 * holders release it anywhere. Every entry holds one reference to its version.
 */
#include "worker/registry.h"

#include "core/mem.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#define FIRST_BUCKETS 256

/* An adapter in memory; immutable but for its count. */
struct version {
	atomic_size_t n_holders;
	struct adapter_layout *layout; /* owned */
	float *params;                 /* owned */
	struct labels labels;          /* owned; of the layout's head */
	size_t bytes;
};

struct entry {
	char tenant_id[STORE_ID_SIZE];
	char name[STORE_MODEL_SIZE];
	struct version *version;
	LIST_ENTRY(entry) in_bucket;
	TAILQ_ENTRY(entry) in_lru;
};

LIST_HEAD(bucket, entry);

struct registry {
	struct store *store;       /* borrowed */
	const struct model *model; /* borrowed */
	const char *base_name;     /* borrowed */
	size_t max_bytes;

	pthread_mutex_t lock;
	/* under lock */
	struct bucket *buckets; /* owned, n_buckets, a power of two */
	size_t n_buckets, n_entries, n_bytes;
	uint64_t n_forgets;         /* so that a load begun before a deletion is not published after it */
	TAILQ_HEAD(, entry) by_use; /* longest unused first */
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

static void version_release(void *owner)
{
	struct version *v = owner;

	if (!v || atomic_fetch_sub(&v->n_holders, 1) != 1)
		return;
	adapter_layout_free(v->layout);
	mem_free(v->params);
	labels_fini(&v->labels);
	mem_free(v);
}

static struct bucket *bucket_of(struct registry *r, const char *tenant_id, const char *name)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a over tenant, NUL, name */

	for (const char *p = tenant_id;; p++) {
		h = (h ^ (unsigned char)*p) * 1099511628211u;
		if (!*p)
			break;
	}
	for (const char *p = name; *p; p++)
		h = (h ^ (unsigned char)*p) * 1099511628211u;
	return &r->buckets[(h ^ h >> 32) & (r->n_buckets - 1)];
}

static struct entry *find_entry(struct registry *r, const char *tenant_id, const char *name)
{
	struct entry *e;

	LIST_FOREACH(e, bucket_of(r, tenant_id, name), in_bucket)
	if (strcmp(e->name, name) == 0 && strcmp(e->tenant_id, tenant_id) == 0)
		return e;
	return NULL;
}

static void remove_entry(struct registry *r, struct entry *e)
{
	LIST_REMOVE(e, in_bucket);
	TAILQ_REMOVE(&r->by_use, e, in_lru);
	r->n_entries--;
	r->n_bytes -= e->version->bytes;
	version_release(e->version);
	mem_free(e);
}

void registry_free(struct registry *r)
{
	struct entry *e;

	if (!r)
		return;
	while ((e = TAILQ_FIRST(&r->by_use)))
		remove_entry(r, e);
	pthread_mutex_destroy(&r->lock);
	mem_free(r->buckets);
	mem_free(r);
}

/* Twice the buckets; when memory is short the chains just grow longer. */
static void grow(struct registry *r)
{
	size_t n = r->n_buckets * 2;
	struct bucket *buckets = mem_calloc(n, sizeof(*buckets));
	struct entry *e;

	if (!buckets)
		return;
	mem_free(r->buckets);
	r->buckets = buckets;
	r->n_buckets = n;
	TAILQ_FOREACH(e, &r->by_use, in_lru)
	LIST_INSERT_HEAD(bucket_of(r, e->tenant_id, e->name), e, in_bucket);
}

/* Hand out what the table holds, or false. */
static bool acquire_resident(struct registry *r, const char *tenant_id, const char *name,
        struct version **out, uint64_t *n_forgets)
{
	struct entry *e;

	pthread_mutex_lock(&r->lock);
	*n_forgets = r->n_forgets;
	e = find_entry(r, tenant_id, name);
	if (e) {
		TAILQ_REMOVE(&r->by_use, e, in_lru);
		TAILQ_INSERT_TAIL(&r->by_use, e, in_lru);
		atomic_fetch_add(&e->version->n_holders, 1);
		*out = e->version;
	}
	pthread_mutex_unlock(&r->lock);
	return e != NULL;
}

static enum err check_manifest(
        const struct registry *r, const struct adapter_record *a, const json_t *manifest, struct why *why)
{
	const char *hash = json_string_value(json_object_get(manifest, "base_hash"));
	bool fits = hash && strcmp(hash, model_info(r->model)->hash) == 0;

	if (fits)
		return OK;
	return why_param(why, ERR_MISMATCH, "model",
	        "%s was trained on another base (%.12s) than this one (%.12s)", a->name,
	        hash ? hash : "unknown", model_info(r->model)->hash);
}

/* Layout, parameters and labels of a record whose base is ours. */
static enum err read_version(struct registry *r, const struct adapter_record *a, const json_t *manifest,
        struct version *v, struct why *why)
{
	size_t n_sites, n_labels;
	const struct site *sites = model_sites(r->model, &n_sites);
	enum err e =
	        adapter_read(a->content, (size_t)a->bytes, sites, n_sites, &v->layout, &v->params, NULL, why);

	if (e != OK)
		return e;
	v->bytes = sizeof(*v) + sizeof(struct entry) + adapter_layout_n_params(v->layout) * sizeof(float);
	n_labels = adapter_layout_head_labels(v->layout);
	if (n_labels == 0)
		return OK;
	e = labels_read(json_object_get(manifest, "labels"), n_labels, &v->labels);
	if (e == ERR_FORMAT)
		why_param(why, e, "model", "%s: its labels do not fit its head of %zu outputs", a->name,
		        n_labels);
	return e;
}

static enum err load_version(
        struct registry *r, const char *tenant_id, const char *name, struct version **out, struct why *why)
{
	struct adapter_record record;
	struct version *v = NULL;
	json_t *manifest = NULL;
	enum err e = store_adapter_get(r->store, tenant_id, name, &record);

	if (e == ERR_NOT_FOUND) {
		why_param(why, e, "model", "the model '%.200s' does not exist", name);
		if (why)
			memcpy(why->code, "model_not_found", sizeof("model_not_found"));
	}
	if (e != OK)
		return e;
	manifest = record.manifest ? json_loads(record.manifest, 0, NULL) : NULL;
	e = check_manifest(r, &record, manifest, why);
	if (e != OK)
		goto fail;
	e = ERR_MEM;
	v = mem_calloc(1, sizeof(*v));
	if (!v)
		goto fail;
	atomic_init(&v->n_holders, 1);
	e = read_version(r, &record, manifest, v, why);
	if (e != OK)
		goto fail;
	json_decref(manifest);
	adapter_record_fini(&record);
	*out = v;
	return OK;
fail:
	json_decref(manifest);
	adapter_record_fini(&record);
	version_release(v);
	return e;
}

/* Put a fresh version under its name, unless another thread was first (then that one is handed out) or names
 * were forgotten meanwhile. Not being published is no failure: the caller has its version. */
static struct version *publish(
        struct registry *r, const char *tenant_id, const char *name, struct version *v, uint64_t n_forgets)
{
	struct entry *e = mem_calloc(1, sizeof(*e)), *known;
	struct version *mine = v;

	pthread_mutex_lock(&r->lock);
	known = find_entry(r, tenant_id, name);
	if (known) {
		v = known->version;
		atomic_fetch_add(&v->n_holders, 1);
	} else if (e && r->n_forgets == n_forgets) {
		snprintf(e->tenant_id, sizeof(e->tenant_id), "%s", tenant_id);
		snprintf(e->name, sizeof(e->name), "%s", name);
		e->version = v;
		atomic_fetch_add(&v->n_holders, 1);
		LIST_INSERT_HEAD(bucket_of(r, tenant_id, name), e, in_bucket);
		TAILQ_INSERT_TAIL(&r->by_use, e, in_lru);
		r->n_bytes += v->bytes;
		if (++r->n_entries > r->n_buckets)
			grow(r);
		while (r->n_bytes > r->max_bytes && TAILQ_FIRST(&r->by_use) != e)
			remove_entry(r, TAILQ_FIRST(&r->by_use));
		e = NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (v != mine)
		version_release(mine);
	mem_free(e);
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

enum err registry_acquire(
        struct registry *r, const char *tenant_id, const char *name, struct adapter_ref *ref, struct why *why)
{
	struct version *v = NULL;
	struct alias alias;
	const char *model;
	uint64_t n_forgets;
	enum err err;

	if (strcmp(name, r->base_name) == 0) {
		*ref = (struct adapter_ref){0};
		return OK;
	}
	err = resolve_alias(r, tenant_id, name, &alias, &model);
	if (err)
		return err;
	if (!acquire_resident(r, tenant_id, model, &v, &n_forgets)) {
		enum err e = load_version(r, tenant_id, model, &v, why);

		if (e != OK)
			return e;
		v = publish(r, tenant_id, model, v, n_forgets);
	}
	*ref = (struct adapter_ref){.layout = v->layout,
	        .params = v->params,
	        .labels = v->labels.kind == LABELS_NONE ? NULL : &v->labels,
	        .release = version_release,
	        .owner = v};
	return OK;
}

/* A final adapter's checkpoints go with it: they bear its name and a suffix. */
static bool forgotten_with(const struct entry *e, const char *name)
{
	size_t n = strlen(name);

	return strncmp(e->name, name, n) == 0 &&
	       (e->name[n] == '\0' || strncmp(e->name + n, ":ckpt-", 6) == 0);
}

void registry_forget(struct registry *r, const char *tenant_id, const char *name)
{
	struct entry *e, *next;

	pthread_mutex_lock(&r->lock);
	r->n_forgets++;
	for (e = TAILQ_FIRST(&r->by_use); e; e = next) {
		next = TAILQ_NEXT(e, in_lru);
		if (strcmp(e->tenant_id, tenant_id) == 0 && (!name || forgotten_with(e, name)))
			remove_entry(r, e);
	}
	pthread_mutex_unlock(&r->lock);
}

size_t registry_count(struct registry *r)
{
	size_t n;

	pthread_mutex_lock(&r->lock);
	n = r->n_entries;
	pthread_mutex_unlock(&r->lock);
	return n;
}
