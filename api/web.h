/*
 * The dashboard's files, as they are in the binary. Every page and file of it is answered by web.c under one
 * strict policy: scripts, styles and requests of this origin only, nothing inline, framed by nobody.
 * Thread: any; the files are constant.
 */
#ifndef REDD_API_WEB_H
#define REDD_API_WEB_H

#include "core/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define WEB_BUNDLE_SIZE 17 /* with the NUL */

struct web_file {
	const char *name; /* "app.js" */
	const char *content_type;
	const char *data; /* followed by a NUL that does not count */
	size_t n;
};

/* NULL when there is no such file; index.html is one, with its marks unfilled. */
const struct web_file *web_file_find(const char *name);
/* Hexadecimal name of this build's files together: another one as soon as any of them differs. */
const char *web_bundle(void);
/* index.html with its marks filled in: the bundle, the version, and whether a key is asked for. Appends. */
enum err web_index(bool no_auth, struct buf *out);

#endif
