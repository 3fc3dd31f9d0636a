/*
 * The inside of the edge: one request on its way through server.c and exchange.c, and what all requests
 * share. Handlers include exchange.h instead, and this only for what the whole has: keys to forget, streams
 * to feed.
 *
 *   HEAD --key unknown--> ASKING (pool) --+            BODY <-> FEEDING (pool, uploads)
 *     +--------------------------------> READY --ok-->  | end
 *                                         |             v
 *                                         | refused   WORKING (pool, or deferred to any thread)
 *                                         v             v
 *                                      DISCARD --end--> ANSWER --> SENDING (files read on the pool, streams
 * fed from any thread) The connection is suspended while the pool works, while an answer is deferred, and
 * while a stream is empty.
 */
#ifndef REDD_API_EDGE_H
#define REDD_API_EDGE_H

#include "api/auth.h"
#include "api/exchange.h"
#include "api/job_terms.h"
#include "api/pairs.h"
#include "api/peer.h"
#include "api/rate.h"
#include "api/replay.h"
#include "api/router.h"
#include "api/upload.h"
#include "api/webhook_pump.h"

#include <pthread.h>
#include <stdatomic.h>

#define EDGE_MAX_BODY_BYTES ((size_t)16 << 20)
#define EDGE_MAX_FILE_BYTES ((int64_t)1 << 30)
#define EDGE_MAX_CONNECTIONS 1024
/* Refused bodies are read up to here so that the answer arrives; beyond, the connection is cut. */
#define EDGE_MAX_DISCARD_BYTES ((int64_t)64 << 20)
/* An unread stream of this size means that the client does not read: it is cut off. */
#define EDGE_MAX_STREAM_BYTES ((size_t)8 << 20)
#define EDGE_CHUNK_BYTES ((size_t)256 << 10) /* between loop and disk */

struct MHD_Connection;
struct MHD_Daemon;
struct job_hub;

enum exchange_phase {
	PHASE_HEAD,
	PHASE_ASKING,
	PHASE_READY,
	PHASE_BODY,
	PHASE_FEEDING,
	PHASE_DISCARD,
	PHASE_WORKING,
	PHASE_ANSWER,
	PHASE_SENDING,
};

struct exchange {
	/* set by the loop before the handler runs, constant afterwards */
	struct api *api;
	const struct route *route;           /* NULL when there is none */
	char *method, *path;                 /* owned */
	char *captures[ROUTER_MAX_CAPTURES]; /* owned */
	char request_id[32];
	struct pairs headers, query;
	struct principal who;

	/* the loop's */
	struct exchange *prev, *next;
	struct MHD_Connection *conn; /* NULL once libmicrohttpd is done with it */
	enum exchange_phase phase;
	bool suspended;
	bool working;  /* the pool has it: all below is the pool's meanwhile */
	bool deferred; /* the handler returned EXCHANGE_LATER */
	bool over;     /* exchange_finish() or exchange_end() has been seen */
	bool linger;   /* answered before the request was read */
	int64_t discarded;
	int64_t last_sent_ms; /* by uv_now(): when a stream's last bytes left */
	struct peer *peer;
	uv_work_t work;
	void (*run)(struct exchange *x);

	/* whoever has it: loop, pool, or the thread that answers later */
	struct buf body; /* of uploads: the piece not fed yet */
	struct upload *upload;
	json_t *json;
	int64_t reserved_tokens; /* see admit.h */
	enum exchange_verdict verdict;
	unsigned status;          /* 0 = no answer yet */
	const char *content_type; /* static */
	struct buf answer;        /* of files: the piece read ahead */
	size_t answer_at;
	struct pairs answer_headers;
	int answer_fd; /* -1, or the file whose content follows, answer_left bytes of it */
	uint64_t answer_left;

	/* under api->lock */
	struct exchange *next_ready;
	bool ready; /* on the list */
	bool streaming, finished, ended, gone, gone_called, gone_running;
	struct buf stream;
	size_t stream_at;
	void (*on_gone)(void *arg);
	void *gone_arg;
};

