/* See spawn.h. */
#include "tests/support/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 60000
#define MAX_ARGS 64
#define PATH_SIZE 100

void spawn_end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void child_exec(const struct spawn *s, const char *const *args, const char *notify)
{
	const char *out = getenv("OUT");
	char program[256], state[PATH_SIZE], port[PATH_SIZE], log[PATH_SIZE];
	const char *argv[MAX_ARGS] = {
	        program, "--state", state, "--listen", "127.0.0.1:0", "--port-file", port};
	size_t n = 7;
	int fd;

	snprintf(program, sizeof(program), "%s/redd", out ? out : "build/release");
	snprintf(state, sizeof(state), "%s/state", s->dir);
	snprintf(port, sizeof(port), "%s/port", s->dir);
	snprintf(log, sizeof(log), "%s/log", s->dir);
	for (; args && *args && n < MAX_ARGS - 1; args++)
		argv[n++] = *args;
	if (!s->outlives)
		spawn_end_with_parent();
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

static int notify_listen(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Wait for READY=1, or for the child to die. */
static bool notify_wait(struct spawn *s, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char message[512];

	for (int waited = 0; waited < READY_TIMEOUT_MS; waited += 100) {
		ssize_t n;

		if (poll(&p, 1, 100) <= 0) {
			if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
				s->pid = 0;
				return false;
			}
			continue;
		}
		n = recv(fd, message, sizeof(message) - 1, 0);
		message[n > 0 ? n : 0] = '\0';
		if (strstr(message, "READY=1"))
			return true;
	}
	return false;
}

bool spawn_start(struct spawn *s, const char *const *args)
{
	char notify[PATH_SIZE], port[64];
	bool ready;
	int fd;

	snprintf(notify, sizeof(notify), "%s/notify", s->dir);
	fd = notify_listen(notify);
	if (fd < 0)
		return false;
	s->pid = fork();
	if (s->pid == 0)
		child_exec(s, args, notify);
	ready = s->pid > 0 && notify_wait(s, fd);
	close(fd);
	unlink(notify);
	spawn_read_line(s, "port", port, sizeof(port));
	snprintf(s->url, sizeof(s->url), "http://%s%s", strchr(port, ':') ? "" : "127.0.0.1:", port);
	return ready;
}

int spawn_run(struct spawn *s, const char *const *args)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		child_exec(s, args, NULL);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

static void end_group(int sig)
{
	(void)sig;
	kill(0, SIGKILL);
}

/* The head of a group of processes, which lives for nothing but to end it. */
static void child_script(const char *dir, const char *script, const char *output)
{
	int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600), status = 0;
	pid_t pid;

	setpgid(0, 0);
	signal(SIGTERM, end_group);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (chdir(dir) < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(99);
	pid = fork();
	if (pid == 0) {
		execl("/bin/sh", "sh", script, NULL);
		_exit(98);
	}
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 97);
}

int spawn_script(const char *dir, const char *script, const char *output)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		child_script(dir, script, output);
	if (pid > 0) {
		waitpid(pid, &status, 0);
		kill(-pid, SIGKILL); /* what it left */
	}
	return status;
}

int spawn_signal(struct spawn *s, int sig)
{
	int status = -1;

	if (s->pid > 0 && kill(s->pid, sig) == 0)
		waitpid(s->pid, &status, 0);
	s->pid = 0;
	return status;
}

void spawn_log(const struct spawn *s, char *out, size_t size)
{
	char path[PATH_SIZE];
	FILE *f;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/log", s->dir);
	f = fopen(path, "rbe");
	if (f) {
		if (fseek(f, -(long)(size - 1), SEEK_END))
			rewind(f);
		n = fread(out, 1, size - 1, f);
		fclose(f);
	}
	out[n] = '\0';
}

void spawn_read_line(const struct spawn *s, const char *name, char *out, size_t size)
{
	char path[PATH_SIZE];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	out[0] = '\0';
	f = fopen(path, "rbe");
	if (!f)
		return;
	if (!fgets(out, (int)size, f))
		out[0] = '\0';
	fclose(f);
	out[strcspn(out, "\r\n")] = '\0';
}
