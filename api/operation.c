/* What operators and load balancers ask: health, readiness, metrics. Pool threads. */
#include "api/edge.h"
#include "api/metrics.h"
#include "core/log.h"
#include "core/mem.h"

#include <sys/stat.h>
#include <unistd.h>

#define READY_MAX_COMMIT_MS 10000
#define READY_MIN_FREE_BYTES ((uint64_t)16 << 20)

static enum exchange_verdict healthz(struct exchange *x)
{
	return exchange_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
}

/* Whether what was accepted could be kept. A store that has failed is asked to write again: nothing else
 * would tell that it can. */
static enum err store_ready(struct store *s, struct why *why)
{
	struct store_stats stats;

	store_stats(s, &stats);
	if (stats.busy_ms > READY_MAX_COMMIT_MS)
		return why_set(why, ERR_BUSY, "The disk has been writing one transaction for %lld s.",
		        (long long)stats.busy_ms / 1000);
	if (stats.free_bytes < READY_MIN_FREE_BYTES)
		return why_set(why, ERR_BUSY, "Only %llu MiB are left on the state's file system.",
		        (unsigned long long)(stats.free_bytes >> 20));
	if (stats.failing && store_probe(s))
		return why_set(why, ERR_BUSY, "The store cannot write.");
	return OK;
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
		e = store_ready(exchange_store(x), &why);
	if (!e)
		e = store_tenant_list(exchange_store(x), &page, &items, &n, &more);
	mem_free(items);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, json_pack("{s:s}", "status", "ready"));
}

static enum exchange_verdict metrics(struct exchange *x)
{
	struct buf text = {0};
	enum err e = metrics_write(x, &text);

	if (e) {
		buf_fini(&text);
		return exchange_reply_error(x, e, NULL);
	}
	return exchange_reply_bytes(x, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

/* The whole store as a tar. It is written beside the store first: what was sent half would be no backup. */
static enum exchange_verdict backup(struct exchange *x)
{
	struct api *a = exchange_api(x);
	struct why why = {0};
	struct stat st;
	int fd = -1;
	enum err e;

	if (atomic_flag_test_and_set(&a->backing_up)) {
		e = why_set(&why, ERR_BUSY, "A backup is being made already.");
		return exchange_reply_error(x, e, &why);
	}
	e = store_scratch_open(exchange_store(x), &fd);
	if (!e)
		e = store_backup(exchange_store(x), fd, &why);
	if (!e && (fstat(fd, &st) || lseek(fd, 0, SEEK_SET)))
		e = ERR_IO;
	atomic_flag_clear(&a->backing_up);
	if (e) {
		if (fd >= 0)
			close(fd);
		return exchange_reply_error(x, e, &why);
	}
	log_info("backup", "bytes=%lld", (long long)st.st_size);
	exchange_set_header(x, "Content-Disposition", "attachment; filename=\"redd-backup.tar\"");
	return exchange_reply_fd(x, "application/x-tar", fd, (uint64_t)st.st_size);
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
        {"GET", "/admin/backup", ROUTE_ADMIN, backup},
        {"GET", "/v1/admin/backup", ROUTE_ADMIN, backup},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
