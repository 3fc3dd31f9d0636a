/*
 * The life of the edge: start, the turn of what other threads have finished, pings, drain, stop. Loop thread.
 */
#include "api/api.h"

#include "api/edge.h"
#include "api/listen.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 1000
#define PING_MS 15000

static const char ping[] = ": ping\n\n";

static struct exchange *ready_pop(struct api *a)
{
	struct exchange *x;

	pthread_mutex_lock(&a->lock);
	x = a->ready;
	if (x) {
		a->ready = x->next_ready;
		x->ready = false;
		x->over = x->over || x->finished || x->ended;
		if (x->phase == PHASE_WORKING && (x->finished || x->streaming))
			x->phase = PHASE_ANSWER;
	}
	pthread_mutex_unlock(&a->lock);
	return x;
}

static void on_async(uv_async_t *async)
{
	struct api *a = async->data;
	struct exchange *x;

	while ((x = ready_pop(a))) {
		if (!x->conn)
			exchange_gone(x); /* it left before the handler asked to be told */
		server_resume(x);
		server_settle(x);
	}
	job_hub_run(a->jobs, false);
}

static void on_tick(uv_timer_t *timer)
{
	struct api *a = timer->data;
	int64_t now = (int64_t)uv_now(a->loop);

	for (struct exchange *x = a->exchanges; x; x = x->next)
		if (x->phase == PHASE_SENDING && x->streaming && x->suspended &&
		        now - x->last_sent_ms >= PING_MS)
			exchange_stream_write(x, ping, sizeof(ping) - 1);
	job_hub_run(a->jobs, true);
}

static void api_free(struct api *a)
{
	job_hub_free(a->jobs);
	job_terms_free(a->terms);
	webhook_pump_stop(a->webhooks);
	replay_free(a->replay);
	rate_free(a->rate);
	auth_free(a->auth);
	pthread_cond_destroy(&a->gone_returned);
	pthread_mutex_destroy(&a->lock);
	mem_free(a);
}

static void on_closed(uv_handle_t *handle)
{
	struct api *a = handle->data;
	void (*on_stopped)(void *arg) = a->on_stopped;
	void *arg = a->stopped_arg;

	if (--a->n_handles)
		return;
	api_free(a);
	if (on_stopped)
		on_stopped(arg);
}

void api_settle(struct api *a)
{
	if (!a->stopping || a->closing || a->exchanges || a->peers.first)
		return;
	a->closing = true;
	uv_close((uv_handle_t *)&a->async, on_closed);
	uv_close((uv_handle_t *)&a->timer, on_closed);
	uv_close((uv_handle_t *)&a->tick, on_closed);
}

static void on_no_peers(void *arg)
{
	api_settle(arg);
}

static void options_copy(struct api *a, const struct api_options *o)
{
	a->options = *o;
	a->options.listen = a->address;
	if (!o->max_body_bytes)
		a->options.max_body_bytes = EDGE_MAX_BODY_BYTES;
	if (!o->max_file_bytes)
		a->options.max_file_bytes = EDGE_MAX_FILE_BYTES;
	if (!o->max_connections)
		a->options.max_connections = EDGE_MAX_CONNECTIONS;
}

static enum err listen_begin(struct api *a, const struct api_options *o, int *fd, struct why *why)
{
	enum err e = OK;

	if (o->listen_fd >= 0)
		*fd = o->listen_fd;
	else
		e = listen_open(o->listen, fd, why);
	if (!e)
		e = listen_address(*fd, a->address);
	if (!e && o->no_auth && !listen_is_loopback(*fd))
		e = why_param(why, ERR_FORBIDDEN, "no_auth",
		        "%s: without authentication only a loopback address may be listened on", a->address);
	return e;
}

/* The handles are all there, or none. */
static enum err handles_init(struct api *a, int epoll_fd)
{
	if (uv_async_init(a->loop, &a->async, on_async) != 0)
		return ERR_IO;
	a->n_handles = 1;
	a->async.data = a->timer.data = a->tick.data = a->poll.data = a;
	if (uv_poll_init(a->loop, &a->poll, epoll_fd) != 0)
		return ERR_IO;
	a->n_handles = 4;
	uv_timer_init(a->loop, &a->timer);
	uv_timer_init(a->loop, &a->tick);
	uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS);
	return OK;
}

enum err api_start(uv_loop_t *loop, const struct api_options *options, struct store *store,
        struct worker *worker, struct api **out, struct why *why)
{
	struct api *a = mem_calloc(1, sizeof(*a));
	int listen_fd = -1, epoll_fd;
	enum err e;

	if (!a)
		return ERR_MEM;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->gone_returned, NULL);
	a->loop = a->peers.loop = loop;
	a->peers.on_empty = on_no_peers;
	a->peers.arg = a;
	a->store = store;
	a->worker = worker;
	options_copy(a, options);
	e = auth_new(&a->options, store, &a->auth);
	if (!e)
		e = replay_new(&a->replay);
	if (!e)
		e = rate_new(&a->rate);
	if (!e)
		e = webhook_pump_start(store, options->webhook_private, &a->webhooks);
	if (!e)
		e = job_hub_new(a, &a->jobs);
	if (!e)
		e = job_terms_new(&a->terms);
	if (!e)
		e = listen_begin(a, options, &listen_fd, why);
	if (!e) {
		e = server_open(a, listen_fd, &epoll_fd);
		if (a->mhd)
			listen_fd = -1;
	}
	if (!e)
		e = handles_init(a, epoll_fd);
	if (e)
		goto fail;
	server_serve(a);
	*out = a;
	return OK;
fail:
	if (listen_fd >= 0 && listen_fd != options->listen_fd)
		close(listen_fd);
	a->stopping = true;
	server_close(a);
	if (a->n_handles)
		uv_close((uv_handle_t *)&a->async, on_closed); /* frees a */
	else
		api_free(a);
	return e;
}

const char *api_address(const struct api *a)
{
	return a->address;
}

void api_drain(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->draining = true;
	pthread_mutex_unlock(&a->lock);
}

void api_stop(struct api *a, void (*on_stopped)(void *arg), void *arg)
{
	a->on_stopped = on_stopped;
	a->stopped_arg = arg;
	a->stopping = true;
	/* Before libmicrohttpd closes its descriptor: libuv names the number once more when it closes the
	 * handle, and by then it may be someone else's. */
	uv_close((uv_handle_t *)&a->poll, on_closed);
	uv_timer_stop(&a->timer);
	uv_timer_stop(&a->tick);
	server_close(a);
	uv_timer_stop(&a->timer);
	peer_abandon(&a->peers);
	api_settle(a);
}
