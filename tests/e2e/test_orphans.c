/* A test that is killed leaves no daemon behind. */
#include "tests/support/daemon.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

/* Start a daemon in a process of its own, which is killed once it is ready: a descriptor that tells when the
 * daemon has ended. */
static int orphan(struct daemon *d)
{
	int ready[2], ended;
	pid_t parent;

	assert_int_equal(pipe(ready), 0);
	parent = fork();
	if (parent == 0) {
		if (spawn_start(&d->spawn, NULL))
			(void)!write(ready[1], &d->spawn, sizeof(d->spawn));
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &d->spawn, sizeof(d->spawn)), sizeof(d->spawn));
	close(ready[0]);
	ended = (int)syscall(SYS_pidfd_open, d->spawn.pid, 0);
	assert_true(ended >= 0);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	return ended;
}

static void await_end(int ended)
{
	struct pollfd p = {.fd = ended, .events = POLLIN};

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	close(ended);
}

static void test_a_killed_test_leaves_no_daemon_behind(void **state)
{
	struct daemon d;

	(void)state;
	daemon_init(&d);
	await_end(orphan(&d));
	d.spawn.pid = 0;
	daemon_fini(&d);
}

static void test_a_daemon_that_is_to_stay_does(void **state)
{
	struct daemon d;
	int ended;

	(void)state;
	daemon_init(&d);
	d.spawn.outlives = true;
	ended = orphan(&d);
	json_decref(must_call(&d, NULL, "GET", "/readyz", NULL));
	kill(d.spawn.pid, SIGKILL);
	await_end(ended);
	d.spawn.pid = 0;
	daemon_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_killed_test_leaves_no_daemon_behind),
	        cmocka_unit_test(test_a_daemon_that_is_to_stay_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
