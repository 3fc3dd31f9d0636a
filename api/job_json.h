/*
 * Fine-tuning jobs, their events and checkpoints between the wire and the store's records. Thread: any; no
 * state.
 */
#ifndef REDD_API_JOB_JSON_H
#define REDD_API_JOB_JSON_H

#include "api/exchange.h"
#include "api/job_terms.h"

/* The body of POST /v1/fine_tuning/jobs, decoded and checked as far as that goes without data. */
struct job_request {
	const char *model, *training_file;
	const char *validation_file; /* NULL = none */
	char *metadata;              /* owned JSON text, or NULL */
	struct job_spec spec;
};
/* Strings are borrowed from body. ERR_INVALID with why->param. */
enum err job_request_decode(const json_t *body, struct job_request *out, struct why *why);
void job_request_fini(struct job_request *r);

/* What the store's record does not say. */
struct job_view {
	struct job_place place;      /* position < 0 = not queued */
	int64_t now;                 /* unix seconds */
	const char *base, *tenant;   /* their names */
	struct job_terms *terms;     /* borrowed */
	uint64_t moment;             /* of terms, before the record was read */
	const struct job_spec *spec; /* borrowed: what the record's says, where that is known; or NULL */
};
/* The job's object, as the next value of t. */
void job_json(struct json_text *t, const struct job *j, const struct job_view *view);
/* New references; NULL when memory is short. */
json_t *event_json(const struct event *e);
json_t *checkpoint_json(const struct checkpoint *c);
/* What a check found; failure is OK or why it would be refused. */
json_t *preflight_json(const struct job_check *c, const struct job_spec *spec, bool has_valid,
        enum err failure, const struct why *why);

#endif
