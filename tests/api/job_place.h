/*
 * Jobs put into the store by hand, and asked for over HTTP.
 */
#ifndef REDD_TESTS_API_JOB_PLACE_H
#define REDD_TESTS_API_JOB_PLACE_H

#include "tests/api/fixture.h"
#include "worker/job_spec.h"

#define WORK_TOKENS 600

/* Of e's tenant, queued; metadata is JSON text or NULL. */
static inline void job_make(struct edge *e, const char *metadata, struct job *out)
{
	json_t *body = json_pack("{s:s, s:i, s:{s:i, s:s}}", "suffix", "style", "seed", 7, "hyperparameters",
	        "n_epochs", 3, "batch_size", "auto");
	char file[64], *text = NULL;
	struct job_spec spec;
	struct why why = {0};
	struct job_new in = {.tenant_id = e->tenant_id,
	        .model = "base",
	        .training_file = file,
	        .metadata = metadata,
	        .work_tokens = WORK_TOKENS};

	assert_int_equal(http_upload(&e->d, e->key, "t.jsonl", "x", 1, file), 200);
	if (job_spec_from_request(body, &spec, &why))
		fail_msg("%s", why.message);
	assert_int_equal(job_spec_encode(&spec, &text), OK);
	in.spec = text;
	assert_int_equal(store_job_create(e->s, &in, out, NULL), OK);
	mem_free(text);
	json_decref(body);
}

static inline struct answer job_call(struct edge *e, const char *method, const char *id, const char *rest)
{
	char path[256];

	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s%s", id, rest);
	return http_call(&e->d, e->key, method, path, NULL);
}

#endif
