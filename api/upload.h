/*
 * A multipart body on its way to the store: the part "file" goes to a file_writer as it arrives, small fields
 * are kept, in whatever order they come. Thread: libuv's pool, one call at a time; never the loop.
 */
#ifndef REDD_API_UPLOAD_H
#define REDD_API_UPLOAD_H

#include "api/exchange.h"

struct upload;

/* ERR_INVALID when content_type is no multipart/form-data. Touches no disk yet (loop). */
enum err upload_new(struct store *s, const char *content_type, int64_t max_file_bytes, struct upload **out,
        struct why *why);
enum err upload_feed(struct upload *u, const char *p, size_t n, struct why *why);
/* The body is complete. ERR_INVALID when it was cut short or brought no file. */
enum err upload_end(struct upload *u, struct why *why);
/* A plain field, NULL when absent; and the client's name for the file, "" when it gave none. */
const char *upload_field(const struct upload *u, const char *name);
const char *upload_filename(const struct upload *u);
int64_t upload_bytes(const struct upload *u);
/* Hands the content over to the caller, who commits or aborts it. Once, after upload_end(). */
struct file_writer *upload_take(struct upload *u);
/* Drops what was not taken. NULL is allowed. */
void upload_free(struct upload *u);

/* What a ROUTE_TENANT_UPLOAD handler was sent; complete. */
struct upload *exchange_upload(struct exchange *x);

#endif
