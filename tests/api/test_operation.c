/* /metrics holds to Prometheus' format and to short lists of labels; /readyz says no when nothing could be
 * kept. */
#include "tests/api/fixture.h"

#include <ctype.h>
#include <signal.h>
#include <sys/resource.h>

#define MAX_SERIES 512

static char *metrics(struct edge *e)
{
	struct answer a = http_call(&e->d, NULL, "GET", "/metrics", NULL);
	char *text = mem_strdup(a.text);

	assert_int_equal(a.status, 200);
	assert_string_equal(a.content_type, "text/plain; version=0.0.4; charset=utf-8");
	answer_fini(&a);
	return text;
}

/* The value of a series; fails when it is not there. */
static double value_of(const char *text, const char *series)
{
	size_t n = strlen(series);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, series, n) == 0 && p[n] == ' ')
			return strtod(p + n + 1, NULL);
	}
	fail_msg("there is no %s", series);
	return 0;
}

static bool is_label(const char *name, size_t n)
{
	static const char *const known[] = {"class", "status", "le", "version", "gemm", "cpu"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i]) == n && memcmp(known[i], name, n) == 0)
			return true;
	return false;
}

/* One sample: name{label="value",..} number. Its length without the number. */
static size_t check_sample(const char *line)
{
	const char *p = line;
	char *end;

	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	assert_true(p > line);
	if (*p == '{')
		do {
			size_t n = strcspn(++p, "=");

			if (!is_label(p, n))
				fail_msg("unknown label in %s", line);
			p += n + 1;
			assert_true(*p == '"');
			p = strchr(p + 1, '"') + 1;
		} while (*p == ',');
	p += *p == '}';
	assert_true(*p == ' ');
	(void)strtod(p + 1, &end);
	assert_true(*end == '\0');
	return (size_t)(p - line);
}

static void test_metrics_are_well_formed_and_their_labels_few(void **state)
{
	char *text = metrics(*state), *rest, *series[MAX_SERIES], declared[128] = "";
	size_t n_series = 0;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		size_t n;

		if (strncmp(line, "# HELP ", 7) == 0)
			continue;
		if (strncmp(line, "# TYPE ", 7) == 0) {
			snprintf(declared, sizeof(declared), "%.*s", (int)strcspn(line + 7, " "), line + 7);
			continue;
		}
		n = check_sample(line);
		if (strncmp(line, declared, strlen(declared)) != 0)
			fail_msg("%s has no type", line);
		for (size_t i = 0; i < n_series; i++)
			if (strncmp(series[i], line, n + 1) == 0)
				fail_msg("%s comes twice", line);
		assert_true(n_series < MAX_SERIES);
		series[n_series++] = line;
	}
	assert_true(n_series > 30);
	mem_free(text);
}

static void test_metrics_count_jobs_and_commits(void **state)
{
	struct edge *e = *state;
	char *before = metrics(e), *after;
	json_t *tenant = json_pack("{s:s}", "name", "bob");
	double n;

	json_decref(must_call(&e->d, ADMIN_KEY, "POST", "/v1/admin/tenants", tenant));
	json_decref(tenant);
	after = metrics(e);
	n = value_of(after, "redd_store_commit_seconds_count");
	assert_true(n > value_of(before, "redd_store_commit_seconds_count"));
	assert_true(value_of(after, "redd_store_commit_seconds_bucket{le=\"+Inf\"}") == n);
	assert_true(value_of(after, "redd_store_commit_seconds_bucket{le=\"0.001\"}") <= n);
	assert_true(value_of(after, "redd_store_commit_seconds_sum") > 0);
	assert_true(value_of(after, "redd_store_writes_total") >= n);
	assert_true(value_of(after, "redd_store_failures_total") == 0);
	assert_true(value_of(after, "redd_jobs{status=\"queued\"}") == 0);
	assert_true(value_of(after, "redd_http_responses_total{class=\"2xx\"}") >= 2);
	assert_true(value_of(after, "process_resident_memory_bytes") > 1e6);
	assert_true(value_of(after, "process_open_fds") >= 3);
	mem_free(before);
	mem_free(after);
}

static long readyz(struct edge *e, const char *words)
{
	struct answer a = http_call(&e->d, NULL, "GET", "/readyz", NULL);
	long status = a.status;

	if (!strstr(a.text, words))
		fail_msg("\"%s\" is not in %s", words, a.text);
	answer_fini(&a);
	return status;
}

static void test_a_full_disk_is_not_ready_until_there_is_room(void **state)
{
	struct edge *e = *state;
	json_t *tenant = json_pack("{s:s}", "name", "carl");
	struct rlimit before, full;
	struct answer a;

	assert_int_equal(readyz(e, "\"ready\""), 200);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	full = before;
	full.rlim_cur = 1; /* no file may grow beyond it */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
	a = http_call(&e->d, ADMIN_KEY, "POST", "/v1/admin/tenants", tenant);
	assert_int_equal(a.status, 500);
	answer_fini(&a);
	assert_int_equal(readyz(e, "cannot write"), 503);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(readyz(e, "\"ready\""), 200);
	json_decref(must_call(&e->d, ADMIN_KEY, "POST", "/v1/admin/tenants", tenant));
	json_decref(tenant);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, edge_setup, edge_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_metrics_are_well_formed_and_their_labels_few),
	        TEST(test_metrics_count_jobs_and_commits),
	        TEST(test_a_full_disk_is_not_ready_until_there_is_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
