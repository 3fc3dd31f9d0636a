/*
 * See lifecycle.h for the states. The one place that knows the order in which the rooms are opened and
 * closed.
 *
 * thread        | owns                      | woken by                 | stops by
 * loop (main)   | everything here           | sockets, timers, signals | the last handle being closed
 * pool (libuv)  | worker_stop(), once       | on_signal()              | its return; on_worker_stopped()
 * follows
 * pool (libuv)  | fresh, while reloading    | SIGHUP                   | its return; on_settings_read()
 * follows
 */
#include "daemon/lifecycle.h"

#include "api/api.h"
#include "core/log.h"
#include "core/mem.h"
#include "daemon/admin_key.h"
#include "daemon/notify.h"
#include "daemon/paths.h"
#include "daemon/places.h"
#include "storage/store.h"
#include "worker/math/cpu.h"
#include "worker/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_EVERY_MS 5000
/* How long connections stay open behind the worker: its last answers are still on their way through the edge.
 */
#define LINGER_MS 200
#define STATUS_SIZE 256

enum phase { PHASE_OPEN, PHASE_RUNNING, PHASE_DRAINING, PHASE_CLOSING, PHASE_CLOSED };

static const int handled_signals[] = {SIGTERM, SIGINT, SIGHUP};
#define N_SIGNALS (sizeof(handled_signals) / sizeof(handled_signals[0]))

struct lifecycle {
	struct config *config; /* borrowed */
	struct places places;
	struct admin_key admin_key;

	enum phase phase;
	bool cut_short;
	struct store *store; /* owned, as the two below */
	struct worker *worker;
	struct api *api; /* NULL again once it has called back */

	uv_loop_t loop;
	bool loop_open;
	size_t n_signals; /* initialised */
	uv_signal_t signals[N_SIGNALS];
	bool timer_open;
	uv_timer_t status_timer;
	char status[STATUS_SIZE]; /* as last sent */
	struct notify_watchdog watchdog;
	uv_work_t stop_work;

	uv_work_t reload_work; /* the pool's while reloading, as the three below */
	struct config fresh;
	struct why reload_why;
	enum err reload_err;
	bool reloading, reload_again; /* the loop's */
};

static void phase_enter(struct lifecycle *l, enum phase to)
{
	assert(to == l->phase + 1);
	l->phase = to;
}

/* ---- opening ---- */

static enum err open_state(struct lifecycle *l, struct why *why)
{
	const struct config *c = l->config;
	enum err e = places_find_state(c, &l->places, why);

	if (!e)
		e = paths_make_dir(l->places.state_dir, why);
	if (e)
		return e;
	e = store_open(l->places.state_dir, &l->store, why);
	if (e) {
		why_prefix(why, "state %s: ", l->places.state_dir);
		return e;
	}
	e = admin_key_load(
	        c->admin_key_file, getenv("CREDENTIALS_DIRECTORY"), l->places.state_dir, &l->admin_key, why);
	if (e)
		return e;
	log_info("admin_key", "file=\"%s\" created=%s", l->admin_key.path,
	        l->admin_key.created ? "yes" : "no");
	return OK;
}

static void log_base(const struct lifecycle *l)
{
	const struct model_info *info = model_info(worker_model(l->worker));
	struct worker_memory memory;
	struct worker_stats stats;

	worker_stats(l->worker, &stats);
	log_info("base",
	        "name=%s family=%s parameters=%llu layers=%zu width=%zu context=%zu dir=\"%s\" hash=%.12s",
	        worker_base_name(l->worker), info->family, (unsigned long long)info->n_params, info->n_layers,
	        info->width, info->max_positions, l->places.model_dir, info->hash);
	log_info("compute", "train_threads=%zu serve_threads=%zu kernels=%s weights=%s weight_bytes=%llu",
	        stats.n_train_threads, stats.n_serve_threads, stats.kernels, stats.weights,
	        (unsigned long long)info->weight_bytes);
	worker_memory(l->worker, &memory);
	log_info("memory",
	        "kv_bytes=%zu train_bytes=%zu stem_bytes=%zu train_tokens_kept=%zu "
	        "train_tokens_recomputed=%zu",
	        memory.kv_bytes, memory.train_bytes, memory.stem_bytes, memory.train_tokens,
	        memory.train_tokens_sparse);
}

static enum err open_worker(struct lifecycle *l, struct why *why)
{
	const struct config *c = l->config;
	struct worker_options options = {
	        .weights = (enum matrix_format)c->weights,
	        .train_bf16 = c->train_bf16,
	        .n_train_threads = (size_t)c->train_threads,
	        .train_bytes = (size_t)c->train_bytes,
	        .max_running_jobs = (size_t)c->max_running_jobs,
	        .max_running_per_tenant = c->limits.running_jobs,
	        .checkpoint_every = (size_t)c->checkpoint_every,
	        .n_serve_threads = (size_t)c->serve_threads,
	        .max_batch = (size_t)c->max_batch,
	        .max_queue = (size_t)c->max_queue,
	        .kv_bytes = (size_t)c->kv_bytes,
	};
	enum err e = places_find_base(c, &l->places, why);

