/*
 * HTTP to one daemon with one key: JSON requests, an upload, a stream of server-sent events. The one file
 * that sees libcurl. Thread: the owner.
 */
#ifndef REDD_CTL_CLIENT_H
#define REDD_CTL_CLIENT_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct client;

/* url is "http://host:port", with or without "/" or "/v1" behind it. key NULL = none. */
enum err client_new(const char *url, const char *key, struct client **out, struct why *why);
void client_free(struct client *c);
/* Use another key from now on. */
enum err client_set_key(struct client *c, const char *key);
/* Send a further header with every request from now on. */
enum err client_add_header(struct client *c, const char *name, const char *value);

/* Errors of all below, each with words in why: ERR_IO: no daemon answers there; ERR_INVALID, ERR_AUTH,
 * ERR_NOT_FOUND, ERR_BUSY: it said no, and these are its words; ERR_FORMAT: what it said is not what we know;
 * ERR_MEM. */

/* path begins with "/v1/" or another root of the daemon. body is borrowed, NULL = none. *reply (may be NULL)
 * is a new reference. */
enum err client_request(struct client *c, const char *method, const char *path, const json_t *body,
        json_t **reply, struct why *why);
/* A further field of a form; lists end with a NULL name. */
struct client_field {
	const char *name, *value;
	bool is_file; /* value is the path of a file, whose content is sent */
};
/* POST the file as multipart, its fields before it; "-" is standard input. ERR_NOT_FOUND when it cannot be
 * read. */
enum err client_upload(struct client *c, const char *path, const char *file,
        const struct client_field *fields, json_t **reply, struct why *why);
/* GET what is no JSON and write it to `to` as it comes. ERR_IO also when `to` cannot take it. */
enum err client_download(struct client *c, const char *path, FILE *to, struct why *why);
/* Send body and hand each event's JSON (borrowed) to on_event, until "[DONE]", or until it returns false.
 * ERR_FORMAT when the stream ended without "[DONE]"; an error event ends it as ERR_INVALID. */
enum err client_stream(struct client *c, const char *method, const char *path, const json_t *body,
        bool (*on_event)(void *arg, const json_t *event), void *arg, struct why *why);
/* Whether a plain GET answers 2xx, with the text it answers (mem_free()). */
enum err client_get_text(struct client *c, const char *path, char **text, struct why *why);

#endif
