/*
 * Events of jobs as open streams. The hub knows who watches which job; the worker's word that a job changed
 * marks its streams as due, and the loop sends each due stream to the pool, one visit at a time, to read on
 * in the store.
 *
 *   who      owns                                        woken by                  ends
 *   loop     the list, busy                              async, tick               -
 *   pool     one stream's position, while it is busy     uv_queue_work             job over, or the client
 * gone worker   nothing: marks due                          a job's event             -
 */
#include "api/edge.h"
#include "api/job_json.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define READ_EVENTS 200
#define BACKLOG_BYTES ((size_t)1 << 20) /* unsent: wait for the client to read */

struct job_stream {
	struct exchange *x;
	struct job_hub *hub;
	char job_id[STORE_ID_SIZE];
	/* the pool's while busy, else the loop's */
	int64_t seq; /* of the last event sent */
	bool over;
	uv_work_t work;
	/* under hub->lock */
	struct job_stream *next;
	bool due, busy;
};

struct job_hub {
	struct api *api;
	pthread_mutex_t lock;
	/* under lock */
	struct job_stream *streams;
};

static void on_job(void *arg, const char *job_id)
{
	job_hub_poke(arg, job_id);
}

enum err job_hub_new(struct api *a, struct job_hub **out)
{
	struct job_hub *h = mem_calloc(1, sizeof(*h));

	if (!h)
		return ERR_MEM;
	h->api = a;
	pthread_mutex_init(&h->lock, NULL);
	if (a->worker)
		worker_set_listener(a->worker, on_job, h);
	*out = h;
	return OK;
}

void job_hub_free(struct job_hub *h)
{
	if (!h)
		return;
	if (h->api->worker)
		worker_set_listener(h->api->worker, NULL, NULL);
	pthread_mutex_destroy(&h->lock);
	mem_free(h);
}

void job_hub_poke(struct job_hub *h, const char *job_id)
{
	webhook_pump_poke(h->api->webhooks);
	pthread_mutex_lock(&h->lock);
	for (struct job_stream *s = h->streams; s; s = s->next) {
		if (strcmp(s->job_id, job_id) != 0 || s->due)
			continue;
		s->due = true;
		uv_async_send(&h->api->async); /* open as long as there is a stream */
	}
	pthread_mutex_unlock(&h->lock);
}

size_t job_hub_streams(struct job_hub *h)
{
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	for (const struct job_stream *s = h->streams; s; s = s->next)
		n++;
	pthread_mutex_unlock(&h->lock);
	return n;
}

/* ---- on the pool ---- */

static bool write_event(struct exchange *x, const struct event *e)
{
	json_t *json = event_json(e);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	struct buf b = {0};
	bool taken = text && !buf_printf(&b, "id: %lld\ndata: %s\n\n", (long long)e->seq, text) &&
	             exchange_stream_write(x, b.data, b.len);

	buf_fini(&b);
	free(text);
	json_decref(json);
	return taken;
}

/* Send what is new; false when nothing more will come. The status is read before the events: those of a job
 * seen ended are all there. */
static bool stream_read(struct job_stream *s)
{
	static const char done[] = "data: [DONE]\n\n";
	struct store *store = exchange_store(s->x);
	struct job j = {0};
	bool ended = store_job_get(store, NULL, s->job_id, &j) != OK || job_status_terminal(j.status);
	size_t n = READ_EVENTS;

	job_fini(&j);
	if (!exchange_stream_write(s->x, "", 0)) /* the client has gone */
		return false;
	while (n == READ_EVENTS) {
		struct event *items = NULL;

		if (exchange_stream_backlog(s->x) > BACKLOG_BYTES)
			return true;
		if (store_event_since(store, s->job_id, s->seq, READ_EVENTS, &items, &n))
			return false;
		for (size_t i = 0; i < n; i++) {
			if (!write_event(s->x, &items[i])) {
				event_list_free(items, n);
				return false;
			}
			s->seq = items[i].seq;
		}
		event_list_free(items, n);
	}
	if (ended)
		exchange_stream_write(s->x, done, sizeof(done) - 1);
	return !ended;
}

static void on_read(uv_work_t *work)
{
	struct job_stream *s = work->data;

	s->over = !stream_read(s);
}

/* ---- on the loop ---- */

static void on_read_done(uv_work_t *work, int status);

static void visit(struct job_stream *s)
{
	s->work.data = s;
	uv_queue_work(s->hub->api->loop, &s->work, on_read, on_read_done);
}

static void stream_close(struct job_stream *s)
{
	struct job_hub *h = s->hub;
	struct job_stream **at;

	pthread_mutex_lock(&h->lock);
	for (at = &h->streams; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	pthread_mutex_unlock(&h->lock);
	exchange_end(s->x);
	mem_free(s);
}

static void on_read_done(uv_work_t *work, int status)
{
	struct job_stream *s = work->data;
	struct job_hub *h = s->hub;
	bool again;

	(void)status;
	if (s->over) {
		stream_close(s);
		return;
	}
	pthread_mutex_lock(&h->lock);
	again = s->due;
	s->busy = again;
	s->due = false;
	pthread_mutex_unlock(&h->lock);
	if (again)
		visit(s);
}

void job_hub_run(struct job_hub *h, bool all)
{
	pthread_mutex_lock(&h->lock);
	for (struct job_stream *s = h->streams; s; s = s->next) {
		if (s->busy || !(s->due || all))
			continue;
		s->busy = true;
		s->due = false;
		visit(s);
	}
	pthread_mutex_unlock(&h->lock);
}

/* The next visit finds that nothing can be written any more, and closes. */
static void on_gone(void *arg)
{
	struct job_stream *s = arg;

	job_hub_poke(s->hub, s->job_id);
}

enum exchange_verdict job_stream_open(struct exchange *x, const char *job_id, int64_t after_seq)
{
	struct job_hub *h = exchange_api(x)->jobs;
	struct job_stream *s = mem_calloc(1, sizeof(*s));

	if (!s)
		return exchange_reply_error(x, ERR_MEM, NULL);
	s->x = x;
	s->hub = h;
	s->seq = after_seq;
	snprintf(s->job_id, sizeof(s->job_id), "%s", job_id);
	exchange_on_gone(x, on_gone, s);
	exchange_stream_begin(x);
	pthread_mutex_lock(&h->lock);
	s->next = h->streams;
	h->streams = s;
	s->due = true;
	uv_async_send(&h->api->async);
	pthread_mutex_unlock(&h->lock);
	return EXCHANGE_LATER;
}