	if (e)
		return e;
	options.model_dir = l->places.model_dir;
	options.model_name = l->places.model_name;
	cpu_init(CPU_BEST);
	return worker_open(&options, l->store, &l->worker, why);
}

static enum err open_api(struct lifecycle *l, struct why *why)
{
	const struct config *c = l->config;
	struct api_options options = {
	        .no_auth = c->no_auth,
	        .webhook_private = c->webhook_private,
	        .max_body_bytes = (size_t)c->max_body_bytes,
	        .max_file_bytes = c->max_file_bytes,
	        .max_connections = (size_t)c->max_connections,
	        .limits = c->limits,
	};
	char *listen;
	enum err e;

	e = notify_listen_fd(&options.listen_fd, why);
	if (e)
		return e;
	listen = mem_printf(strchr(c->host, ':') ? "[%s]:%d" : "%s:%d", c->host, (int)c->port);
	if (!listen)
		return ERR_MEM;
	options.listen = listen;
	memcpy(options.admin_key_hash, l->admin_key.hash, HASH_BYTES);
	e = api_start(&l->loop, &options, l->store, l->worker, &l->api, why);
	mem_free(listen);
	return e;
}

/* ---- running ---- */

static void status_text(struct lifecycle *l, char text[STATUS_SIZE])
{
	struct worker_stats stats;

	worker_stats(l->worker, &stats);
	snprintf(text, STATUS_SIZE, "%s on %s; %zu jobs training, %zu adapters in memory",
	        worker_base_name(l->worker), api_address(l->api), stats.running_jobs,
	        stats.adapters_resident);
}

static void on_status_timer(uv_timer_t *timer)
{
	struct lifecycle *l = timer->data;
	char text[STATUS_SIZE];

	if (l->phase != PHASE_RUNNING)
		return;
	status_text(l, text);
	if (strcmp(text, l->status) != 0)
		notify_status(text);
	memcpy(l->status, text, sizeof(text));
}

/* ---- stopping ---- */

static void close_handles(struct lifecycle *l)
{
	for (size_t i = 0; i < l->n_signals; i++)
		uv_close((uv_handle_t *)&l->signals[i], NULL);
	l->n_signals = 0;
	if (l->timer_open)
		uv_close((uv_handle_t *)&l->status_timer, NULL);
	l->timer_open = false;
	notify_watchdog_stop(&l->watchdog);
}

/* Loop: the edge is gone. Without our handles nothing keeps the loop, and uv_run() returns. */
static void on_api_stopped(void *arg)
{
	struct lifecycle *l = arg;

	l->api = NULL;
	if (l->phase == PHASE_CLOSING)
		phase_enter(l, PHASE_CLOSED);
	close_handles(l);
}

/* Pool: waits for requests in flight and for the checkpoints of running jobs. */
static void stop_worker(uv_work_t *work)
{
	struct lifecycle *l = work->data;

	worker_stop(l->worker, (int)(l->config->drain_seconds * 1000));
}

/* Loop. */
static void on_linger(uv_timer_t *timer)
{
	struct lifecycle *l = timer->data;

	phase_enter(l, PHASE_CLOSING);
	api_stop(l->api, on_api_stopped, l);
}

/* Loop. */
static void on_worker_stopped(uv_work_t *work, int status)
{
	struct lifecycle *l = work->data;

	(void)status;
	log_info("worker_stopped", "next=close_connections");
	(void)uv_timer_start(&l->status_timer, on_linger, LINGER_MS, 0);
}

static void stop_begin(struct lifecycle *l, int signum)
{
	log_info("stopping", "signal=%d drain_seconds=%lld", signum, (long long)l->config->drain_seconds);
	phase_enter(l, PHASE_DRAINING);
	notify_stopping("Finishing requests and saving checkpoints");
	api_drain(l->api);
	l->stop_work.data = l;
	(void)uv_queue_work(&l->loop, &l->stop_work, stop_worker, on_worker_stopped);
}

/* ---- reloading ---- */

/* Pool: reads the file. */
static void read_settings(uv_work_t *work)
{
	struct lifecycle *l = work->data;
	const struct config *c = l->config;
	enum config_action action;

	l->reload_err = config_load(c->argc, c->argv, c->default_file, &l->fresh, &action, &l->reload_why);
}

static void apply_settings(struct lifecycle *l)
{
	const struct config *c = l->config;
	const struct api_options options = {
	        .max_body_bytes = (size_t)c->max_body_bytes,
	        .max_file_bytes = c->max_file_bytes,
	        .limits = c->limits,
	};

	log_set_level((enum log_level)c->log_level);
	log_set_format((enum log_format)c->log_format);
	if (l->api)
		api_reload(l->api, &options);
}

static void reload_begin(struct lifecycle *l);

