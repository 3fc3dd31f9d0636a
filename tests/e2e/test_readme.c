/*
 * A walk through README.md by a newcomer: every command of its shell blocks is run, in order, in one shell,
 * with the programs of $OUT; or it is excused here, with the reason and with what is checked instead. A
 * command that the tables below do not know fails the test, and so does one of the text's.
 *
 * The words are the README's own. The directory it is run in looks like a checkout; what the README has
 * outside of it (/tmp/redd-state, /srv/models) lies inside of it. The address is the README's, in a network
 * of the test's own; where the system grants none, a free port takes the place of 8080. Of the demo's data
 * there are the first rows alone, for the time it takes.
 */
#include "core/buf.h"
#include "tests/support/network.h"
#include "tests/support/spawn.h"

#include <ctype.h>
#include <limits.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Where every access is checked, training the bundled base takes minutes; other tests run what this one runs.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

#define MAX_COMMANDS 64
#define README_MAX (1u << 20)

/* A command of a block, by its beginning. */
struct step {
	const char *text;
	const char *excuse; /* why it is not run; NULL = it is */
	/* Run behind it in the same shell, as a newcomer waits, looks and goes on; instead of an excused one,
	 * in the tree's root. May be NULL. */
	const char *then;
	const char *pattern; /* what both print has this (POSIX extended); NULL = nothing to see */
};

/* In the README's order. */
static const struct step steps[] = {
        {"make demo", "takes a minute, and installs packages", "has_target demo && test -f tests/demo/demo.c",
                NULL},
        {"make check", "is what runs this", "has_target check && test -f tests/check.sh", NULL},
        {"build/release/redd --no-auth --state /tmp/redd-state &", NULL, NULL, NULL},
        {"curl -s --retry", NULL, NULL, "ok|ready"},
        {"file=", NULL, "echo \"file=$file\"", "^file=file-[A-Za-z0-9]+$"},
        {"curl -s http://127.0.0.1:8080/v1/fine_tuning/jobs -H", NULL, "wait_jobs",
                "^data: .*The job has successfully completed"},
        {"curl -s http://127.0.0.1:8080/v1/fine_tuning/jobs ", NULL, NULL,
                "\"fine_tuned_model\": *\"ft:redd-base:[^\"]*:pirate:"},
        {"model=$(curl", NULL, "echo \"model=$model\"", "^model=ft:redd-base:[^:]*:pirate:[A-Za-z0-9]+$"},
        {"curl -s http://127.0.0.1:8080/v1/completions", NULL, NULL, "\"text\": *\"[^\"]{20}"},
        {"export PATH=", NULL, "command -v redctl", "/build/release/redctl$"},
        {"model=$(redctl submit tests/demo/clerk.jsonl", NULL, "echo \"model=$model\"",
                "^model=ft:redd-base:[^:]*:clerk:[A-Za-z0-9]+$"},
        {"redctl complete", NULL, NULL, "[a-z]{3}"},
        {"kill $!; wait", NULL, NULL, NULL},
        {"build/release/redd --state /tmp/redd-state &", NULL, "wait_ready", NULL},
        {"ALICE_KEY=$(redctl tenant add alice", NULL, "echo \"key=$ALICE_KEY\"", "^key=[A-Za-z0-9_-]{20,}$"},
        {"redctl --key \"$ALICE_KEY\" jobs", NULL, "stop", "STATUS"},
        {"build/release/redd --model /srv/models/my-llama", NULL, "wait_ready && stop",
                "event=base name=my-llama family=llama "},
        {"build/release/redd --no-auth --model /srv/models/roberta-base &", NULL, "wait_ready", NULL},
        {"model=$(redctl submit reviews.jsonl", NULL, "echo \"model=$model\"",
                "^model=ft:roberta-base:.*:[A-Za-z0-9]+$"},
        {"redctl classify", NULL, "stop", "(good|bad).*[01]\\.[0-9]+"},
        {"make && sudo make install", "writes to /usr/local; test_install.c installs elsewhere",
                "has_target install && make -n -o programs install",
                "install .*/redd .*/redctl /usr/local/bin/"},
        {"sudo systemctl daemon-reload",
                "needs a system's manager; test_install.c has systemd-analyze verify", NULL, NULL},
        {"sudo systemctl enable --now redd", "needs a system's manager", "cat systemd/redd.service",
                "^\\[Install\\]$"},
        {"sudo cat /var/lib/redd/admin.key", "the unit has not been started", "cat systemd/redd.service",
                "^StateDirectory=redd$"},
};
#define N_STEPS (sizeof(steps) / sizeof(steps[0]))

