/*
 * Names with values: headers, query parameters, form fields. One buffer, searched in order. Zero-initialise.
 * Thread: the owner.
 */
#ifndef REDD_API_PAIRS_H
#define REDD_API_PAIRS_H

#include "core/buf.h"

#include <stdbool.h>

struct pairs {
	struct buf text; /* name NUL value NUL ... */
};

/* ERR_MEM: p is unmodified. */
enum err pairs_add(struct pairs *p, const char *name, const char *value);
/* The first value of name, NULL when absent; borrowed until p changes. */
const char *pairs_get(const struct pairs *p, const char *name, bool ignore_case);
/* Walk: *at = 0 before the first call; false when there is no further pair. */
bool pairs_next(const struct pairs *p, size_t *at, const char **name, const char **value);
void pairs_fini(struct pairs *p);

#endif
