/* Backups of a daemon at work, by redctl and by redd, and a second daemon that goes on from one. */
#include "core/mem.h"
#include "tests/support/daemon.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS "{\"prompt\":\"one\",\"completion\":\" two\"}\n{\"prompt\":\"three\",\"completion\":\" four\"}\n"

static struct daemon d;
static char key[128], job[64], model[256];

static int set_up(void **state)
{
	char file[64];
	json_t *body, *done;

	(void)state;
	daemon_init(&d);
	daemon_start(&d, NULL);
	must_tenant(&d, "alice", key);
	assert_int_equal(http_upload(&d, key, "rows.jsonl", ROWS, strlen(ROWS), file), 200);
	body = json_pack("{s:s, s:s, s:{s:i, s:i}}", "model", "redd-base", "training_file", file,
	        "hyperparameters", "n_epochs", 2, "batch_size", 2);
	must_job(&d, key, body, job);
	json_decref(body);
	done = must_finish(&d, key, job);
	snprintf(model, sizeof(model), "%s", json_string_value(json_object_get(done, "fine_tuned_model")));
	json_decref(done);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	daemon_fini(&d);
	return 0;
}

/* Run one of our programs; its exit code. */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	const char *out = getenv("OUT");
	char command[1024];
	int n = snprintf(command, sizeof(command), "%s/", out ? out : "build/release"), status;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *answer_of(const struct daemon *from)
{
	json_t *body = json_pack(
	        "{s:s, s:s, s:i, s:i}", "model", model, "prompt", "one", "max_tokens", 8, "temperature", 0);
	json_t *reply = must_call(from, key, "POST", "/v1/completions", body);
	const json_t *choice = json_array_get(json_object_get(reply, "choices"), 0);
	char *text = mem_strdup(json_string_value(json_object_get(choice, "text")));

	json_decref(body);
	json_decref(reply);
	return text;
}

/* A daemon on what the file holds must know tenant, job and adapter, and answer the same. */
static void expect_all_there(const char *file)
{
	const char *const args[] = {"--restore", file, NULL};
	struct daemon second;
	char path[128], *before = answer_of(&d), *after;
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	daemon_init(&second);
	assert_int_equal(spawn_run(&second.spawn, args), 0);
	daemon_start(&second, NULL);
	after = answer_of(&second);
	assert_string_equal(before, after);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s", job);
	json_decref(must_call(&second, key, "GET", path, NULL));
	daemon_stop(&second);
	daemon_fini(&second);
	mem_free(before);
	mem_free(after);
}

static void test_redctl_brings_a_backup_of_a_running_daemon(void **state)
{
	char file[128];

	(void)state;
	snprintf(file, sizeof(file), "%s/a.tar", d.spawn.dir);
	assert_int_equal(run("redctl backup %s --url %s --admin-key-file %s/state/admin.key", file,
	                         d.spawn.url, d.spawn.dir),
	        0);
	expect_all_there(file);
	/* Not for tenants. */
	assert_int_equal(run("redctl backup %s --url %s --key %s 2>/dev/null", file, d.spawn.url, key), 1);
}

static void test_redd_backs_up_beside_a_running_daemon(void **state)
{
	char file[128];

	(void)state;
	snprintf(file, sizeof(file), "%s/b.tar", d.spawn.dir);
	assert_int_equal(run("redd --state %s/state --backup %s", d.spawn.dir, file), 0);
	expect_all_there(file);
	assert_int_equal(run("redd --state %s/state --backup - | tar -t >/dev/null", d.spawn.dir), 0);
}

static void test_what_cannot_be_is_refused_with_a_reason(void **state)
{
	(void)state;
	assert_int_equal(
	        run("redd --state %s/none --backup %s/c.tar 2>/dev/null", d.spawn.dir, d.spawn.dir), 1);
	assert_int_equal(run("redd --state %s/state --restore /dev/null 2>/dev/null", d.spawn.dir), 1);
	assert_int_equal(
	        run("redd --state %s/new --restore /dev/null 2>%s/words", d.spawn.dir, d.spawn.dir), 1);
	assert_int_equal(run("redd --restore 2>/dev/null"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_redctl_brings_a_backup_of_a_running_daemon),
	        cmocka_unit_test(test_redd_backs_up_beside_a_running_daemon),
	        cmocka_unit_test(test_what_cannot_be_is_refused_with_a_reason),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
