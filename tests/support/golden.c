/* See golden.h. */
#include "tests/support/golden.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

const char *const golden_families[] = {"gpt2", "llama2", "llama3", "mistral", "qwen2"};
const size_t n_golden_families = sizeof(golden_families) / sizeof(golden_families[0]);

json_t *golden_open(const char *family)
{
	char path[256];
	json_error_t error;
	json_t *json;

	snprintf(path, sizeof(path), GOLDEN_DIR "%s/golden.json", family);
	json = json_load_file(path, 0, &error);
	if (!json)
		fail_msg("%s: %s", path, error.text);
	return json;
}

int32_t *golden_ids(const json_t *array, size_t *n)
{
	int32_t *ids = mem_calloc(json_array_size(array), sizeof(*ids));

	assert_non_null(ids);
	*n = json_array_size(array);
	for (size_t i = 0; i < *n; i++)
		ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
	return ids;
}
