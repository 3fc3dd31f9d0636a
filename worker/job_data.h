/*
 * What a job trains on, read from the store: its rows, the layout of its adapter, and where it starts.
 * Thread: any that may wait for the disk; one owner.
 */
#ifndef REDD_WORKER_JOB_DATA_H
#define REDD_WORKER_JOB_DATA_H

#include "worker/job_env.h"
#include "worker/job_spec.h"
#include "worker/text/dataset.h"

struct job_data {
	struct dataset train;
	struct dataset valid;
	bool has_valid;
	char train_sha256[HASH_HEX_SIZE];
	char valid_sha256[HASH_HEX_SIZE]; /* "" = none */
	struct adapter_layout *layout;    /* owned */
	float *start;                     /* owned (n_params of layout): where training starts */
};

/* Read and check all of it, and resolve spec. valid_file NULL or "" = none. parent is the base's name or
 * a fine-tuned model: spec takes over its adapter if the request names none; else it must edit nothing that
 * is not asked for: ERR_MISMATCH with why->param "adapter". ERR_INVALID with why->param "training_file" or
 * "validation_file"; others as dataset_read() and registry_acquire(). The reports (not NULL) are filled as
 * far as reading came, whatever is returned. */
enum err job_data_read(const struct job_env *env, const char *tenant_id, const char *parent,
        const char *train_file, const char *valid_file, struct job_spec *spec, struct job_data *out,
        struct dataset_report *train_report, struct dataset_report *valid_report, struct why *why);
void job_data_fini(struct job_data *d);

#endif
