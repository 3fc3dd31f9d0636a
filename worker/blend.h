/*
 * Adapters blended for one request: versions acquired together, and the adapter they make. Thread: any that
 * may wait for the disk; release any.
 */
#ifndef REDD_WORKER_BLEND_H
#define REDD_WORKER_BLEND_H

#include "worker/serve/serve.h"
#include "worker/text/labels.h"

#define BLEND_MAX 16

struct blend_part {
	const char *model; /* the base, or one of the tenant's adapters */
	double weight;
};

/* Of n >= 1 refs and their weights, one that computes as all of them together; the refs are taken over,
 * whatever is returned. ERR_MISMATCH, ERR_UNSUPPORTED with why->param "adapters"; ERR_MEM. */
enum err blend_make(struct adapter_ref *refs, const struct blend_part *parts, size_t n,
        struct adapter_ref *out, struct why *why);

#endif
