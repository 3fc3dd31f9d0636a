/*
 * Calls whose N-th allocation fails, N = 1, 2, 3... until none does: ours first, then SQLite's. Each failure
 * is an error of the call alone; nothing half-done remains, results are untouched, and the next call works.
 * Then a full disk.
 */
#include "tests/storage/fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- SQLite's heap, made to fail ---- */

static sqlite3_mem_methods heap;
static atomic_long heap_countdown;
static atomic_bool heap_failed;

static bool heap_fails(void)
{
	if (atomic_load(&heap_countdown) <= 0 || atomic_fetch_sub(&heap_countdown, 1) != 1)
		return false;
	atomic_store(&heap_failed, true);
	return true;
}

static void *heap_malloc(int n)
{
	return heap_fails() ? NULL : heap.xMalloc(n);
}

static void *heap_realloc(void *p, int n)
{
	return heap_fails() ? NULL : heap.xRealloc(p, n);
}

static void heap_fail_at(long n)
{
	atomic_store(&heap_failed, false);
	atomic_store(&heap_countdown, n);
}

static bool heap_has_failed(void)
{
	return atomic_load(&heap_failed);
}

static int heap_install(void)
{
	sqlite3_mem_methods failing;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &heap) != SQLITE_OK)
		return -1;
	failing = heap;
	failing.xMalloc = heap_malloc;
	failing.xRealloc = heap_realloc;
	/* Without its cache of small blocks every allocation comes by. */
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK ||
	        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
		return -1;
	return 0;
}

/* ---- the loop ---- */

/* What can be made to fail. */
struct injector {
	void (*fail_at)(long n);
	bool (*failed)(void);
	long exhaustive; /* up to this N; from there on it grows by a part in so many */
};

static const struct injector ours = {mem_fail_at, mem_failed, 1000000};
static const struct injector sqlites = {heap_fail_at, heap_has_failed, 10};

/* One call: makes what it needs in prepare(), is tried in run(), and check() looks at what is left. */
struct subject {
	void (*prepare)(struct fixture *f);
	enum err (*run)(struct fixture *f);
	void (*check)(struct fixture *f, bool done);
	size_t least; /* allocations to fail, so that a loop that tests nothing is noticed */
};

static void fault_loop(struct fixture *f, const struct injector *in, const struct subject *s)
{
	size_t n_failed = 0;

	for (long n = 1;; n += 1 + n / in->exhaustive) {
		enum err err;
		bool failed;

		if (s->prepare)
			s->prepare(f);
		/* Statements and connections are made anew, so that their failing is seen too. */
		fixture_reopen(f);
		in->fail_at(n);
		err = s->run(f);
		failed = in->failed();
		in->fail_at(0);
		if (!failed)
			assert_int_equal(err, OK);
		if (err) {
			assert_true(err == ERR_MEM || err == ERR_DB);
			n_failed++;
		}
		s->check(f, !err);
		if (!failed)
			break;
	}
	assert_true(n_failed >= s->least);
}

/* ---- creating a job ---- */

static void job_create_prepare(struct fixture *f)
{
	sql(f, "DELETE FROM job");
}

static enum err job_create_run(struct fixture *f)
{
	struct job_new in = new_job(f);
	struct job job = {.step = 77};
	enum err err;

	in.idempotency_key = "k";
	in.metadata = "{}";
	err = store_job_create(f->s, &in, &job, NULL);
	if (err)
		assert_true(job.step == 77 && !job.spec);
	else
		job_fini(&job);
	return err;
}

static void job_create_check(struct fixture *f, bool done)
{
	struct job_new in = new_job(f);
	struct job job;

	assert_int_equal(sql(f, "SELECT count(*) FROM job"), done);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), done);
	assert_int_equal(sql(f, "SELECT n_unfinished FROM tenant WHERE name = 'ann'"), done);
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	job_fini(&job);
}

static const struct subject job_create = {job_create_prepare, job_create_run, job_create_check, 2};

static void test_job_create_survives_every_failed_allocation(void **state)
{
	fault_loop(*state, &ours, &job_create);
}

static void test_job_create_survives_every_failed_allocation_of_sqlite(void **state)
{
	fault_loop(*state, &sqlites, &job_create);
}

/* ---- where a job stands ---- */

static char queued[STORE_ID_SIZE];

static void place_prepare(struct fixture *f)
{
	sql(f, "DELETE FROM job");
	make_job(f, queued);
}

static enum err place_run(struct fixture *f)
{
	struct job_place place = {.position = 77, .tokens_left = 77};
	struct job job = {.step = 77};
	enum err err = store_job_show(f->s, f->ann.id, queued, &job, &place);

	assert_int_equal(place.position, err ? 77 : 0);
	assert_int_equal(job.step, err ? 77 : 0);
	job_fini(&job);
	return err;
}

