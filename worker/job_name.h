/*
 * What a job's adapter is called: known before there is one. Thread: any.
 */
#ifndef REDD_WORKER_JOB_NAME_H
#define REDD_WORKER_JOB_NAME_H

#include "storage/store.h"

/* "ft:BASE:TENANT:SUFFIX:" and the last characters of the job's id. ERR_TOO_LONG: with the suffix of a
 * checkpoint it would fit no record. */
enum err job_model_name(const char *base, const char *tenant, const char *suffix, const char *job_id,
        char out[STORE_MODEL_SIZE]);

#endif
