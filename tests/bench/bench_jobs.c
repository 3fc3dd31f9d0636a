/*
 * Job creation under load: 10,000 jobs over 64 connections that are kept open, each connection asking again
 * as soon as it was answered, while the daemon trains what it was given before. Prints the rate, percentiles
 * of the latency, whether all are there afterwards, and the rate of one commit per request on the same disk.
 * One thread. Usage: bench_jobs [N_JOBS]
 */
#include "core/mem.h"
#include "tests/bench/connection.h"

#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#define N_CONNECTIONS 64
#define N_COMMITS 300

struct load {
	struct daemon d;
	char request[1024];
	size_t n_jobs, n_sent, n_done, n_bad;
	double *ms; /* owned (n_jobs) */
	struct connection connections[N_CONNECTIONS];
};

static void send_next(struct load *l, struct connection *c)
{
	if (l->n_sent == l->n_jobs)
		return;
	l->n_sent++;
	connection_send(c, l->request);
}

static void on_readable(struct load *l, struct connection *c)
{
	connection_receive(c);
	if (!connection_answered(c))
		return;
	l->ms[l->n_done++] = (double)(clock_mono_ns() - c->sent_ns) / 1e6;
	if (!connection_succeeded(c) && l->n_bad++ == 0)
		printf("%s\n", c->answer);
	send_next(l, c);
}

/* The jobs per second. */
static double run(struct load *l)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[N_CONNECTIONS];
	int64_t began;

	for (size_t i = 0; i < N_CONNECTIONS; i++)
		connection_open(&l->connections[i], &l->d, epoll_fd);
	began = clock_mono_ns();
	for (size_t i = 0; i < N_CONNECTIONS; i++)
		send_next(l, &l->connections[i]);
	while (l->n_done < l->n_jobs) {
		int n = epoll_wait(epoll_fd, events, N_CONNECTIONS, 60000);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			on_readable(l, events[i].data.ptr);
	}
	for (size_t i = 0; i < N_CONNECTIONS; i++)
		close(l->connections[i].fd);
	close(epoll_fd);
	return (double)l->n_jobs / ((double)(clock_mono_ns() - began) / 1e9);
}

/* Seconds of processor time of the daemon's threads, without those that train. */
static double cpu_seconds(const struct load *l)
{
	char path[128], line[512], name[32];
	unsigned long user, kernel, total = 0;
	struct dirent *task;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)l->d.spawn.pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((task = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", (int)l->d.spawn.pid, task->d_name);
		f = fopen(path, "r");
		if (f && fgets(line, sizeof(line), f) &&
		        sscanf(line, "%*d (%31[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		                name, &user, &kernel) == 3 &&
		        strncmp(name, "train-", 6) != 0)
			total += user + kernel;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return (double)total / (double)sysconf(_SC_CLK_TCK);
}

/* Jobs that are there, by the lists' pages. */
static size_t count_jobs(const struct load *l)
{
	char path[256] = "/v1/fine_tuning/jobs?limit=1000";
	size_t n = 0;
	bool more = true;

	while (more) {
		json_t *page = must_call(&l->d, NULL, "GET", path, NULL);

		n += json_array_size(json_object_get(page, "data"));
		more = json_is_true(json_object_get(page, "has_more"));
		if (more)
			snprintf(path, sizeof(path), "/v1/fine_tuning/jobs?limit=1000&after=%s",
			        json_string_value(json_object_get(page, "last_id")));
		json_decref(page);
	}
	return n;
}

/* Rows per second into a database of the store's kind, each in a transaction of its own. */
static double commits_per_second(const struct load *l)
{
	char path[128];
	sqlite3 *db;
	int64_t began;

	snprintf(path, sizeof(path), "%s/commits.db", l->d.spawn.dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
	                         "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
	                         "CREATE TABLE job (id INTEGER PRIMARY KEY, spec TEXT)",
	                         NULL, NULL, NULL),
	        SQLITE_OK);
	began = clock_mono_ns();
	for (int i = 0; i < N_COMMITS; i++)
		assert_int_equal(sqlite3_exec(db, "INSERT INTO job (spec) VALUES (hex(randomblob(400)))",
		                         NULL, NULL, NULL),
		        SQLITE_OK);
	sqlite3_close(db);
	return N_COMMITS / ((double)(clock_mono_ns() - began) / 1e9);
}

static void prepare(struct load *l)
{
	static const char row[] =
	        "{\"prompt\":\"Where is the sea?\\n\",\"completion\":\"Beyond the hills.\"}\n";
	const char *args[] = {"--no-auth", "--limit-queued-jobs", "none", NULL};
	char file[64], body[256];
	json_t *models;

	daemon_init(&l->d);
	daemon_start(&l->d, args);
	assert_int_equal(http_upload(&l->d, NULL, "rows.jsonl", row, strlen(row), file), 200);
	models = must_call(&l->d, NULL, "GET", "/v1/models", NULL);
	snprintf(body, sizeof(body),
	        "{\"model\":\"%s\",\"training_file\":\"%s\",\"hyperparameters\":{\"n_epochs\":1}}",
	        json_string_value(json_object_get(json_array_get(json_object_get(models, "data"), 0), "id")),
	        file);
	json_decref(models);
	snprintf(l->request, sizeof(l->request),
	        "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	        "Content-Length: %zu\r\n\r\n%s",
	        strlen(body), body);
}

int main(int argc, char **argv)
{
	static struct load load;
	struct load *l = &load;
	double rate, commits, cpu;
	size_t there;

	l->n_jobs = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
	l->ms = mem_calloc(l->n_jobs, sizeof(*l->ms));
	if (!l->ms || !l->n_jobs)
		return 1;
	prepare(l);
	commits = commits_per_second(l);
	cpu = cpu_seconds(l);
	rate = run(l);
	cpu = cpu_seconds(l) - cpu;
	there = count_jobs(l);
	qsort(l->ms, l->n_jobs, sizeof(*l->ms), by_size);
	printf("%zu jobs over %d connections: %.0f/s, refused %zu, lost %zu\n", l->n_jobs, N_CONNECTIONS,
	        rate, l->n_bad, l->n_jobs - l->n_bad - there);
	printf("latency ms: p50 %.1f, p99 %.1f, max %.1f\n", l->ms[l->n_jobs / 2],
	        l->ms[l->n_jobs * 99 / 100], l->ms[l->n_jobs - 1]);
	printf("processor time a job, training apart: %.2f ms\n", 1e3 * cpu / (double)l->n_jobs);
	printf("a commit per request: %.0f/s; ratio %.1f\n", commits, rate / commits);
	daemon_fini(&l->d);
	there = there == l->n_jobs ? 0 : 1;
	mem_free(l->ms);
	return (int)there;
}
