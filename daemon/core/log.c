/* See log.h. A line is built on the stack and leaves in one write(), so threads never interleave. */
#include "core/log.h"

#include "core/log_json.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static _Atomic enum log_level log_level_min = LOG_LEVEL_INFO;
static _Atomic enum log_format log_format_now = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_min, level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
	atomic_store_explicit(&log_format_now, format, memory_order_relaxed);
}

static void log_time(char when[64])
{
	struct timespec ts;
	struct tm tm;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when, 64, "%s.%03ldZ", seconds, ts.tv_nsec / 1000000);
}

/* Names its stream "DEVICE:INODE"; a child with another standard error inherits the words all the same. */
bool log_to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, ours) == 0;
}

/* The journal's priority, where it listens. */
static size_t log_priority(char *line, size_t size, enum log_level level)
{
	static const int priorities[] = {7, 6, 4, 3};

	line[0] = '\0';
	return log_to_journal() ? (size_t)snprintf(line, size, "<%d>", priorities[level]) : 0;
}

static size_t log_text(char *line, size_t size, enum log_level level, const char *event, const char *pairs)
{
	size_t n = log_priority(line, size, level);
	char when[64] = "";

	if (!n)
		log_time(when);
	snprintf(line + n, size - n - 1, "%s%s%s%sevent=%s %s", when, *when ? " " : "",
	        *when ? level_names[level] : "", *when ? " " : "", event, pairs);
	return strlen(line);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	char pairs[LOG_LINE_MAX], line[2 * LOG_LINE_MAX], when[64];
	va_list ap;
	size_t n;

	if (level < atomic_load_explicit(&log_level_min, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	vsnprintf(pairs, sizeof(pairs), fmt, ap);
	va_end(ap);
	for (char *p = pairs; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON) {
		log_time(when);
		n = log_priority(line, sizeof(line), level);
		n += log_json(line + n, sizeof(line) - n - 1, when, level_names[level], event, pairs);
	} else {
		n = log_text(line, sizeof(line), level, event, pairs);
	}
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say it */
}
