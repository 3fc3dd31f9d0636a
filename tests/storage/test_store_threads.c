/* Many threads at one store: nothing lost, nothing twice, and everyone sees what was answered. */
#include "tests/storage/fixture.h"

#include <pthread.h>

#define N_THREADS 16
#define N_EACH 25

struct worker {
	struct fixture *f;
	size_t index;
	pthread_t thread;
	char ids[N_EACH][STORE_ID_SIZE];
	size_t n;
};

static void run_all(struct worker *workers, struct fixture *f, void *(*run)(void *))
{
	for (size_t i = 0; i < N_THREADS; i++) {
		workers[i].f = f;
		workers[i].index = i;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
	}
	for (size_t i = 0; i < N_THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

/* Every fifth request is wrong: it fails alone. */
static void *create_and_read(void *arg)
{
	struct worker *w = arg;

	for (size_t i = 0; i < N_EACH; i++) {
		struct job_new in = new_job(w->f);
		struct job job, again;
		enum err err;

		if (i % 5 == 4)
			in.training_file = "file-unknown";
		err = store_job_create(w->f->s, &in, &job, NULL);
		if (i % 5 == 4 ? err != ERR_NOT_FOUND : err != OK)
			return NULL;
		if (err)
			continue;
		memcpy(w->ids[w->n], job.id, STORE_ID_SIZE);
		job_fini(&job);
		if (store_job_get(w->f->s, w->f->ann.id, w->ids[w->n], &again))
			return NULL;
		job_fini(&again);
		w->n++;
	}
	return NULL;
}

static void test_creations_of_many_threads_are_all_there(void **state)
{
	struct fixture *f = *state;
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));

	assert_non_null(workers);
	run_all(workers, f, create_and_read);
	fixture_reopen(f);
	for (size_t i = 0; i < N_THREADS; i++) {
		assert_int_equal(workers[i].n, N_EACH * 4 / 5);
		for (size_t k = 0; k < workers[i].n; k++)
			assert_int_equal(status_of(f, workers[i].ids[k]), JOB_QUEUED);
	}
	assert_int_equal(sql(f, "SELECT count(*) FROM job"), N_THREADS * N_EACH * 4 / 5);
	assert_int_equal(
	        sql(f, "SELECT n_queued FROM tenant WHERE name = 'ann'"), N_THREADS * N_EACH * 4 / 5);
	free(workers);
}

static void *claim_all(void *arg)
{
	struct worker *w = arg;
	char owner[16];
	struct job job;

	snprintf(owner, sizeof(owner), "worker-%zu", w->index);
	while (w->n < N_EACH && store_job_claim(w->f->s, owner, 60000, 0, &job) == OK) {
		memcpy(w->ids[w->n++], job.id, STORE_ID_SIZE);
		store_job_renew_later(w->f->s, owner, 60000);
		store_job_progress_later(w->f->s, job.id, &(struct job_progress){.step = 1});
		job_fini(&job);
	}
	return NULL;
}

static void test_no_job_is_claimed_twice(void **state)
{
	struct fixture *f = *state;
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));
	char id[STORE_ID_SIZE];
	size_t n = 0;

	assert_non_null(workers);
	for (size_t i = 0; i < 100; i++)
		make_job(f, id);
	run_all(workers, f, claim_all);
	assert_int_equal(store_flush(f->s), OK);
	for (size_t i = 0; i < N_THREADS; i++)
		n += workers[i].n;
	/* As many claims as jobs, each of another job: the state machine lets none run twice. */
	assert_int_equal(n, 100);
	assert_int_equal(sql(f, "SELECT count(*) FROM job WHERE status = 'running' AND step = 1"), 100);
	assert_int_equal(sql(f, "SELECT count(*) FROM event WHERE message = 'Fine-tuning job started'"), 100);
	free(workers);
}

/* All with the same idempotency key. */
static void *create_once(void *arg)
{
	struct worker *w = arg;
	struct job_new in = new_job(w->f);
	struct job job;

	in.idempotency_key = "the same";
	if (store_job_create(w->f->s, &in, &job, NULL))
		return NULL;
	memcpy(w->ids[0], job.id, STORE_ID_SIZE);
	w->n = 1;
	job_fini(&job);
	return NULL;
}

static void test_racing_with_one_key_makes_one_job(void **state)
{
	struct fixture *f = *state;
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));

	assert_non_null(workers);
	run_all(workers, f, create_once);
	assert_int_equal(sql(f, "SELECT count(*) FROM job"), 1);
	for (size_t i = 0; i < N_THREADS; i++) {
		assert_int_equal(workers[i].n, 1);
		assert_string_equal(workers[i].ids[0], workers[0].ids[0]);
	}
	free(workers);
}

/* Files come and go while others list: what is listed can be opened or has just been deleted. */
static void *churn_files(void *arg)
{
	struct worker *w = arg;
	struct page page = {.limit = 100};

	for (size_t i = 0; i < N_EACH; i++) {
		struct file_writer *fw;
		struct file file, *items;
		bool more;
		size_t n;
		int fd;

		if (store_file_begin(w->f->s, &fw))
			return NULL;
		if (file_writer_write(fw, "x", 1) ||
		        file_writer_commit(fw, w->f->ann.id, "a", "fine-tune", 0, &file))
			return NULL;
		if (store_file_list(w->f->s, w->f->ann.id, NULL, &page, &items, &n, &more))
			return NULL;
		for (size_t k = 0; k < n; k++) {
			enum err err = store_file_open(w->f->s, w->f->ann.id, items[k].id, &fd);

			if (!err)
				close(fd);
			else if (err != ERR_NOT_FOUND)
				return NULL;
		}
		file_list_free(items, n);
		if (store_file_delete(w->f->s, w->f->ann.id, file.id))
			return NULL;
		file_fini(&file);
		w->n++;
	}
	return NULL;
}

static void test_files_come_and_go_under_readers(void **state)
{
	struct fixture *f = *state;
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));

	assert_non_null(workers);
	run_all(workers, f, churn_files);
	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(workers[i].n, N_EACH);
	assert_int_equal(sql(f, "SELECT count(*) FROM file"), 1);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
	free(workers);
}

static void *tell_events(void *arg)
{
	struct worker *w = arg;
	struct event_new e = {.level = "info", .type = "message", .message = "x"};

	for (size_t i = 0; i < 200; i++)
		w->n += store_event_later(w->f->s, w->ids[0], &e) == OK;
	return NULL;
}

static void test_erasing_a_tenant_goes_on_under_load(void **state)
{
	struct fixture *f = *state;
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));
	char id[STORE_ID_SIZE];

	assert_non_null(workers);
	make_job(f, id);
	for (size_t i = 0; i < N_THREADS; i++) {
		workers[i].f = f;
		memcpy(workers[i].ids[0], id, STORE_ID_SIZE);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, tell_events, &workers[i]), 0);
	}
	assert_int_equal(store_tenant_delete(f->s, f->ann.id), OK);
	for (size_t i = 0; i < N_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].n, 200);
	}
	/* Events of a job that is gone are no error. */
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
	free(workers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_creations_of_many_threads_are_all_there),
	        STORE_TEST(test_no_job_is_claimed_twice),
	        STORE_TEST(test_racing_with_one_key_makes_one_job),
	        STORE_TEST(test_files_come_and_go_under_readers),
	        STORE_TEST(test_erasing_a_tenant_goes_on_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
