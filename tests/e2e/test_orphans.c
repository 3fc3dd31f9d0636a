/* A test that is killed leaves no daemon behind. */
#include "tests/support/daemon.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
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

/* All that the script starts holds the pipe's other end: it is closed when all have ended. */
static void test_a_killed_test_leaves_nothing_of_its_script_behind(void **state)
{
	char dir[] = "/tmp/redd-orphans-XXXXXX", script[64], output[64], word[8];
	struct pollfd p = {.events = POLLIN};
	int alive[2];
	pid_t parent;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(script, sizeof(script), "%s/script", dir);
	snprintf(output, sizeof(output), "%s/output", dir);
	assert_int_equal(pipe(alive), 0);
	f = fopen(script, "we");
	assert_non_null(f);
	fprintf(f, "trap '' TERM; sleep 1000 & echo here >&%d; sleep 1000", alive[1]);
	assert_int_equal(fclose(f), 0);
	parent = fork();
	if (parent == 0) {
		spawn_script(dir, script, output);
		_exit(0);
	}
	close(alive[1]);
	assert_int_equal(read(alive[0], word, 5), 5);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	p.fd = alive[0];
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(read(alive[0], word, 1), 0);
	close(alive[0]);
	unlink(script);
	unlink(output);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_killed_test_leaves_no_daemon_behind),
	        cmocka_unit_test(test_a_daemon_that_is_to_stay_does),
	        cmocka_unit_test(test_a_killed_test_leaves_nothing_of_its_script_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
