/* redctl itself against a real daemon: what every command prints, and its exit codes. */
#include "core/buf.h"
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

#define ROWS "tests/demo/clerk.jsonl"

static struct daemon d;
static char key[128];
static char out[1 << 16]; /* what the last command wrote to standard output */

static int set_up(void **state)
{
	(void)state;
	daemon_init(&d);
	daemon_start(&d, NULL);
	must_tenant(&d, "alice", key);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	daemon_fini(&d);
	return 0;
}

/* Run a shell's command line in which "redctl" is ours, speaking with the tenant's key; its exit code. What
 * it says on standard error goes to DIR/err. */
__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
	const char *programs = getenv("OUT");
	char line[2048], full[4096];
	va_list ap;
	FILE *p;
	size_t n;
	int status;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	snprintf(full, sizeof(full),
	        "export REDD_URL=%s REDD_API_KEY=%s REDD_ADMIN_KEY_FILE=%s/state/admin.key D=%s\n"
	        "redctl() { %s/redctl \"$@\"; }\nexec 2>%s/err\n%s",
	        d.spawn.url, key, d.spawn.dir, d.spawn.dir, programs ? programs : "build/release",
	        d.spawn.dir, line);
	p = popen(full, "r");
	assert_non_null(p);
	n = fread(out, 1, sizeof(out) - 1, p);
	out[n] = '\0';
	status = pclose(p);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_err(const char *words)
{
	char path[128];
	struct buf b = {0};

	snprintf(path, sizeof(path), "%s/err", d.spawn.dir);
	assert_int_equal(buf_read_file(&b, path, 1 << 20), OK);
	if (!b.len || !strstr(b.data, words))
		fail_msg("\"%s\" is not in: %s", words, b.len ? b.data : "");
	buf_fini(&b);
}

static void must_shell(const char *line)
{
	int status = shell("%s", line);

	if (status != 0) {
		expect_err("(shown because it failed)\n");
		fail_msg("%s: exit %d", line, status);
	}
}

static void expect_out(const char *words)
{
	if (!strstr(out, words))
		fail_msg("\"%s\" is not in: %s", words, out);
}

/* The last command printed one line: without its end. */
static void take_line(char *to, size_t size)
{
	snprintf(to, size, "%.*s", (int)strcspn(out, "\n"), out);
}

static void test_exit_codes_tell_how_it_ended(void **state)
{
	(void)state;
	assert_int_equal(shell("redctl health"), 0);
	assert_string_equal(out, "healthy  yes\nready    yes\n");
	assert_int_equal(shell("redctl show ftjob-nowhere"), 1);
	assert_int_equal(shell("redctl --key wrong jobs"), 1);
	assert_int_equal(shell("redctl nonsense"), 2);
	assert_int_equal(shell("redctl"), 2);
	assert_int_equal(shell("redctl alias set one"), 2);
	assert_int_equal(shell("redctl jobs --limit 0"), 2);
	assert_int_equal(shell("redctl tenant nonsense"), 2);
	expect_err("add, list, show, limit, remove");
	assert_int_equal(shell("redctl --url http://127.0.0.1:1 jobs"), 3);
	assert_int_equal(shell("redctl jobs --help"), 0);
	expect_out("Usage: redctl jobs");
}

static void test_files_come_back_as_they_went(void **state)
{
	char id[64];

	(void)state;
	must_shell("redctl upload " ROWS);
	take_line(id, sizeof(id));
	must_shell("redctl files --purpose fine-tune");
	expect_out(id);
	expect_out("clerk.jsonl");
	must_shell("redctl files --purpose batch");
	assert_null(strstr(out, id));
	assert_int_equal(shell("redctl file show %s", id), 0);
	expect_out("clerk.jsonl");
	assert_int_equal(shell("redctl file content %s | cmp - " ROWS, id), 0);
	assert_int_equal(shell("redctl file content %s -o $D/copy && cmp $D/copy " ROWS, id), 0);
	assert_int_equal(shell("redctl file content nowhere -o $D/none"), 1);
	assert_int_equal(shell("ls $D/none $D/none.part"), 2);
	assert_int_equal(shell("redctl file delete %s && redctl file show %s", id, id), 1);
	assert_int_equal(shell("echo '{}' | redctl upload - --expires-after 60"), 1); /* at least an hour */
	assert_int_equal(shell("echo '{}' | redctl upload - --expires-after 7200"), 0);
	assert_int_equal(shell("redctl file show $(echo '{}' | redctl upload - --expires-after 7200)"), 0);
	expect_out("expires");
}

