/* See daemon.h: spawn.h with the words of a failing test. */
#include "tests/support/daemon.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LOG_SHOWN 8192

static void show_log(const struct daemon *d)
{
	char log[LOG_SHOWN];

	spawn_log(&d->spawn, log, sizeof(log));
	print_error("%s", log);
}

void daemon_init(struct daemon *d)
{
	memset(d, 0, sizeof(*d));
	snprintf(d->spawn.dir, sizeof(d->spawn.dir), "/tmp/redd-e2e-XXXXXX");
	assert_non_null(mkdtemp(d->spawn.dir));
}

void daemon_start(struct daemon *d, const char *const *args)
{
	if (!spawn_start(&d->spawn, args)) {
		show_log(d);
		fail_msg("the daemon did not become ready");
	}
	spawn_read_line(&d->spawn, "state/admin.key", d->admin_key, sizeof(d->admin_key));
}

int daemon_refuses(struct daemon *d, const char *const *args, char *words, size_t size)
{
	char path[128];
	int status;

	snprintf(path, sizeof(path), "%s/log", d->spawn.dir);
	unlink(path);
	status = spawn_run(&d->spawn, args);
	spawn_log(&d->spawn, words, size);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int daemon_signal(struct daemon *d, int sig)
{
	return spawn_signal(&d->spawn, sig);
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

	daemon_signal(d, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf '%s'", d->spawn.dir);
	assert_int_equal(system(command), 0);
}
