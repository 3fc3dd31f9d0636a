/*
 * A small multipart/form-data body taken apart in memory: for what is read at once and never kept as a file.
 * Large files go through upload.h. Thread: the owner.
 */
#ifndef REDD_API_FORM_H
#define REDD_API_FORM_H

#include "core/buf.h"

#define FORM_MAX_PARTS 8

struct form_part {
	char *name;     /* owned */
	char *filename; /* owned; NULL for a plain field */
	struct buf content;
};

struct form {
	struct form_part parts[FORM_MAX_PARTS];
	size_t n;
};

/* content_type is the request's header. form is zeroed; form_fini() in any case. ERR_INVALID for what is no
 * form, a part that is there twice, or too many parts; ERR_MEM. */
enum err form_read(struct form *form, const char *content_type, const struct buf *body, struct why *why);
/* NULL when there is none of that name. */
const struct form_part *form_find(const struct form *form, const char *name);
void form_fini(struct form *form);

#endif
