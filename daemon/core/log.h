/*
 * Log lines of key=value pairs on standard error, one write each. Only daemon/, API handlers and the
 * worker pool log; library code returns errors instead. Where the journal listens lines carry its <priority>
 * prefix and no time; elsewhere a timestamp. Thread: any.
 */
#ifndef REDD_CORE_LOG_H
#define REDD_CORE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Lines below this level are dropped. Default: info. */
void log_set_level(enum log_level level);
/* LOG_FORMAT_JSON: one object a line, with the pairs as members (log_json.h). Default: text. */
void log_set_format(enum log_format format);

/* Whether standard error leads to the journal, which then takes "<3>" before a line as "error". */
bool log_to_journal(void);

/* log_event(LOG_LEVEL_INFO, "job_done", "job=%s steps=%zu", ...): `event` is a snake_case word; fmt holds
 * key=value pairs, values with spaces quoted by the caller ("message=\"%s\""). */
__attribute__((format(printf, 3, 4))) void log_event(
        enum log_level level, const char *event, const char *fmt, ...);

#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)

#endif
