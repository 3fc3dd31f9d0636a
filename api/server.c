/*
 * libmicrohttpd inside the libuv loop: the one file that sees it. Its epoll descriptor is polled by the loop,
 * its timeouts are a uv_timer, and connections are suspended whenever a request waits for the pool or another
 * thread.
 *
 *   who             owns                       woken by                            ends
 *   loop            connections, phases        the epoll fd, timer, async          api_stop()
 *   libuv's pool    one exchange, by `working` uv_queue_work                       the handler returns
 *   any other       a deferred exchange        whoever the handler handed it to    exchange_finish() / _end()
 */
#include "api/edge.h"
#include "core/log.h"
#include "core/mem.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Request head, its cookies twice, and buffers. libmicrohttpd clears all of it between the requests of a
 * connection. */
#define CONNECTION_MEMORY ((size_t)32 << 10)
#define IDLE_SECONDS 60U
#define STREAM_BLOCK_BYTES 16384
static void on_timer(uv_timer_t *timer);

/* ---- running, suspending, working, letting go ---- */

/* Let libmicrohttpd work, then come back when it says. */
static void server_run(struct api *a)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(a->mhd);
	if (MHD_get_timeout(a->mhd, &ms) == MHD_YES)
		uv_timer_start(&a->timer, on_timer, ms, 0);
	else
		uv_timer_stop(&a->timer);
}

static void on_timer(uv_timer_t *timer)
{
	server_run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	server_run(poll->data);
}

void server_resume(struct exchange *x)
{
	if (!x->conn || !x->suspended)
		return;
	x->suspended = false;
	MHD_resume_connection(x->conn);
	/* Many are resumed in one turn of the loop; the next turn runs them together. */
	uv_timer_start(&x->api->timer, on_timer, 0, 0);
}

static void suspend(struct exchange *x)
{
	x->suspended = true;
	MHD_suspend_connection(x->conn);
}

static void on_worked(uv_work_t *work, int status);

static void on_work(uv_work_t *work)
{
	struct exchange *x = work->data;

	x->run(x);
}

static void pool_run(struct exchange *x, void (*run)(struct exchange *x))
{
	x->run = run;
	x->working = true;
	x->work.data = x;
	uv_queue_work(x->api->loop, &x->work, on_work, on_worked);
}

static void run_cleanup(struct exchange *x)
{
	upload_free(x->upload);
	x->upload = NULL;
	if (x->answer_fd >= 0)
		close(x->answer_fd);
	x->answer_fd = -1;
}

void server_settle(struct exchange *x)
{
	struct api *a = x->api;
	bool ready;

	pthread_mutex_lock(&a->lock);
	ready = x->ready;
	pthread_mutex_unlock(&a->lock);
	if (x->conn || x->working || ready || (x->deferred && !x->over))
		return;
	if (x->upload || x->answer_fd >= 0) {
		pool_run(x, run_cleanup);
		return;
	}
	if (x->prev)
		x->prev->next = x->next;
	else
		a->exchanges = x->next;
	if (x->next)
		x->next->prev = x->prev;
	exchange_free(x);
	api_settle(a);
}

/* ---- the answer ---- */

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct exchange *x = cls;
	ssize_t n = 0;

	(void)pos;
	if (x->api->stopping)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	pthread_mutex_lock(&x->api->lock);
	if (x->gone) {
		n = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (x->stream_at < x->stream.len) {
		n = (ssize_t)(x->stream.len - x->stream_at < max ? x->stream.len - x->stream_at : max);
		memcpy(buf, x->stream.data + x->stream_at, (size_t)n);
		x->stream_at += (size_t)n;
		if (x->stream_at == x->stream.len)
			x->stream_at = x->stream.len = 0;
	} else if (x->ended) {
		n = MHD_CONTENT_READER_END_OF_STREAM;
	}
	pthread_mutex_unlock(&x->api->lock);
	if (n > 0)
		x->last_sent_ms = (int64_t)uv_now(x->api->loop);
	if (n == 0)
		suspend(x);
	return n;
}

