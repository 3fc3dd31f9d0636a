/* /v1/files: uploads, their listing, content and deletion. Contents are opaque here; jobs read them. Pool
 * threads. */
#include "api/edge.h"
#include "api/wire.h"
#include "core/clock.h"
#include "core/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_PAGE 1000
#define EXPIRES_MIN_SECONDS 3600
#define EXPIRES_MAX_SECONDS 2592000
#define FILENAME_MAX_BYTES 255

static json_t *file_json(const struct file *f)
{
	json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:s, s:n}", "id", f->id, "object", "file",
	        "bytes", (json_int_t)f->bytes, "created_at", (json_int_t)f->created_at, "filename",
	        wire_string(f->filename), "purpose", wire_string(f->purpose), "status", "processed",
	        "status_details");

	if (json && f->expires_at)
		json_object_set_new(json, "expires_at", json_integer(f->expires_at));
	return json;
}

static enum exchange_verdict reply_not_found(struct exchange *x, enum err e, const char *id)
{
	struct why why = {0};

	if (e == ERR_NOT_FOUND)
		why_param(&why, e, "id", "No such file: '%s'.", id);
	return exchange_reply_error(x, e, &why);
}

static enum err check_purpose(const char *purpose, struct why *why)
{
	static const char *const known[] = {
	        "fine-tune", "assistants", "batch", "vision", "user_data", "evals"};

	if (!purpose || !*purpose)
		return why_param(why, ERR_INVALID, "purpose", "'purpose' is required, such as 'fine-tune'.");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(purpose, known[i]))
			return OK;
	return why_param(why, ERR_INVALID, "purpose",
	        "'%s' is no known purpose: use fine-tune (or assistants, batch, vision, user_data, evals).",
	        purpose);
}

/* expires_after[anchor] and [seconds], both or none. */
static enum err check_expiry(const struct upload *u, int64_t *expires_at, struct why *why)
{
	const char *anchor = upload_field(u, "expires_after[anchor]");
	const char *seconds = upload_field(u, "expires_after[seconds]");
	char *end;
	long long n;

	*expires_at = 0;
	if (!anchor && !seconds)
		return OK;
	if (!anchor || strcmp(anchor, "created_at") != 0)
		return why_param(
		        why, ERR_INVALID, "expires_after[anchor]", "The only anchor is 'created_at'.");
	errno = 0;
	n = seconds ? strtoll(seconds, &end, 10) : 0;
	if (!seconds || !*seconds || *end || errno || n < EXPIRES_MIN_SECONDS || n > EXPIRES_MAX_SECONDS)
		return why_param(why, ERR_INVALID, "expires_after[seconds]",
		        "'expires_after[seconds]' must be an integer from %d to %d.", EXPIRES_MIN_SECONDS,
		        EXPIRES_MAX_SECONDS);
	*expires_at = clock_now_ms() / 1000 + n;
	return OK;
}

static enum err check_filename(const char *name, struct why *why)
{
	if (strlen(name) > FILENAME_MAX_BYTES)
		return why_param(
		        why, ERR_INVALID, "file", "The file's name may have %d bytes.", FILENAME_MAX_BYTES);
	return OK;
}

static int64_t bytes_limit(struct exchange *x)
{
	int64_t own = exchange_tenant(x)->limits.file_bytes;

	return own ? own : exchange_default_limits(x).file_bytes;
}

static enum err explain_quota(struct exchange *x, int64_t more, struct why *why)
{
	int64_t used = 0;

	(void)store_file_bytes(exchange_store(x), exchange_tenant(x)->id, &used);
	return why_param(why, ERR_LIMIT, "file",
	        "Your files hold %lld of %lld bytes; delete some to upload %lld more.", (long long)used,
	        (long long)bytes_limit(x), (long long)more);
}

static enum exchange_verdict files_upload(struct exchange *x)
{
	struct upload *u = exchange_upload(x);
	const char *name = upload_filename(u)[0] ? upload_filename(u) : "file";
	struct file f = {0};
	struct why why = {0};
	int64_t expires_at;
	json_t *json;
	enum err e = check_purpose(upload_field(u, "purpose"), &why);

	if (!e)
		e = check_expiry(u, &expires_at, &why);
	if (!e)
		e = check_filename(name, &why);
	if (!e && !upload_bytes(u))
		e = why_param(&why, ERR_INVALID, "file", "The file is empty.");
	if (!e) {
		struct file_writer *w = upload_take(u);

		file_writer_limit(w, bytes_limit(x));
		e = file_writer_commit(
		        w, exchange_tenant(x)->id, name, upload_field(u, "purpose"), expires_at, &f);
	}
	if (e == ERR_LIMIT)
		e = explain_quota(x, upload_bytes(u), &why);
	if (e)
		return exchange_reply_error(x, e, &why);
	json = file_json(&f);
	file_fini(&f);
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict files_list(struct exchange *x)
{
	struct page page;
	struct file *items;
	struct why why = {0};
	json_t *data;
	size_t n;
	bool more;
	enum err e;

	if (exchange_page(x, FILES_PAGE, &page))
		return EXCHANGE_DONE;
	e = store_file_list(exchange_store(x), exchange_tenant(x)->id, exchange_query(x, "purpose"), &page,
	        &items, &n, &more);
	if (e == ERR_NOT_FOUND)
		e = why_param(&why, ERR_INVALID, "after", "'after' names no file of yours.");
	if (e)
		return exchange_reply_error(x, e, &why);
	data = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, file_json(&items[i]));
	file_list_free(items, n);
	return exchange_reply_json(x, 200, wire_list(data, more));
}

static enum exchange_verdict files_get(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	struct file f = {0};
	enum err e = store_file_get(exchange_store(x), exchange_tenant(x)->id, id, &f);
	json_t *json;

	if (e)
		return reply_not_found(x, e, id);
	json = file_json(&f);
	file_fini(&f);
	return exchange_reply_json(x, 200, json);
}

static enum exchange_verdict files_content(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	struct stat st;
	int fd = -1;
	enum err e = store_file_open(exchange_store(x), exchange_tenant(x)->id, id, &fd);

	if (e)
		return reply_not_found(x, e, id);
	if (fstat(fd, &st) != 0) {
		close(fd);
		return exchange_reply_error(x, ERR_IO, NULL);
	}
	exchange_set_header(x, "Content-Disposition", "attachment");
	return exchange_reply_fd(x, "application/octet-stream", fd, (uint64_t)st.st_size);
}

static enum exchange_verdict files_delete(struct exchange *x)
{
	const char *id = exchange_capture(x, 0);
	enum err e = store_file_delete(exchange_store(x), exchange_tenant(x)->id, id);

	if (e)
		return reply_not_found(x, e, id);
	return exchange_reply_json(x, 200, wire_deleted(id, "file"));
}

const struct route files_routes[] = {
        {"POST", "/v1/files", ROUTE_TENANT_UPLOAD, files_upload},
        {"GET", "/v1/files", ROUTE_TENANT, files_list},
        {"GET", "/v1/files/{}", ROUTE_TENANT, files_get},
        {"DELETE", "/v1/files/{}", ROUTE_TENANT, files_delete},
        {"GET", "/v1/files/{}/content", ROUTE_TENANT, files_content},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