struct api {
	/* constant after start */
	uv_loop_t *loop;
	struct api_options options;
	char address[64];
	struct store *store;   /* borrowed */
	struct worker *worker; /* borrowed; NULL in a daemon without an engine */
	struct auth *auth;
	struct replay *replay;
	struct rate *rate;
	struct job_hub *jobs;
	struct job_terms *terms;
	struct webhook_pump *webhooks;

	atomic_flag folding;    /* anyone's: a handler writes a folded checkpoint */
	atomic_flag backing_up; /* the same: a backup */

	/* the loop's */
	struct MHD_Daemon *mhd;
	uv_poll_t poll;
	uv_timer_t timer, tick;
	uv_async_t async;
	int n_handles;
	struct exchange *exchanges;
	struct peer_set peers;
	bool stopping, closing;
	void (*on_stopped)(void *arg);
	void *stopped_arg;

	pthread_mutex_t lock;
	pthread_cond_t gone_returned;
	/* under lock */
	struct exchange *ready;
	bool draining;
	uint64_t n_answers[6]; /* by status / 100 */
};

/* ---- request.c: decisions ---- */
/* All routes there are; ended by NULL. */
extern const struct route *const route_tables[];
/* Route and principal: x is READY, maybe refused (x->status is set), or ASKING for request_run_ask(). */
void request_head(struct exchange *x);
/* The principal is known: x takes its BODY, or, refused, goes on to DISCARD. False: refused, and answered at
 * once, for its body is too large to be swallowed or not sent yet. */
bool request_ready(struct exchange *x);
/* A piece of the body; x may be FEEDING then, for request_run_feed(). False: cut the connection. */
bool request_body(struct exchange *x, const char *data, size_t n);
void request_run_ask(struct exchange *x);
void request_run_feed(struct exchange *x);
void request_run_handler(struct exchange *x);

/* ---- server.c: libmicrohttpd (loop) ---- */
/* Takes listen_fd over, also on failure, once libmicrohttpd has it. */
enum err server_open(struct api *a, int listen_fd, int *epoll_fd);
/* Begin, once the handles of a are there. */
void server_serve(struct api *a);
/* Close every connection; exchanges may live on. */
void server_close(struct api *a);
void server_resume(struct exchange *x);
/* Free x once nobody has it; what touches the disk in that goes over the pool. */
void server_settle(struct exchange *x);

/* ---- api.c ---- */
/* An exchange or a peer is gone: maybe the last one api_stop() waits for. */
void api_settle(struct api *a);

/* ---- exchange.c ---- */
/* NULL when memory is short. method and path are copied. (loop) */
struct exchange *exchange_new(struct api *a, const char *method, const char *path);
/* Only when nobody holds it. */
void exchange_free(struct exchange *x);
/* The whole of fd, size bytes, as answer; fd is owned by x from now on. */
enum exchange_verdict exchange_reply_fd(struct exchange *x, const char *content_type, int fd, uint64_t size);
/* Bytes of the stream not sent yet. */
size_t exchange_stream_backlog(struct exchange *x);
/* Tell the handler, once, that the client has left. (loop) */
void exchange_gone(struct exchange *x);
struct api *exchange_api(struct exchange *x);
bool exchange_draining(struct exchange *x);
/* Answers given so far, by status / 100. */
void exchange_count_answers(struct exchange *x, uint64_t out[6]);

/* ---- events of jobs, fed to open streams: jobs_stream.c ---- */
enum err job_hub_new(struct api *a, struct job_hub **out);
void job_hub_free(struct job_hub *h);
/* Read on for the streams that are due; with all for every one. (loop) */
void job_hub_run(struct job_hub *h, bool all);
/* Something about this job changed. Any thread. */
void job_hub_poke(struct job_hub *h, const char *job_id);
/* Streams open now. Any thread. */
size_t job_hub_streams(struct job_hub *h);
enum exchange_verdict job_stream_open(struct exchange *x, const char *job_id, int64_t after_seq);

#endif