/* The next piece of a file, into x->answer; what is missing in the end shows as a failed read there. */
static void run_read(struct exchange *x)
{
	size_t want = x->answer_left < EDGE_CHUNK_BYTES ? (size_t)x->answer_left : EDGE_CHUNK_BYTES;
	ssize_t n;

	x->answer.len = x->answer_at = 0;
	if (buf_reserve(&x->answer, want))
		return;
	n = read(x->answer_fd, x->answer.data, want);
	if (n > 0)
		x->answer.len = (size_t)n;
}

static ssize_t read_file(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct exchange *x = cls;
	size_t n;

	(void)pos;
	/* a piece may still be on its way in run_read() */
	if (x->api->stopping)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = x->answer.len - x->answer_at;
	if (n) {
		n = n < max ? n : max;
		memcpy(buf, x->answer.data + x->answer_at, n);
		x->answer_at += n;
		x->answer_left -= n;
		return (ssize_t)n;
	}
	if (x->answer_at || !x->answer.data) {
		x->answer.len = x->answer_at = 0;
		suspend(x);
		pool_run(x, run_read);
		return 0;
	}
	log_error("file_read_failed", "request=%s path=%s", x->request_id, x->path);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *response_new(struct exchange *x)
{
	if (x->streaming)
		return MHD_create_response_from_callback(
		        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, x, NULL);
	if (x->answer_fd >= 0)
		return MHD_create_response_from_callback(
		        x->answer_left, STREAM_BLOCK_BYTES, read_file, x, NULL);
	return MHD_create_response_from_buffer(x->answer.len, x->answer.data, MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result answer_queue(struct exchange *x)
{
	struct MHD_Response *r;
	const char *name, *value;
	enum MHD_Result done;
	size_t at = 0;

	if (!x->status)
		exchange_reply_error(x, ERR_IO, NULL);
	r = response_new(x);
	if (!r)
		return MHD_NO;
	if (x->content_type)
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->content_type);
	MHD_add_response_header(r, "x-request-id", x->request_id);
	while (pairs_next(&x->answer_headers, &at, &name, &value))
		MHD_add_response_header(r, name, value);
	if (x->linger || exchange_draining(x))
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	x->phase = PHASE_SENDING;
	x->last_sent_ms = (int64_t)uv_now(x->api->loop);
	pthread_mutex_lock(&x->api->lock);
	x->api->n_answers[x->status / 100 % 6]++;
	pthread_mutex_unlock(&x->api->lock);
	done = MHD_queue_response(x->conn, x->status, r);
	MHD_destroy_response(r);
	return done;
}

/* ---- the request ---- */

static void on_peer_gone(void *arg)
{
	struct exchange *x = arg;

	exchange_gone(x);
	/* A stream's reader passes the news on to libmicrohttpd. */
	if (x->phase == PHASE_SENDING)
		server_resume(x);
}

/* The handler deferred its answer: from now on only we can notice that the client leaves. */
static void defer(struct exchange *x)
{
	const union MHD_ConnectionInfo *info;

	x->deferred = true;
	if (!x->conn || x->over)
		return;
	info = MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (info)
		(void)peer_watch(&x->api->peers, info->connect_fd, on_peer_gone, x, &x->peer);
}

static void on_worked(uv_work_t *work, int status)
{
	struct exchange *x = work->data;

	(void)status;
	x->working = false;
	if (x->run == request_run_handler && x->verdict == EXCHANGE_LATER) {
		defer(x);
	} else {
		if (x->phase == PHASE_WORKING)
			x->phase = PHASE_ANSWER;
		else if (x->phase == PHASE_ASKING)
			x->phase = PHASE_READY;
		else if (x->phase == PHASE_FEEDING)
			x->phase = x->status ? PHASE_DISCARD : PHASE_BODY;
		server_resume(x);
	}
	server_settle(x);
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct exchange *x = cls;
	char *key = mem_strdup(name), *text = mem_strdup(value ? value : "");
	enum err e = key && text ? OK : ERR_MEM;

	if (!e && kind == MHD_GET_ARGUMENT_KIND) {
		/* What is no valid escape stands for itself. */
		(void)url_decode(key);
		(void)url_decode(text);
	}
	if (!e)
		e = pairs_add(kind == MHD_HEADER_KIND ? &x->headers : &x->query, key, text);
	mem_free(key);
	mem_free(text);
	if (!e)
		return MHD_YES;
	exchange_reply_error(x, e, NULL);
	return MHD_NO;
}

static struct exchange *request_new(
        struct api *a, struct MHD_Connection *conn, const char *method, const char *url)
{
	struct exchange *x = exchange_new(a, method, url);

	if (!x)
		return NULL;
	MHD_get_connection_values(conn, MHD_HEADER_KIND, on_header, x);
	MHD_get_connection_values(conn, MHD_GET_ARGUMENT_KIND, on_header, x);
	x->conn = conn;
	x->next = a->exchanges;
	if (x->next)
		x->next->prev = x;
	a->exchanges = x;
	return x;
}

/* Data, or without data the end of the body. */
static enum MHD_Result request_continue(struct exchange *x, const char *data, size_t *n)
{
	size_t got = *n;

	if (got) {
		*n = 0;
		if (!request_body(x, data, got))
			return MHD_NO;
		if (x->phase == PHASE_FEEDING) {
			suspend(x);
			pool_run(x, request_run_feed);
		}
		return MHD_YES;
	}
	if (x->phase == PHASE_DISCARD)
		return answer_queue(x);
	x->phase = PHASE_WORKING;
	suspend(x);
	pool_run(x, request_run_handler);
	return MHD_YES;
}

/* Called at the head (no data), for each piece of the body, at its end (no data), and again after each
 * resume. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
        const char *version, const char *data, size_t *n, void **con_cls)
{
	struct api *a = cls;
	struct exchange *x = *con_cls;

	(void)version;
	if (a->stopping)
		return MHD_NO;
	if (!x) {
		x = *con_cls = request_new(a, conn, method, url);
		if (!x)
			return MHD_NO;
		request_head(x);
		if (x->phase == PHASE_ASKING) {
			suspend(x);
			pool_run(x, request_run_ask);
		}
	}
	switch (x->phase) {
	case PHASE_READY:
		return request_ready(x) ? MHD_YES : answer_queue(x);
	case PHASE_BODY:
	case PHASE_DISCARD:
		return request_continue(x, data, n);
	case PHASE_ANSWER:
		return answer_queue(x);
	case PHASE_HEAD:
	case PHASE_ASKING:
	case PHASE_FEEDING:
	case PHASE_WORKING:
	case PHASE_SENDING:
		return MHD_YES; /* nothing is taken while the pool has it */
	}
	return MHD_NO;
}

