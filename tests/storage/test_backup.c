/* Backup and restore: what comes back is what was there, and nothing damaged comes back. */
#include "core/buf.h"
#include "storage/backup.h"
#include "storage/tar.h"
#include "tests/storage/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

static void path_of(const struct fixture *f, const char *name, char path[160])
{
	snprintf(path, 160, "%s/%s", f->dir, name);
}

/* A backup of the open store, in memory, ready to be read. */
static int backup(struct fixture *f)
{
	int fd = memfd_create("backup", 0);
	struct why why = {0};

	if (store_backup(f->s, fd, &why))
		fail_msg("%s", why.message);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Restore into a new directory and open it: *to is to be given to release(). */
static void must_restore(int fd, struct fixture *to)
{
	struct why why = {0};

	fixture_dir(to);
	strcat(to->dir, "/state");
	if (store_restore(to->dir, fd, &why))
		fail_msg("%s", why.message);
	fixture_open(to);
}

static void release(struct fixture *to)
{
	store_close(to->s);
	*strrchr(to->dir, '/') = '\0';
	nftw(to->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void expect_content(struct fixture *f, const char *tenant, const char *id, const char *text)
{
	char found[64] = "";
	int fd;

	assert_int_equal(store_file_open(f->s, tenant, id, &fd), OK);
	assert_int_equal(read(fd, found, sizeof(found) - 1), strlen(text));
	assert_string_equal(found, text);
	close(fd);
}

static void test_everything_comes_back(void **state)
{
	struct fixture *f = *state, to = {0};
	char job[STORE_ID_SIZE], other[STORE_ID_SIZE];
	uint8_t hash[HASH_BYTES] = {7};
	struct api_key key;
	struct tenant t;
	int fd;

	make_running(f, job);
	put_file(f, f->bob.id, "", 0, other);
	assert_int_equal(store_key_create(f->s, f->bob.id, hash, "abcd", &key), OK);
	assert_int_equal(
	        store_event_later(f->s, job, &(struct event_new){"info", "message", "m", NULL, 0}), OK);
	assert_int_equal(store_flush(f->s), OK);
	fd = backup(f);
	assert_int_equal(count_entries(f, "tmp"), 0);
	must_restore(fd, &to);
	expect_content(&to, f->ann.id, f->file, "hello");
	expect_content(&to, f->bob.id, other, "");
	assert_int_equal(status_of(&to, job), JOB_RUNNING);
	assert_int_equal(store_tenant_by_key(to.s, hash, &t), OK);
	assert_string_equal(t.id, f->bob.id);
	assert_int_equal(sql(&to, "SELECT count(*) FROM event"), sql(f, "SELECT count(*) FROM event"));
	assert_int_equal(sql(&to, "PRAGMA user_version"), sql(f, "PRAGMA user_version"));
	release(&to);
	close(fd);
}

static void test_a_directory_in_use_elsewhere_can_be_backed_up(void **state)
{
	struct fixture *f = *state, to = {0};
	char scratch[160];
	struct why why = {0};
	int fd = memfd_create("backup", 0);

	path_of(f, "scratch", scratch);
	assert_int_equal(store_backup_dir(f->dir, scratch, fd, &why), OK);
	assert_int_equal(access(scratch, F_OK), -1);
	lseek(fd, 0, SEEK_SET);
	must_restore(fd, &to);
	expect_content(&to, f->ann.id, f->file, "hello");
	release(&to);
	close(fd);
	assert_int_equal(store_backup_dir("/tmp/redd-no-state", scratch, 1, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "/tmp/redd-no-state"));
}

/* Files come and go while it runs. Asserts belong to the test's own thread: this one keeps what failed. */
struct churn {
	struct fixture *f;
	atomic_bool stop;
	enum err err; /* read once joined */
};

static enum err come_and_go(struct fixture *f)
{
	struct file_writer *w;
	struct file file;
	enum err err = store_file_begin(f->s, &w);

	if (!err)
		err = file_writer_write(w, "short-lived", 11);
	if (!err)
		err = file_writer_commit(w, f->bob.id, "x", "fine-tune", 0, &file);
	if (err)
		return err;
	err = store_file_delete(f->s, f->bob.id, file.id);
	file_fini(&file);
	return err;
}

static void *churn_main(void *arg)
{
	struct churn *c = arg;

	while (!c->err && !atomic_load(&c->stop))
		c->err = come_and_go(c->f);
	return NULL;
}

static void test_a_backup_under_writes_is_of_one_moment(void **state)
{
	struct churn c = {.f = *state};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, churn_main, &c), 0);
	for (int i = 0; i < 5; i++) {
		struct fixture to = {0};
		int fd = backup(c.f);

		must_restore(fd, &to); /* checks every row against its content */
		expect_content(&to, c.f->ann.id, c.f->file, "hello");
		release(&to);
		close(fd);
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(c.err, OK);
}

static void test_a_content_that_is_gone_takes_its_row_along(void **state)
{
	struct fixture *f = *state, to = {0};
	char path[160], id[STORE_ID_SIZE];
	struct file file;
	int fd;

	put_file(f, f->ann.id, "going", 0, id);
	path_of(f, "files", path);
	strcat(strcat(path, "/"), id);
	assert_int_equal(unlink(path), 0);
	fd = backup(f);
	must_restore(fd, &to);
	assert_int_equal(store_file_get(to.s, f->ann.id, id, &file), ERR_NOT_FOUND);
	expect_content(&to, f->ann.id, f->file, "hello");
	release(&to);
	close(fd);
}

/* Restoring the bytes must fail and leave no store behind. */
static void expect_refused(const char *dir, const void *bytes, size_t n, enum err wanted)
{
	char path[160];
	struct why why = {0};
	int fd = memfd_create("damaged", 0);
	enum err err;

	assert_int_equal(write(fd, bytes, n), n);
	lseek(fd, 0, SEEK_SET);
	err = store_restore(dir, fd, &why);
	close(fd);
	if (wanted ? err != wanted : !err)
		fail_msg("it ended with %s: %s", err_name(err), why.message);
	assert_true(why.message[0]);
	snprintf(path, sizeof(path), "%s/redd.db", dir);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "rmdir %s/files", dir); /* empty */
	assert_int_equal(system(path), 0);
}

static void test_what_is_damaged_or_cut_off_is_refused(void **state)
{
	struct fixture *f = *state;
	char dir[160];
	int fd = backup(f);
	size_t n = (size_t)lseek(fd, 0, SEEK_END);
	char *bytes = mem_calloc(1, n);

	path_of(f, "restored", dir);
	assert_int_equal(pread(fd, bytes, n, 0), n);
	close(fd);
	for (size_t i = 0; i < 32; i++) /* cut anywhere before the end's two blocks */
		expect_refused(dir, bytes, (n - 1024) * i / 32, ERR_FORMAT);
	expect_refused(dir, bytes, n - 1024, ERR_FORMAT); /* even the end is missed */
	for (size_t at = 100; at < n - 1024; at += 4099) {
		bool padding;

		bytes[at] ^= 1;
		/* What pads a content to a block means nothing; everything else is under a sum. */
		padding = at % 512 > 5 && at / 512 == 3;
		if (!padding)
			expect_refused(dir, bytes, n, OK);
		bytes[at] ^= 1;
	}
	expect_refused(dir, "not an archive", 14, ERR_FORMAT);
	mem_free(bytes);
}

static void test_names_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const names[] = {
	        "files/../x", "files/", "/etc/passwd", "files/a/b", "lock", "files/.x"};
	struct fixture *f = *state;
	char dir[160], bytes[4096];

	path_of(f, "restored", dir);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = memfd_create("strange", 0);

		assert_int_equal(tar_write_text(fd, BACKUP_MARK, 0, BACKUP_MARK_TEXT), OK);
		assert_int_equal(tar_write_text(fd, names[i], 0, "x"), OK);
		assert_int_equal(tar_write_end(fd), OK);
		assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 3072);
		expect_refused(dir, bytes, 3072, ERR_FORMAT);
		close(fd);
	}
}

