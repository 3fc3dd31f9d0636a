/* Every fuzz target over its corpus: what once went wrong, and seeds of all kinds. See fuzz.h. */
#include "core/buf.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define CORPUS "tests/fuzz/corpus/"
#define MAX_BYTES ((size_t)1 << 20)

/* How many files of DIR were run. */
static size_t run_corpus(const char *dir, int (*target)(const uint8_t *data, size_t n))
{
	DIR *d = opendir(dir);
	size_t n_files = 0;
	struct dirent *entry;

	assert_non_null(d);
	while ((entry = readdir(d))) {
		char path[512];
		struct buf b = {0};

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		assert_int_equal(buf_read_file(&b, path, MAX_BYTES), OK);
		assert_int_equal(target((const uint8_t *)b.data, b.len), 0);
		buf_fini(&b);
		n_files++;
	}
	closedir(d);
	return n_files;
}

#define X(name)                                                                                              \
	static void test_##name##_survives_its_corpus(void **state)                                          \
	{                                                                                                    \
		(void)state;                                                                                 \
		assert_true(run_corpus(CORPUS #name, fuzz_##name) >= 3);                                     \
	}
FUZZ_TARGETS(X)
#undef X

int main(void)
{
	const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(test_##name##_survives_its_corpus),
	        FUZZ_TARGETS(X)
#undef X
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
