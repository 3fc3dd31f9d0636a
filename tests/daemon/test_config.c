/* daemon/config: precedence, every setting, and how wrong ones are refused. */
#include "daemon/config.h"
#include "daemon/config_settings.h"

#include "core/buf.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_ARGS 16

static char conf_path[64];

static void write_conf(const char *text)
{
	FILE *f = fopen(conf_path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* config_load() of a command line given as words, with conf_path as the default file. */
static enum err load(const char *const *words, struct config *c, enum config_action *action, struct why *why)
{
	char *argv[MAX_ARGS] = {(char *)"redd"};
	int argc = 1;

	for (; *words; words++)
		argv[argc++] = (char *)*words;
	return config_load(argc, argv, conf_path, c, action, why);
}

static int set_up(void **state)
{
	int fd;

	(void)state;
	snprintf(conf_path, sizeof(conf_path), "/tmp/redd-conf-XXXXXX");
	fd = mkstemp(conf_path);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(conf_path);
}

static void expect_file_refused(const char *text, const char *message)
{
	const char *none[] = {NULL};
	enum config_action action = CONFIG_VERSION;
	struct config c = {.port = 7};
	struct why why = {0};
	char expected[256];

	write_conf(text);
	snprintf(expected, sizeof(expected), "%s%s", conf_path, message);
	assert_int_equal(load(none, &c, &action, &why), ERR_FORMAT);
	if (!strstr(why.message, expected))
		fail_msg("\"%s\" does not hold \"%s\"", why.message, expected);
	assert_int_equal(c.port, 7);
	assert_int_equal(action, CONFIG_VERSION);
}

static void expect_argument_refused(const char *a, const char *b, const char *message)
{
	const char *words[] = {a, b, NULL};
	enum config_action action;
	struct config c;
	struct why why = {0};

	assert_int_equal(load(words, &c, &action, &why), ERR_INVALID);
	if (!strstr(why.message, message))
		fail_msg("\"%s\" does not hold \"%s\"", why.message, message);
}

static void test_absent_file_gives_the_built_in_values(void **state)
{
	char *argv[] = {(char *)"redd", NULL};
	enum config_action action;
	struct config c;

	(void)state;
	assert_int_equal(config_load(1, argv, "/nonexistent/redd.conf", &c, &action, NULL), OK);
	assert_int_equal(action, CONFIG_RUN);
	assert_string_equal(c.host, "127.0.0.1");
	assert_int_equal(c.port, 8080);
	assert_int_equal(c.max_body_bytes, 16 << 20);
	assert_int_equal(c.limits.running_jobs, -1);
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	assert_null(c.config_file);
	assert_null(c.model_dir);
	assert_false(c.no_auth);
	config_fini(&c);
}

static void test_command_line_wins_over_file_wins_over_defaults(void **state)
{
	const char *words[] = {"--port", "0", "--model=/a", NULL};
	enum config_action action;
	struct config c;

	(void)state;
	write_conf("# comment\n; another\nmodel = /b\nlisten = [::1]:9000\nmax-batch = 8 ; of it\n\nno-auth "
	           "= yes\n");
	assert_int_equal(load(words, &c, &action, NULL), OK);
	assert_string_equal(c.model_dir, "/a");
	assert_string_equal(c.host, "::1");
	assert_int_equal(c.port, 0);
	assert_int_equal(c.max_batch, 8);
	assert_int_equal(c.drain_seconds, 20);
	assert_true(c.no_auth);
	assert_string_equal(c.config_file, conf_path);
	config_fini(&c);
}

static void test_named_file_replaces_the_default_one_and_must_exist(void **state)
{
	const char *words[] = {"--config", "/dev/null", NULL}, *missing[] = {"--config=/nonexistent/x", NULL};
	enum config_action action;
	struct config c;
	struct why why = {0};

	(void)state;
	write_conf("port = 9\n");
	assert_int_equal(load(words, &c, &action, NULL), OK);
	assert_int_equal(c.port, 8080);
	config_fini(&c);
	assert_int_equal(load(missing, &c, &action, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "/nonexistent/x"));
}

static void test_every_setting_is_taken_from_both_file_and_command_line(void **state)
{
	static const char *const values[] = {[SETTING_TEXT] = "word",
	        [SETTING_COUNT] = "7",
	        [SETTING_BYTES] = "64M",
	        [SETTING_LIMIT] = "none",
	        [SETTING_SIZE_LIMIT] = "2G",
	        [SETTING_BOOL] = "yes",
	        [SETTING_LISTEN] = "localhost:81",
	        [SETTING_LEVEL] = "error",
	        [SETTING_FORMAT] = "json",
	        [SETTING_WEIGHTS] = "int8"};
	const struct setting *all;
	size_t n;

	(void)state;
	all = config_settings(&n);
	assert_true(n > 20);
	for (size_t i = 0; i < n; i++) {
		const char *none[] = {NULL}, *words[] = {NULL, NULL};
		struct config from_file, from_args, untouched = {0};
		enum config_action action;
		char text[128];

		snprintf(text, sizeof(text), "%s = %s\n", all[i].name, values[all[i].kind]);
		write_conf(text);
		assert_int_equal(load(none, &from_file, &action, NULL), OK);
		write_conf("");
		if (all[i].kind == SETTING_BOOL)
			snprintf(text, sizeof(text), "--%s", all[i].name);
		else
			snprintf(text, sizeof(text), "--%s=%s", all[i].name, values[all[i].kind]);
		words[0] = text;
		assert_int_equal(load(words, &from_args, &action, NULL), OK);
		assert_int_equal(config_defaults(&untouched), OK);
		if (all[i].kind == SETTING_LISTEN) {
			assert_string_equal(from_file.host, "localhost");
			assert_string_equal(from_args.host, "localhost");
			assert_int_equal(from_file.port, 81);
			assert_int_equal(from_args.port, 81);
		} else if (all[i].kind == SETTING_TEXT) {
			assert_string_equal(*(char **)((char *)&from_file + all[i].offset), "word");
			assert_string_equal(*(char **)((char *)&from_args + all[i].offset), "word");
		} else {
			size_t size = all[i].kind == SETTING_BOOL ? sizeof(bool) : sizeof(int64_t);

			assert_memory_equal(
			        (char *)&from_file + all[i].offset, (char *)&from_args + all[i].offset, size);
			if (strcmp(values[all[i].kind], "none") != 0)
				assert_memory_not_equal((char *)&from_file + all[i].offset,
				        (char *)&untouched + all[i].offset, size);
		}
		config_fini(&from_file);
		config_fini(&from_args);
		config_fini(&untouched);
	}
}

static void test_wrong_lines_are_refused_with_file_and_line(void **state)
{
	(void)state;
	expect_file_refused("\n\nmodle = /b\n", ":3: unknown key \"modle\"");
	expect_file_refused("port = 80\nport = 81\n", ":2: \"port\" is given twice");
	expect_file_refused("model = /b\n  port = 81\n", ":2: \"model\" is given twice (an indented line");
	expect_file_refused("[server]\nport = 80\n", ":2: there are no sections");
	expect_file_refused("port = 80\nnonsense\n", ":2: not \"key = value\"");
	expect_file_refused("port = 65536\n", ":1: port: \"65536\" is not a whole number from 0 to 65535");
	expect_file_refused("port = -1\n", ":1: port: ");
	expect_file_refused("model =\n", ":1: model: the value is empty");
	expect_file_refused("no-auth = maybe\n", ":1: no-auth: \"maybe\" is neither yes nor no");
	expect_file_refused("max-file = 12Q\n", ":1: max-file: \"12Q\" is not a size");
	expect_file_refused("limit-queued-jobs = 0\n", ":1: limit-queued-jobs: ");
	expect_file_refused("log-level = loud\n", ":1: log-level: ");
	expect_file_refused("weights = int4\n", ":1: weights: \"int4\" is none of float32, bf16, int8");
	expect_file_refused("listen = 8080\n", ":1: listen: \"8080\" is not HOST:PORT");
}

static void test_first_fault_is_the_one_reported(void **state)
{
	(void)state;
	expect_file_refused("port = x\nmodle = y\n", ":1: port");
}

static void test_line_too_long_for_the_parser_is_refused(void **state)
{
	char text[1024] = "model = /";

	(void)state;
	memset(text + strlen(text), 'a', 600);
	strcat(text, "\n");
	expect_file_refused(text, ": it cannot be read, or a line is longer");
}

static void test_wrong_command_lines_are_refused(void **state)
{
	(void)state;
	write_conf("");
	expect_argument_refused("--nonsense", NULL, "--nonsense: no such option");
	expect_argument_refused("--model", NULL, "--model needs a value");
	expect_argument_refused("--port", "http", "--port: \"http\" is not a whole number");
	expect_argument_refused("serve", NULL, "\"serve\" is one argument too many");
	expect_argument_refused("--kv-memory", "1.5G", "--kv-memory: ");
	expect_argument_refused("--no-auth=yes", NULL, "no such option");
}

static void test_help_and_version_do_not_need_a_sound_file(void **state)
{
	const char *help[] = {"--help", NULL}, *version[] = {"--version", NULL};
	enum config_action action;
	struct config c;

	(void)state;
	write_conf("rubbish\n");
	assert_int_equal(load(help, &c, &action, NULL), OK);
	assert_int_equal(action, CONFIG_HELP);
	config_fini(&c);
	assert_int_equal(load(version, &c, &action, NULL), OK);
	assert_int_equal(action, CONFIG_VERSION);
	config_fini(&c);
}

static void test_other_things_to_do_are_told_apart(void **state)
{
	static const struct {
		const char *words[4];
		enum config_action action;
	} cases[] = {
	        {{"--check", NULL}, CONFIG_CHECK},
	        {{"--backup", "x", NULL}, CONFIG_BACKUP},
	        {{"--restore=x", NULL}, CONFIG_RESTORE},
	        {{"--backup", "x", "--help", NULL}, CONFIG_HELP},
	        {{"--version", "--check", NULL}, CONFIG_VERSION},
	};
	enum config_action action;
	struct config c;

	(void)state;
	write_conf("port = 9\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(load(cases[i].words, &c, &action, NULL), OK);
		assert_int_equal(action, cases[i].action);
		assert_int_equal(c.port, action < CONFIG_HELP ? 9 : 8080);
		if (action == CONFIG_BACKUP || action == CONFIG_RESTORE)
			assert_string_equal(c.action_file, "x");
		config_fini(&c);
	}
}

static void test_sizes_are_read_in_powers_of_1024(void **state)
{
	int64_t v = -1;

	(void)state;
	assert_true(config_parse_bytes("0", &v) && v == 0);
	assert_true(config_parse_bytes("1k", &v) && v == 1024);
	assert_true(config_parse_bytes("3M", &v) && v == 3 << 20);
	assert_true(config_parse_bytes("2GiB", &v) && v == (int64_t)2 << 30);
	assert_true(config_parse_bytes("1TB", &v) && v == (int64_t)1 << 40);
	v = 5;
	assert_false(config_parse_bytes("", &v));
	assert_false(config_parse_bytes("M", &v));
	assert_false(config_parse_bytes("-1", &v));
	assert_false(config_parse_bytes("1 M", &v));
	assert_false(config_parse_bytes("1MM", &v));
	assert_false(config_parse_bytes("9223372036854775808", &v));
	assert_false(config_parse_bytes("9223372036854775807K", &v));
	assert_int_equal(v, 5);
}

static void test_addresses_are_split(void **state)
{
	static const char *const wrong[] = {"", ":", ":80", "host", "host:", "host:65536", "host:-1",
	        "::1:80", "[]:80", "host:80 ", "host:8x"};
	char *host = NULL;
	int64_t port = 0;

	(void)state;
	assert_int_equal(config_parse_listen("0.0.0.0:0", &host, &port, NULL), OK);
	assert_string_equal(host, "0.0.0.0");
	assert_int_equal(port, 0);
	mem_free(host);
	assert_int_equal(config_parse_listen("[fe80::1]:443", &host, &port, NULL), OK);
	assert_string_equal(host, "fe80::1");
	assert_int_equal(port, 443);
	mem_free(host);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(config_parse_listen(wrong[i], &host, &port, NULL), ERR_INVALID);
}

/* The sample lists every setting, commented out, and what it shows there is accepted. */
static void test_sample_file_lists_every_setting_with_an_acceptable_value(void **state)
{
	const struct setting *all;
	struct config live = {0};
	struct buf sample = {0};
	size_t n;

	(void)state;
	assert_int_equal(buf_read_file(&sample, "systemd/redd.conf", 1 << 20), OK);
	assert_int_equal(config_defaults(&live), OK);
	all = config_settings(&n);
	for (size_t i = 0; i < n; i++) {
		char wanted[64], value[128];
		const char *at;

		if (!all[i].help)
			continue;
		snprintf(wanted, sizeof(wanted), "\n#%s = ", all[i].name);
		at = strstr(sample.data, wanted);
		if (!at)
			fail_msg("systemd/redd.conf does not show \"%s\"", all[i].name);
		assert_int_equal(sscanf(at + strlen(wanted), "%127[^\n]", value), 1);
		assert_int_equal(config_setting_apply(&all[i], value, &live, NULL), OK);
	}
	config_fini(&live);
	buf_fini(&sample);
}

static void test_help_names_every_setting(void **state)
{
	const struct setting *all;
	char *text = NULL;
	size_t n, size = 0;
	FILE *to = open_memstream(&text, &size);

	(void)state;
	assert_non_null(to);
	config_help(to);
	assert_int_equal(fclose(to), 0);
	all = config_settings(&n);
	for (size_t i = 0; i < n; i++) {
		char wanted[64];

		snprintf(wanted, sizeof(wanted), "--%s", all[i].name);
		assert_non_null(strstr(text, wanted));
	}
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") <= 88);
	free(text);
}

static void test_short_memory_is_an_error_and_leaks_nothing(void **state)
{
	const char *words[] = {"--model", "/a", "--listen", "h:1", NULL};
	enum config_action action;
	struct config c;
	enum err e = ERR_MEM;

	(void)state;
	write_conf("model = /b\nstate = /c\n");
	for (long n = 1; e == ERR_MEM; n++) {
		assert_true(n < 100);
		mem_fail_at(n);
		e = load(words, &c, &action, NULL);
	}
	assert_int_equal(e, OK);
	assert_false(mem_failed());
	mem_fail_at(0);
	assert_string_equal(c.model_dir, "/a");
	config_fini(&c);
}

static void test_reload_takes_what_may_change_and_names_the_rest(void **state)
{
	char *words[] = {(char *)"redd", (char *)"--max-body", (char *)"2M", NULL};
	struct config c = {0}, fresh = {0};
	struct config_changes changes;
	enum config_action action;

	(void)state;
	write_conf("log-level = info\nport = 1\nmodel = a\n");
	assert_int_equal(config_load(3, words, conf_path, &c, &action, NULL), OK);
	write_conf("log-level = debug\nlog-format = json\nport = 2\nmodel = b\nno-auth = yes\nmax-body = 3M\n"
	           "limit-queued-jobs = none\n");
	assert_int_equal(config_load(c.argc, c.argv, c.default_file, &fresh, &action, NULL), OK);
	config_merge(&c, &fresh, &changes);
	assert_string_equal(changes.applied, "limit-queued-jobs log-level log-format");
	assert_string_equal(changes.pending, "model port no-auth");
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c.log_format, LOG_FORMAT_JSON);
	assert_int_equal(c.limits.queued_jobs, -1);
	assert_int_equal(c.max_body_bytes, 2 << 20); /* the command line still wins */
	assert_int_equal(c.port, 1);
	assert_string_equal(c.model_dir, "a");
	config_merge(&c, &fresh, &changes);
	assert_string_equal(changes.applied, "");
	config_fini(&c);
	config_fini(&fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_absent_file_gives_the_built_in_values),
	        cmocka_unit_test(test_command_line_wins_over_file_wins_over_defaults),
	        cmocka_unit_test(test_named_file_replaces_the_default_one_and_must_exist),
	        cmocka_unit_test(test_every_setting_is_taken_from_both_file_and_command_line),
	        cmocka_unit_test(test_wrong_lines_are_refused_with_file_and_line),
	        cmocka_unit_test(test_first_fault_is_the_one_reported),
	        cmocka_unit_test(test_line_too_long_for_the_parser_is_refused),
	        cmocka_unit_test(test_wrong_command_lines_are_refused),
	        cmocka_unit_test(test_help_and_version_do_not_need_a_sound_file),
	        cmocka_unit_test(test_other_things_to_do_are_told_apart),
	        cmocka_unit_test(test_sizes_are_read_in_powers_of_1024),
	        cmocka_unit_test(test_addresses_are_split),
	        cmocka_unit_test(test_sample_file_lists_every_setting_with_an_acceptable_value),
	        cmocka_unit_test(test_help_names_every_setting),
	        cmocka_unit_test(test_short_memory_is_an_error_and_leaks_nothing),
	        cmocka_unit_test(test_reload_takes_what_may_change_and_names_the_rest),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
