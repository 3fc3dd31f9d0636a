/* The manuals against the tables of --help: no option or command is missing on either side; and man finds
 * nothing to warn about, where man is installed. */
#include "core/buf.h"
#include "daemon/config_settings.h"
#include "daemon/ctl/help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_NAMES 128
#define NAME_SIZE 48

/* Names, each once. */
struct names {
	size_t n;
	char names[MAX_NAMES][NAME_SIZE];
};

static bool has(const struct names *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (strcmp(set->names[i], name) == 0)
			return true;
	return false;
}

static void add(struct names *set, const char *name, size_t n)
{
	char copy[NAME_SIZE];

	assert_true(n < NAME_SIZE);
	memcpy(copy, name, n);
	copy[n] = '\0';
	if (has(set, copy))
		fail_msg("%s stands there twice", copy);
	assert_true(set->n < MAX_NAMES);
	memcpy(set->names[set->n++], copy, NAME_SIZE);
}

static void expect_equal(const struct names *page, const struct names *help, const char *where)
{
	for (size_t i = 0; i < help->n; i++)
		if (!has(page, help->names[i]))
			fail_msg("%s: \"%s\" is not in the manual", where, help->names[i]);
	for (size_t i = 0; i < page->n; i++)
		if (!has(help, page->names[i]))
			fail_msg("%s: \"%s\" is in the manual alone", where, page->names[i]);
}

static void read_page(const char *path, struct buf *b)
{
	assert_int_equal(buf_read_file(b, path, 1 << 20), OK);
}

/* The lines from the heading on, up to the next of its kind (or a larger one); NULL when it is not there. */
static const char *section(const struct buf *page, const char *heading, size_t *n)
{
	const char *start = strstr(page->data, heading), *end;

	if (!start)
		return NULL;
	start += strlen(heading);
	end = strstr(start, "\n.S");
	*n = end ? (size_t)(end - start) : strlen(start);
	return start;
}

/* The long options that ".It Fl ..." items of these lines define. */
static void options_of_text(const char *text, size_t n, struct names *out)
{
	const char *end = text + n;

	for (const char *p = text; (p = strstr(p, "\n.It Fl ")) && p < end;) {
		size_t line = strcspn(++p, "\n");
		const char *dash = memmem(p, line, "Fl -", 4);

		assert_non_null(dash);
		add(out, dash + 4, strcspn(dash + 4, " \n"));
	}
}

static void options_of_table(const struct args_option *table, struct names *out)
{
	for (; table && table->name; table++)
		add(out, table->name, strlen(table->name));
}

static void test_redctl_options_are_documented_with_their_command(void **state)
{
	struct buf page = {0};
	struct names help = {.n = 0}, text = {.n = 0};
	const char *lines;
	size_t n = 0;

	(void)state;
	read_page("daemon/ctl/redctl.1", &page);
	lines = section(&page, "\n.Sh OPTIONS", &n);
	assert_non_null(lines);
	options_of_text(lines, n, &text);
	options_of_table(global_options, &help);
	expect_equal(&text, &help, "redctl");
	for (const struct command *c = NULL; (c = help_each(c));) {
		char heading[64];
		const char *elsewhere;

		snprintf(heading, sizeof(heading), "\n.Ss %s\n", c->name);
		lines = section(&page, heading, &n);
		if (!lines)
			fail_msg("redctl.1 says nothing of %s", c->name);
		elsewhere = memmem(lines, n, "\n.\\\" options: ", 14);
		memset(&help, 0, sizeof(help));
		memset(&text, 0, sizeof(text));
		options_of_table(c->options, &help);
		if (elsewhere) { /* all of them are another command's, too */
			char word[32], *words[] = {word};
			size_t n_words;

			snprintf(word, sizeof(word), "%.*s", (int)strcspn(elsewhere + 14, "\n"),
			        elsewhere + 14);
			options_of_table(help_find(words, 1, &n_words)->options, &text);
			for (size_t i = 0; i < help.n; i++)
				assert_true(has(&text, help.names[i]));
			continue;
		}
		options_of_text(lines, n, &text);
		expect_equal(&text, &help, c->name);
	}
	buf_fini(&page);
}

static void test_redctl_commands_in_the_manual_exist(void **state)
{
	struct buf page = {0};
	size_t n_commands = 0;

	(void)state;
	read_page("daemon/ctl/redctl.1", &page);
	for (const char *p = page.data; (p = strstr(p, "\n.Ss ")); n_commands++) {
		char name[64], *words[2] = {name, NULL};
		size_t n_words = 0;

		p += 5;
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p, "\n"), p);
		words[1] = strchr(name, ' ');
		if (words[1])
			*words[1]++ = '\0';
		if (!help_find(words, words[1] ? 2 : 1, &n_words))
			fail_msg("redctl.1 has a command %s", name);
	}
	assert_true(n_commands > 30);
	buf_fini(&page);
}

/* What config_help() lists: its own words, not the table, for it has options beyond settings. */
static void options_of_help(struct names *out)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	config_help(to);
	fclose(to);
	for (const char *p = text; (p = strstr(p, "\n  -")); p++) {
		const char *dash = strstr(p, "--");

		add(out, dash + 2, strcspn(dash + 2, " \n"));
	}
	free(text);
}

static void test_redd_options_are_documented(void **state)
{
	struct buf page = {0};
	struct names help = {.n = 0}, text = {.n = 0};

	(void)state;
	read_page("daemon/redd.8", &page);
	options_of_text(page.data, page.len, &text);
	options_of_help(&help);
	expect_equal(&text, &help, "redd");
	buf_fini(&page);
}

static void test_keys_are_documented(void **state)
{
	struct buf page = {0};
	struct names help = {.n = 0}, text = {.n = 0};
	const struct setting *all;
	size_t n;

	(void)state;
	read_page("daemon/redd.conf.5", &page);
	for (const char *p = page.data; (p = strstr(p, "\n.It Cm ")); p++)
		add(&text, p + 8, strcspn(p + 8, " "));
	all = config_settings(&n);
	for (size_t i = 0; i < n; i++)
		if (all[i].help)
			add(&help, all[i].name, strlen(all[i].name));
	expect_equal(&text, &help, "redd.conf");
	buf_fini(&page);
}

static void test_man_has_nothing_to_warn_about(void **state)
{
	(void)state;
	/* A small system leaves manuals out and puts a note in the place of man. */
	if (system("man --version 2>/dev/null | grep -q '^man ' && command -v groff >/dev/null") != 0)
		skip();
	assert_int_equal(system("for f in daemon/ctl/redctl.1 daemon/redd.8 daemon/redd.conf.5; do "
	                        "LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings=w -E UTF-8 -l -Tutf8 -Z $f "
	                        "2>&1 >/dev/null; done | grep . && exit 1 || exit 0"),
	        0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_redctl_options_are_documented_with_their_command),
	        cmocka_unit_test(test_redctl_commands_in_the_manual_exist),
	        cmocka_unit_test(test_redd_options_are_documented),
	        cmocka_unit_test(test_keys_are_documented),
	        cmocka_unit_test(test_man_has_nothing_to_warn_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
