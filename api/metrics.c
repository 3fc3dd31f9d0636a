/* See metrics.h. */
#include "api/metrics.h"

#include "api/edge.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* What stands before the values of one metric. */
static enum err head(struct buf *b, const char *type, const char *name, const char *help)
{
	return buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static enum err plain(struct buf *b, const char *type, const char *name, const char *help, double value)
{
	enum err e = head(b, type, name, help);

	return e ? e : buf_printf(b, "%s %.17g\n", name, value);
}

/* counts (n + 1): values at most bounds[i] and above the bound before, and those above all. */
static enum err histogram(struct buf *b, const char *name, const char *help, size_t n, const double *bounds,
        const uint64_t *counts, double sum)
{
	enum err e = head(b, "histogram", name, help);
	uint64_t so_far = 0;

	for (size_t i = 0; i < n && !e; i++) {
		so_far += counts[i];
		e = buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)so_far);
	}
	so_far += counts[n];
	if (!e)
		e = buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.17g\n%s_count %llu\n", name,
		        (unsigned long long)so_far, name, sum, name, (unsigned long long)so_far);
	return e;
}

static enum err write_http(struct exchange *x, struct buf *b)
{
	uint64_t n_answers[6];
	enum err e = head(b, "counter", "redd_http_responses_total", "HTTP answers by class of status.");

	exchange_count_answers(x, n_answers);
	for (unsigned i = 2; !e && i < 6; i++)
		e = buf_printf(b, "redd_http_responses_total{class=\"%uxx\"} %llu\n", i,
		        (unsigned long long)n_answers[i]);
	if (!e)
		e = plain(b, "gauge", "redd_event_streams", "Streams of job events that are open.",
		        (double)job_hub_streams(exchange_api(x)->jobs));
	if (!e)
		e = plain(b, "gauge", "redd_draining", "1 while the daemon finishes its last requests.",
		        exchange_draining(x));
	return e;
}

static enum err write_jobs(struct exchange *x, struct buf *b)
{
	int64_t counts[JOB_STATUSES];
	enum err e;

	if (store_job_counts(exchange_store(x), counts))
		return OK;
	e = head(b, "gauge", "redd_jobs", "Fine-tuning jobs by status; those queued are the queue's depth.");
	for (int i = 0; i < JOB_STATUSES && !e; i++)
		e = buf_printf(b, "redd_jobs{status=\"%s\"} %lld\n", job_status_name((enum job_status)i),
		        (long long)counts[i]);
	return e;
}

static enum err write_store(struct exchange *x, struct buf *b)
{
	struct store_stats s;
	enum err e;

	store_stats(exchange_store(x), &s);
	e = histogram(b, "redd_store_commit_seconds", "How long transactions took, to the disk.",
	        STORE_LATENCY_BUCKETS - 1, store_latency_bounds, s.latency, s.latency_sum_s);
	if (!e)
		e = plain(b, "counter", "redd_store_writes_total",
		        "Writes in all transactions; writes / transactions is the mean batch.",
		        (double)s.writes);
	if (!e)
		e = plain(b, "counter", "redd_store_failures_total", "Transactions that were lost.",
		        (double)s.failures);
	if (!e)
		e = plain(b, "gauge", "redd_store_waiting", "Writes that are queued.", (double)s.waiting);
	if (!e)
		e = plain(b, "gauge", "redd_store_free_bytes", "Room left on the state's file system.",
		        (double)s.free_bytes);
	return e;
}

struct number {
	const char *type, *name, *help;
	double value;
};

static enum err write_numbers(struct buf *b, const struct number *all, size_t n)
{
	enum err e = OK;

	for (size_t i = 0; i < n && !e; i++)
		e = plain(b, all[i].type, all[i].name, all[i].help, all[i].value);
	return e;
}

static enum err durations(struct buf *b, const char *name, const char *help, const struct histogram *h)
{
	return histogram(
	        b, name, help, HISTOGRAM_BUCKETS - 1, histogram_bounds, h->counts, (double)h->sum_ns / 1e9);
}

