/* See log.h. A line is built on the stack and leaves in one write(), so threads never interleave. */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static enum log_level log_level_min = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	log_level_min = level;
}

static size_t log_prefix(char *line, size_t size, enum log_level level)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};
	static const int priorities[] = {7, 6, 4, 3};
	struct timespec ts;
	struct tm tm;
	char when[32];

	if (getenv("JOURNAL_STREAM"))
		return (size_t)snprintf(line, size, "<%d>", priorities[level]);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	return (size_t)snprintf(line, size, "%s.%03ldZ %s ", when, ts.tv_nsec / 1000000, names[level]);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;
	size_t n;

	if (level < log_level_min)
		return;
	n = log_prefix(line, sizeof(line), level);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "event=%s ", event);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n = strlen(line);
	for (size_t i = 0; i < n; i++)
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say it */
}
