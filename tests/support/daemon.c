/* See daemon.h. Readiness comes over the sd_notify socket, so nothing here polls or sleeps. */
#include "tests/support/daemon.h"

#include "core/buf.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define READY_TIMEOUT_MS 60000
#define MAX_ARGS 64

static void show_log(const struct daemon *d)
{
	char path[128];
	struct buf log = {0};

	snprintf(path, sizeof(path), "%s/log", d->dir);
	if (!buf_read_file(&log, path, 1 << 24))
		print_error("%s", log.len > 8000 ? log.data + log.len - 8000 : log.data);
	buf_fini(&log);
}

void daemon_init(struct daemon *d)
{
	memset(d, 0, sizeof(*d));
	snprintf(d->dir, sizeof(d->dir), "/tmp/redd-e2e-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
}

static void child_exec(const struct daemon *d, const char *const *args, const char *notify)
{
	const char *out = getenv("OUT");
	char program[256], state[128], port[128], log[128];
	const char *argv[MAX_ARGS];
	size_t n = 0;
	int fd;

	snprintf(program, sizeof(program), "%s/redd", out ? out : "build/release");
	snprintf(state, sizeof(state), "%s/state", d->dir);
	snprintf(port, sizeof(port), "%s/port", d->dir);
	snprintf(log, sizeof(log), "%s/log", d->dir);
	argv[n++] = program;
	argv[n++] = "--state";
	argv[n++] = state;
	argv[n++] = "--listen";
	argv[n++] = "127.0.0.1:0";
	argv[n++] = "--port-file";
	argv[n++] = port;
	for (; args && *args && n < MAX_ARGS - 1; args++)
		argv[n++] = *args;
	argv[n] = NULL;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		_exit(99);
	if (notify)
		setenv("NOTIFY_SOCKET", notify, 1);
	else
		unsetenv("NOTIFY_SOCKET");
	execv(program, (char *const *)argv);
	_exit(98);
}

static int notify_listen(const struct daemon *d, char *path, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(path, size, "%s/notify", d->dir);
	unlink(path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Wait for READY=1, or for the child to die. */
static bool notify_wait(const struct daemon *d, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char message[512];

	for (int waited = 0; waited < READY_TIMEOUT_MS; waited += 100) {
		ssize_t n;

		if (poll(&p, 1, 100) <= 0) {
			if (waitpid(d->pid, NULL, WNOHANG) == d->pid)
				return false;
			continue;
		}
		n = recv(fd, message, sizeof(message) - 1, 0);
		message[n > 0 ? n : 0] = '\0';
		if (strstr(message, "READY=1"))
			return true;
	}
	return false;
}

static void read_line(const char *path, char *out, size_t size)
{
	struct buf b = {0};

	if (buf_read_file(&b, path, 1 << 16))
		fail_msg("%s cannot be read", path);
	snprintf(out, size, "%.*s", (int)strcspn(b.data, "\r\n"), b.data);
	buf_fini(&b);
}

void daemon_start(struct daemon *d, const char *const *args)
{
	char notify[128], path[128], port[64];
	int fd = notify_listen(d, notify, sizeof(notify));
	bool ready;

	d->pid = fork();
	assert_true(d->pid >= 0);
	if (d->pid == 0)
		child_exec(d, args, notify);
	ready = notify_wait(d, fd);
	close(fd);
	unlink(notify);
	if (!ready) {
		show_log(d);
		fail_msg("the daemon did not become ready");
	}
	snprintf(path, sizeof(path), "%s/port", d->dir);
	read_line(path, port, sizeof(port));
	snprintf(d->url, sizeof(d->url), "http://%s%s", strchr(port, ':') ? "" : "127.0.0.1:", port);
	snprintf(path, sizeof(path), "%s/state/admin.key", d->dir);
	if (access(path, R_OK) == 0)
		read_line(path, d->admin_key, sizeof(d->admin_key));
}

int daemon_refuses(struct daemon *d, const char *const *args, char *words, size_t size)
{
	char path[128];
	struct buf log = {0};
	int status;

	snprintf(path, sizeof(path), "%s/log", d->dir);
	unlink(path);
	d->pid = fork();
	assert_true(d->pid >= 0);
	if (d->pid == 0)
		child_exec(d, args, NULL);
	assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
	d->pid = 0;
	assert_int_equal(buf_read_file(&log, path, 1 << 20), OK);
	snprintf(words, size, "%s", log.data);
	buf_fini(&log);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int daemon_signal(struct daemon *d, int sig)
{
	int status = 0;

	assert_int_equal(kill(d->pid, sig), 0);
	assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
	d->pid = 0;
	return status;
}

void daemon_stop(struct daemon *d)
{
	int status = daemon_signal(d, SIGTERM);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		show_log(d);
		fail_msg("the daemon ended with wait status %d", status);
	}
}

void daemon_fini(struct daemon *d)
{
	char command[128];

	if (d->pid > 0) {
		kill(d->pid, SIGKILL);
		waitpid(d->pid, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", d->dir);
	assert_int_equal(system(command), 0);
}