static enum err write_serve(const struct serve_stats *s, struct buf *b)
{
	const struct number all[] = {
	        {"gauge", "redd_requests_running", "Requests in the running batch.", (double)s->running},
	        {"gauge", "redd_requests_waiting", "Requests waiting for a place in the batch.",
	                (double)s->waiting},
	        {"gauge", "redd_batch_rows", "Rows of the running batch.", (double)s->rows},
	        {"counter", "redd_prompt_tokens_total", "Prompt tokens read.", (double)s->prompt_tokens},
	        {"counter", "redd_generated_tokens_total", "Tokens generated.", (double)s->generated_tokens},
	        {"counter", "redd_decode_steps_total", "Decode steps; rows / steps is the mean batch.",
	                (double)s->steps},
	        {"counter", "redd_decode_rows_total", "Rows over all decode steps.", (double)s->batch_rows},
	        {"gauge", "redd_kv_pages", "Pages for keys and values.", (double)s->kv_pages},
	        {"gauge", "redd_kv_pages_used", "Of them in use.", (double)s->kv_pages_used},
	        {"gauge", "redd_kv_pages_kept", "Of them held by beginnings of prompts alone.",
	                (double)s->kv_pages_kept},
	        {"counter", "redd_prefix_hits_total", "Prompts that began as an earlier one.",
	                (double)s->prefix_hits},
	        {"counter", "redd_prefix_tokens_total", "Prompt tokens that were not computed again for it.",
	                (double)s->prefix_tokens},
	        {"counter", "redd_requests_put_off_total",
	                "Times a request gave its memory to an older one and began again.",
	                (double)s->put_off},
	};
	enum err e = write_numbers(b, all, sizeof(all) / sizeof(all[0]));

	if (!e)
		e = durations(
		        b, "redd_first_token_seconds", "From a request to its first token.", &s->first_token);
	if (!e)
		e = durations(b, "redd_next_token_seconds", "From one token of a request to its next.",
		        &s->next_token);
	return e;
}

static enum err write_worker(const struct worker_stats *s, struct buf *b)
{
	const struct number all[] = {
	        {"gauge", "redd_jobs_running", "Fine-tuning jobs being trained.", (double)s->running_jobs},
	        {"gauge", "redd_train_threads", "Training threads.", (double)s->n_train_threads},
	        {"gauge", "redd_serve_threads", "Threads that compute answers together.",
	                (double)s->n_serve_threads},
	        {"counter", "redd_train_steps_total", "Optimizer steps done.", (double)s->train_steps},
	        {"counter", "redd_train_tokens_total", "Tokens trained on.", (double)s->train_tokens},
	        {"gauge", "redd_adapters_resident", "Adapter versions in memory.",
	                (double)s->adapters_resident},
	        {"gauge", "redd_adapter_bytes", "What they take.", (double)s->adapter_bytes},
	};
	enum err e = head(b, "gauge", "redd_build_info", "Version and the kernels that run.");

	if (!e)
		e = buf_printf(b,
		        "redd_build_info{version=\"" REDD_VERSION "\",kernels=\"%s\",weights=\"%s\"} 1\n",
		        s->kernels ? s->kernels : "", s->weights ? s->weights : "");
	if (!e)
		e = write_numbers(b, all, sizeof(all) / sizeof(all[0]));
	if (!e)
		e = durations(b, "redd_adapter_load_seconds",
		        "How long adapters that were not in memory took to load.", &s->adapter_load);
	return e ? e : write_serve(&s->serve, b);
}

/* ---- the process, under the names every exporter uses ---- */

static double resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long size, resident = 0;

	if (f && fscanf(f, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	double n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", "..", and the directory's own */
}

static enum err write_process(struct buf *b)
{
	struct rusage used;
	struct rlimit files;
	double seconds = 0;
	enum err e;

	if (getrusage(RUSAGE_SELF, &used) == 0)
		seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		          (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	e = plain(b, "counter", "process_cpu_seconds_total", "Processor time of all threads.", seconds);
	if (!e)
		e = plain(b, "gauge", "process_resident_memory_bytes",
		        "Memory in use, the mapped base included.", resident_bytes());
	if (!e)
		e = plain(b, "gauge", "process_open_fds", "Open file descriptors.", open_descriptors());
	if (!e && getrlimit(RLIMIT_NOFILE, &files) == 0)
		e = plain(b, "gauge", "process_max_fds", "The most there may be.", (double)files.rlim_cur);
	return e;
}

enum err metrics_write(struct exchange *x, struct buf *out)
{
	struct worker *w = exchange_worker(x);
	struct worker_stats stats;
	enum err e = write_http(x, out);

	if (!e)
		e = write_jobs(x, out);
	if (!e)
		e = write_store(x, out);
	if (!e && w) {
		worker_stats(w, &stats);
		e = write_worker(&stats, out);
	}
	return e ? e : write_process(out);
}
