/*
 * What a job was asked to do, as the members of its object that show it: seed, user_provided_suffix,
 * hyperparameters, method, adapter, metadata. Making them of what the store keeps costs more than all else in
 * an answer, so they are kept for the jobs asked for of late, JOB_TERMS_MAX of them.
 *
 * What is kept is found by the job and compared with the job as the caller has just read it from the store:
 * it is never older than that, and it shows nobody what he did not read. Thread: any; never waits for the
 * disk.
 */
#ifndef REDD_API_JOB_TERMS_H
#define REDD_API_JOB_TERMS_H

#include "api/json_text.h"
#include "storage/store.h"
#include "worker/job_spec.h"

#define JOB_TERMS_MAX 1024
/* Those of a job with more text than this are made again each time. */
#define JOB_TERMS_MAX_BYTES 24576

struct job_terms;

enum err job_terms_new(struct job_terms **out);
void job_terms_free(struct job_terms *c);

/* What the caller reads from the store from now on may be kept: it is no older than this moment. */
uint64_t job_terms_moment(struct job_terms *c);
/* Write them into the object of j, which was read since `moment`. spec is what j->spec holds, where the
 * caller knows it already, else NULL. suffix is "" where there is none. */
void job_terms_write(struct job_terms *c, uint64_t moment, const struct job *j, const struct job_spec *spec,
        struct json_text *t, char suffix[JOB_SUFFIX_SIZE]);
/* After a tenant was deleted: nothing of its jobs is left here, nor of what was read of them before. */
void job_terms_forget(struct job_terms *c, const char *tenant_id);
/* Of how many jobs they are kept now. */
size_t job_terms_count(struct job_terms *c);

#endif