static void on_completed(
        void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode code)
{
	struct exchange *x = *con_cls;
	const union MHD_ConnectionInfo *info;

	(void)cls;
	if (!x)
		return;
	*con_cls = NULL;
	if (x->linger && code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !x->api->stopping) {
		info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (info)
			peer_linger(&x->api->peers, info->connect_fd);
	}
	x->conn = NULL;
	x->suspended = false;
	peer_unwatch(x->peer);
	x->peer = NULL;
	exchange_gone(x);
	server_settle(x);
}

/* Paths and parameters are decoded by us, once and after routing. */
static size_t keep_escapes(void *cls, struct MHD_Connection *conn, char *s)
{
	(void)cls;
	(void)conn;
	return strlen(s);
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char line[256];

	(void)cls;
	vsnprintf(line, sizeof(line), fmt, ap);
	log_debug("http", "message=\"%s\"", line);
}

/* ---- the whole ---- */

enum err server_open(struct api *a, int listen_fd, int *epoll_fd)
{
	const union MHD_DaemonInfo *info;

	a->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
	        on_request, a, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
	        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
	        NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)a->options.max_connections,
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
	        IDLE_SECONDS, MHD_OPTION_END);
	info = a->mhd ? MHD_get_daemon_info(a->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return ERR_IO;
	*epoll_fd = info->epoll_fd;
	return OK;
}

void server_serve(struct api *a)
{
	uv_poll_start(&a->poll, UV_READABLE, on_readable);
	server_run(a);
}

void server_close(struct api *a)
{
	if (!a->mhd)
		return;
	/* It may not be stopped while connections are suspended; on_request() and the readers now say no. */
	for (struct exchange *x = a->exchanges; x; x = x->next)
		server_resume(x);
	MHD_run(a->mhd);
	MHD_stop_daemon(a->mhd);
	a->mhd = NULL;
}
