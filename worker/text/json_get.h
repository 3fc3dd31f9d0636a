/*
 * Typed access to the members of a JSON object that a stranger wrote: each getter says which member is wrong
 * and how. Absent and null count as the same. Thread: any.
 */
#ifndef REDD_TEXT_JSON_GET_H
#define REDD_TEXT_JSON_GET_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A string's bytes, borrowed from the JSON value; they may hold NULs. */
struct json_text {
	const char *p;
	size_t n;
};

/* NULL when absent or null. */
json_t *json_get_any(const json_t *o, const char *key);
/* Required members; ERR_FORMAT when absent or of another type. */
enum err json_get_text(const json_t *o, const char *key, struct json_text *out, struct why *why);
enum err json_get_object(const json_t *o, const char *key, json_t **out, struct why *why);
enum err json_get_array(const json_t *o, const char *key, json_t **out, struct why *why);
/* An id: an integer from 0 to TOKENIZER_MAX_ID. */
enum err json_get_id(const json_t *o, const char *key, int32_t *out, struct why *why);
/* Optional members: *out is untouched when absent. */
enum err json_get_bool(const json_t *o, const char *key, bool *out, struct why *why);
enum err json_get_size(const json_t *o, const char *key, size_t *out, struct why *why);
enum err json_get_text_optional(const json_t *o, const char *key, struct json_text *out, struct why *why);
/* Exactly one character. */
enum err json_get_char(const json_t *o, const char *key, struct json_text *out, struct why *why);

/* The names a member may have, ended by NULL: *out is the index of the one it has; untouched when absent. */
enum err json_get_choice(
        const json_t *o, const char *key, const char *const *names, int *out, struct why *why);

/* Ids are used as indices, so a file must not make tables of any size. */
#define TOKENIZER_MAX_ID ((1 << 22) - 1)

/* Whether a loader that left this (zero-initialised) error failed for want of memory. Now and then jansson
 * takes that for a fault in the text, so "no" may be wrong when memory is short. */
bool json_out_of_memory(const json_error_t *error);

/* Whether v is an id, and which. */
bool json_id(const json_t *v, int32_t *out);

#endif
