/*
 * The fields of a job's spec, one by one, for the forms that have them: the request, the wire and the store.
 * One table of hyperparameters serves all three; a new one is a row of it. Thread: any; no state.
 */
#ifndef REDD_WORKER_JOB_FIELD_H
#define REDD_WORKER_JOB_FIELD_H

#include "worker/job_spec.h"

enum job_field_kind { JOB_FIELD_SIZE, JOB_FIELD_REAL, JOB_FIELD_BOOL, JOB_FIELD_CHOICE };

/* A hyperparameter: a member of the spec at offset, and maybe a bool that says it is "auto". */
struct job_field {
	const char *name;
	enum job_field_kind kind;
	size_t offset;
	double min, max;          /* JOB_FIELD_SIZE, JOB_FIELD_REAL */
	bool above_min;           /* min itself is out */
	size_t auto_offset;       /* JOB_FIELD_NEVER_AUTO = there is none */
	const char *const *names; /* JOB_FIELD_CHOICE: of the enum's values, ended by NULL */
	bool hide_first;          /* the first of them is not worth a mention */
};

#define JOB_FIELD_NEVER_AUTO SIZE_MAX
#define JOB_FIELD_AT(member) offsetof(struct job_spec, member)

#define JOB_FIELDS 22
extern const struct job_field job_fields[JOB_FIELDS];

/* NULL: there is no such field. */
const struct job_field *job_field_named(const char *name);
bool job_field_is_auto(const struct job_spec *spec, const struct job_field *f);
/* Let it be "auto", for a field that may be. */
void job_field_set_auto(struct job_spec *spec, const struct job_field *f);
/* What it is called that a JOB_FIELD_CHOICE is set to. */
const char *job_field_choice(const struct job_spec *spec, const struct job_field *f);

/* From JSON into the spec, "auto" where it may be. ERR_INVALID with why->param, why->message with the range.
 */
enum err job_field_read(
        const struct job_field *f, const json_t *value, struct job_spec *spec, struct why *why);
/* ERR_INVALID: it must be what fmt says. */
__attribute__((format(printf, 3, 4))) enum err job_field_refuse(
        struct why *why, const struct job_field *f, const char *fmt, ...);
/* A new reference to its value, "auto" or not; NULL when memory is short. */
json_t *job_field_json(const struct job_spec *spec, const struct job_field *f);

/* The spec that nobody has asked anything of. */
void job_field_defaults(struct job_spec *spec);
/* The fields beside the hyperparameters. NULL and JSON's null leave suffix as it is, and draw a seed.
 * ERR_INVALID with why->param. */
enum err job_field_read_suffix(const json_t *value, struct job_spec *spec, struct why *why);
enum err job_field_read_seed(const json_t *value, struct job_spec *spec, struct why *why);

#endif
