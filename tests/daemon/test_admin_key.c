/* daemon/admin_key: found, written once, refused. */
#include "daemon/admin_key.h"

#include "core/buf.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], key_path[96], other_path[96];

static void write_file(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/redd-key-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(key_path, sizeof(key_path), "%s/admin.key", dir);
	snprintf(other_path, sizeof(other_path), "%s/other.key", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(key_path);
	(void)unlink(other_path);
	return rmdir(dir);
}

static void test_first_start_writes_a_key_that_only_its_owner_can_read(void **state)
{
	struct admin_key k;
	struct buf b = {0};
	struct stat st;
	uint8_t hash[HASH_BYTES];

	(void)state;
	assert_int_equal(admin_key_load(NULL, NULL, dir, &k, NULL), OK);
	assert_true(k.created);
	assert_string_equal(k.path, key_path);
	assert_int_equal(stat(key_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(buf_read_file(&b, key_path, 4096), OK);
	assert_int_equal(b.len, strlen(ADMIN_KEY_PREFIX) + ADMIN_KEY_RANDOM + 1);
	assert_memory_equal(b.data, ADMIN_KEY_PREFIX, strlen(ADMIN_KEY_PREFIX));
	assert_int_equal(b.data[b.len - 1], '\n');
	hash_bytes(b.data, b.len - 1, hash);
	assert_memory_equal(hash, k.hash, HASH_BYTES);
	buf_fini(&b);
	admin_key_fini(&k);
}

static void test_second_start_finds_the_same_key(void **state)
{
	struct admin_key first, second;

	(void)state;
	assert_int_equal(admin_key_load(NULL, NULL, dir, &first, NULL), OK);
	assert_int_equal(admin_key_load(NULL, NULL, dir, &second, NULL), OK);
	assert_false(second.created);
	assert_memory_equal(first.hash, second.hash, HASH_BYTES);
	admin_key_fini(&first);
	admin_key_fini(&second);
}

static void test_named_file_wins_and_blanks_around_the_key_do_not_count(void **state)
{
	struct admin_key k;
	uint8_t hash[HASH_BYTES];

	(void)state;
	write_file(other_path, " secret\r\n", 9);
	hash_bytes("secret", 6, hash);
	assert_int_equal(admin_key_load(other_path, dir, dir, &k, NULL), OK);
	assert_false(k.created);
	assert_memory_equal(hash, k.hash, HASH_BYTES);
	assert_int_equal(access(key_path, F_OK), -1);
	admin_key_fini(&k);
}

static void test_credential_is_used_where_there_is_one(void **state)
{
	struct admin_key k;
	uint8_t hash[HASH_BYTES];

	(void)state;
	write_file(key_path, "credential", 10);
	hash_bytes("credential", 10, hash);
	assert_int_equal(admin_key_load(NULL, dir, "/nonexistent", &k, NULL), OK);
	assert_memory_equal(hash, k.hash, HASH_BYTES);
	admin_key_fini(&k);
}

static void test_without_the_credential_the_state_directory_is_asked(void **state)
{
	struct admin_key k;

	(void)state;
	assert_int_equal(admin_key_load(NULL, "/nonexistent", dir, &k, NULL), OK);
	assert_true(k.created);
	assert_string_equal(k.path, key_path);
	admin_key_fini(&k);
}

static void test_bad_key_files_are_refused_by_name(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} bad[] = {
	        {"", 0}, {" \n", 2}, {"two words", 9}, {"a\nb\n", 4}, {"a\0b", 3}, {"schl\xc3\xbcssel", 10}};
	struct admin_key k = {.created = true};
	struct why why = {0};
	char large[ADMIN_KEY_MAX_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(key_path, bad[i].text, bad[i].n);
		assert_int_equal(admin_key_load(NULL, NULL, dir, &k, &why), ERR_FORMAT);
		assert_non_null(strstr(why.message, key_path));
	}
	memset(large, 'k', sizeof(large));
	write_file(key_path, large, sizeof(large));
	assert_int_equal(admin_key_load(NULL, NULL, dir, &k, &why), ERR_TOO_LARGE);
	assert_int_equal(admin_key_load("/nonexistent/key", NULL, dir, &k, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "/nonexistent/key"));
	assert_true(k.created);
	assert_null(k.path);
}

static void test_unwritable_state_directory_is_an_error(void **state)
{
	struct admin_key k;
	struct why why = {0};

	(void)state;
	assert_int_equal(admin_key_load(NULL, NULL, "/nonexistent", &k, &why), ERR_IO);
	assert_non_null(strstr(why.message, "/nonexistent/admin.key"));
}

static void test_short_memory_leaves_no_key_half_written(void **state)
{
	struct admin_key k;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e; n++) {
		assert_true(n < 50);
		mem_fail_at(n);
		e = admin_key_load(NULL, NULL, dir, &k, NULL);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_int_equal(access(key_path, F_OK), -1);
		}
	}
	assert_false(mem_failed());
	mem_fail_at(0);
	admin_key_fini(&k);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_first_start_writes_a_key_that_only_its_owner_can_read),
	        TEST(test_second_start_finds_the_same_key),
	        TEST(test_named_file_wins_and_blanks_around_the_key_do_not_count),
	        TEST(test_credential_is_used_where_there_is_one),
	        TEST(test_without_the_credential_the_state_directory_is_asked),
	        TEST(test_bad_key_files_are_refused_by_name),
	        TEST(test_unwritable_state_directory_is_an_error),
	        TEST(test_short_memory_leaves_no_key_half_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
