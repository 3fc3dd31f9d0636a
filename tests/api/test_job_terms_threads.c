/* Terms asked for by many threads at once, while tenants are deleted: each gets those of the job it read, and
 * nothing of a deleted tenant is left. */
#include "api/job_terms.h"
#include "core/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N_THREADS 8
#define N_ROUNDS 400
#define N_JOBS 5 /* shared by all threads, so that they replace each other's */

struct asker {
	struct job_terms *terms;
	char *spec; /* borrowed */
	int number;
	size_t n_wrong;
};

static bool asks_well(struct asker *a, int round)
{
	char metadata[64], expected[80], suffix[JOB_SUFFIX_SIZE];
	struct json_text t = {0};
	struct job j = {.spec = a->spec, .metadata = metadata};
	bool well;

	snprintf(j.id, sizeof(j.id), "ftjob-%d", round % N_JOBS);
	snprintf(j.tenant_id, sizeof(j.tenant_id), "tenant-%d", round % 2);
	/* Half of the threads see the job as it was, half as it is. */
	snprintf(metadata, sizeof(metadata), "{\"k\":\"%d\"}", a->number % 2);
	snprintf(expected, sizeof(expected), "\"metadata\":%s", metadata);
	job_terms_write(a->terms, job_terms_moment(a->terms), &j, NULL, &t, suffix);
	well = !t.err && strstr(t.buf.data, expected) && !strcmp(suffix, "one");
	buf_fini(&t.buf);
	return well;
}

static void *ask(void *arg)
{
	struct asker *a = arg;

	for (int i = 0; i < N_ROUNDS; i++) {
		a->n_wrong += !asks_well(a, i);
		if (i % 50 == a->number)
			job_terms_forget(a->terms, "tenant-1");
	}
	return NULL;
}

static void test_threads_get_what_they_read(void **state)
{
	json_t *body = json_pack("{s:i, s:s}", "seed", 1, "suffix", "one");
	struct asker askers[N_THREADS];
	pthread_t threads[N_THREADS];
	struct job_terms *terms = NULL;
	struct job_spec spec;
	char *text = NULL;

	(void)state;
	assert_int_equal(job_spec_from_request(body, &spec, NULL), OK);
	assert_int_equal(job_spec_encode(&spec, &text), OK);
	assert_int_equal(job_terms_new(&terms), OK);
	for (int i = 0; i < N_THREADS; i++) {
		askers[i] = (struct asker){.terms = terms, .spec = text, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(askers[i].n_wrong, 0);
	}
	job_terms_forget(terms, "tenant-0");
	job_terms_forget(terms, "tenant-1");
	assert_int_equal(job_terms_count(terms), 0);
	job_terms_free(terms);
	mem_free(text);
	json_decref(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_threads_get_what_they_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
