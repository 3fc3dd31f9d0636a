/*
 * Queues for tests: jobs of tenants, and who is claimed.
 */
#ifndef REDD_TESTS_STORAGE_QUEUE_H
#define REDD_TESTS_STORAGE_QUEUE_H

#include "tests/storage/fixture.h"

/* The i-th has (i + 1) * work to train on. */
static inline void make_work_of(
        struct fixture *f, const struct tenant *t, int64_t work, size_t n, char ids[][STORE_ID_SIZE])
{
	char file[STORE_ID_SIZE];
	struct job_new in = new_job(f);

	put_file(f, t->id, "data", 0, file);
	in.tenant_id = t->id;
	in.training_file = file;
	for (size_t i = 0; i < n; i++) {
		struct job job;

		in.work_tokens = (int64_t)(i + 1) * work;
		assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
		memcpy(ids[i], job.id, STORE_ID_SIZE);
		job_fini(&job);
	}
}

static inline void make_jobs_of(
        struct fixture *f, const struct tenant *t, size_t n, char ids[][STORE_ID_SIZE])
{
	make_work_of(f, t, 0, n, ids);
}

static inline void assert_claims(struct fixture *f, int64_t max_running, const char *id)
{
	struct job job;

	assert_int_equal(store_job_claim(f->s, "me", 1000, max_running, &job), OK);
	assert_string_equal(job.id, id);
	assert_int_equal(job.status, JOB_RUNNING);
	job_fini(&job);
}

static inline void assert_position(struct fixture *f, const char *id, int64_t wanted)
{
	struct job_place place = {.position = 77};

	assert_int_equal(store_job_place(f->s, id, &place), OK);
	assert_int_equal(place.position, wanted);
}

#endif
