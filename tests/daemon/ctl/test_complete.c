/* ctl/complete, and the scripts that shells load; those of a shell that is not here are not tried. */
#include "daemon/ctl/complete.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_WORDS 16

static char *said;

/* What may stand behind these words; the line ends at the cursor. */
static const char *complete(const char *line)
{
	char text[256], *words[MAX_WORDS];
	size_t n = 0, size = 0;
	FILE *to;

	free(said);
	to = open_memstream(&said, &size);
	snprintf(text, sizeof(text), "%s", line);
	words[n++] = text;
	for (char *p = text; *p && n < MAX_WORDS; p++)
		if (*p == ' ') {
			*p = '\0';
			words[n++] = p + 1;
		}
	complete_print(to, words, n);
	fclose(to);
	return said;
}

static int set_up(void **state)
{
	(void)state;
	/* Nobody answers there: no ids, and no waiting. */
	return setenv("REDD_URL", "http://127.0.0.1:1", 1);
}

static int tear_down(void **state)
{
	(void)state;
	free(said);
	return 0;
}

static void test_commands_begin_a_line(void **state)
{
	(void)state;
	assert_string_equal(complete("sub"), "submit\tUpload training data and start a job\n");
	assert_string_equal(complete("ten"), "tenant\n");
	assert_string_equal(complete("--json --url x ten"), "tenant\n");
	assert_string_equal(complete("tenant sh"), "show\tShow one tenant\n");
	assert_non_null(strstr(complete(""), "\nfile\nmodels\t"));
	assert_string_equal(complete("nonsense x"), "");
}

static void test_options_are_those_of_the_command(void **state)
{
	(void)state;
	assert_string_equal(complete("events x --f"),
	        "--follow\tPrint all events from the first on, then new ones as they come, to the job's "
	        "end.\n");
	assert_non_null(strstr(complete("jobs -"), "--limit\t"));
	assert_non_null(strstr(complete("jobs -"), "--json\t"));
	assert_null(strstr(complete("jobs -"), "--follow"));
	assert_null(strstr(complete("-"), "--limit"));
}

static void test_values_follow_their_option_and_place(void **state)
{
	(void)state;
	assert_string_equal(complete("submit --scheduler co"), "cosine\nconstant\n");
	assert_string_equal(complete("submit --validation "), ":files\n");
	assert_string_equal(complete("submit "), ":files\n");
	assert_string_equal(complete("submit x "), "");
	assert_string_equal(complete("upload "), ":files\n");
	assert_string_equal(complete("submit --lr "), "");
	assert_string_equal(complete("file content -o "), ":files\n");
	assert_string_equal(complete("show "), ""); /* ids, had somebody answered */
}

/* Run a script; skipped when its shell is not installed. */
static void expect_script(const char *shell, const char *script, const char *expected)
{
	const char *out = getenv("OUT");
	char command[2048], found[1024];
	FILE *p;
	size_t n;

	snprintf(command, sizeof(command), "command -v %s >/dev/null", shell);
	if (system(command) != 0)
		skip();
	snprintf(command, sizeof(command), "PATH=$PWD/%s:$PATH %s 2>&1 <<'END'\n%s\nEND\n",
	        out ? out : "build/release", shell, script);
	p = popen(command, "r");
	n = fread(found, 1, sizeof(found) - 1, p);
	found[n] = '\0';
	pclose(p);
	assert_string_equal(found, expected);
}

/* What bash-completion brings, in short. */
#define BASH_WORDS                                                                                           \
	"_get_comp_words_by_ref() { cur=${W[-1]} prev=${W[-2]} cword=$((${#W[@]} - 1)); "                    \
	"words=(\"${W[@]}\"); }\n"                                                                           \
	"__ltrim_colon_completions() { :; }\ncompopt() { :; }\n"

static void test_bash_offers_what_redctl_says(void **state)
{
	(void)state;
	expect_script("bash",
	        BASH_WORDS ". daemon/ctl/completion/redctl.bash\n"
	                   "W=(redctl alias s); _redctl; echo \"${COMPREPLY[@]}\"\n"
	                   "W=(redctl upload LICEN); _redctl; echo \"${COMPREPLY[@]}\"\n"
	                   "W=(redctl submit --keep ''); _redctl; echo \"${COMPREPLY[@]}\"",
	        "set show\nLICENSE\nbest last\n");
}

static void test_bash_offers_the_daemons_options(void **state)
{
	(void)state;
	expect_script("bash",
	        BASH_WORDS ". daemon/ctl/completion/redd.bash\n"
	                   "W=(redd --max-b); _redd; echo \"${COMPREPLY[@]}\"\n"
	                   "W=(redd --log-level w); _redd; echo \"${COMPREPLY[@]}\"\n"
	                   "W=(redd --che); _redd; echo \"${COMPREPLY[@]}\"",
	        "--max-body --max-batch\nwarn\n--checkpoint-every --check\n");
}

static void test_zsh_offers_what_redctl_says(void **state)
{
	(void)state;
	expect_script("zsh -f",
	        "_describe() { print -l -- $candidates }\n_files() { print FILES }\n"
	        "words=(redctl alias s); CURRENT=3; . daemon/ctl/completion/redctl.zsh\n"
	        "words=(redctl upload ''); CURRENT=3; . daemon/ctl/completion/redctl.zsh\n"
	        "compadd() { print -- ${(M)@:#--max-b*} }\n"
	        "words=(redd --max-b); CURRENT=2; . daemon/ctl/completion/redd.zsh",
	        "set:Point a stable name at an adapter, new or not\n"
	        "show:Print the model an alias points at\nFILES\n--max-body --max-batch\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_commands_begin_a_line),
	        cmocka_unit_test(test_options_are_those_of_the_command),
	        cmocka_unit_test(test_values_follow_their_option_and_place),
	        cmocka_unit_test(test_bash_offers_what_redctl_says),
	        cmocka_unit_test(test_bash_offers_the_daemons_options),
	        cmocka_unit_test(test_zsh_offers_what_redctl_says),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
