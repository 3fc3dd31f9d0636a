/*
 * JSON written as text, value by value, for answers that are asked for too often to build a tree of each. The
 * commas are its own. The first error sticks and nothing is written after it: ask for it once, at the end.
 * Thread: the owner.
 */
#ifndef REDD_API_JSON_TEXT_H
#define REDD_API_JSON_TEXT_H

#include "core/buf.h"

#include <jansson.h>
#include <stdint.h>

/* Begin with zeros. */
struct json_text {
	struct buf buf; /* owned; buf_fini() it, or hand it on */
	enum err err;   /* ERR_MEM */
};

/* Of all below: name is that of an object's member, which is written as it is; NULL in an array and for the
 * whole. */
/* An object '{' or an array '['. */
void json_text_open(struct json_text *t, const char *name, char bracket);
void json_text_close(struct json_text *t, char bracket);
/* NULL is null; bytes that are not UTF-8 become '?'. */
void json_text_string(struct json_text *t, const char *name, const char *s);
void json_text_int(struct json_text *t, const char *name, int64_t v);
void json_text_null(struct json_text *t, const char *name);
/* Steals the reference; NULL is a lack of memory. */
void json_text_tree(struct json_text *t, const char *name, json_t *tree);
/* What is JSON already; without a name also members, with the commas between them. */
void json_text_raw(struct json_text *t, const char *name, const char *json, size_t n);

#endif
