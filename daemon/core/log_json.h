/*
 * A log line as one JSON object, made of the key=value pairs that log.h's callers write. Pure. Thread: any.
 */
#ifndef REDD_CORE_LOG_JSON_H
#define REDD_CORE_LOG_JSON_H

#include <stddef.h>

/* {"time":..,"level":..,"event":..} and a member for every pair of `pairs`: values are texts, or numbers
 * where they read as one; what is no pair is gathered in "text". Always a whole object of valid UTF-8,
 * without a newline: what does not fit size (at least 256) is left out from the end. Returns its length. */
size_t log_json(
        char *line, size_t size, const char *time, const char *level, const char *event, const char *pairs);

#endif