/* Loop. */
static void on_settings_read(uv_work_t *work, int status)
{
	struct lifecycle *l = work->data;
	struct config_changes changes;

	(void)status;
	l->reloading = false;
	if (l->reload_err) {
		log_error("reload_failed", "message=\"%s\" settings=unchanged",
		        l->reload_why.message[0] ? l->reload_why.message : err_text(l->reload_err));
	} else {
		config_merge(l->config, &l->fresh, &changes);
		config_fini(&l->fresh);
		apply_settings(l);
		log_info("reloaded", "changed=\"%s\" restart_needed_for=\"%s\"", changes.applied,
		        changes.pending);
	}
	if (l->phase == PHASE_RUNNING)
		notify_ready(l->status);
	if (l->reload_again && l->phase == PHASE_RUNNING)
		reload_begin(l);
}

static void reload_begin(struct lifecycle *l)
{
	l->reload_again = l->reloading;
	if (l->reloading)
		return;
	l->reloading = true;
	l->reload_work.data = l;
	memset(&l->reload_why, 0, sizeof(l->reload_why));
	notify_reloading();
	(void)uv_queue_work(&l->loop, &l->reload_work, read_settings, on_settings_read);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct lifecycle *l = handle->data;

	if (signum == SIGHUP) {
		if (l->phase == PHASE_RUNNING)
			reload_begin(l);
		return;
	}
	if (l->phase == PHASE_RUNNING) {
		stop_begin(l, signum);
		return;
	}
	log_warn("cut_short", "signal=%d message=\"second signal: leaving at once\"", signum);
	l->cut_short = true;
	uv_stop(&l->loop);
}

/* ---- the face ---- */

static enum err open_handles(struct lifecycle *l, struct why *why)
{
	for (size_t i = 0; i < N_SIGNALS; i++) {
		if (uv_signal_init(&l->loop, &l->signals[i]) < 0)
			return why_set(why, ERR_IO, "cannot watch signals");
		l->signals[i].data = l;
		l->n_signals++;
		if (uv_signal_start(&l->signals[i], on_signal, handled_signals[i]) < 0)
			return why_set(why, ERR_IO, "cannot watch signal %d", handled_signals[i]);
	}
	if (uv_timer_init(&l->loop, &l->status_timer) < 0)
		return why_set(why, ERR_IO, "cannot start a timer");
	l->timer_open = true;
	l->status_timer.data = l;
	(void)uv_timer_start(&l->status_timer, on_status_timer, STATUS_EVERY_MS, STATUS_EVERY_MS);
	return notify_watchdog_start(&l->watchdog, &l->loop);
}

static enum err say_ready(struct lifecycle *l, struct why *why)
{
	const char *address = api_address(l->api);

	if (l->config->port_file) {
		char *line = mem_printf("%s\n", address);
		enum err e = line ? paths_write_file(l->config->port_file, line, why) : ERR_MEM;

		mem_free(line);
		if (e)
			return e;
	}
	log_info("ready", "address=%s state=\"%s\" auth=%s", address, l->places.state_dir,
	        l->config->no_auth ? "no" : "yes");
	status_text(l, l->status);
	notify_ready(l->status);
	phase_enter(l, PHASE_RUNNING);
	return OK;
}

enum err lifecycle_open(struct config *config, struct lifecycle **out, struct why *why)
{
	struct lifecycle *l = mem_calloc(1, sizeof(*l));
	enum err e = ERR_MEM;

	if (!l)
		return ERR_MEM;
	l->config = config;
	if (uv_loop_init(&l->loop) < 0) {
		e = why_set(why, ERR_IO, "cannot make an event loop");
		goto fail;
	}
	l->loop_open = true;
	e = open_state(l, why);
	if (e)
		goto fail;
	e = open_worker(l, why);
	if (e)
		goto fail;
	e = open_handles(l, why);
	if (e)
		goto fail;
	/* Before the worker starts: the edge listens to what jobs do. */
	e = open_api(l, why);
	if (e)
		goto fail;
	e = worker_start(l->worker, why);
	if (e)
		goto fail;
	log_base(l);
	e = say_ready(l, why);
	if (e)
		goto fail;
	*out = l;
	return OK;
fail:
	lifecycle_close(l);
	return e;
}

bool lifecycle_run(struct lifecycle *l)
{
	assert(l->phase == PHASE_RUNNING);
	(void)uv_run(&l->loop, UV_RUN_DEFAULT);
	if (l->cut_short)
		return false;
	assert(l->phase == PHASE_CLOSED);
	return true;
}

void lifecycle_close(struct lifecycle *l)
{
	if (!l)
		return;
	if (l->phase == PHASE_OPEN && l->worker)
		worker_stop(l->worker, 0);
	if (l->api)
		api_stop(l->api, on_api_stopped, l);
	else
		close_handles(l);
	if (l->loop_open) {
		(void)uv_run(&l->loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&l->loop);
	}
	worker_close(l->worker);
	store_close(l->store);
	if (l->phase == PHASE_CLOSED)
		log_info("stopped", "state=\"%s\"", l->places.state_dir);
	admin_key_fini(&l->admin_key);
	places_fini(&l->places);
	mem_free(l);
}