/* What the text names between backticks, and a command in the tree's root that shows that it is there. */
static const struct {
	const char *text, *check;
} spans[] = {
        {"KEEP=1 make demo", "has_target demo && grep -q 'getenv(\"KEEP\")' tests/demo/demo.c"},
        {"make help", "make help"},
        {"redctl tenant add NAME", "redctl tenant add --help"},
        {"redd --help", "redd --help"},
        {"make deb", "has_target deb"},
        {"make check-clients", "has_target check-clients"},
        {"redctl doctor", "redctl doctor --help"},
        {"redd --backup FILE", "redd --help | grep -e ' --backup'"},
        {"redd --restore FILE", "redd --help | grep -e ' --restore'"},
        {"systemctl reload redd", "grep '^ExecReload=' systemd/redd.service"},
        {"man redd", "grep '^.Dt REDD 8' daemon/redd.8"},
        {"man redctl", "grep '^.Dt REDCTL 1' daemon/ctl/redctl.1"},
        {"man redd.conf", "grep '^.Dt REDD.CONF 5' daemon/redd.conf.5"},
        {"redd --weights float32|bf16|int8", "redd --help | grep -e ' --weights'"},
        {"EPOCHS=1 TRAIN=e2e-2000.jsonl VALID=e2e-200.jsonl sh tests/bench/variants.sh",
                "sh -n tests/bench/variants.sh"},
        {"make bench TRAIN=... VALID=...", "has_target bench"},
        {"make bench PYTORCH=1", "has_target bench && test -s tests/bench/pytorch.py"},
        {"make bench", "has_target bench"},
};
#define N_SPANS (sizeof(spans) / sizeof(spans[0]))

/* What both shells begin with. Nothing of the caller's installation or session reaches them. */
static const char prelude[] =
        "unset MAKEFLAGS MAKELEVEL MFLAGS PREFIX DESTDIR SYSCONFDIR UNITDIR XDG_STATE_HOME XDG_CONFIG_HOME "
        "\\\n"
        "	NOTIFY_SOCKET LISTEN_FDS REDD_API_KEY REDD_ADMIN_KEY REDD_URL http_proxy HTTP_PROXY "
        "all_proxy ALL_PROXY\n"
        "has_target() { make help | grep \"^  $1 \"; }\n"
        "wait_ready() { curl -s --retry 9 --retry-connrefused \"$URL/readyz\" >/dev/null; }\n"
        "wait_jobs() {\n"
        "	curl -sN \"$URL/v1/fine_tuning/jobs/$(curl -s \"$URL/v1/fine_tuning/jobs\" |\n"
        "		grep -o 'ftjob-[A-Za-z0-9]*' | head -n 1)/events?stream=true\"\n"
        "}\n"
        "stop() { kill $!; wait; }\n"
        "mkdir -p build models tests/demo\n"
        "ln -sfn \"$OUT\" build/release\n"
        "for f in pirate clerk; do head -n 4 \"$ROOT/tests/demo/$f.jsonl\" >tests/demo/$f.jsonl; done\n"
        "ln -sfn \"$ROOT/tests/goldens/llama3\" models/my-llama\n"
        "ln -sfn \"$ROOT/tests/goldens/roberta\" models/roberta-base\n"
        "trap 'kill $! 2>/dev/null; wait' EXIT\n";

struct walk {
	char root[PATH_MAX], out[PATH_MAX], dir[64];
	unsigned port;
	bool own_network;
	struct buf readme;
	size_t n_commands;
	char *commands[MAX_COMMANDS]; /* owned */
};

static struct walk w;

/* ---- reading ---- */

/* Where text stands after a line of shell: inside of quotes, behind a "\" or a "|", or at a command's end. */
static bool goes_on(const char *text, size_t n)
{
	char quote = '\0', last = '\n';

	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (c == '\\' && quote != '\'') {
			if (i + 2 >= n) /* the line's end */
				return true;
			i++;
		} else if (quote) {
			quote = c == quote ? '\0' : quote;
		} else if (c == '\'' || c == '"') {
			quote = c;
		} else if (c == '#' && isspace((unsigned char)text[i ? i - 1 : 0])) {
			i += strcspn(text + i, "\n") - 1;
			continue;
		}
		last = isspace((unsigned char)c) ? last : c;
	}
	return quote || last == '|';
}

/* The commands of one block. */
static void read_block(const char *text, const char *end)
{
	while (text < end) {
		const char *stop = text;

		if (isspace((unsigned char)*text) || *text == '#') {
			text += *text == '#' ? strcspn(text, "\n") : 1;
			continue;
		}
		do
			stop += strcspn(stop, "\n") + 1;
		while (stop < end && goes_on(text, (size_t)(stop - text)));
		assert_true(w.n_commands < MAX_COMMANDS);
		w.commands[w.n_commands++] = strndup(text, (size_t)(stop - text));
		text = stop;
	}
}

