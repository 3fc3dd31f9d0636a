/* See sse.h. */
#include "daemon/ctl/sse.h"

#include <string.h>

/* One whole line, without its end. An empty one completes the event. */
static enum err take_line(struct sse *s, bool (*on_data)(void *arg, const char *data), void *arg)
{
	const char *line = s->line.len ? s->line.data : "";
	enum err e = OK;

	if (!*line && s->has_data) {
		s->stopped = !on_data(arg, s->data.len ? s->data.data : "");
		s->has_data = false;
		buf_consume(&s->data, s->data.len);
	} else if (strncmp(line, "data:", 5) == 0) {
		if (s->has_data)
			e = buf_puts(&s->data, "\n");
		if (!e)
			e = buf_puts(&s->data, line + 5 + (line[5] == ' '));
		s->has_data = true;
	}
	buf_consume(&s->line, s->line.len);
	return e;
}

enum err sse_feed(
        struct sse *s, const char *bytes, size_t n, bool (*on_data)(void *arg, const char *data), void *arg)
{
	const char *end = bytes + n;
	enum err e;

	while (bytes < end && !s->stopped) {
		const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
		size_t part = (size_t)((newline ? newline : end) - bytes);

		if (s->line.len + s->data.len + part > SSE_MAX_BYTES)
			return ERR_TOO_LARGE;
		e = buf_append(&s->line, bytes, part);
		if (e)
			return e;
		if (!newline)
			return OK;
		if (s->line.len && s->line.data[s->line.len - 1] == '\r')
			s->line.data[--s->line.len] = '\0';
		e = take_line(s, on_data, arg);
		if (e)
			return e;
		bytes = newline + 1;
	}
	return OK;
}

void sse_fini(struct sse *s)
{
	if (!s)
		return;
	buf_fini(&s->line);
	buf_fini(&s->data);
}
