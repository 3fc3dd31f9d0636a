/* A job over HTTP shows what the store holds at that moment, however often it was asked for before. */
#include "tests/api/job_place.h"

#include "core/clock.h"

/* Twice, so that whatever the first answer left behind is there for the second. */
static struct answer job_get(struct edge *e, const char *id)
{
	struct answer first = job_call(e, "GET", id, ""), second = job_call(e, "GET", id, "");

	assert_int_equal(first.status, 200);
	assert_int_equal(second.status, 200);
	assert_string_equal(first.text, second.text);
	answer_fini(&first);
	return second;
}

static void expect_now(struct edge *e, const char *id, const char *status, json_int_t step)
{
	struct answer a = job_get(e, id);
	json_t *progress = json_object_get(a.json, "progress");

	assert_string_equal(text_of(a.json, "status"), status);
	assert_int_equal(json_integer_value(json_object_get(progress, "step")), step);
	assert_string_equal(text_of(json_object_get(a.json, "metadata"), "team"), "red");
	assert_int_equal(json_integer_value(json_object_get(a.json, "seed")), 7);
	answer_fini(&a);
}

static void move(struct edge *e, const char *id, const char *verb)
{
	struct answer a = job_call(e, "POST", id, verb);

	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

static void claim(struct edge *e, const char *id)
{
	struct job j = {0};

	assert_int_equal(store_job_claim(e->s, "test", 60000, 0, &j), OK);
	assert_string_equal(j.id, id);
	job_fini(&j);
}

static void test_every_step_of_a_job_shows_at_once(void **state)
{
	struct job_progress p = {.step = 10, .total_steps = 40, .trained_tokens = 1000};
	struct edge *e = *state;
	struct job j = {0};

	clock_set_ms(1800000000000);
	job_make(e, "{\"team\":\"red\"}", &j);
	expect_now(e, j.id, "queued", 0);
	claim(e, j.id);
	expect_now(e, j.id, "running", 0);
	store_job_progress_later(e->s, j.id, &p);
	assert_int_equal(store_flush(e->s), OK);
	expect_now(e, j.id, "running", 10);
	p.step = 11;
	store_job_progress_later(e->s, j.id, &p);
	assert_int_equal(store_flush(e->s), OK);
	expect_now(e, j.id, "running", 11);
	move(e, j.id, "/pause");
	expect_now(e, j.id, "paused", 11);
	move(e, j.id, "/resume");
	expect_now(e, j.id, "queued", 11);
	move(e, j.id, "/cancel");
	expect_now(e, j.id, "cancelled", 11);
	clock_set_ms(-1);
	job_fini(&j);
}

static void test_a_success_shows_its_results_at_once(void **state)
{
	const struct job_success done = {.name = "ft:base:ann:style:x",
	        .parent = "base",
	        .manifest = "{}",
	        .content = "x",
	        .n_content = 1,
	        .result_csv = "step\n",
	        .n_result_csv = 5,
	        .trained_tokens = 600};
	struct edge *e = *state;
	struct job_success in = done;
	struct job j = {0};
	struct answer a;

	clock_set_ms(1800000000000);
	job_make(e, "{\"team\":\"red\"}", &j);
	claim(e, j.id);
	expect_now(e, j.id, "running", 0);
	in.job_id = j.id;
	assert_int_equal(store_job_succeed(e->s, &in, NULL), OK);
	a = job_get(e, j.id);
	assert_string_equal(text_of(a.json, "status"), "succeeded");
	assert_string_equal(text_of(a.json, "fine_tuned_model"), done.name);
	assert_int_equal(json_array_size(json_object_get(a.json, "result_files")), 1);
	assert_int_equal(json_integer_value(json_object_get(a.json, "trained_tokens")), 600);
	assert_true(json_is_null(json_object_get(a.json, "live_model")));
	answer_fini(&a);
	clock_set_ms(-1);
	job_fini(&j);
}

static void test_an_answer_known_to_one_tenant_is_not_anothers(void **state)
{
	struct edge *e = *state;
	char ann[sizeof(e->key)], bob[128], tenant[STORE_ID_SIZE];
	struct job j = {0};

	job_make(e, "{\"team\":\"red\"}", &j);
	expect_now(e, j.id, "queued", 0);
	edge_tenant(e, "bob", bob, tenant);
	memcpy(ann, e->key, sizeof(ann));
	snprintf(e->key, sizeof(e->key), "%s", bob);
	expect_error(job_call(e, "GET", j.id, ""), 404, "not_found_error", "id", NULL, j.id);
	memcpy(e->key, ann, sizeof(ann));
	expect_now(e, j.id, "queued", 0);
	job_fini(&j);
}

static void test_a_deleted_tenants_jobs_are_gone_at_once(void **state)
{
	struct edge *e = *state;
	char path[128];
	struct job j = {0};
	struct answer a;

	job_make(e, "{\"team\":\"red\"}", &j);
	expect_now(e, j.id, "queued", 0);
	snprintf(path, sizeof(path), "/admin/tenants/%s", e->tenant_id);
	a = http_call(&e->d, ADMIN_KEY, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	expect_error(
	        job_call(e, "GET", j.id, ""), 401, "authentication_error", NULL, "invalid_api_key", NULL);
	edge_tenant(e, "ann", e->key, e->tenant_id);
	expect_error(job_call(e, "GET", j.id, ""), 404, "not_found_error", "id", NULL, j.id);
	job_fini(&j);
}

static void test_lists_show_the_same_object(void **state)
{
	struct edge *e = *state;
	struct job first = {0}, second = {0};
	struct answer list, one;
	json_t *data;

	clock_set_ms(1800000000000);
	job_make(e, "{\"team\":\"red\"}", &first);
	job_make(e, "{\"team\":\"red\"}", &second);
	move(e, second.id, "/cancel");
	list = http_call(&e->d, e->key, "GET", "/v1/fine_tuning/jobs", NULL);
	one = job_get(e, second.id);
	data = json_object_get(list.json, "data");
	assert_int_equal(json_array_size(data), 2);
	assert_true(json_equal(json_array_get(data, 0), one.json));
	assert_string_equal(text_of(list.json, "object"), "list");
	assert_string_equal(text_of(list.json, "first_id"), second.id);
	assert_string_equal(text_of(list.json, "last_id"), first.id);
	answer_fini(&list);
	answer_fini(&one);
	clock_set_ms(-1);
	job_fini(&first);
	job_fini(&second);
}

#define EDGE(test) cmocka_unit_test_setup_teardown(test, edge_setup, edge_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        EDGE(test_every_step_of_a_job_shows_at_once),
	        EDGE(test_a_success_shows_its_results_at_once),
	        EDGE(test_an_answer_known_to_one_tenant_is_not_anothers),
	        EDGE(test_a_deleted_tenants_jobs_are_gone_at_once),
	        EDGE(test_lists_show_the_same_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
