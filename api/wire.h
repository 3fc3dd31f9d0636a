/*
 * Small parts of the wire contract that several resources share. Thread: any; no state.
 */
#ifndef REDD_API_WIRE_H
#define REDD_API_WIRE_H

#include "api/exchange.h"

/* Length of the UTF-8 sequence at the beginning of text, which has n > 0 bytes; 0 when there is none. */
size_t wire_utf8_length(const char *text, size_t n);
/* A JSON string of s, what is not UTF-8 replaced by '?'; null for NULL. */
json_t *wire_string(const char *s);
/* null for "" and NULL, else as above: columns that are empty until known. */
json_t *wire_string_or_null(const char *s);
/* null for 0, else the number. */
json_t *wire_time(int64_t unix_seconds);
/* Parsed JSON text from the store; null for NULL or what does not parse. */
json_t *wire_parsed(const char *json);
/* {"object":"list","data":data,"has_more","first_id","last_id"}; data (stolen) holds objects with an "id". */
json_t *wire_list(json_t *data, bool has_more);
/* {"id","object","deleted":true} */
json_t *wire_deleted(const char *id, const char *object);

/* A string member. Absent or null: *out = fallback. Another type: ERR_INVALID, why->param = name. */
enum err wire_get_string(
        const json_t *object, const char *name, const char *fallback, const char **out, struct why *why);
/* The same, but it must be there and not be empty. */
enum err wire_require_string(const json_t *object, const char *name, const char **out, struct why *why);

#endif
