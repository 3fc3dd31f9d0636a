/* See live.h. One mutex guards the list and which snapshot is the newest; counts are atomic. A seat lives as
 * long as its job trains or a snapshot of it is held. */
#include "worker/live.h"

#include "core/mem.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

/* A job in training; immutable but for its count, its place and what it shows. */
struct live_seat {
	struct live *live;             /* borrowed; the job's only */
	atomic_size_t n_holders;       /* the job, and each snapshot */
	struct adapter_layout *layout; /* owned */
	struct labels labels;          /* owned */
	char tenant_id[STORE_ID_SIZE];
	char name[STORE_MODEL_SIZE];
	/* under the lock of live */
	struct snapshot *newest; /* one holder of it; NULL = nothing shown yet */
	LIST_ENTRY(live_seat) link;
};

struct snapshot {
	atomic_size_t n_holders;
	struct live_seat *seat; /* one holder of it */
	float params[];
};

struct live {
	pthread_mutex_t lock;
	LIST_HEAD(, live_seat) seats; /* under lock */
};

enum err live_new(struct live **out)
{
	struct live *l = mem_calloc(1, sizeof(*l));

	if (!l)
		return ERR_MEM;
	pthread_mutex_init(&l->lock, NULL);
	LIST_INIT(&l->seats);
	*out = l;
	return OK;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	mem_free(l);
}

static void seat_release(struct live_seat *s)
{
	if (atomic_fetch_sub(&s->n_holders, 1) != 1)
		return;
	adapter_layout_free(s->layout);
	labels_fini(&s->labels);
	mem_free(s);
}

static void snapshot_release(void *owner)
{
	struct snapshot *shot = owner;

	if (!shot || atomic_fetch_sub(&shot->n_holders, 1) != 1)
		return;
	seat_release(shot->seat);
	mem_free(shot);
}

enum err live_begin(struct live *l, const char *tenant_id, const char *name,
        const struct adapter_layout *layout, const struct labels *labels, struct live_seat **out)
{
	struct live_seat *s = mem_calloc(1, sizeof(*s));
	enum err e;

	if (!s)
		return ERR_MEM;
	atomic_init(&s->n_holders, 1);
	s->live = l;
	snprintf(s->tenant_id, sizeof(s->tenant_id), "%s", tenant_id);
	snprintf(s->name, sizeof(s->name), "%s", name);
	e = adapter_layout_copy(layout, &s->layout);
	if (!e && labels->kind != LABELS_NONE)
		e = labels_copy(labels, &s->labels);
	if (e) {
		seat_release(s);
		return e;
	}
	pthread_mutex_lock(&l->lock);
	LIST_INSERT_HEAD(&l->seats, s, link);
	pthread_mutex_unlock(&l->lock);
	*out = s;
	return OK;
}

void live_show(struct live_seat *s, const float *params)
{
	size_t n = adapter_layout_n_params(s->layout) * sizeof(*params);
	struct snapshot *shot = mem_calloc(1, sizeof(*shot) + n), *former;

	if (!shot)
		return;
	atomic_init(&shot->n_holders, 1);
	shot->seat = s;
	atomic_fetch_add(&s->n_holders, 1);
	memcpy(shot->params, params, n);
	pthread_mutex_lock(&s->live->lock);
	former = s->newest;
	s->newest = shot;
	pthread_mutex_unlock(&s->live->lock);
	snapshot_release(former);
}

void live_end(struct live_seat *s)
{
	struct snapshot *newest;

	if (!s)
		return;
	pthread_mutex_lock(&s->live->lock);
	LIST_REMOVE(s, link);
	newest = s->newest;
	s->newest = NULL;
	pthread_mutex_unlock(&s->live->lock);
	snapshot_release(newest);
	seat_release(s);
}

enum err live_acquire(struct live *l, const char *tenant_id, const char *name, struct adapter_ref *ref)
{
	struct snapshot *shot = NULL;
	struct live_seat *s;

	pthread_mutex_lock(&l->lock);
	LIST_FOREACH(s, &l->seats, link)
	if (s->newest && !strcmp(s->name, name) && !strcmp(s->tenant_id, tenant_id))
		break;
	if (s) {
		shot = s->newest;
		atomic_fetch_add(&shot->n_holders, 1);
	}
	pthread_mutex_unlock(&l->lock);
	if (!shot)
		return ERR_NOT_FOUND;
	*ref = (struct adapter_ref){.layout = shot->seat->layout,
	        .params = shot->params,
	        .labels = shot->seat->labels.kind == LABELS_NONE ? NULL : &shot->seat->labels,
	        .release = snapshot_release,
	        .owner = shot};
	return OK;
}
