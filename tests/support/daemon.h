/*
 * A real redd under test: started on a free loopback port with a state directory of its own, spoken to over
 * HTTP. The program is $OUT/redd (build/release/redd unless OUT is set). Anything unexpected fails the
 * running test.
 */
#ifndef REDD_TESTS_DAEMON_H
#define REDD_TESTS_DAEMON_H

#include "tests/support/spawn.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct daemon {
	struct spawn spawn;
	char admin_key[128];
};

/* What came back. answer_fini() it. */
struct answer {
	long status;
	char *text; /* owned, NUL-terminated */
	size_t length;
	json_t *json; /* owned; NULL when the body is none */
	char content_type[128];
};
void answer_fini(struct answer *a);

/* Make a directory; nothing runs yet. */
void daemon_init(struct daemon *d);
/* Start with these further arguments (NULL-terminated list) and wait until it is ready. */
void daemon_start(struct daemon *d, const char *const *args);
/* Start with arguments it must refuse: its exit code; what it printed goes to words. */
int daemon_refuses(struct daemon *d, const char *const *args, char *words, size_t size);
/* Send a signal and reap. Returns the wait status. */
int daemon_signal(struct daemon *d, int sig);
/* SIGTERM, expects a clean exit within the daemon's own limits. */
void daemon_stop(struct daemon *d);
/* Kill if it still runs and remove the directory. */
void daemon_fini(struct daemon *d);

/* key NULL = none; body NULL = no body. Any thread. */
struct answer http_call(
        const struct daemon *d, const char *key, const char *method, const char *path, const json_t *body);
/* A body of raw bytes with a content type. */
struct answer http_raw(const struct daemon *d, const char *key, const char *method, const char *path,
        const char *content_type, const void *data, size_t n);
/* POST /v1/files; the id of the file, or the answer's status when it is not 200 (then id is ""). */
long http_upload(
        const struct daemon *d, const char *key, const char *name, const void *data, size_t n, char id[64]);
/* Stream an SSE answer to its end; on_event is called per "data:" payload, false stops reading. Returns the
 * status. */
long http_stream(const struct daemon *d, const char *key, const char *method, const char *path,
        const json_t *body, bool (*on_event)(void *arg, const char *data), void *arg);

/* As above, expecting status 200: the JSON, json_decref() it. */
json_t *must_call(
        const struct daemon *d, const char *key, const char *method, const char *path, const json_t *body);
/* A new tenant; its key. */
void must_tenant(const struct daemon *d, const char *name, char key[128]);
/* Upload a file from disk; its id. */
void must_upload(const struct daemon *d, const char *key, const char *path, char id[64]);
/* Create a job; its id. */
void must_job(const struct daemon *d, const char *key, const json_t *body, char id[64]);
/* Follow a job's events until it is terminal; the job. json_decref() it. */
json_t *must_finish(const struct daemon *d, const char *key, const char *job_id);
/* The text of ids, special tokens left out; mem_free() it. */
char *must_detokenize(const struct daemon *d, const char *key, const char *model, const json_t *ids);
/* What `ids` add to the text of the prompt (ids or text); mem_free() it. */
char *must_added_text(
        const struct daemon *d, const char *key, const char *model, json_t *prompt, json_t *ids);
/* All metrics events of a job with `field` in their data, by step: values[step - 1]. Returns how many. */
size_t job_metrics(const struct daemon *d, const char *key, const char *job_id, const char *field,
        double *values, size_t max);

#endif
