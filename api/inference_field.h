/*
 * Typed reading of one field of a request: type and range are checked, and the field is named when it is
 * wrong. Absent and null fields mean the default: *out is left as it was. Pure; any thread.
 */
#ifndef REDD_API_INFERENCE_FIELD_H
#define REDD_API_INFERENCE_FIELD_H

#include "core/err.h"
#include "worker/blend.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The field's value; NULL when absent or null. Borrowed. */
const json_t *inference_field(const json_t *body, const char *name);

/* ERR_INVALID with why->param = name, as all below; *out is untouched then. */
enum err inference_field_bool(const json_t *body, const char *name, bool *out, struct why *why);
/* min and max are allowed values. */
enum err inference_field_size(
        const json_t *body, const char *name, size_t min, size_t max, size_t *out, struct why *why);
enum err inference_field_number(
        const json_t *body, const char *name, double min, double max, double *out, struct why *why);
/* "adapter_strength". */
enum err inference_field_strength(const json_t *body, double *out, struct why *why);
/* "adapters": [{"model", "weight"?}, ..], at most BLEND_MAX of them, weight 1 unless given; *n stays 0
 * without. Models are borrowed from body. */
enum err inference_field_blend(
        const json_t *body, struct blend_part parts[BLEND_MAX], size_t *n, struct why *why);
/* *out is borrowed from body. A string with a NUL inside is refused. */
enum err inference_field_string(const json_t *body, const char *name, const char **out, struct why *why);

#endif
