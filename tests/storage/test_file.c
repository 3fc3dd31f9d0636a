/* Files: streaming in, reading, expiry, deletion, and what a crash may leave. */
#include "tests/storage/fixture.h"

static void assert_content(struct fixture *f, const char *id, const char *text)
{
	char got[64] = "";
	int fd;

	assert_int_equal(store_file_open(f->s, f->ann.id, id, &fd), OK);
	assert_int_equal(read(fd, got, sizeof(got) - 1), (ssize_t)strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

static void test_file_streams_in_and_reads_back(void **state)
{
	struct fixture *f = *state;
	struct file_writer *w;
	struct file made, got;

	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_write(w, "ab", 2), OK);
	assert_int_equal(file_writer_write(w, "", 0), OK);
	assert_int_equal(file_writer_write(w, "c", 1), OK);
	assert_int_equal(file_writer_bytes(w), 3);
	assert_int_equal(
	        file_writer_commit(w, f->ann.id, "a.jsonl", "fine-tune", NOW_MS / 1000 + 60, &made), OK);
	assert_int_equal(strncmp(made.id, "file-", 5), 0);
	fixture_reopen(f);
	assert_int_equal(store_file_get(f->s, f->ann.id, made.id, &got), OK);
	assert_int_equal(got.bytes, 3);
	assert_int_equal(got.created_at, NOW_MS / 1000);
	assert_int_equal(got.expires_at, NOW_MS / 1000 + 60);
	assert_string_equal(got.filename, "a.jsonl");
	assert_string_equal(got.purpose, "fine-tune");
	/* FIPS 180-2, B.1 */
	assert_string_equal(got.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_content(f, made.id, "abc");
	file_fini(&made);
	file_fini(&got);
}

static void test_file_is_invisible_until_committed(void **state)
{
	struct fixture *f = *state;
	struct file_writer *w;

	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_write(w, "abc", 3), OK);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 1);
	file_writer_abort(w);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
}

static void test_file_of_an_unknown_tenant_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct file out = {.bytes = 77};
	struct file_writer *w;
	char long_id[100];

	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_commit(w, "tenant-unknown", "a", "b", 0, &out), ERR_NOT_FOUND);
	memset(long_id, 't', sizeof(long_id));
	long_id[sizeof(long_id) - 1] = '\0';
	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_commit(w, long_id, "a", "b", 0, &out), ERR_NOT_FOUND);
	assert_int_equal(out.bytes, 77);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
}

static void test_file_is_its_tenants_alone(void **state)
{
	struct fixture *f = *state;
	struct file out;
	int fd;

	assert_int_equal(store_file_get(f->s, f->bob.id, f->file, &out), ERR_NOT_FOUND);
	assert_int_equal(store_file_open(f->s, f->bob.id, f->file, &fd), ERR_NOT_FOUND);
	assert_int_equal(store_file_delete(f->s, f->bob.id, f->file), ERR_NOT_FOUND);
	assert_content(f, f->file, "hello");
}

static void test_file_deleted_stays_readable_where_it_is_open(void **state)
{
	struct fixture *f = *state;
	char got[8] = "";
	struct file out;
	int fd;

	assert_int_equal(store_file_open(f->s, f->ann.id, f->file, &fd), OK);
	assert_int_equal(store_file_delete(f->s, f->ann.id, f->file), OK);
	assert_int_equal(count_entries(f, "files"), 0);
	assert_int_equal(read(fd, got, sizeof(got)), 5);
	assert_string_equal(got, "hello");
	close(fd);
	assert_int_equal(store_file_get(f->s, f->ann.id, f->file, &out), ERR_NOT_FOUND);
	assert_int_equal(store_file_delete(f->s, f->ann.id, f->file), ERR_NOT_FOUND);
}