/* Nobody reads on in a moment that has passed. */
static void place_check(struct fixture *f, bool done)
{
	static const struct job_transition cancel = {.to = JOB_CANCELLED};
	struct job_place place;
	struct job job;

	(void)done;
	assert_int_equal(store_job_transition(f->s, NULL, queued, &cancel, NULL), OK);
	assert_int_equal(store_job_show(f->s, f->ann.id, queued, &job, &place), OK);
	assert_int_equal(job.status, JOB_CANCELLED);
	assert_int_equal(place.position, -1);
	job_fini(&job);
}

static const struct subject place = {place_prepare, place_run, place_check, 1};

static void test_place_survives_every_failed_allocation(void **state)
{
	fault_loop(*state, &ours, &place);
}

static void test_place_survives_every_failed_allocation_of_sqlite(void **state)
{
	fault_loop(*state, &sqlites, &place);
}

/* ---- a test of a webhook ---- */

static char tested[STORE_ID_SIZE];

static void webhook_prepare(struct fixture *f)
{
	struct webhook in = {
	        .name = (char *)"w", .url = (char *)"u", .event_types = (char *)" a ", .secret = "s"};
	struct webhook w;

	sql(f, "DELETE FROM webhook");
	memcpy(in.tenant_id, f->ann.id, sizeof(in.tenant_id));
	assert_int_equal(store_webhook_create(f->s, &in, 1, &w), OK);
	memcpy(tested, w.id, sizeof(tested));
	webhook_fini(&w);
}

static enum err webhook_run(struct fixture *f)
{
	struct delivery d = {.seq = 77};
	enum err err = store_delivery_test(f->s, f->ann.id, tested, "a", &d);

	if (err)
		assert_int_equal(d.seq, 77);
	return err;
}

static void webhook_check(struct fixture *f, bool done)
{
	struct delivery d;

	assert_int_equal(sql(f, "SELECT count(*) FROM delivery"), done);
	assert_int_equal(store_delivery_test(f->s, f->ann.id, tested, "a", &d), done ? ERR_STATE : OK);
}

static const struct subject webhook = {webhook_prepare, webhook_run, webhook_check, 2};

static void test_webhook_test_survives_every_failed_allocation_of_sqlite(void **state)
{
	fault_loop(*state, &sqlites, &webhook);
}

/* ---- files ---- */

static void file_prepare(struct fixture *f)
{
	sql(f, "DELETE FROM file");
}

static enum err file_run(struct fixture *f)
{
	struct page page = {.limit = 10};
	struct file file = {.bytes = 77}, *items;
	struct file_writer *w;
	bool more;
	size_t n;
	enum err err = store_file_begin(f->s, &w);

	if (err)
		return err;
	err = file_writer_write(w, "abc", 3);
	if (err) {
		file_writer_abort(w);
		return err;
	}
	err = file_writer_commit(w, f->ann.id, "a", "fine-tune", 0, &file);
	if (err) {
		assert_true(file.bytes == 77 && !file.filename);
		return err;
	}
	file_fini(&file);
	err = store_file_list(f->s, f->ann.id, NULL, &page, &items, &n, &more);
	if (!err)
		file_list_free(items, n);
	return err;
}

/* A content may outlive a commit that failed, but not the next open. */
static void file_check(struct fixture *f, bool done)
{
	int64_t n = sql(f, "SELECT count(*) FROM file");

	assert_true(done ? n == 1 : n <= 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
	assert_true((int64_t)count_entries(f, "files") >= n);
	fixture_reopen(f);
	assert_int_equal(count_entries(f, "files"), n);
}

static const struct subject file = {file_prepare, file_run, file_check, 4};

static void test_file_survives_every_failed_allocation(void **state)
{
	fault_loop(*state, &ours, &file);
}

static void test_file_survives_every_failed_allocation_of_sqlite(void **state)
{
	fault_loop(*state, &sqlites, &file);
}

/* ---- the end of a job ---- */

static char running[STORE_ID_SIZE];

static void succeed_prepare(struct fixture *f)
{
	struct checkpoint_new c = {.job_id = running, .state = "s", .n_state = 1};

	sql(f, "DELETE FROM job");
	sql(f, "DELETE FROM file WHERE purpose = 'fine-tune-results'");
	make_running(f, running);
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
}

static enum err succeed_run(struct fixture *f)
{
	struct job job = {.step = 77};
	enum err err = store_job_succeed(f->s,
	        &(struct job_success){.job_id = running,
	                .name = "ft:x",
	                .parent = "base",
	                .manifest = "{}",
	                .content = "weights",
	                .n_content = 7,
	                .result_csv = "csv",
	                .n_result_csv = 3},
	        &job);

	if (err)
		assert_true(job.step == 77 && !job.spec);
	else
		job_fini(&job);
	return err;
}

static void succeed_check(struct fixture *f, bool done)
{
	assert_int_equal(status_of(f, running), done ? JOB_SUCCEEDED : JOB_RUNNING);
	assert_int_equal(sql(f, "SELECT count(*) FROM adapter"), done);
	assert_int_equal(sql(f, "SELECT count(*) FROM job_state"), !done);
	assert_int_equal(sql(f, "SELECT count(*) FROM file WHERE purpose = 'fine-tune-results'"), done);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), done ? 4 : 2);
	assert_int_equal(count_entries(f, "tmp"), 0);
	fixture_reopen(f);
	assert_int_equal(count_entries(f, "files"), done ? 2 : 1);
}

