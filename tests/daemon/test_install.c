/* make install and uninstall, into a directory of their own, with stand-ins for the two programs. */
#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

/* Run a command in dir. */
static int shell(const char *words)
{
	char command[512];

	snprintf(command, sizeof(command), "cd %s && %s", dir, words);
	return system(command);
}

/* Run a target with the programs of dir/out and the given further variables. */
static void run_make(const char *target, const char *variables)
{
	char command[512];

	snprintf(command, sizeof(command),
	        "env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u PREFIX -u UNITDIR -u SYSCONFDIR make -s -o "
	        "programs %s "
	        "OUT=%s/out DESTDIR=%s/root %s >%s/log 2>&1",
	        target, dir, dir, variables, dir);
	if (system(command) != 0)
		fail_msg("%s failed; see %s/log", command, dir);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/redd-install-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	return shell("mkdir out && cp /bin/true out/redd && cp /bin/true out/redctl");
}

static int tear_down(void **state)
{
	(void)state;
	return shell("rm -r \"$PWD\"");
}

static void expect_mode(const char *path, unsigned mode)
{
	char full[256];
	struct stat st;

	snprintf(full, sizeof(full), "%s/root%s", dir, path);
	if (stat(full, &st) < 0)
		fail_msg("%s is not there", path);
	if ((st.st_mode & 0777) != mode)
		fail_msg("%s has mode %o", path, st.st_mode & 0777);
}

static bool exists(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/root%s", dir, path);
	return access(full, F_OK) == 0;
}

static void read_text(const char *path, struct buf *b)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/root%s", dir, path);
	assert_int_equal(buf_read_file(b, full, 1 << 20), OK);
}

static void test_install_puts_everything_under_destdir_and_prefix(void **state)
{
	struct buf unit = {0};

	(void)state;
	run_make("install", "PREFIX=/usr");
	expect_mode("/usr/bin/redd", 0755);
	expect_mode("/usr/bin/redctl", 0755);
	expect_mode("/usr/share/redd/base/config.json", 0644);
	expect_mode("/usr/share/doc/redd/README.md", 0644);
	expect_mode("/usr/lib/systemd/system/redd.socket", 0644);
	expect_mode("/usr/lib/systemd/system/redd.service", 0644);
	expect_mode("/usr/share/man/man1/redctl.1", 0644);
	expect_mode("/usr/share/man/man5/redd.conf.5", 0644);
	expect_mode("/usr/share/man/man8/redd.8", 0644);
	expect_mode("/usr/share/bash-completion/completions/redctl", 0644);
	expect_mode("/usr/share/zsh/site-functions/_redd", 0644);
	expect_mode("/etc/redd/redd.conf", 0644);
	read_text("/usr/lib/systemd/system/redd.service", &unit);
	assert_non_null(strstr(unit.data, "\nExecStart=/usr/bin/redd\n"));
	assert_null(strstr(unit.data, "@PREFIX@"));
	buf_fini(&unit);
}

static void test_directories_can_be_chosen(void **state)
{
	(void)state;
	run_make("install", "PREFIX=/opt/redd SYSCONFDIR=/opt/etc UNITDIR=/etc/systemd/system");
	assert_true(exists("/opt/redd/bin/redd"));
	assert_true(exists("/opt/etc/redd/redd.conf"));
	assert_true(exists("/etc/systemd/system/redd.service"));
	assert_false(exists("/usr"));
}

static void test_installing_again_keeps_the_configuration(void **state)
{
	struct buf conf = {0};

	(void)state;
	run_make("install", "");
	assert_int_equal(shell("echo 'port = 1' > root/etc/redd/redd.conf"), 0);
	run_make("install", "");
	read_text("/etc/redd/redd.conf", &conf);
	assert_string_equal(conf.data, "port = 1\n");
	buf_fini(&conf);
}

static void test_uninstall_leaves_only_configuration(void **state)
{
	(void)state;
	run_make("install", "");
	run_make("uninstall", "");
	assert_true(exists("/etc/redd/redd.conf"));
	assert_int_equal(shell("test \"$(find root -type f | wc -l)\" = 1"), 0);
}

/* As installed, programs and all: systemd-analyze verify looks for what ExecStart names. */
static void test_units_are_what_systemd_expects_and_shut_tight(void **state)
{
	(void)state;
	if (system("command -v systemd-analyze >/dev/null") != 0)
		skip();
	run_make("install", "PREFIX=/usr");
	assert_int_equal(
	        shell("sed -i \"s|/usr/bin/redd|$PWD/root&|\" root/usr/lib/systemd/system/redd.service"), 0);
	if (shell("systemd-analyze verify --man=no root/usr/lib/systemd/system/redd.service "
	          "root/usr/lib/systemd/system/redd.socket >log 2>&1 && ! grep . log") != 0)
		fail_msg("systemd-analyze verify complains; see %s/log", dir);
	/* Tenths: at most 1.5. */
	assert_int_equal(shell("systemd-analyze security --offline=true --threshold=15 "
	                       "root/usr/lib/systemd/system/redd.service >log 2>&1"),
	        0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_install_puts_everything_under_destdir_and_prefix),
	        TEST(test_directories_can_be_chosen),
	        TEST(test_installing_again_keeps_the_configuration),
	        TEST(test_uninstall_leaves_only_configuration),
	        TEST(test_units_are_what_systemd_expects_and_shut_tight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
