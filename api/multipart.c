/* See multipart.h. The first delimiter lacks the CRLF of the others, so the input is taken as if a CRLF went
 * before. */
#include "api/multipart.h"

#include "core/buf.h"
#include "core/mem.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BOUNDARY_MAX 70
#define HEADERS_MAX_BYTES 8192
#define NAME_SIZE 256
#define FILENAME_SIZE 1024

enum state { PREAMBLE, DELIMITER, HEADERS, CONTENT, EPILOGUE };

struct multipart {
	struct multipart_sink sink;
	enum state state;
	char delimiter[BOUNDARY_MAX + 5]; /* "\r\n--boundary" */
	size_t n_delimiter;
	struct buf pending; /* what was fed and is not yet understood */
};

/* Copy the value of `key=` out of header parameters ("; a=b; c=\"d\""); false when it is not there or too
 * long. */
static bool header_param(const char *params, const char *key, char *out, size_t size)
{
	size_t n_key = strlen(key), n = 0;
	bool quoted, mine;

	while (*params) {
		params += strspn(params, "; \t");
		mine = !strncasecmp(params, key, n_key) && params[n_key] == '=';
		params += strcspn(params, "=;");
		if (*params != '=')
			continue;
		params++;
		quoted = *params == '"';
		params += quoted;
		for (; *params && *params != (quoted ? '"' : ';'); params++) {
			if (quoted && *params == '\\' && (params[1] == '"' || params[1] == '\\'))
				params++;
			if (mine && n + 1 == size)
				return false;
			if (mine)
				out[n++] = *params;
		}
		if (mine) {
			while (!quoted && n && isspace((unsigned char)out[n - 1]))
				n--;
			out[n] = '\0';
			return true;
		}
		params += quoted && *params;
	}
	return false;
}

enum err multipart_new(
        const char *content_type, const struct multipart_sink *sink, struct multipart **out, struct why *why)
{
	static const char type[] = "multipart/form-data";
	char boundary[BOUNDARY_MAX + 1];
	struct multipart *m;
	enum err e;

	if (!content_type || strncasecmp(content_type, type, strlen(type)) != 0)
		return why_set(why, ERR_INVALID,
		        "The body must be multipart/form-data, with the content in 'file'.");
	if (!header_param(content_type + strlen(type), "boundary", boundary, sizeof(boundary)) ||
	        !boundary[0])
		return why_set(why, ERR_INVALID, "Content-Type lacks a boundary of 1 to %d characters.",
		        BOUNDARY_MAX);
	m = mem_calloc(1, sizeof(*m));
	if (!m)
		return ERR_MEM;
	m->sink = *sink;
	m->n_delimiter = (size_t)snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%s", boundary);
	e = buf_append(&m->pending, "\r\n", 2);
	if (e) {
		multipart_free(m);
		return e;
	}
	*out = m;
	return OK;
}

void multipart_free(struct multipart *m)
{
	if (!m)
		return;
	buf_fini(&m->pending);
	mem_free(m);
}

/* A part's header block, NUL-terminated; only Content-Disposition matters. */
static enum err part_begin(struct multipart *m, char *block, struct why *why)
{
	static const char wanted[] = "content-disposition:";
	char name[NAME_SIZE], filename[FILENAME_SIZE];
	char *save = NULL;

	for (char *line = strtok_r(block, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		const char *params = strchr(line, ';');

		if (strncasecmp(line, wanted, strlen(wanted)) != 0 || !params)
			continue;
		if (!header_param(params, "name", name, sizeof(name)))
			break;
		if (!header_param(params, "filename", filename, sizeof(filename)))
			return m->sink.begin(m->sink.arg, name, NULL, why);
		return m->sink.begin(m->sink.arg, name, filename, why);
	}
	return why_set(
	        why, ERR_INVALID, "A part of the multipart body has no Content-Disposition with a name.");
}

/* Each step takes bytes at p (n of them), says how many, and sets *more when another step may follow at once.
 */
static enum err step_content(
        struct multipart *m, const char *p, size_t n, size_t *taken, bool *more, struct why *why)
{
	const char *end = memmem(p, n, m->delimiter, m->n_delimiter);
	size_t sure = end ? (size_t)(end - p) : n < m->n_delimiter ? 0 : n - m->n_delimiter + 1;
	enum err e = OK;

	if (sure && m->state == CONTENT)
		e = m->sink.data(m->sink.arg, p, sure, why);
	*taken = sure + (end ? m->n_delimiter : 0);
	*more = end != NULL;
	if (end)
		m->state = DELIMITER;
	return e;
}

static enum err step_delimiter(
        struct multipart *m, const char *p, size_t n, size_t *taken, bool *more, struct why *why)
{
	size_t pad = 0;

	if (n >= 2 && p[0] == '-' && p[1] == '-') {
		m->state = EPILOGUE;
		return OK;
	}
	while (pad < n && (p[pad] == ' ' || p[pad] == '\t'))
		pad++;
	if (n - pad < 2 && n < HEADERS_MAX_BYTES)
		return OK;
	if (n - pad < 2 || p[pad] != '\r' || p[pad + 1] != '\n')
		return why_set(why, ERR_INVALID, "The multipart body has a malformed delimiter.");
	*taken = pad; /* the CRLF stays: it may also be the end of an empty header block */
	*more = true;
	m->state = HEADERS;
	return OK;
}

static enum err step_headers(
        struct multipart *m, char *p, size_t n, size_t *taken, bool *more, struct why *why)
{
	char *end = memmem(p, n, "\r\n\r\n", 4);

	if (!end && n <= HEADERS_MAX_BYTES)
		return OK;
	if (!end || end - p > HEADERS_MAX_BYTES || memchr(p, '\0', (size_t)(end - p)))
		return why_set(why, ERR_INVALID, "The multipart body has a malformed part header.");
	*end = '\0';
	*taken = (size_t)(end - p) + 4;
	*more = true;
	m->state = CONTENT;
	return part_begin(m, p, why);
}

enum err multipart_feed(struct multipart *m, const char *p, size_t n, struct why *why)
{
	enum err e = m->state == EPILOGUE ? OK : buf_append(&m->pending, p, n);
	size_t at = 0;
	bool more = m->state != EPILOGUE;

	while (!e && more) {
		char *here = m->pending.data + at;
		size_t left = m->pending.len - at, taken = 0;

		more = false;
		if (m->state == PREAMBLE || m->state == CONTENT)
			e = step_content(m, here, left, &taken, &more, why);
		else if (m->state == DELIMITER)
			e = step_delimiter(m, here, left, &taken, &more, why);
		else if (m->state == HEADERS)
			e = step_headers(m, here, left, &taken, &more, why);
		at += taken;
	}
	if (!e)
		buf_consume(&m->pending, m->state == EPILOGUE ? m->pending.len : at);
	return e;
}

enum err multipart_end(const struct multipart *m, struct why *why)
{
	if (m->state == EPILOGUE)
		return OK;
	return why_set(why, ERR_INVALID, "The multipart body ends before its closing delimiter.");
}
