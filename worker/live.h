/*
 * Adapters still in training, as they stand: after each step a job shows a copy of its parameters, and
 * whoever asks gets the newest, to keep as long as it likes. Thread: new/free by one, begin/show/end by a
 * job's driver; acquire and release any. None waits for the disk.
 */
#ifndef REDD_WORKER_LIVE_H
#define REDD_WORKER_LIVE_H

#include "worker/serve/serve.h"
#include "worker/text/labels.h"

#define LIVE_SUFFIX ":live" /* behind the name that the finished adapter will have */

struct live;
struct live_seat;

enum err live_new(struct live **out);
/* Every seat has ended and every reference been released before. NULL is allowed. */
void live_free(struct live *l);

/* A job trains for a tenant what will be called name; layout and labels (kind LABELS_NONE = none) are copied.
 * ERR_MEM. */
enum err live_begin(struct live *l, const char *tenant_id, const char *name,
        const struct adapter_layout *layout, const struct labels *labels, struct live_seat **out);
/* These are its parameters now; copied. When memory is short the former ones stay. */
void live_show(struct live_seat *s, const float *params);
/* It trains no more; holders keep what they have. NULL is allowed. */
void live_end(struct live_seat *s);

/* The newest parameters of what the tenant trains under that name. ERR_NOT_FOUND: nothing, or nothing shown.
 */
enum err live_acquire(struct live *l, const char *tenant_id, const char *name, struct adapter_ref *ref);

#endif
