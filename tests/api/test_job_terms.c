/* What is kept of jobs' terms: never older than what was read, nobody else's, bounded, and gone with its
 * tenant. */
#include "api/job_terms.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A spec as the store keeps it, to mem_free(). */
static char *spec_of(int seed, const char *suffix)
{
	json_t *body = json_pack("{s:i, s:s}", "seed", seed, "suffix", suffix);
	struct job_spec spec;
	char *text = NULL;

	assert_int_equal(job_spec_from_request(body, &spec, NULL), OK);
	assert_int_equal(job_spec_encode(&spec, &text), OK);
	json_decref(body);
	return text;
}

static struct job job_of(const char *id, const char *tenant, char *spec, const char *metadata)
{
	struct job j = {.spec = spec, .metadata = (char *)metadata};

	snprintf(j.id, sizeof(j.id), "%s", id);
	snprintf(j.tenant_id, sizeof(j.tenant_id), "%s", tenant);
	return j;
}

/* The object of j's terms; NULL when memory was short. */
static json_t *ask_since(struct job_terms *c, uint64_t moment, const struct job *j, char *suffix)
{
	struct json_text t = {0};
	json_t *json = NULL;

	json_text_open(&t, NULL, '{');
	job_terms_write(c, moment, j, NULL, &t, suffix);
	json_text_close(&t, '}');
	if (!t.err) {
		json = json_loads(t.buf.data, 0, NULL);
		if (!json)
			fail_msg("not JSON: %s", t.buf.data);
	}
	buf_fini(&t.buf);
	return json;
}

static void expect(struct job_terms *c, const struct job *j, int seed, const char *suffix, const char *team)
{
	char found[JOB_SUFFIX_SIZE];
	json_t *json = ask_since(c, job_terms_moment(c), j, found);
	const json_t *metadata = json_object_get(json, "metadata");

	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "seed")), seed);
	assert_string_equal(json_string_value(json_object_get(json, "user_provided_suffix")), suffix);
	assert_string_equal(found, suffix);
	assert_string_equal(
	        json_string_value(json_object_get(json_object_get(json, "method"), "type")), "supervised");
	assert_true(json_is_object(json_object_get(json, "hyperparameters")));
	assert_true(json_is_object(json_object_get(json, "adapter")));
	if (team)
		assert_string_equal(json_string_value(json_object_get(metadata, "team")), team);
	else
		assert_true(json_is_null(metadata));
	json_decref(json);
}

static void test_what_the_store_holds_now_is_what_shows(void **state)
{
	struct job_terms *c = *state;
	char *one = spec_of(1, "one"), *two = spec_of(2, "two");
	struct job j = job_of("ftjob-a", "ann", one, "{\"team\":\"red\"}");

	expect(c, &j, 1, "one", "red");
	expect(c, &j, 1, "one", "red");
	assert_int_equal(job_terms_count(c), 1);
	j.metadata = (char *)"{\"team\":\"blue\"}";
	expect(c, &j, 1, "one", "blue");
	j.metadata = NULL;
	expect(c, &j, 1, "one", NULL);
	j.spec = two;
	expect(c, &j, 2, "two", NULL);
	j = job_of("ftjob-a", "bob", one, NULL);
	expect(c, &j, 1, "one", NULL);
	j = job_of("ftjob-b", "ann", two, NULL);
	expect(c, &j, 2, "two", NULL);
	assert_int_equal(job_terms_count(c), 2);
	mem_free(one);
	mem_free(two);
}

static void test_a_spec_known_already_shows_as_the_stored_one(void **state)
{
	struct job_terms *c = *state;
	char *text = spec_of(1, "one"), suffix[JOB_SUFFIX_SIZE];
	struct job j = job_of("ftjob-a", "ann", text, NULL);
	struct json_text known = {0}, stored = {0};
	struct job_spec spec;

	assert_int_equal(job_spec_decode(text, &spec), OK);
	job_terms_write(c, job_terms_moment(c), &j, &spec, &known, suffix);
	assert_string_equal(suffix, "one");
	job_terms_forget(c, "ann");
	job_terms_write(c, job_terms_moment(c), &j, NULL, &stored, suffix);
	assert_true(known.err == OK && stored.err == OK);
	assert_string_equal(known.buf.data, stored.buf.data);
	buf_fini(&known.buf);
	buf_fini(&stored.buf);
	mem_free(text);
}

