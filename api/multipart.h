/*
 * multipart/form-data (RFC 7578) as it arrives, in pieces of any size. Nothing is kept but an unfinished
 * header block and what may be the start of a delimiter. Thread: the owner.
 */
#ifndef REDD_API_MULTIPART_H
#define REDD_API_MULTIPART_H

#include "core/err.h"

#include <stddef.h>

struct multipart;

/* Where parts go. An error returned here ends the parse and is what multipart_feed() returns. */
struct multipart_sink {
	/* A part begins; filename is NULL for a plain field. Strings are borrowed during the call. */
	enum err (*begin)(void *arg, const char *name, const char *filename, struct why *why);
	/* Some of the current part's content. */
	enum err (*data)(void *arg, const char *p, size_t n, struct why *why);
	void *arg;
};

/* content_type is the request's header, NULL allowed: ERR_INVALID unless it is multipart/form-data with a
 * boundary. */
enum err multipart_new(
        const char *content_type, const struct multipart_sink *sink, struct multipart **out, struct why *why);
/* ERR_INVALID for what is no multipart, ERR_MEM, or the sink's error. Not to be called again after an error.
 */
enum err multipart_feed(struct multipart *m, const char *p, size_t n, struct why *why);
/* The body has ended: ERR_INVALID when the closing delimiter has not been seen. */
enum err multipart_end(const struct multipart *m, struct why *why);
void multipart_free(struct multipart *m);

#endif
