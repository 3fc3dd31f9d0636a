/* daemon/check: what `redd --check` says of a configuration, and that it leaves no trace. */
#include "daemon/check.h"

#include "core/mem.h"
#include "daemon/config_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STATE "/tmp/redd-check-nowhere"

/* check_print() of a configuration with this model (NULL = the bundled one); the text is the caller's. */
static enum err check(const char *model, char **text, struct why *why)
{
	struct config c = {0};
	size_t size = 0;
	FILE *to = open_memstream(text, &size);
	enum err e;

	assert_int_equal(config_defaults(&c), OK);
	assert_int_equal(config_setting_apply(config_setting_find("state"), STATE, &c, NULL), OK);
	if (model)
		assert_int_equal(config_setting_apply(config_setting_find("model"), model, &c, NULL), OK);
	e = check_print(&c, to, why);
	fclose(to);
	config_fini(&c);
	return e;
}

static void test_a_good_base_is_described_and_no_state_is_made(void **state)
{
	char *text = NULL;

	(void)state;
	assert_int_equal(check("worker/base", &text, NULL), OK);
	assert_non_null(strstr(text, "version: " REDD_VERSION "\n"));
	assert_non_null(strstr(text, "\nlisten: 127.0.0.1:8080\n"));
	assert_non_null(strstr(text, "\nstate: " STATE "\n"));
	assert_non_null(strstr(text, "\nadmin-key: " STATE "/admin.key\n"));
	assert_non_null(strstr(text, "\nbase: base\n"));
	assert_non_null(strstr(text, "\nparameters: "));
	assert_non_null(strstr(text, "\nkernels: "));
	assert_int_equal(access(STATE, F_OK), -1);
	free(text);
}

static void test_a_base_that_is_not_there_is_the_reason(void **state)
{
	struct why why = {0};
	char *text = NULL;

	(void)state;
	assert_int_not_equal(check("/tmp/redd-check-no-model", &text, &why), OK);
	assert_non_null(strstr(why.message, "/tmp/redd-check-no-model"));
	assert_non_null(strstr(text, "\nmodel: /tmp/redd-check-no-model\n"));
	assert_null(strstr(text, "\nbase: "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_good_base_is_described_and_no_state_is_made),
	        cmocka_unit_test(test_a_base_that_is_not_there_is_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
