/*
 * GET of a job that has ended, over 64 connections that are kept open: the rate and percentiles of the
 * latency, otherwise idle, and while 32 streams are decoded. One thread. Usage: bench_get [SECONDS]
 */
#include "core/mem.h"
#include "tests/bench/connection.h"

#include <stdio.h>
#include <unistd.h>

#define N_GETS 64
#define N_STREAMS 32
#define STREAM_TOKENS 200
#define WARM_UP_SECONDS 1
#define MAX_RATE 100000 /* so many latencies a second are kept */

struct load {
	struct daemon d;
	char get[512], stream[1024];
	double seconds;
	int epoll_fd;
	double *ms; /* owned (max) */
	size_t n, max, n_bad, n_events;
	struct connection gets[N_GETS], streams[N_STREAMS];
};

static bool is_stream(const struct load *l, const struct connection *c)
{
	return c >= l->streams && c < l->streams + N_STREAMS;
}

static void note(struct load *l, const struct connection *c)
{
	if (l->n < l->max)
		l->ms[l->n++] = (double)(clock_mono_ns() - c->sent_ns) / 1e6;
	if (!connection_succeeded(c) && l->n_bad++ == 0)
		printf("%s\n", c->answer);
}

/* A stream's bytes are counted and dropped, but for those that may be the beginning of its end. */
static void on_stream(struct load *l, struct connection *c)
{
	static const char end[] = "\r\n0\r\n\r\n";
	const size_t n_end = sizeof(end) - 1;

	for (const char *p = connection_receive(c); (p = strstr(p, "data: ")); p++)
		l->n_events++;
	if (c->n >= n_end && !strcmp(c->answer + c->n - n_end, end)) {
		connection_send(c, l->stream);
	} else if (c->n > n_end) {
		memmove(c->answer, c->answer + c->n - n_end, n_end + 1);
		c->n = n_end;
	}
}

static void on_readable(struct load *l, struct connection *c)
{
	if (is_stream(l, c)) {
		on_stream(l, c);
		return;
	}
	connection_receive(c);
	if (!connection_answered(c))
		return;
	note(l, c);
	connection_send(c, l->get);
}

static void run(struct load *l, double seconds)
{
	int64_t until = clock_mono_ns() + (int64_t)(seconds * 1e9);
	struct epoll_event events[N_GETS + N_STREAMS];

	l->n = l->n_events = 0;
	while (clock_mono_ns() < until) {
		int n = epoll_wait(l->epoll_fd, events, N_GETS + N_STREAMS, 60000);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			on_readable(l, events[i].data.ptr);
	}
}

static void measure(struct load *l, const char *when)
{
	run(l, WARM_UP_SECONDS);
	run(l, l->seconds);
	assert_true(l->n > 0);
	qsort(l->ms, l->n, sizeof(*l->ms), by_size);
	printf("%s: %.0f/s, latency ms p50 %.1f, p99 %.1f, max %.1f", when, (double)l->n / l->seconds,
	        l->ms[l->n / 2], l->ms[l->n * 99 / 100], l->ms[l->n - 1]);
	if (l->n_events)
		printf("; %.0f events/s of the streams", (double)l->n_events / l->seconds);
	printf("\n");
}

/* A tenant, and a job of its that has ended. */
static void prepare(struct load *l)
{
	static const char row[] =
	        "{\"prompt\":\"Where is the sea?\\n\",\"completion\":\"Beyond the hills.\"}\n";
	static const char *const args[] = {NULL};
	char key[128], file[64], job[64], body[256];
	const char *base;
	json_t *models, *request;

	daemon_init(&l->d);
	daemon_start(&l->d, args);
	must_tenant(&l->d, "bench", key);
	assert_int_equal(http_upload(&l->d, key, "rows.jsonl", row, strlen(row), file), 200);
	models = must_call(&l->d, key, "GET", "/v1/models", NULL);
	base = json_string_value(json_object_get(json_array_get(json_object_get(models, "data"), 0), "id"));
	request = json_pack("{s:s, s:s, s:{s:i}}", "model", base, "training_file", file, "hyperparameters",
	        "n_epochs", 1);
	must_job(&l->d, key, request, job);
	json_decref(must_finish(&l->d, key, job));
	snprintf(l->get, sizeof(l->get),
	        "GET /v1/fine_tuning/jobs/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", job,
	        key);
	snprintf(body, sizeof(body),
	        "{\"model\":\"%s\",\"prompt\":\"Once upon a time\",\"max_tokens\":%d,\"stream\":true}", base,
	        STREAM_TOKENS);
	snprintf(l->stream, sizeof(l->stream),
	        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
	        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
	        key, strlen(body), body);
	json_decref(models);
	json_decref(request);
}

int main(int argc, char **argv)
{
	static struct load load;
	struct load *l = &load;
	int failed;

	l->seconds = argc > 1 ? atof(argv[1]) : 5;
	l->max = (size_t)(l->seconds + WARM_UP_SECONDS) * MAX_RATE;
	l->ms = mem_calloc(l->max, sizeof(*l->ms));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!l->ms || l->epoll_fd < 0 || l->seconds <= 0)
		return 1;
	prepare(l);
	for (size_t i = 0; i < N_GETS; i++) {
		connection_open(&l->gets[i], &l->d, l->epoll_fd);
		connection_send(&l->gets[i], l->get);
	}
	measure(l, "GET of a job over 64 connections, otherwise idle");
	for (size_t i = 0; i < N_STREAMS; i++) {
		connection_open(&l->streams[i], &l->d, l->epoll_fd);
		connection_send(&l->streams[i], l->stream);
	}
	measure(l, "GET of a job over 64 connections, while 32 streams decode");
	for (size_t i = 0; i < N_GETS; i++)
		close(l->gets[i].fd);
	for (size_t i = 0; i < N_STREAMS; i++)
		close(l->streams[i].fd);
	close(l->epoll_fd);
	daemon_fini(&l->d);
	failed = l->n_bad != 0;
	mem_free(l->ms);
	return failed;
}
