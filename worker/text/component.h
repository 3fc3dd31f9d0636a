/*
 * The shape all parts of tokenizer.json share: an object with a "type", or a Sequence of such objects, or
 * null. Thread: any.
 */
#ifndef REDD_TEXT_COMPONENT_H
#define REDD_TEXT_COMPONENT_H

#include "worker/text/json_get.h"

#define COMPONENT_MAX 64 /* components of one part, and Sequences within Sequences */

/* Call each(arg, component, type) for json, or for the members of a Sequence in order; `members` is the name
 * its list goes by ("normalizers"). NULL and null have none. What each() refuses is prefixed by the type. */
enum err component_each(const json_t *json, const char *members,
        enum err (*each)(void *arg, const json_t *component, const char *type, struct why *why), void *arg,
        struct why *why);

/* What each() answers to a type it has no row for: ERR_UNSUPPORTED. */
enum err component_unknown(struct why *why);

#endif
