/* A process that is killed in the middle of its work: what it was answered is there, and nothing is half
 * there. */
#include "tests/storage/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define N_THREADS 4
#define N_ACKNOWLEDGED 120

struct child {
	struct fixture *f;
	int ack;
};

/* Upload, create, claim, checkpoint, succeed; tell the parent each id that was answered. */
static void *child_work(void *arg)
{
	struct child *c = arg;
	struct fixture *f = c->f;

	for (;;) {
		struct job_new in = new_job(f);
		struct job job, claimed;
		char file[STORE_ID_SIZE], name[STORE_MODEL_SIZE];
		ssize_t sent;

		put_file(f, f->ann.id, "hello", 0, file);
		sent = write(c->ack, file, STORE_ID_SIZE);
		in.training_file = file;
		if (store_job_create(f->s, &in, &job, NULL))
			_exit(1);
		sent += write(c->ack, job.id, STORE_ID_SIZE);
		job_fini(&job);
		if (sent != 2 * STORE_ID_SIZE)
			_exit(2);
		if (store_job_claim(f->s, "child", 60000, 0, &claimed))
			continue;
		snprintf(name, sizeof(name), "ft:base:ann::%s", claimed.id);
		if (store_job_succeed(f->s,
		            &(struct job_success){.job_id = claimed.id,
		                    .name = name,
		                    .parent = "base",
		                    .manifest = "{}",
		                    .content = "weights",
		                    .n_content = 7,
		                    .result_csv = "csv",
		                    .n_result_csv = 3},
		            NULL))
			_exit(3);
		job_fini(&claimed);
	}
	return NULL;
}

static void child_main(struct fixture *f, int ack)
{
	struct child c = {f, ack};
	pthread_t threads[N_THREADS];

	fixture_open(f);
	for (size_t i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i], NULL, child_work, &c))
			_exit(4);
	pthread_join(threads[0], NULL);
	_exit(5);
}

static void assert_acknowledged(struct fixture *f, const char *id)
{
	struct file file;
	char got[8] = "";
	int fd;

	if (!strncmp(id, "ftjob-", 6)) {
		(void)status_of(f, id);
		return;
	}
	assert_int_equal(store_file_get(f->s, f->ann.id, id, &file), OK);
	assert_int_equal(file.bytes, 5);
	file_fini(&file);
	assert_int_equal(store_file_open(f->s, f->ann.id, id, &fd), OK);
	assert_int_equal(read(fd, got, sizeof(got)), 5);
	assert_string_equal(got, "hello");
	close(fd);
}

static void assert_nothing_half_done(struct fixture *f)
{
	assert_int_equal(count_entries(f, "files"), sql(f, "SELECT count(*) FROM file"));
	assert_int_equal(count_entries(f, "tmp"), 0);
	assert_int_equal(
	        sql(f, "SELECT count(*) FROM job WHERE (status = 'succeeded') <> (fine_tuned_model <> '')"
	               " OR (status = 'succeeded') <> (result_file IN (SELECT id FROM file))"
	               " OR (status = 'succeeded') <> (id IN (SELECT job_id FROM adapter))"),
	        0);
	assert_int_equal(sql(f, "SELECT count(*) FROM job WHERE seq NOT IN (SELECT job FROM event)"), 0);
	assert_int_equal(sql(f, "SELECT n_unfinished - (SELECT count(*) FROM job WHERE status IN"
	                        " ('queued', 'running')) FROM tenant WHERE name = 'ann'"),
	        0);
	assert_int_equal(
	        sql(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void test_killed_process_keeps_its_word(void **state)
{
	struct fixture *f = *state;
	char(*ids)[STORE_ID_SIZE] = calloc(100000, STORE_ID_SIZE);
	int pipes[2], status;
	size_t n = 0;
	pid_t child;

	assert_non_null(ids);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		close(pipes[0]);
		child_main(f, pipes[1]);
	}
	close(pipes[1]);
	/* A write of less than PIPE_BUF bytes comes whole. */
	while (n < 100000 && read(pipes[0], ids[n], STORE_ID_SIZE) == STORE_ID_SIZE)
		if (++n == N_ACKNOWLEDGED)
			kill(child, SIGKILL);
	close(pipes[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(n >= N_ACKNOWLEDGED);
	fixture_open(f);
	for (size_t i = 0; i < n; i++)
		assert_acknowledged(f, ids[i]);
	assert_nothing_half_done(f);
	assert_int_equal(store_job_recover(f->s, true, NULL), OK);
	assert_int_equal(sql(f, "SELECT count(*) FROM job WHERE status = 'running'"), 0);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_killed_process_keeps_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
