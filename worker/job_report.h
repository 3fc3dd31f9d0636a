/*
 * What a job leaves to be read: an event for each step and evaluation, the manifest of its adapter, and
 * the result file, put together from its events. Thread: any that may wait for the disk.
 */
#ifndef REDD_WORKER_JOB_REPORT_H
#define REDD_WORKER_JOB_REPORT_H

#include "core/buf.h"
#include "storage/store.h"
#include "worker/job_data.h"
#include "worker/job_spec.h"

/* The event that training begins, once per job. */
enum err job_report_start(
        struct store *s, const char *job_id, const struct job_data *data, size_t total_steps);
/* A step's metrics; queued, not waited for. A step that is reported again leaves no second event. */
enum err job_report_step(
        struct store *s, const char *job_id, const struct train_step *step, size_t total_steps);
enum err job_report_eval(
        struct store *s, const char *job_id, size_t step, size_t total_steps, const struct train_eval *eval);
/* Metrics of a checkpoint, a JSON object to mem_free(); step or eval may be NULL. */
enum err job_report_metrics(const struct train_step *step, const struct train_eval *eval, char **json);

/* What an adapter is made of: a function of base, data, hyperparameters and seed, without names, ids and
 * times, so that the same training gives the same bytes. New reference, NULL when memory is short. */
json_t *job_report_manifest(const struct model_info *base, const struct job_spec *spec,
        const struct job_data *data, size_t steps);

/* Append the result file: "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy" by step, then
 * what else such labels are measured by, from the events that are on disk (store_flush() comes before).
 * total_steps bounds the steps. */
enum err job_report_csv(
        struct store *s, const char *job_id, size_t total_steps, enum labels_kind labels, struct buf *out);

#endif
