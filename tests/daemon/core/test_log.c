/* core/log: lines carry the journal's priority where the journal listens, and the time elsewhere. */
#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char line[4096];

/* What log_warn("e", "k=v") writes when JOURNAL_STREAM names standard error's inode plus `off`. */
static const char *written(unsigned off)
{
	FILE *file = tmpfile();
	int kept = dup(STDERR_FILENO);
	char stream[64];
	struct stat st;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + off);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	log_warn("e", "k=v");
	assert_true(log_to_journal() == (off == 0));
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	close(kept);
	rewind(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	unsetenv("JOURNAL_STREAM");
	return line;
}

static void test_the_journal_is_told_the_priority(void **state)
{
	(void)state;
	assert_string_equal(written(0), "<4>event=e k=v\n");
}

static void test_anything_else_is_told_the_time(void **state)
{
	static const char level[] = "Z warn event=e k=v\n";

	(void)state;
	written(1);
	assert_int_not_equal(line[0], '<');
	assert_string_equal(line + strlen(line) - strlen(level), level);
	unsetenv("JOURNAL_STREAM");
	assert_false(log_to_journal());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_journal_is_told_the_priority),
	        cmocka_unit_test(test_anything_else_is_told_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
