/*
 * What libmicrohttpd does not do about the other end of a connection: notice that it has left while the
 * connection is suspended, and let it read an answer that was given before its request had been read to the
 * end (closing a socket with unread data resets it). Works on a duplicate of the descriptor. Thread: the
 * loop's.
 */
#ifndef REDD_API_PEER_H
#define REDD_API_PEER_H

#include "core/err.h"

#include <uv.h>

struct peer;

/* Everything started and not yet closed: what must be zero before the loop may end. */
struct peer_set {
	uv_loop_t *loop;
	struct peer *first;
	void (*on_empty)(void *arg); /* when the last one is gone; NULL = nobody cares yet */
	void *arg;
};

/* Call on_gone once when the other side closes or resets. */
enum err peer_watch(struct peer_set *set, int fd, void (*on_gone)(void *arg), void *arg, struct peer **out);
/* NULL is allowed. on_gone is not called any more. */
void peer_unwatch(struct peer *p);
/* Say that nothing more will be sent, then swallow what comes until the other side closes, or a few seconds.
 */
void peer_linger(struct peer_set *set, int fd);
/* Give up all lingering. */
void peer_abandon(struct peer_set *set);

#endif
