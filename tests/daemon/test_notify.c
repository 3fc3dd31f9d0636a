/* daemon/notify: what the service manager hears, on a socket of our own in its place. */
#include "daemon/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static int manager = -1;
static char path[64];

static int set_up(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	snprintf(path, sizeof(path), "/tmp/redd-notify-%d", (int)getpid());
	(void)unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (manager < 0 || bind(manager, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return setenv("NOTIFY_SOCKET", path, 1);
}

static int tear_down(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	close(manager);
	return unlink(path);
}

static void expect_heard(const char *expected)
{
	char text[512];
	ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

static void expect_reloading(void)
{
	static const char words[] = "RELOADING=1\nMONOTONIC_USEC=";
	char text[512];

	assert_true(recv(manager, text, sizeof(text), 0) > (ssize_t)sizeof(words));
	assert_memory_equal(text, words, sizeof(words) - 1);
}

static void expect_silence(void)
{
	char text[8];

	assert_int_equal(recv(manager, text, sizeof(text), 0), -1);
}

static void test_manager_hears_ready_status_and_stopping(void **state)
{
	(void)state;
	notify_ready("up on 127.0.0.1:1");
	expect_heard("READY=1\nSTATUS=up on 127.0.0.1:1");
	notify_status("busy");
	expect_heard("STATUS=busy");
	notify_reloading();
	expect_reloading();
	notify_stopping("bye");
	expect_heard("STOPPING=1\nSTATUS=bye");
}

static void test_without_a_manager_nothing_happens(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	notify_ready("up");
	expect_silence();
}

static void test_watchdog_hears_from_the_loop_at_a_third_of_its_interval(void **state)
{
	struct notify_watchdog w = {.every_ms = 0};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(notify_watchdog_period_ms(30000000), 10000);
	assert_int_equal(notify_watchdog_period_ms(1), 1);
	assert_int_equal(notify_watchdog_period_ms(0), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(notify_watchdog_start(&w, &loop), OK);
	assert_int_equal(w.every_ms, 10000);
	assert_int_equal(uv_timer_get_repeat(&w.timer), 10000);
	uv_run(&loop, UV_RUN_NOWAIT); /* the first one is due at once */
	expect_heard("WATCHDOG=1");
	notify_watchdog_stop(&w);
	notify_watchdog_stop(&w);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_no_watchdog_leaves_the_loop_empty(void **state)
{
	struct notify_watchdog w = {.every_ms = 0};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(notify_watchdog_start(&w, &loop), OK);
	assert_int_equal(uv_loop_alive(&loop), 0);
	notify_watchdog_stop(&w);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* Pretend that systemd passed n sockets. */
static void announce(int n)
{
	char text[24];

	snprintf(text, sizeof(text), "%d", n);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
}

/* Put fd where the first passed socket would be, run the check, put back what was there. */
static enum err listen_fd_with(int fd, int *found, struct why *why)
{
	int former = dup(3);
	enum err e;

	assert_int_equal(dup2(fd, 3), 3);
	announce(1);
	e = notify_listen_fd(found, why);
	if (former >= 0) {
		dup2(former, 3);
		close(former);
	} else {
		close(3);
	}
	return e;
}

static void test_listening_socket_of_the_manager_is_taken(void **state)
{
	int found = 0, fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(notify_listen_fd(&found, NULL), OK);
	assert_int_equal(found, -1);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listen_fd_with(fd, &found, NULL), OK);
	assert_int_equal(found, 3);
	assert_null(getenv("LISTEN_FDS"));
	close(fd);
}

static void test_other_descriptors_of_the_manager_are_refused(void **state)
{
	struct why why = {0};
	int found = 7, fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(listen_fd_with(fd, &found, &why), ERR_INVALID); /* does not listen */
	assert_non_null(strstr(why.message, "not a listening"));
	announce(2);
	assert_int_equal(notify_listen_fd(&found, &why), ERR_INVALID);
	assert_non_null(strstr(why.message, "2 sockets"));
	assert_int_equal(found, 7);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_manager_hears_ready_status_and_stopping),
	        TEST(test_without_a_manager_nothing_happens),
	        TEST(test_watchdog_hears_from_the_loop_at_a_third_of_its_interval),
	        TEST(test_no_watchdog_leaves_the_loop_empty),
	        TEST(test_listening_socket_of_the_manager_is_taken),
	        TEST(test_other_descriptors_of_the_manager_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