static void test_file_expires_and_is_purged_by_a_list(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 10};
	char id[STORE_ID_SIZE];
	struct file *items, out;
	int64_t bytes;
	bool more;
	size_t n;
	int fd;

	put_file(f, f->ann.id, "brief", NOW_MS / 1000 + 60, id);
	assert_int_equal(store_file_bytes(f->s, f->ann.id, &bytes), OK);
	assert_int_equal(bytes, 10);
	clock_set_ms(NOW_MS + 59999);
	assert_content(f, id, "brief");
	clock_set_ms(NOW_MS + 60000);
	assert_int_equal(store_file_get(f->s, f->ann.id, id, &out), ERR_NOT_FOUND);
	assert_int_equal(store_file_open(f->s, f->ann.id, id, &fd), ERR_NOT_FOUND);
	assert_int_equal(store_file_delete(f->s, f->ann.id, id), ERR_NOT_FOUND);
	assert_int_equal(store_file_bytes(f->s, f->ann.id, &bytes), OK);
	assert_int_equal(bytes, 5);
	assert_int_equal(count_entries(f, "files"), 2);
	assert_int_equal(store_file_list(f->s, f->ann.id, NULL, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_string_equal(items[0].id, f->file);
	file_list_free(items, n);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM file"), 1);
}

static void test_open_purges_what_expired_and_sweeps_litter(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], path[128];
	const char *litter[] = {"files/file-without-row", "tmp/new-unfinished"};

	put_file(f, f->ann.id, "brief", NOW_MS / 1000 + 60, id);
	store_close(f->s);
	for (size_t i = 0; i < 2; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", f->dir, litter[i]);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	clock_set_ms(NOW_MS + 60000);
	f->s = NULL;
	fixture_open(f);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(count_entries(f, "tmp"), 0);
	assert_content(f, f->file, "hello");
}

static void test_list_filters_by_purpose_and_pages(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 1};
	struct file_writer *w;
	struct file made, *items;
	char newest[STORE_ID_SIZE];
	bool more;
	size_t n;

	assert_int_equal(store_file_begin(f->s, &w), OK);
	assert_int_equal(file_writer_commit(w, f->ann.id, "b", "batch", 0, &made), OK);
	put_file(f, f->ann.id, "newest", 0, newest);
	assert_int_equal(store_file_list(f->s, f->ann.id, "batch", &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	assert_string_equal(items[0].id, made.id);
	file_list_free(items, n);
	assert_int_equal(store_file_list(f->s, f->ann.id, "fine-tune", &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_true(more);
	assert_string_equal(items[0].id, newest);
	file_list_free(items, n);
	page.after = newest;
	assert_int_equal(store_file_list(f->s, f->ann.id, "fine-tune", &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	assert_string_equal(items[0].id, f->file);
	file_list_free(items, n);
	file_fini(&made);
}

static void test_commit_honours_the_limit_on_all_files(void **state)
{
	struct fixture *f = *state;
	static const struct {
		int64_t max;
		enum err err;
	} tries[] = {{8, ERR_LIMIT}, {9, OK}, {9, ERR_LIMIT}, {-1, OK}, {0, OK}};
	struct file_writer *w;
	struct file file;

	/* ann has "hello" already */
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		assert_int_equal(store_file_begin(f->s, &w), OK);
		assert_int_equal(file_writer_write(w, "four", 4), OK);
		file_writer_limit(w, tries[i].max);
		assert_int_equal(file_writer_commit(w, f->ann.id, "a", "fine-tune", 0, &file), tries[i].err);
		if (!tries[i].err)
			file_fini(&file);
	}
	assert_int_equal(count_entries(f, "files"), 4);
	assert_int_equal(sql(f, "SELECT sum(bytes) FROM file"), 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_commit_honours_the_limit_on_all_files),
	        STORE_TEST(test_file_streams_in_and_reads_back),
	        STORE_TEST(test_file_is_invisible_until_committed),
	        STORE_TEST(test_file_of_an_unknown_tenant_leaves_nothing),
	        STORE_TEST(test_file_is_its_tenants_alone),
	        STORE_TEST(test_file_deleted_stays_readable_where_it_is_open),
	        STORE_TEST(test_file_expires_and_is_purged_by_a_list),
	        STORE_TEST(test_open_purges_what_expired_and_sweeps_litter),
	        STORE_TEST(test_list_filters_by_purpose_and_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
