/* Opening: the lock, migrations, and databases that cannot be opened. */
#include "tests/storage/fixture.h"

static void assert_refused(const struct fixture *f, enum err wanted, const char *words)
{
	struct why why = {0};
	struct store *s = NULL;

	assert_int_equal(store_open(f->dir, &s, &why), wanted);
	assert_null(s);
	assert_non_null(strstr(why.message, f->dir));
	if (!strstr(why.message, words))
		fail_msg("\"%s\" is not in \"%s\"", words, why.message);
}

static void close_store(struct fixture *f)
{
	store_close(f->s);
	f->s = NULL;
}

static void test_second_opener_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, ERR_BUSY, "in use by another process");
	fixture_reopen(f);
}

static void test_directory_is_private(void **state)
{
	struct fixture *f = *state;
	struct store *s;
	struct stat st;
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/inner", f->dir);
	assert_int_equal(store_open(dir, &s, NULL), OK);
	store_close(s);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_directory_that_cannot_be_is_refused_with_words(void **state)
{
	struct store *s = NULL;
	struct why why = {0};

	(void)state;
	assert_int_equal(store_open("/proc/no/such/place", &s, &why), ERR_IO);
	assert_non_null(strstr(why.message, "/proc/no/such/place"));
	assert_int_equal(store_open("/dev/null", &s, NULL), ERR_IO);
	assert_null(s);
}

static void test_newer_database_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;

	close_store(f);
	sql(f, "PRAGMA user_version = 1000");
	assert_refused(f, ERR_UNSUPPORTED, "version 1000");
	assert_int_equal(sql(f, "PRAGMA user_version"), 1000);
	assert_int_equal(sql(f, "SELECT count(*) FROM tenant"), 2);
}

static void test_version_zero_is_migrated_to_the_newest(void **state)
{
	struct fixture *f = *state;
	int64_t newest = sql(f, "PRAGMA user_version");
	struct fixture old = {0};
	struct tenant t;

	assert_true(newest > 0);
	fixture_dir(&old);
	sql(&old, "CREATE TABLE of_someone_else (x)");
	assert_int_equal(sql(&old, "PRAGMA user_version"), 0);
	fixture_open(&old);
	assert_int_equal(store_tenant_create(old.s, "ann", NULL, &t), OK);
	store_close(old.s);
	assert_int_equal(sql(&old, "PRAGMA user_version"), newest);
	assert_int_equal(sql(&old, "SELECT count(*) FROM of_someone_else"), 0);
	nftw(old.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_migration_that_fails_leaves_nothing(void **state)
{
	struct fixture f = {0};

	(void)state;
	fixture_dir(&f);
	/* In the way of a table that is not the first. */
	sql(&f, "CREATE TABLE checkpoint (x)");
	assert_refused(&f, ERR_DB, "checkpoint");
	assert_int_equal(sql(&f, "PRAGMA user_version"), 0);
	assert_int_equal(sql(&f, "SELECT count(*) FROM sqlite_schema"), 1);
	sql(&f, "DROP TABLE checkpoint");
	fixture_open(&f);
	store_close(f.s);
	nftw(f.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Overwrite n bytes of the closed database at an offset. */
static void scribble(const struct fixture *f, long at, size_t n)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/redd.db", f->dir);
	file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(fputc(0x5a, file), 0x5a);
	assert_int_equal(fclose(file), 0);
}

static void test_file_that_is_no_database_is_refused_with_words(void **state)
{
	struct fixture *f = *state;

	close_store(f);
	scribble(f, 0, 100);
	assert_refused(f, ERR_DB, "not a database");
}

static void test_damaged_schema_is_refused_with_words(void **state)
{
	struct fixture *f = *state;

	close_store(f);
	scribble(f, 100, 3000);
	assert_refused(f, ERR_DB, "malformed");
}

static void test_damaged_page_is_an_error_of_the_call_alone(void **state)
{
	struct fixture *f = *state;
	long page = (long)sql(f, "SELECT rootpage FROM sqlite_schema WHERE name = 'api_key_tenant'");
	struct api_key *keys;
	struct tenant t;
	size_t n;

	close_store(f);
	scribble(f, (page - 1) * 4096, 4096);
	fixture_open(f);
	assert_int_equal(store_key_list(f->s, f->ann.id, &keys, &n), ERR_DB);
	assert_int_equal(store_tenant_get(f->s, f->ann.id, &t), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_second_opener_is_refused),
	        STORE_TEST(test_directory_is_private),
	        cmocka_unit_test(test_directory_that_cannot_be_is_refused_with_words),
	        STORE_TEST(test_newer_database_is_refused_and_left_alone),
	        STORE_TEST(test_version_zero_is_migrated_to_the_newest),
	        cmocka_unit_test(test_migration_that_fails_leaves_nothing),
	        STORE_TEST(test_file_that_is_no_database_is_refused_with_words),
	        STORE_TEST(test_damaged_schema_is_refused_with_words),
	        STORE_TEST(test_damaged_page_is_an_error_of_the_call_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
