/*
 * An adapter version in memory: what the registry lists and its users hold. Layouts are shared, so that ten
 * thousand adapters of one recipe have one between them. Internal to the registry.
 * Thread: shapes under the registry's lock; a version is its maker's until it is listed.
 */
#ifndef REDD_WORKER_VERSION_H
#define REDD_WORKER_VERSION_H

#include "storage/store.h"
#include "worker/model/model.h"
#include "worker/text/labels.h"

#include <jansson.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define SHAPE_BUCKETS 64

/* A layout and the versions that have it. */
struct shape {
	struct adapter_layout *layout; /* owned */
	size_t n_versions;
	LIST_ENTRY(shape) in_bucket;
};

/* An adapter in memory, or that a tenant uses the base; immutable but for its count and its places. */
struct version {
	atomic_size_t n_holders;
	struct registry *registry; /* borrowed */
	struct shape *shape;       /* a share of it; NULL = the base */
	float *params;             /* owned */
	struct labels *labels;     /* owned; of the layout's head, or NULL */
	size_t bytes;
	uint64_t serial;
	LIST_ENTRY(version) in_bucket;
	TAILQ_ENTRY(version) in_lru;
	const char *name; /* in key */
	char key[];       /* tenant id, NUL, name, NUL */
};

struct shapes {
	LIST_HEAD(, shape) buckets[SHAPE_BUCKETS];
};

/* The shape of a layout, which is taken over. ERR_MEM: it is freed. */
enum err shape_take(struct shapes *shapes, struct adapter_layout *layout, struct shape **out);
/* NULL is allowed. */
void shape_give(struct shape *s);

/* One without content, held once. ERR_MEM. */
enum err version_new(struct registry *r, const char *tenant_id, const char *name, struct version **out);
/* Its share of a shape has been given back. NULL is allowed. */
void version_free(struct version *v);
/* Parameters and labels of a stored adapter, and its layout, which the caller owns. ERR_MISMATCH when it was
 * trained on another base, ERR_FORMAT, ERR_MEM; v is to be freed then. */
enum err version_read(struct version *v, const struct model *m, const struct adapter_record *a,
        struct adapter_layout **layout, struct why *why);

#endif