static void test_preflight_names_bad_lines_and_starts_nothing(void **state)
{
	(void)state;
	must_shell("head -n 8 " ROWS " >$D/good; redctl preflight $D/good --epochs 2 --batch-size 4");
	expect_out("steps           4\n");
	expect_out("training file: 0 bad lines");
	assert_int_equal(shell("(head -n 3 " ROWS "; echo nonsense) | redctl preflight -"), 1);
	expect_out("training file: 1 bad lines\n  line 4: ");
	must_shell("redctl jobs");
	assert_string_equal(out, "JOB  STATUS  STEPS  CREATED  ADAPTER\n");
}

/* One job of four steps, and everything that may be asked of it. */
static void test_a_job_from_submit_to_alias(void **state)
{
	char model[256], job[64];

	(void)state;
	must_shell(
	        "head -n 8 " ROWS " >$D/rows; redctl submit $D/rows --epochs 2 --batch-size 4 --no-shuffle "
	        "--set max_grad_norm=0 --suffix s --metadata a=b --watch --idempotency-key k");
	take_line(model, sizeof(model));
	assert_non_null(strstr(model, "ft:redd-base:alice:s:"));
	expect_err("4/4");
	must_shell("redctl jobs -n 1 --json | tr -d '\\n' | sed 's/.*\\(ftjob-[^\"]*\\)\".*/\\1/'");
	take_line(job, sizeof(job));
	must_shell("redctl jobs --metadata a=b");
	expect_out(job);
	must_shell("redctl jobs --metadata a=c");
	assert_null(strstr(out, job));
	assert_int_equal(shell("redctl jobs --metadata a"), 2);
	assert_int_equal(shell("redctl show %s", job), 0);
	expect_out("succeeded");
	expect_out("shuffle = false");
	expect_out("max_grad_norm = 0");
	assert_int_equal(shell("redctl events %s -n 2", job), 0);
	expect_err("there are more");
	assert_int_equal(shell("redctl events %s --follow | grep -c Step", job), 0);
	assert_string_equal(out, "4\n");
	assert_int_equal(shell("redctl events %s -f --json | grep -c train_loss", job), 0);
	assert_string_equal(out, "4\n");
	assert_int_equal(shell("redctl checkpoints %s", job), 0);
	expect_out("STEP  CREATED");
	assert_int_equal(shell("redctl wait %s", job), 0);
	assert_int_equal(shell("redctl cancel %s", job), 1);
	assert_int_equal(shell("redctl model show %s", model), 0);
	expect_out("base_hash");
	assert_int_equal(shell("redctl adapter edits %s", model), 0);
	expect_out("LAYER  POSITION");
	expect_out("0      ffn");
	assert_int_equal(shell("redctl alias set best %s && redctl alias show best", model), 0);
	expect_out(model);
	must_shell("redctl aliases");
	expect_out("best");
	assert_int_equal(
	        shell("redctl adapter download %s -o $D/a && redctl adapter import $D/a --name again", model),
	        0);
	expect_out("ft:redd-base:alice:again:");
	assert_int_equal(shell("redctl adapter download %s --folded | tar t", model), 0);
	expect_out("model.safetensors");
	must_shell("redctl complete -m best -n 3 -t 0 --set logprobs=1 --json 'Tell me'");
	expect_out("token_logprobs");
	must_shell("redctl alias delete best");
	assert_int_equal(shell("redctl alias show best"), 1);
	assert_int_equal(shell("redctl model delete %s && redctl model show %s", model, model), 1);
}

