/*
 * Server-sent events out of a byte stream that may be cut anywhere. Knows "data:" lines; ids, names and
 * comments are skipped. Zero-initialise, sse_feed() what arrives, sse_fini(). Thread: the owner.
 */
#ifndef REDD_CTL_SSE_H
#define REDD_CTL_SSE_H

#include "core/buf.h"

#include <stdbool.h>

#define SSE_MAX_BYTES (16u << 20)

struct sse {
	struct buf line; /* the unfinished one */
	struct buf data; /* of the unfinished event */
	bool has_data;
	bool stopped; /* on_data returned false: the rest is ignored */
};

/* Calls on_data for each event that n bytes complete; data is NUL-terminated and borrowed during the call.
 * ERR_TOO_LARGE when an event outgrows SSE_MAX_BYTES, ERR_MEM. */
enum err sse_feed(
        struct sse *s, const char *bytes, size_t n, bool (*on_data)(void *arg, const char *data), void *arg);
void sse_fini(struct sse *s);

#endif
