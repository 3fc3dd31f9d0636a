/* What operators and load balancers ask: health, readiness, metrics, and a page for people. Pool threads. */
#include "api/edge.h"
#include "core/mem.h"

static enum exchange_verdict healthz(struct exchange *x)
{
	return exchange_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
}

static enum exchange_verdict readyz(struct exchange *x)
{
	struct tenant *items = NULL;
	struct page page = {.limit = 1};
	struct why why = {0};
	size_t n = 0;
	bool more;
	enum err e = OK;

	if (exchange_draining(x))
		e = why_set(&why, ERR_BUSY, "The server is shutting down.");
	if (!e)
		e = store_tenant_list(exchange_store(x), &page, &items, &n, &more);
	mem_free(items);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, json_pack("{s:s}", "status", "ready"));
}

/* One metric of Prometheus' text format, without labels. */
static enum err metric(struct buf *b, const char *type, const char *name, const char *help, uint64_t value)
{
	return buf_printf(b, "# HELP redd_%s %s\n# TYPE redd_%s %s\nredd_%s %llu\n", name, help, name, type,
	        name, (unsigned long long)value);
}

static enum err metrics_http(struct buf *b, const uint64_t n_requests[6])
{
	enum err e = buf_printf(b, "# HELP redd_http_responses_total HTTP answers by class of status.\n"
	                           "# TYPE redd_http_responses_total counter\n");

	for (unsigned i = 2; !e && i < 6; i++)
		e = buf_printf(b, "redd_http_responses_total{class=\"%uxx\"} %llu\n", i,
		        (unsigned long long)n_requests[i]);
	return e;
}

static enum err metrics_worker(struct buf *b, struct worker *w)
{
	struct worker_stats s;
	enum err e;

	worker_stats(w, &s);
	const struct {
		const char *type, *name, *help;
		uint64_t value;
	} all[] = {
	        {"gauge", "jobs_running", "Fine-tuning jobs being trained.", s.running_jobs},
	        {"gauge", "train_threads", "Training threads.", s.n_train_threads},
	        {"counter", "train_steps_total", "Optimizer steps done.", s.train_steps},
	        {"counter", "train_tokens_total", "Tokens trained on.", s.train_tokens},
	        {"gauge", "adapters_resident", "Adapter versions in memory.", s.adapters_resident},
	        {"gauge", "requests_running", "Sequences in the running batch.", s.serve.running},
	        {"gauge", "requests_waiting", "Sequences waiting for a place in the batch.", s.serve.waiting},
	        {"counter", "prompt_tokens_total", "Prompt tokens read.", s.serve.prompt_tokens},
	        {"counter", "generated_tokens_total", "Tokens generated.", s.serve.generated_tokens},
	        {"counter", "decode_steps_total", "Decode steps; rows / steps is the mean batch.",
	                s.serve.steps},
	        {"counter", "decode_rows_total", "Rows over all decode steps.", s.serve.batch_rows},
	};
	e = buf_printf(b,
	        "# HELP redd_build_info Version and the kernels that run.\n# TYPE redd_build_info gauge\n"
	        "redd_build_info{version=\"" REDD_VERSION "\",gemm=\"%s\",cpu=\"%s\"} 1\n",
	        s.gemm_kernel ? s.gemm_kernel : "", s.cpu ? s.cpu : "");
	for (size_t i = 0; !e && i < sizeof(all) / sizeof(all[0]); i++)
		e = metric(b, all[i].type, all[i].name, all[i].help, all[i].value);
	return e;
}

static enum exchange_verdict metrics(struct exchange *x)
{
	struct worker *w = exchange_worker(x);
	struct buf text = {0};
	uint64_t n_requests[6];
	enum err e;

	exchange_count_answers(x, n_requests);
	e = metrics_http(&text, n_requests);
	if (!e)
		e = metric(&text, "gauge", "event_streams", "Streams of job events that are open.",
		        job_hub_streams(exchange_api(x)->jobs));
	if (!e && w)
		e = metrics_worker(&text, w);
	if (e) {
		buf_fini(&text);
		return exchange_reply_error(x, e, NULL);
	}
	return exchange_reply_bytes(x, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static enum exchange_verdict front_page(struct exchange *x)
{
	static const char page[] =
	        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>redd</title>\n"
	        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;"
	        "color-scheme:light dark}</style>\n"
	        "<h1>redd " REDD_VERSION "</h1>\n"
	        "<p>Fine-tuning as a service: one frozen base model, an adapter of kilobytes for every "
	        "tenant.</p>\n"
	        "<p>The API is under <code>/v1</code>; <a href=\"/healthz\">health</a>, <a "
	        "href=\"/readyz\">readiness"
	        "</a>, <a href=\"/metrics\">metrics</a>.</p></html>\n";
	struct buf text = {0};

	if (buf_puts(&text, page))
		return exchange_reply_error(x, ERR_MEM, NULL);
	exchange_set_header(x, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
	return exchange_reply_bytes(x, 200, "text/html; charset=utf-8", &text);
}

/* Pool threads read the limits: each is a number by itself, read and written whole. */
void api_reload(struct api *a, const struct api_options *options)
{
	const struct tenant_limits *from = &options->limits;
	struct tenant_limits *to = &a->options.limits;

	a->options.max_body_bytes = options->max_body_bytes ? options->max_body_bytes : EDGE_MAX_BODY_BYTES;
	a->options.max_file_bytes = options->max_file_bytes ? options->max_file_bytes : EDGE_MAX_FILE_BYTES;
	__atomic_store_n(&to->queued_jobs, from->queued_jobs, __ATOMIC_RELAXED);
	__atomic_store_n(&to->running_jobs, from->running_jobs, __ATOMIC_RELAXED);
	__atomic_store_n(&to->file_bytes, from->file_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&to->requests_per_minute, from->requests_per_minute, __ATOMIC_RELAXED);
	__atomic_store_n(&to->tokens_per_minute, from->tokens_per_minute, __ATOMIC_RELAXED);
}

struct tenant_limits exchange_default_limits(struct exchange *x)
{
	const struct tenant_limits *from = &exchange_options(x)->limits;

	return (struct tenant_limits){
	        .queued_jobs = __atomic_load_n(&from->queued_jobs, __ATOMIC_RELAXED),
	        .running_jobs = __atomic_load_n(&from->running_jobs, __ATOMIC_RELAXED),
	        .file_bytes = __atomic_load_n(&from->file_bytes, __ATOMIC_RELAXED),
	        .requests_per_minute = __atomic_load_n(&from->requests_per_minute, __ATOMIC_RELAXED),
	        .tokens_per_minute = __atomic_load_n(&from->tokens_per_minute, __ATOMIC_RELAXED),
	};
}

const struct route operation_routes[] = {
        {"GET", "/healthz", ROUTE_OPEN, healthz},
        {"GET", "/readyz", ROUTE_OPEN, readyz},
        {"GET", "/metrics", ROUTE_OPEN, metrics},
        {"GET", "/", ROUTE_OPEN, front_page},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
