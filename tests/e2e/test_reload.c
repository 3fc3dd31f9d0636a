/* SIGHUP, the log as JSON, and a socket opened before the daemon: what a service manager does to it. */
#include "core/buf.h"
#include "tests/support/daemon.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cmocka.h>

static struct daemon d;
static char conf[128];

static int set_up(void **state)
{
	(void)state;
	daemon_init(&d);
	snprintf(conf, sizeof(conf), "%s/conf", d.spawn.dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	daemon_fini(&d);
	return 0;
}

static void write_conf(const char *text)
{
	FILE *f = fopen(conf, "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* SIGHUP, and the log once these words stand in it; nothing polls: the kernel tells of every write. */
static void reload_until(const char *words, struct buf *log)
{
	char path[128], event[4096];
	int fd = inotify_init1(IN_CLOEXEC);

	snprintf(path, sizeof(path), "%s/log", d.spawn.dir);
	assert_true(inotify_add_watch(fd, path, IN_MODIFY) >= 0);
	assert_int_equal(kill(d.spawn.pid, SIGHUP), 0);
	for (;;) {
		buf_fini(log);
		*log = (struct buf){0};
		assert_int_equal(buf_read_file(log, path, 1 << 20), OK);
		if (log->len && strstr(log->data, words))
			break;
		assert_true(read(fd, event, sizeof(event)) > 0);
	}
	close(fd);
}

static void test_sighup_puts_settings_in_force(void **state)
{
	const char *const args[] = {"--config", conf, NULL};
	struct buf log = {0};
	json_t *body = json_pack("{s:s, s:s}", "model", "redd-base", "prompt",
	        "a prompt that makes the body longer than a limit of a kilobyte would allow");
	struct answer a;
	char key[128];

	(void)state;
	write_conf("log-level = info\n");
	daemon_start(&d, args);
	must_tenant(&d, "alice", key);
	for (int i = 0; i < 40; i++)
		json_object_set_new(
		        body, (char[]){'x', (char)('0' + i), '\0'}, json_string("filler filler filler"));
	json_decref(must_call(&d, key, "POST", "/v1/tokenize", body));
	write_conf("max-body = 1K\nport = 99\n");
	reload_until("event=reloaded", &log);
	assert_non_null(strstr(log.data, "changed=\"max-body\" restart_needed_for=\"\"")); /* --listen wins */
	a = http_call(&d, key, "POST", "/v1/tokenize", body);
	assert_int_equal(a.status, 413);
	answer_fini(&a);
	write_conf("max-body = 1\n");
	reload_until("event=reload_failed", &log);
	assert_non_null(strstr(log.data, "/conf:1: max-body: "));
	a = http_call(&d, key, "POST", "/v1/tokenize", body);
	assert_int_equal(a.status, 413);
	answer_fini(&a);
	write_conf("train-threads = 1\n");
	reload_until("restart_needed_for=\"train-threads\"", &log);
	json_decref(must_call(&d, key, "POST", "/v1/tokenize", body));
	json_decref(body);
	buf_fini(&log);
	daemon_stop(&d);
}

static void test_log_is_json_when_asked_for(void **state)
{
	const char *const args[] = {"--log-format", "json", "--log-level", "debug", NULL};
	char path[128], *rest;
	struct buf log = {0};
	size_t n = 0;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	daemon_start(&d, args);
	daemon_stop(&d);
	snprintf(path, sizeof(path), "%s/log", d.spawn.dir);
	assert_int_equal(buf_read_file(&log, path, 1 << 20), OK);
	for (char *line = strtok_r(log.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
		json_t *json = json_loads(line, 0, NULL);

		if (!json)
			fail_msg("not JSON: %s", line);
		assert_non_null(json_object_get(json, "event"));
		json_decref(json);
	}
	assert_true(n >= 5);
	buf_fini(&log);
}

/* ---- socket activation ---- */

/* A listening socket on a free port. */
static int listening(unsigned *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

/* The daemon as systemd starts it: the socket is descriptor 3. The shell keeps its pid through exec. */
static pid_t start_with(int fd)
{
	const char *out = getenv("OUT");
	char script[512];
	pid_t pid;

	snprintf(script, sizeof(script),
	        "LISTEN_FDS=1 LISTEN_PID=$$ exec %s/redd --no-auth --state %s/state 2>%s/log",
	        out ? out : "build/release", d.spawn.dir, d.spawn.dir);
	pid = fork();
	if (pid == 0) {
		spawn_end_with_parent();
		dup2(fd, 3);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(98);
	}
	return pid;
}

static void test_connections_wait_in_the_managers_socket(void **state)
{
	unsigned port;
	int fd = listening(&port), status = 0;
	pid_t pid;

	(void)state;
	snprintf(d.spawn.url, sizeof(d.spawn.url), "http://127.0.0.1:%u", port);
	for (int i = 0; i < 2; i++) { /* and again: the socket outlives the daemon */
		pid = start_with(fd);
		/* Sent at once, long before the base is mapped. */
		json_decref(must_call(&d, NULL, "GET", "/readyz", NULL));
		kill(pid, SIGTERM);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_sighup_puts_settings_in_force),
	        TEST(test_log_is_json_when_asked_for),
	        TEST(test_connections_wait_in_the_managers_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
