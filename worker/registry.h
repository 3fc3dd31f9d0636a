/*
 * Adapters resident in memory, found by tenant and name: immutable versions with a count of their holders.
 * A version is loaded from the store on first use, outside the lock, and stays until it is forgotten or, when
 * all together exceed a limit, has been longest unused. Whoever holds it keeps it in either case.
 * Thread: new/free by one; the rest any that may wait for the disk, release any.
 */
#ifndef REDD_WORKER_REGISTRY_H
#define REDD_WORKER_REGISTRY_H

#include "storage/store.h"
#include "worker/model/model.h"
#include "worker/serve/histogram.h"
#include "worker/serve/serve.h"

/* What is kept resident, over all tenants: each adapter's numbers and some 200 bytes. */
#define REGISTRY_MAX_BYTES ((size_t)512 << 20)

struct registry;

/* All borrowed. max_bytes: REGISTRY_MAX_BYTES, less in tests. */
enum err registry_new(struct store *store, const struct model *model, const char *base_name, size_t max_bytes,
        struct registry **out);
/* Every reference has been released before. */
void registry_free(struct registry *r);

/* Contract of worker_adapter_acquire(). */
enum err registry_acquire(struct registry *r, const char *tenant_id, const char *model,
        struct adapter_ref *ref, struct why *why);
/* Contract of worker_adapter_forget(). */
void registry_forget(struct registry *r, const char *tenant_id, const char *name);

struct registry_stats {
	size_t n_adapters;
	size_t bytes;          /* what the limit counts */
	struct histogram load; /* from the store, of those that were not resident */
};
void registry_stats(struct registry *r, struct registry_stats *out);
/* n_adapters alone. */
size_t registry_count(struct registry *r);

#endif
