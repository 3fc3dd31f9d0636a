/* See inference_adapter.h. */
#include "api/inference_adapter.h"

#include "core/mem.h"

#include <stdatomic.h>

struct inference_adapter {
	struct adapter_ref ref; /* ours */
	atomic_size_t n_holders;
};

enum err inference_adapter_acquire(struct exchange *x, const char *model, const struct blend_part *blend,
        size_t n_blend, struct adapter_ref *ref, struct why *why)
{
	const char *tenant_id = exchange_tenant(x)->id;
	struct adapter_ref named;
	enum err e = worker_adapter_acquire(exchange_worker(x), tenant_id, model, &named, why);

	if (e || !n_blend) {
		if (!e)
			*ref = named;
		return e;
	}
	if (named.release)
		named.release(named.owner);
	return worker_adapter_blend(exchange_worker(x), tenant_id, blend, n_blend, ref, why);
}

enum err inference_adapter_new(const struct adapter_ref *ref, struct inference_adapter **out)
{
	struct inference_adapter *a = mem_calloc(1, sizeof(*a));

	if (!a)
		return ERR_MEM;
	a->ref = *ref;
	atomic_init(&a->n_holders, 1);
	*out = a;
	return OK;
}

static void release_owner(void *owner)
{
	inference_adapter_release(owner);
}

struct adapter_ref inference_adapter_hold(struct inference_adapter *a)
{
	struct adapter_ref ref = a->ref;

	atomic_fetch_add_explicit(&a->n_holders, 1, memory_order_relaxed);
	ref.release = release_owner;
	ref.owner = a;
	return ref;
}

void inference_adapter_release(struct inference_adapter *a)
{
	if (!a || atomic_fetch_sub(&a->n_holders, 1) != 1)
		return;
	if (a->ref.release)
		a->ref.release(a->ref.owner);
	mem_free(a);
}
