/*
 * What tenants may use per minute, as buckets that fill evenly: a full one holds a minute's worth, a settled
 * debt may leave it below empty. Kept in memory alone: a restart fills all buckets. Thread: any; never waits
 * for the disk.
 */
#ifndef REDD_API_RATE_H
#define REDD_API_RATE_H

#include "core/err.h"

#include <stdint.h>

enum rate_kind { RATE_REQUESTS, RATE_TOKENS, RATE_KINDS };

struct rate_state {
	int64_t remaining; /* units that may be taken now, >= 0 */
	int64_t reset_ms;  /* until the bucket is full */
	int64_t wait_ms;   /* after ERR_LIMIT: until what was asked for is there; -1 = never */
};

struct rate;

enum err rate_new(struct rate **out);
void rate_free(struct rate *r);

/* Take n units of a budget of per_minute > 0. *out is filled with OK and with ERR_LIMIT (nothing is taken
 * then). now_ms never goes back. ERR_MEM. */
enum err rate_take(struct rate *r, const char *tenant_id, enum rate_kind kind, int64_t per_minute, int64_t n,
        int64_t now_ms, struct rate_state *out);
/* Give n units back, or take -n more, whatever is there. */
void rate_give(struct rate *r, const char *tenant_id, enum rate_kind kind, int64_t per_minute, int64_t n,
        int64_t now_ms);
/* The tenant has been deleted. */
void rate_forget(struct rate *r, const char *tenant_id);

#endif