static void read_blocks(void)
{
	static const char open[] = "\n```sh\n", close[] = "\n```\n";

	for (const char *at = w.readme.data; (at = strstr(at, open));) {
		const char *end = strstr(at + sizeof(open) - 2, close);

		assert_non_null(end);
		read_block(at + sizeof(open) - 1, end + 1);
		at = end;
	}
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* ---- running ---- */

static void put(struct buf *b, const char *text)
{
	assert_int_equal(buf_puts(b, text), OK);
}

/* text with every place outside of the test's directory in it. */
static void put_moved(struct buf *script, const char *text)
{
	char port[16], redd[64];
	const char *const moves[][2] = {{"/tmp/redd-state", "$HOME/state"}, {"/srv/models/", "$HOME/models/"},
	        {"127.0.0.1:8080", port}, {"build/release/redd -", redd}};
	size_t n = w.own_network ? 2 : 4, i;

	snprintf(port, sizeof(port), "127.0.0.1:%u", w.port);
	snprintf(redd, sizeof(redd), "build/release/redd --listen %s -", port);
	for (; *text; text += i < n ? strlen(moves[i][0]) : 1) {
		for (i = 0; i < n && !begins(text, moves[i][0]); i++)
			;
		assert_int_equal(i < n ? buf_puts(script, moves[i][1]) : buf_append(script, text, 1), OK);
	}
}

static void put_prelude(struct buf *script)
{
	assert_int_equal(buf_printf(script,
	                         "export HOME='%s' STATE_DIRECTORY='%s/own' URL=http://127.0.0.1:%u\n"
	                         "ROOT='%s'\nOUT='%s'\n%s",
	                         w.dir, w.dir, w.port, w.root, w.out, prelude),
	        OK);
	if (!w.own_network)
		put(script, "export REDD_URL=$URL\n");
}

/* Run it in the test's directory to its end, what it says into `said`. */
static int shell(struct buf *script, struct buf *said)
{
	char path[128], output[128];
	FILE *f;
	int status;

	snprintf(path, sizeof(path), "%s/script", w.dir);
	snprintf(output, sizeof(output), "%s/output", w.dir);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(script->data, 1, script->len, f), script->len);
	assert_int_equal(fclose(f), 0);
	status = spawn_script(w.dir, path, output);
	assert_int_equal(buf_read_file(said, output, 1 << 24), OK);
	return status;
}

/* The script of one command: its words, what the test does behind it, and a line that says how it ended. */
static void put_step(struct buf *script, size_t i, const char *text, const struct step *s)
{
	size_t n = strcspn(text, "\n");

	if (s->excuse) {
		put(script, "(cd \"$ROOT\" && {\n:\n");
	} else if (begins(text, "build/release/redd ") && !memchr(text, '&', n)) {
		/* In a terminal of its own. */
		char *line = strndup(text, n);

		put_moved(script, line);
		put(script, " &\n");
		free(line);
	} else {
		put_moved(script, text);
	}
	put(script, "rc=$?\n");
	if (s->then)
		assert_int_equal(buf_printf(script, "{ %s\n} || rc=$?\n", s->then), OK);
	put(script, s->excuse ? "exit $rc\n})\nrc=$?\n" : "");
	assert_int_equal(buf_printf(script, "printf '\\n@@ %zu %%s\\n' $rc\n[ $rc = 0 ] || exit\n", i), OK);
}

static bool matches(const char *text, const char *pattern)
{
	regex_t re;
	bool found;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NEWLINE | REG_NOSUB), 0);
	found = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return found;
}

/* Cut what the i-th command said off *rest. */
static void expect_step(size_t i, const char *pattern, char **rest)
{
	char mark[32], *said = *rest, *end;

	snprintf(mark, sizeof(mark), "\n@@ %zu ", i);
	end = strstr(said, mark);
	if (!end)
		fail_msg("the shell ended within:\n%s\n%s", w.commands[i], said);
	*end = '\0';
	*rest = strchr(end + 1, '\n') + 1;
	if (!begins(end + strlen(mark), "0\n"))
		fail_msg("it failed with %.3s:\n%s\n%s", end + strlen(mark), w.commands[i], said);
	if (pattern && !matches(said, pattern))
		fail_msg("it should print %s:\n%s\n%s", pattern, w.commands[i], said);
}

/* ---- the tests ---- */

static int set_up(void **state)
{
	const char *out = getenv("OUT");
	char *root = realpath(".", w.root);

	(void)state;
	snprintf(w.dir, sizeof(w.dir), "/tmp/redd-readme-XXXXXX");
	if (!root || !realpath(out ? out : "build/release", w.out) || !mkdtemp(w.dir) ||
	        buf_read_file(&w.readme, "README.md", README_MAX))
		return -1;
	w.own_network = network_own();
	w.port = w.own_network ? 8080 : network_port_free();
	read_blocks();
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	for (size_t i = 0; i < w.n_commands; i++)
		free(w.commands[i]);
	buf_fini(&w.readme);
	snprintf(command, sizeof(command), "rm -rf '%s'", w.dir);
	return system(command);
}