static void test_a_spec_that_cannot_be_read_shows_as_none(void **state)
{
	struct job_terms *c = *state;
	struct job j = job_of("ftjob-a", "ann", (char *)"{", "{");
	char suffix[JOB_SUFFIX_SIZE] = "x";

	for (int i = 0; i < 2; i++) {
		json_t *json = ask_since(c, job_terms_moment(c), &j, suffix);

		assert_true(json_is_null(json_object_get(json, "method")));
		assert_true(json_is_null(json_object_get(json, "metadata")));
		assert_string_equal(suffix, "");
		assert_int_equal(job_terms_count(c), 0);
		json_decref(json);
	}
}

static void test_what_is_kept_is_bounded(void **state)
{
	struct job_terms *c = *state;
	char *spec[2] = {spec_of(0, "even"), spec_of(1, "odd")}, id[STORE_ID_SIZE];

	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < 3 * JOB_TERMS_MAX; i++) {
			struct job j;

			snprintf(id, sizeof(id), "ftjob-%d", i);
			j = job_of(id, "ann", spec[i % 2], NULL);
			expect(c, &j, i % 2, i % 2 ? "odd" : "even", NULL);
		}
	}
	assert_true(job_terms_count(c) <= JOB_TERMS_MAX);
	mem_free(spec[0]);
	mem_free(spec[1]);
}

static void test_long_terms_are_not_kept(void **state)
{
	struct job_terms *c = *state;
	char *spec = spec_of(1, "one"), *metadata = mem_calloc(JOB_TERMS_MAX_BYTES, 1);
	struct job j = job_of("ftjob-a", "ann", spec, metadata);
	char suffix[JOB_SUFFIX_SIZE];
	json_t *json;

	snprintf(metadata, JOB_TERMS_MAX_BYTES, "{\"k\":\"%0*d\"}", JOB_TERMS_MAX_BYTES / 2, 0);
	json = ask_since(c, job_terms_moment(c), &j, suffix);
	assert_int_equal(json_string_length(json_object_get(json_object_get(json, "metadata"), "k")),
	        JOB_TERMS_MAX_BYTES / 2);
	assert_int_equal(job_terms_count(c), 0);
	json_decref(json);
	mem_free(metadata);
	mem_free(spec);
}

static void test_nothing_is_left_of_a_deleted_tenant(void **state)
{
	struct job_terms *c = *state;
	char *spec = spec_of(1, "one"), suffix[JOB_SUFFIX_SIZE];
	struct job a = job_of("ftjob-a", "ann", spec, NULL), b = job_of("ftjob-b", "bob", spec, NULL);
	uint64_t before;

	expect(c, &a, 1, "one", NULL);
	expect(c, &b, 1, "one", NULL);
	before = job_terms_moment(c);
	job_terms_forget(c, "ann");
	assert_int_equal(job_terms_count(c), 1);
	/* An answer that was under way meanwhile is given, and not kept. */
	json_decref(ask_since(c, before, &a, suffix));
	assert_int_equal(job_terms_count(c), 1);
	json_decref(ask_since(c, job_terms_moment(c), &a, suffix));
	assert_int_equal(job_terms_count(c), 2);
	mem_free(spec);
}

static void test_without_memory_there_is_an_error_or_the_whole(void **state)
{
	struct job_terms *c = *state;
	char *spec = spec_of(1, "one"), suffix[JOB_SUFFIX_SIZE];
	struct job j = job_of("ftjob-a", "ann", spec, "{\"team\":\"red\"}");
	bool failed = true;

	for (long n = 1; failed; n++) {
		struct json_text t = {0};

		job_terms_forget(c, "ann");
		mem_fail_at(n);
		job_terms_write(c, job_terms_moment(c), &j, NULL, &t, suffix);
		failed = mem_failed();
		mem_fail_at(0);
		assert_true(t.err == OK || t.err == ERR_MEM);
		if (!t.err)
			assert_non_null(strstr(t.buf.data, "\"metadata\":{\"team\":\"red\"}"));
		buf_fini(&t.buf);
		expect(c, &j, 1, "one", "red");
	}
	mem_free(spec);
}

static int setup(void **state)
{
	struct job_terms *c = NULL;

	assert_int_equal(job_terms_new(&c), OK);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	job_terms_free(*state);
	return 0;
}

#define TERMS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TERMS(test_what_the_store_holds_now_is_what_shows),
	        TERMS(test_a_spec_known_already_shows_as_the_stored_one),
	        TERMS(test_a_spec_that_cannot_be_read_shows_as_none),
	        TERMS(test_what_is_kept_is_bounded),
	        TERMS(test_long_terms_are_not_kept),
	        TERMS(test_nothing_is_left_of_a_deleted_tenant),
	        TERMS(test_without_memory_there_is_an_error_or_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