/* kill -9 in the middle, a new daemon on the same port: the follower prints every event once, to the end. */
static void test_events_are_followed_through_a_restart(void **state)
{
	const char *args[] = {"--port", strrchr(d.spawn.url, ':') + 1, NULL};
	char job[64], command[512], port[16];
	FILE *follower;
	size_t n;

	(void)state;
	snprintf(port, sizeof(port), "%s", args[1]);
	args[1] = port;
	must_shell("redctl submit " ROWS " --epochs 900 --batch-size 1");
	take_line(job, sizeof(job));
	snprintf(command, sizeof(command), "%s/redctl events -f %s --url %s --key %s",
	        getenv("OUT") ? getenv("OUT") : "build/release", job, d.spawn.url, key);
	follower = popen(command, "r");
	assert_non_null(follower);
	for (int i = 0; i < 5; i++) /* it has begun */
		assert_non_null(fgets(out, sizeof(out), follower));
	daemon_signal(&d, SIGKILL);
	daemon_start(&d, args);
	assert_int_equal(shell("redctl cancel %s", job), 0);
	n = fread(out, 1, sizeof(out) - 1, follower);
	while (n == sizeof(out) - 1) {
		memmove(out, out + n / 2, n - n / 2);
		n = n - n / 2 + fread(out + n - n / 2, 1, sizeof(out) - 1 - (n - n / 2), follower);
	}
	out[n] = '\0';
	assert_int_equal(pclose(follower), 0);
	expect_out("cancelled");
}

static void test_jobs_pause_resume_and_end(void **state)
{
	char job[64];

	(void)state;
	must_shell("redctl submit " ROWS " --epochs 900");
	take_line(job, sizeof(job));
	assert_int_equal(shell("redctl pause %s", job), 0);
	expect_out(" paused\n");
	assert_int_equal(shell("redctl resume %s", job), 0);
	assert_int_equal(shell("redctl cancel %s", job), 0);
	expect_out(" cancelled\n");
	assert_int_equal(shell("redctl wait %s", job), 1);
	expect_err("cancelled");
}

static void test_tokens_go_there_and_back(void **state)
{
	(void)state;
	must_shell("redctl tokenize --no-special 'The old bridge' | redctl detokenize");
	assert_string_equal(out, "The old bridge\n");
	assert_int_equal(shell("redctl detokenize 1 x"), 2);
	assert_int_equal(shell("redctl tokenize </dev/null"), 2);
	assert_int_equal(shell("redctl classify some text"), 1); /* the base is no encoder */
	assert_int_equal(shell("redctl classify a b --pair c"), 2);
}

static void test_admin_manages_tenants_and_keys(void **state)
{
	(void)state;
	must_shell(
	        "redctl tenant add bob --queued-jobs 3 --file-bytes -1 >/dev/null; redctl tenant show bob");
	expect_out("queued-jobs     3\nrunning-jobs    the daemon's default\nfile-bytes      none\n");
	must_shell("redctl tenant limit bob --file-bytes 5 --running-jobs 1");
	expect_out("queued-jobs     3\nrunning-jobs    1\nfile-bytes      5\n");
	assert_int_equal(shell("redctl tenant limit bob"), 2);
	must_shell("redctl tenant list");
	expect_out("alice");
	must_shell("k=$(redctl key add bob) && redctl --key $k jobs >/dev/null && redctl key list bob");
	must_shell("redctl key list bob --json | tr -d '\\n' | grep -o 'key-[^\"]*' | sort -u | wc -l");
	assert_string_equal(out, "2\n");
	must_shell(
	        "k=$(redctl key add bob --json | tr -d '\\n' | grep -o '\"id\": \"key-[^\"]*' | cut -d'\"' "
	        "-f4); redctl key remove bob $k");
	must_shell("redctl tenant remove bob");
	assert_int_equal(shell("redctl tenant show bob"), 1);
	expect_err("there is no tenant \"bob\"");
}

static void test_webhooks_are_managed(void **state)
{
	char id[64];

	(void)state;
	must_shell("redctl webhook add ended https://example.com/x --event failed");
	assert_memory_equal(out, "whsec_", 6);
	must_shell("redctl webhooks | sed -n '2s/ .*//p'");
	take_line(id, sizeof(id));
	assert_int_equal(shell("redctl webhook show %s", id), 0);
	expect_out("events          failed\n");
	assert_int_equal(
	        shell("redctl webhook change %s --event succeeded --event cancelled --name n", id), 0);
	expect_out("events          succeeded cancelled\n");
	assert_int_equal(shell("redctl webhook change %s", id), 2);
	assert_int_equal(shell("redctl webhook rotate %s --keep-old", id), 0);
	assert_memory_equal(out, "whsec_", 6);
	assert_int_equal(
	        shell("redctl webhook test %s --event failed", id), 1); /* not told of these any more */
	expect_err("event_types");
	assert_int_equal(shell("redctl webhook test %s --event succeeded", id), 0);
	assert_memory_equal(out, "evt_", 4);
	assert_int_equal(shell("redctl webhook delete %s && redctl webhook show %s", id, id), 1);
	assert_int_equal(shell("redctl webhook add x ftp://example.com"), 1);
}