static void test_a_store_is_never_overwritten(void **state)
{
	struct fixture *f = *state;
	struct why why = {0};
	int fd = backup(f);

	assert_int_equal(store_restore(f->dir, fd, &why), ERR_BUSY);
	store_close(f->s);
	f->s = NULL;
	assert_int_equal(store_restore(f->dir, fd, &why), ERR_EXISTS);
	assert_non_null(strstr(why.message, "already"));
	fixture_open(f);
	expect_content(f, f->ann.id, f->file, "hello");
	close(fd);
}

static void test_other_programs_read_the_archive(void **state)
{
	struct fixture *f = *state;
	char command[512], path[160];
	int fd;

	path_of(f, "x.tar", path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(store_backup(f->s, fd, NULL), OK);
	close(fd);
	snprintf(command, sizeof(command),
	        "test \"$(tar -xOf %s files/%s)\" = hello && tar -tf %s | grep -qx redd.db", path, f->file,
	        path);
	assert_int_equal(system(command), 0);
}

static void test_sizes_beyond_octal_are_written_and_read(void **state)
{
	const int64_t size = ((int64_t)1 << 40) + 5;
	char name[TAR_NAME_SIZE];
	int64_t found = 0;
	int ends[2], zero = open("/dev/zero", O_RDONLY);

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_int_equal(tar_write_fd(ends[1], "huge", size, 0, zero), ERR_IO); /* the pipe is full */
	assert_int_equal(tar_next(ends[0], name, &found), OK);
	assert_string_equal(name, "huge");
	assert_true(found == size);
	close(ends[0]);
	close(ends[1]);
	close(zero);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_everything_comes_back),
	        STORE_TEST(test_a_directory_in_use_elsewhere_can_be_backed_up),
	        STORE_TEST(test_a_backup_under_writes_is_of_one_moment),
	        STORE_TEST(test_a_content_that_is_gone_takes_its_row_along),
	        STORE_TEST(test_what_is_damaged_or_cut_off_is_refused),
	        STORE_TEST(test_names_that_lead_elsewhere_are_refused),
	        STORE_TEST(test_a_store_is_never_overwritten),
	        STORE_TEST(test_other_programs_read_the_archive),
	        STORE_TEST(test_sizes_beyond_octal_are_written_and_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
