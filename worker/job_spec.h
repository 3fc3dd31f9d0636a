/*
 * What a fine-tuning job asks for, decoded from the request once and kept in the store as JSON. The
 * hyperparameters' names are those of the table in job_field.c. "auto" stays "auto" until the data is known;
 * then job_spec_resolve() puts numbers there. Thread: any.
 */
#ifndef REDD_WORKER_JOB_SPEC_H
#define REDD_WORKER_JOB_SPEC_H

#include "core/err.h"
#include "worker/adapter/adapter.h"
#include "worker/text/dataset.h"
#include "worker/train/train.h"

#include <jansson.h>

#define JOB_SUFFIX_SIZE 65

enum job_preset { PRESET_NONE, PRESET_PAPER };

struct job_spec {
	char suffix[JOB_SUFFIX_SIZE];
	uint64_t seed;
	struct adapter_spec adapter;
	bool adapter_given;        /* by the request; else it is that of the model training goes on from */
	struct train_config train; /* fields flagged auto below are not meaningful until resolved */
	size_t max_length;         /* 0 = the context, and longer rows are refused */
	bool auto_epochs, auto_batch_size, auto_learning_rate, auto_multiplier, auto_metric;
	enum labels_kind problem; /* what labels are; LABELS_NONE = by what they look like */
	enum job_preset preset;
	uint64_t given; /* hyperparameters that were asked for, by their row in the table */
	double learning_rate_multiplier;
	double warmup_ratio; /* used unless warmup_steps was given */
	bool warmup_steps_given;
	bool resolved;
};

/* From the body of POST /fine_tuning/jobs: seed, suffix, method.supervised.hyperparameters or the older
 * top-level hyperparameters, adapter. Wrong types and values out of range: ERR_INVALID with why->param
 * ("hyperparameters.batch_size") and the allowed range in the message. Unknown hyperparameters are refused
 * too. Without a seed one is drawn. */
enum err job_spec_from_request(const json_t *body, struct job_spec *out, struct why *why);

/* Whether the request itself gave this hyperparameter, as more than "auto". */
bool job_spec_asked(const struct job_spec *spec, const char *name);
/* Set those of `hyperparameters` (an object of valid ones) that nobody has asked for. */
void job_spec_fill(struct job_spec *spec, const json_t *hyperparameters);

/* What must be settled before data is read: the preset's part of it, and what this kind of base has no use
 * for. ERR_INVALID with why->param. */
enum err job_spec_prepare(struct job_spec *spec, const struct model_info *base, struct why *why);
/* Fill in the preset and replace every "auto" by what works for RED on this base and data. ERR_INVALID with
 * why->param: no recipe for this base, or a metric that does not fit the labels. */
enum err job_spec_resolve(
        struct job_spec *spec, const struct model_info *base, const struct dataset *train, struct why *why);

/* The form kept in the store, mem_free() it; and back. */
enum err job_spec_encode(const struct job_spec *spec, char **json);
enum err job_spec_decode(const char *json, struct job_spec *out);

/* "hyperparameters" as on the wire: "auto" until resolved. New reference; NULL when memory is short. */
json_t *job_spec_hyperparameters(const struct job_spec *spec);

#endif
