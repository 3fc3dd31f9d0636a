/*
 * What tests of the store begin with: a store in a directory of its own, two tenants, a file of the first.
 * Thread: the test's.
 */
#ifndef REDD_TESTS_STORAGE_FIXTURE_H
#define REDD_TESTS_STORAGE_FIXTURE_H

#include "core/clock.h"
#include "core/mem.h"
#include "storage/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <unistd.h>

#define NOW_MS INT64_C(1700000000000)

struct fixture {
	char dir[64];
	struct store *s;
	struct tenant ann, bob;
	char file[STORE_ID_SIZE]; /* of ann: "hello" */
};

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void fixture_dir(struct fixture *f)
{
	/* In memory where that is possible: no test here needs the plug pulled. */
	snprintf(f->dir, sizeof(f->dir), "%s/redd-store-XXXXXX",
	        access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert_non_null(mkdtemp(f->dir));
}

static inline void fixture_open(struct fixture *f)
{
	struct why why = {0};
	enum err err = store_open(f->dir, &f->s, &why);

	if (err)
		fail_msg("%s: %s", err_name(err), why.message);
}

static inline void fixture_reopen(struct fixture *f)
{
	store_close(f->s);
	f->s = NULL;
	fixture_open(f);
}

static inline void put_file(struct fixture *f, const char *tenant_id, const char *text, int64_t expires_at,
        char id[STORE_ID_SIZE])
{
	struct file_writer *w;
	struct file file;

	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_write(w, text, strlen(text)), OK);
	assert_int_equal(file_writer_commit(w, tenant_id, "data.jsonl", "fine-tune", expires_at, &file), OK);
	memcpy(id, file.id, STORE_ID_SIZE);
	file_fini(&file);
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	clock_set_ms(NOW_MS);
	fixture_dir(f);
	fixture_open(f);
	assert_int_equal(store_tenant_create(f->s, "ann", NULL, &f->ann), OK);
	assert_int_equal(store_tenant_create(f->s, "bob", NULL, &f->bob), OK);
	put_file(f, f->ann.id, "hello", 0, f->file);
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	mem_fail_at(0);
	store_close(f->s);
	nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	clock_set_ms(-1);
	free(f);
	return 0;
}

#define STORE_TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

/* A job that ann asks for. */
static inline struct job_new new_job(const struct fixture *f)
{
	return (struct job_new){
	        .tenant_id = f->ann.id, .model = "base", .training_file = f->file, .spec = "{\"seed\":1}"};
}

static inline void make_job(struct fixture *f, char id[STORE_ID_SIZE])
{
	struct job_new in = new_job(f);
	struct job job;

	assert_int_equal(store_job_create(f->s, &in, &job, NULL), OK);
	memcpy(id, job.id, STORE_ID_SIZE);
	job_fini(&job);
}

/* Create and claim a job: it runs under "me" for a minute. */
static inline void make_running(struct fixture *f, char id[STORE_ID_SIZE])
{
	struct job job;

	make_job(f, id);
	assert_int_equal(store_job_claim(f->s, "me", 60000, 0, &job), OK);
	assert_string_equal(job.id, id);
	job_fini(&job);
}

static inline enum job_status status_of(struct fixture *f, const char *id)
{
	struct job job;
	enum job_status status;

	assert_int_equal(store_job_get(f->s, NULL, id, &job), OK);
	status = job.status;
	job_fini(&job);
	return status;
}

/* Run SQL on the database behind the store's back; the number in the first column of its first row, or 0. */
static inline int64_t sql(const struct fixture *f, const char *text)
{
	char path[128];
	sqlite3 *h;
	sqlite3_stmt *stmt;
	int64_t v = 0;
	int rc;

	snprintf(path, sizeof(path), "%s/redd.db", f->dir);
	assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
	sqlite3_busy_timeout(h, 5000);
	assert_int_equal(sqlite3_exec(h, "PRAGMA foreign_keys = ON", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(h, text, -1, &stmt, NULL), SQLITE_OK);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		v = sqlite3_column_int64(stmt, 0);
	else
		assert_int_equal(rc, SQLITE_DONE);
	sqlite3_finalize(stmt);
	sqlite3_close(h);
	return v;
}

/* How many entries DIR/sub has. */
static inline size_t count_entries(const struct fixture *f, const char *sub)
{
	char path[128];
	DIR *dir;
	size_t n = 0;
	struct dirent *e;

	snprintf(path, sizeof(path), "%s/%s", f->dir, sub);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

#endif