static void test_any_route_can_be_asked(void **state)
{
	(void)state;
	must_shell("redctl metrics | grep -c '^redd_build_info{'");
	assert_string_equal(out, "1\n");
	/* An answer of three tokens was given above, all series are of the form, and none comes twice. */
	must_shell("redctl complete -n 3 -t 0 'Tell me' >/dev/null; redctl metrics -o $D/metrics; "
	           "grep -c '^redd_first_token_seconds_bucket' $D/metrics; "
	           "grep '^redd_next_token_seconds_count' $D/metrics; "
	           "! grep -vE '^(# (HELP|TYPE) [a-z_]+ "
	           ".+|[a-z_]+(\\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\\})? "
	           "[-+0-9.e]+)$' $D/metrics && ! sed 's/ [^ ]*$//' $D/metrics | grep -v '^#' | sort | uniq "
	           "-d | grep .");
	assert_memory_equal(out, "18\nredd_next_token_seconds_count ", 33);
	assert_true(strtod(out + 33, NULL) >= 2);
	must_shell("redctl api GET models");
	expect_out("redd-base");
	must_shell("redctl whoami");
	expect_out("tenant          alice\n");
	must_shell("redctl whoami --admin");
	expect_out("admin           yes\n");
	expect_out("redd-base");
	must_shell("echo '{\"model\":\"redd-base\",\"prompt\":\"a\"}' | redctl api POST /v1/tokenize -");
	expect_out("\"count\"");
	must_shell("redctl api GET admin/tenants --admin");
	assert_int_equal(shell("redctl api GET admin/tenants"), 1);
	assert_int_equal(shell("redctl api get models"), 2);
	assert_int_equal(shell("redctl api POST tokenize '{'"), 2);
}

static void test_doctor_finds_a_healthy_daemon_and_what_ails_it(void **state)
{
	(void)state;
	must_shell("echo \"state = $D/state\" >$D/conf; redctl doctor --config $D/conf --json >$D/report; "
	           "grep -c '\"failed\"' $D/report || true; cat $D/report");
	expect_out("\"ok\": true");
	expect_out("this is redctl");
	must_shell("redctl doctor --config $D/conf");
	expect_out("ok       daemon           ready\n");
	expect_out("ok       key ");
	assert_int_equal(shell("chmod 644 $D/state/admin.key; redctl doctor --config $D/conf"), 1);
	expect_out("FAILED   admin key");
	expect_out("-> chmod 600 ");
	must_shell("chmod 600 $D/state/admin.key");
	assert_int_equal(shell("echo 'stat = x' >$D/bad; redctl doctor --config $D/bad"), 1);
	expect_out("FAILED   configuration");
	expect_out("unknown key \"stat\"");
	assert_int_equal(
	        shell("mkdir $D/empty; echo \"model = $D/empty\" >$D/bad; redctl doctor --config $D/bad"), 1);
	expect_out("FAILED   model");
	assert_int_equal(shell("redctl doctor --redd $D/nowhere"), 1);
	expect_out("FAILED   program");
	assert_int_equal(shell("redctl doctor --config $D/conf --key wrong"), 1);
	expect_out("FAILED   key ");
	/* Its port in use, and nobody at the address asked. */
	assert_int_equal(
	        shell("echo \"listen = ${REDD_URL#http://}\" >>$D/conf; redctl doctor --config $D/conf "
	              "--url http://127.0.0.1:1"),
	        1);
	expect_out("FAILED   port");
	expect_out("FAILED   daemon");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_exit_codes_tell_how_it_ended),
	        cmocka_unit_test(test_preflight_names_bad_lines_and_starts_nothing),
	        cmocka_unit_test(test_files_come_back_as_they_went),
	        cmocka_unit_test(test_a_job_from_submit_to_alias),
	        cmocka_unit_test(test_events_are_followed_through_a_restart),
	        cmocka_unit_test(test_jobs_pause_resume_and_end),
	        cmocka_unit_test(test_tokens_go_there_and_back),
	        cmocka_unit_test(test_admin_manages_tenants_and_keys),
	        cmocka_unit_test(test_webhooks_are_managed),
	        cmocka_unit_test(test_any_route_can_be_asked),
	        cmocka_unit_test(test_doctor_finds_a_healthy_daemon_and_what_ails_it),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