static const struct subject succeed = {succeed_prepare, succeed_run, succeed_check, 2};

static void test_success_survives_every_failed_allocation(void **state)
{
	fault_loop(*state, &ours, &succeed);
}

static void test_success_survives_every_failed_allocation_of_sqlite(void **state)
{
	fault_loop(*state, &sqlites, &succeed);
}

/* ---- opening ---- */

static void open_loop(struct fixture *f, const struct injector *in)
{
	for (long n = 1;; n += 1 + n / in->exhaustive) {
		struct why why = {0};
		struct store *s = NULL;
		enum err err;
		bool failed;

		store_close(f->s);
		f->s = NULL;
		in->fail_at(n);
		err = store_open(f->dir, &s, &why);
		failed = in->failed();
		in->fail_at(0);
		if (err) {
			assert_true(err == ERR_MEM || err == ERR_DB);
			assert_null(s);
			assert_true(why.message[0]);
		} else {
			store_close(s);
		}
		fixture_open(f);
		if (!failed) {
			assert_true(n > 3);
			break;
		}
	}
}

static void test_open_survives_every_failed_allocation(void **state)
{
	open_loop(*state, &ours);
}

static void test_open_survives_every_failed_allocation_of_sqlite(void **state)
{
	open_loop(*state, &sqlites);
}

/* ---- later ---- */

static void test_later_calls_without_memory_come_out_in_the_flush(void **state)
{
	struct fixture *f = *state;
	struct event_new e = {.level = "info", .type = "message", .message = "x"};
	char id[STORE_ID_SIZE];

	make_running(f, id);
	mem_fail_at(1);
	store_job_progress_later(f->s, id, &(struct job_progress){.step = 1});
	mem_fail_at(0);
	assert_int_equal(store_flush(f->s), ERR_MEM);
	assert_int_equal(store_flush(f->s), OK);
	mem_fail_at(1);
	store_job_renew_later(f->s, "me", 1000);
	mem_fail_at(0);
	assert_int_equal(store_flush(f->s), ERR_MEM);
	mem_fail_at(1);
	assert_int_equal(store_event_later(f->s, id, &e), ERR_MEM);
	mem_fail_at(0);
	assert_int_equal(store_flush(f->s), OK);
}

/* ---- a full disk ---- */

/* No file may grow beyond its present size: writes fail as they do when the disk is full. */
static void disk_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_full_disk_fails_calls_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct job_new in = new_job(f);
	struct rlimit before;
	struct file_writer *w;
	struct file out;
	char *large = calloc(1, 1 << 20), id[STORE_ID_SIZE];
	struct job job;
	enum err err;

	assert_non_null(large);
	memset(large, ' ', (1 << 20) - 1);
	make_job(f, id);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	disk_limit(256 << 10);
	in.spec = large;
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), ERR_DB);
	assert_int_equal(store_file_begin(f->s, &w), OK);
	err = file_writer_write(w, large, 1 << 20);
	assert_int_equal(err, ERR_IO);
	assert_int_equal(file_writer_write(w, "x", 1), ERR_IO);
	assert_int_equal(file_writer_commit(w, f->ann.id, "a", "fine-tune", 0, &out), ERR_IO);
	assert_int_equal(status_of(f, id), JOB_QUEUED);
	disk_limit(before.rlim_cur);
	assert_int_equal(sql(f, "SELECT count(*) FROM job"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM file"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	job_fini(&job);
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_job_create_survives_every_failed_allocation),
	        STORE_TEST(test_job_create_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_place_survives_every_failed_allocation),
	        STORE_TEST(test_place_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_webhook_test_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_file_survives_every_failed_allocation),
	        STORE_TEST(test_file_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_success_survives_every_failed_allocation),
	        STORE_TEST(test_success_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_open_survives_every_failed_allocation),
	        STORE_TEST(test_open_survives_every_failed_allocation_of_sqlite),
	        STORE_TEST(test_later_calls_without_memory_come_out_in_the_flush),
	        STORE_TEST(test_full_disk_fails_calls_and_loses_nothing),
	};

	if (heap_install())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
