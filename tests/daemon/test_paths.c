/* daemon/paths: where state and base are when nobody said. */
#include "daemon/paths.h"

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

static char dir[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/redd-paths-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

static void expect_state(struct paths_surroundings where, const char *expected)
{
	char *got = NULL;

	assert_int_equal(paths_state_dir(&where, &got, NULL), OK);
	assert_string_equal(got, expected);
	mem_free(got);
}

static void test_state_directory_is_the_first_that_applies(void **state)
{
	struct paths_surroundings where = {
	        .root = true, .state_directory = "/a:/b", .xdg_state_home = "/x", .home = "/h"};

	(void)state;
	expect_state(where, "/a");
	where.state_directory = "";
	expect_state(where, "/var/lib/redd");
	where.root = false;
	expect_state(where, "/x/redd");
	where.xdg_state_home = NULL;
	expect_state(where, "/h/.local/state/redd");
}

static void test_state_directory_unknown_says_which_option_helps(void **state)
{
	const struct paths_surroundings where = {0};
	struct why why = {0};
	char *got = NULL;

	(void)state;
	assert_int_equal(paths_state_dir(&where, &got, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "--state"));
	assert_null(got);
}

static void put_base(const char *place)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, place);
	assert_int_equal(paths_make_dir(path, NULL), OK);
	snprintf(path, sizeof(path), "%s/%s/config.json", dir, place);
	assert_int_equal(paths_write_file(path, "{}", NULL), OK);
}

static void test_base_is_found_installed_and_in_the_source_tree(void **state)
{
	char exe[96], expected[160], *got = NULL;
	struct paths_surroundings where = {.exe_dir = exe};
	struct why why = {0};

	(void)state;
	snprintf(exe, sizeof(exe), "%s/build/release", dir);
	assert_int_equal(paths_make_dir(exe, NULL), OK);
	assert_int_equal(paths_base_dir(&where, &got, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "--model"));
	put_base("worker/base");
	assert_int_equal(paths_base_dir(&where, &got, NULL), OK);
	snprintf(expected, sizeof(expected), "%s/../../worker/base", exe);
	assert_string_equal(got, expected);
	mem_free(got);
	put_base("build/share/redd/base");
	assert_int_equal(paths_base_dir(&where, &got, NULL), OK);
	snprintf(expected, sizeof(expected), "%s/../share/redd/base", exe);
	assert_string_equal(got, expected);
	mem_free(got);
}

static void test_directories_are_made_with_their_parents_for_the_owner_only(void **state)
{
	char path[96];
	struct stat st;
	struct why why = {0};

	(void)state;
	snprintf(path, sizeof(path), "%s/a/b/c", dir);
	assert_int_equal(paths_make_dir(path, NULL), OK);
	assert_int_equal(paths_make_dir(path, NULL), OK);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(paths_make_dir("/proc/no/such", &why), ERR_IO);
	assert_non_null(strstr(why.message, "/proc/no"));
}

static void test_files_are_replaced_whole(void **state)
{
	char path[96], draft[104];
	struct buf b = {0};

	(void)state;
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(draft, sizeof(draft), "%s.new", path);
	assert_int_equal(paths_write_file(path, "a longer text\n", NULL), OK);
	assert_int_equal(symlink("/dev/null", draft), 0); /* a leftover, or a trap */
	assert_int_equal(paths_write_file(path, "short\n", NULL), OK);
	assert_int_equal(buf_read_file(&b, path, 100), OK);
	assert_string_equal(b.data, "short\n");
	assert_int_equal(access(draft, F_OK), -1);
	buf_fini(&b);
	assert_int_equal(paths_write_file("/nonexistent/file", "x", NULL), ERR_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_state_directory_is_the_first_that_applies),
	        TEST(test_state_directory_unknown_says_which_option_helps),
	        TEST(test_base_is_found_installed_and_in_the_source_tree),
	        TEST(test_directories_are_made_with_their_parents_for_the_owner_only),
	        TEST(test_files_are_replaced_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