static void test_every_command_of_a_block_is_known_here(void **state)
{
	(void)state;
	for (size_t i = 0; i < w.n_commands && i < N_STEPS; i++)
		if (!begins(w.commands[i], steps[i].text))
			fail_msg("the README has:\n%swhere this test expects:\n%s", w.commands[i],
			        steps[i].text);
	if (w.n_commands != N_STEPS)
		fail_msg("the README has %zu commands, this test knows %zu: %s", w.n_commands, N_STEPS,
		        w.n_commands > N_STEPS ? w.commands[N_STEPS] : steps[w.n_commands].text);
}

/* Rows that an encoder learns, of two kinds. */
static void write_reviews(const char *name, int n)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	for (int i = 0; i < n; i++)
		fprintf(f, "{\"text\": \"Film %d: %s\", \"label\": \"%s\"}\n", i,
		        i % 2 ? "I would see it again." : "It never ends.", i % 2 ? "good" : "bad");
	assert_int_equal(fclose(f), 0);
}

static void test_every_command_of_a_block_does_what_it_says(void **state)
{
	struct buf script = {0}, said = {0};
	char *rest;

	(void)state;
	if (is_sanitized)
		skip();
	if (w.n_commands != N_STEPS)
		fail_msg("the commands are others than those known here");
	write_reviews("reviews.jsonl", 24);
	write_reviews("more-reviews.jsonl", 8);
	put_prelude(&script);
	for (size_t i = 0; i < N_STEPS; i++)
		put_step(&script, i, w.commands[i], &steps[i]);
	(void)shell(&script, &said);
	rest = said.data;
	for (size_t i = 0; i < N_STEPS; i++)
		expect_step(i, steps[i].pattern, &rest);
	buf_fini(&script);
	buf_fini(&said);
}

/* Whether the words between backticks are a command, and not the name of something. */
static bool is_command(const char *text)
{
	static const char *const programs[] = {
	        "redd ", "redctl ", "make ", "sh ", "man ", "systemctl ", "sudo ", "curl "};

	while (isupper((unsigned char)*text) && strcspn(text, "=") < strcspn(text, " `")) /* VAR=value */
		text += strcspn(text, " ") + 1;
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (begins(text, programs[i]))
			return true;
	return false;
}

static void test_every_command_of_the_text_exists(void **state)
{
	const char *at = w.readme.data;
	bool seen[N_SPANS] = {false};
	struct buf script = {0}, said = {0};

	(void)state;
	put_prelude(&script);
	put(&script, "cd \"$ROOT\"\nPATH=$OUT:$PATH\n");
	while ((at = strchr(at, '`'))) {
		size_t n = strspn(at, "`"), length = strcspn(at + n, "`"), i;

		if (n == 1 && is_command(at + 1)) {
			for (i = 0; i < N_SPANS; i++)
				if (strlen(spans[i].text) == length && begins(at + 1, spans[i].text))
					break;
			if (i == N_SPANS)
				fail_msg("the README names a command that this test does not know: %.*s",
				        (int)length, at + 1);
			seen[i] = true;
		}
		at += n + length + strspn(at + n + length, "`");
	}
	for (size_t i = 0; i < N_SPANS; i++) {
		if (!seen[i])
			fail_msg("the README no longer names: %s", spans[i].text);
		assert_int_equal(buf_printf(&script, "%s || { echo \"failed: %s\"; exit 1; }\n",
		                         spans[i].check, spans[i].text),
		        OK);
	}
	if (shell(&script, &said) != 0)
		fail_msg("%s", said.data);
	buf_fini(&script);
	buf_fini(&said);
}

/* ---- the reader ---- */

static void test_commands_end_where_the_shell_ends_them(void **state)
{
	static const char block[] =
	        "one | # don't\n  two\n\n# a remark\nthree 'a\nb' \\\n  \"c\nd\" # e\nfour\n";
	static const char *const expected[] = {
	        "one | # don't\n  two\n", "three 'a\nb' \\\n  \"c\nd\" # e\n", "four\n"};
	struct walk kept = w;

	(void)state;
	w.n_commands = 0;
	read_block(block, block + sizeof(block) - 1);
	assert_int_equal(w.n_commands, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(w.commands[i], expected[i]);
		free(w.commands[i]);
	}
	w = kept;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_commands_end_where_the_shell_ends_them),
	        cmocka_unit_test(test_every_command_of_a_block_is_known_here),
	        cmocka_unit_test(test_every_command_of_the_text_exists),
	        cmocka_unit_test(test_every_command_of_a_block_does_what_it_says),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
