/*
 * The HTTP edge as the daemon sees it: the wire contract served by libmicrohttpd inside the libuv loop.
 *
 * Connections live on the loop thread. A handler runs on libuv's thread pool, where it may wait for the
 * store; the connection is suspended meanwhile and resumed on the loop. Nothing here computes.
 * Thread: the loop's.
 */
#ifndef REDD_API_API_H
#define REDD_API_API_H

#include "core/err.h"
#include "storage/store.h"
#include "worker/worker.h"

#include <uv.h>

struct api;

struct api_options {
	const char *listen; /* "127.0.0.1:8080", "[::]:8080", port 0 = any free one; ignored with listen_fd */
	int listen_fd;      /* an inherited socket, -1 = none */
	bool no_auth;       /* one tenant, "default", for every request; loopback only, refused otherwise */
	uint8_t admin_key_hash[HASH_BYTES];
	size_t max_body_bytes;       /* of JSON bodies; 0 = 16 MiB */
	int64_t max_file_bytes;      /* of one upload; 0 = 1 GiB */
	size_t max_connections;      /* 0 = 1024 */
	bool webhook_private;        /* webhooks may lead to addresses that are not public */
	struct tenant_limits limits; /* defaults for tenants without their own */
};

/* Listen and serve on loop. store and worker are borrowed until api_stop() has called back. Sets the worker's
 * listener: call it before worker_start(), and api_stop() after worker_stop(). worker NULL: what needs it is
 * 503. */
enum err api_start(uv_loop_t *loop, const struct api_options *options, struct store *store,
        struct worker *worker, struct api **out, struct why *why);
/* Put in force max_body_bytes, max_file_bytes (0 = the default) and limits of options; the rest is not looked
 * at. Requests that were admitted stay so. */
void api_reload(struct api *a, const struct api_options *options);
/* Where it listens: host and port, as "127.0.0.1:43121". */
const char *api_address(const struct api *a);
/* Answer 503 to whatever is new; what is in flight goes on. */
void api_drain(struct api *a);
/* Close every connection, then call on_stopped on the loop; a is freed then. */
void api_stop(struct api *a, void (*on_stopped)(void *arg), void *arg);

#endif
