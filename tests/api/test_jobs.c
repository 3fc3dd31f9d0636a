/* /v1/fine_tuning/jobs over HTTP, on jobs put into the store by hand: objects, lists, moves, events and their
 * streams. */
#include "tests/api/job_place.h"

#include "core/clock.h"

static void test_a_job_shows_every_field_of_the_contract(void **state)
{
	static const char *const fields[] = {"id", "object", "created_at", "finished_at", "model",
	        "fine_tuned_model", "organization_id", "status", "hyperparameters", "training_file",
	        "validation_file", "result_files", "trained_tokens", "error", "seed", "estimated_finish",
	        "metadata", "method", "adapter", "queue_position", "progress", "adapter_sha256"};
	struct edge *e = *state;
	struct job j = {0};
	struct answer a;
	const json_t *method;

	job_make(e, "{\"team\":\"a\"}", &j);
	a = job_call(e, "GET", j.id, "");
	assert_int_equal(a.status, 200);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!json_object_get(a.json, fields[i]))
			fail_msg("no %s in %s", fields[i], a.text);
	assert_string_equal(text_of(a.json, "object"), "fine_tuning.job");
	assert_string_equal(text_of(a.json, "status"), "queued");
	assert_string_equal(text_of(a.json, "organization_id"), e->tenant_id);
	assert_string_equal(text_of(json_object_get(a.json, "metadata"), "team"), "a");
	assert_int_equal(json_integer_value(json_object_get(a.json, "seed")), 7);
	assert_int_equal(json_integer_value(json_object_get(a.json, "queue_position")), 0);
	method = json_object_get(a.json, "method");
	assert_string_equal(text_of(method, "type"), "supervised");
	assert_true(json_equal(json_object_get(json_object_get(method, "supervised"), "hyperparameters"),
	        json_object_get(a.json, "hyperparameters")));
	assert_int_equal(
	        json_integer_value(json_object_get(json_object_get(a.json, "hyperparameters"), "n_epochs")),
	        3);
	assert_string_equal(text_of(json_object_get(a.json, "hyperparameters"), "batch_size"), "auto");
	assert_string_equal(text_of(json_object_get(a.json, "adapter"), "type"), "red");
	assert_true(json_is_null(json_object_get(a.json, "fine_tuned_model")));
	assert_true(json_is_null(json_object_get(a.json, "error")));
	answer_fini(&a);
	job_fini(&j);
}

static json_int_t estimated_finish(struct edge *e, const char *id)
{
	struct answer a = job_call(e, "GET", id, "");
	const json_t *v = json_object_get(a.json, "estimated_finish");
	json_int_t at = json_is_null(v) ? -1 : json_integer_value(v);

	assert_int_equal(a.status, 200);
	answer_fini(&a);
	return at;
}

static void test_the_finish_is_estimated_from_the_rate_of_late(void **state)
{
	struct job_progress p = {.step = 10, .total_steps = 40, .trained_tokens = 1000};
	struct edge *e = *state;
	struct job made = {0}, j = {0};

	clock_set_ms(1800000000000);
	job_make(e, NULL, &made);
	assert_int_equal(estimated_finish(e, made.id), -1);
	assert_int_equal(store_job_claim(e->s, "test", 60000, 0, &j), OK);
	store_job_progress_later(e->s, j.id, &p);
	assert_int_equal(store_flush(e->s), OK);
	assert_int_equal(estimated_finish(e, j.id), -1); /* no rate yet */
	p.tokens_per_second = 100;
	store_job_progress_later(e->s, j.id, &p);
	assert_int_equal(store_flush(e->s), OK);
	clock_set_ms(1800009999000); /* a long pause does not count */
	assert_int_equal(estimated_finish(e, j.id), 1800009999 + 30);
	clock_set_ms(-1);
	job_fini(&made);
	job_fini(&j);
}

static void test_a_queued_jobs_finish_is_estimated_from_the_work_before_it(void **state)
{
	struct job_progress p = {
	        .step = 10, .total_steps = 40, .trained_tokens = 100, .tokens_per_second = 100};
	struct edge *e = *state;
	struct job first = {0}, second = {0}, third = {0}, running = {0};

	clock_set_ms(1800000000000);
	job_make(e, NULL, &first);
	job_make(e, NULL, &second);
	job_make(e, NULL, &third);
	assert_int_equal(store_job_claim(e->s, "test", 60000, 0, &running), OK);
	assert_string_equal(running.id, first.id);
	assert_int_equal(estimated_finish(e, second.id), -1); /* no rate yet */
	store_job_progress_later(e->s, first.id, &p);
	assert_int_equal(store_flush(e->s), OK);
	assert_int_equal(estimated_finish(e, second.id), 1800000000 + (300 + WORK_TOKENS) / 100);
	assert_int_equal(estimated_finish(e, third.id), 1800000000 + (300 + 2 * WORK_TOKENS) / 100);
	assert_int_equal(store_job_transition(
	                         e->s, NULL, third.id, &(struct job_transition){.to = JOB_CANCELLED}, NULL),
	        OK);
	assert_int_equal(estimated_finish(e, third.id), -1);
	clock_set_ms(-1);
	job_fini(&first);
	job_fini(&second);
	job_fini(&third);
	job_fini(&running);
}

static void test_a_failed_job_says_why(void **state)
{
	static const struct job_transition fail = {.to = JOB_FAILED,
	        .error_code = "bad",
	        .error_message = "it broke",
	        .error_param = "training_file"};
	struct edge *e = *state;
	struct job j = {0};
	struct answer a;

	job_make(e, NULL, &j);
	assert_int_equal(store_job_transition(e->s, NULL, j.id, &fail, NULL), OK);
	a = job_call(e, "GET", j.id, "");
	assert_string_equal(text_of(a.json, "status"), "failed");
	assert_string_equal(text_of(json_object_get(a.json, "error"), "message"), "it broke");
	assert_string_equal(text_of(json_object_get(a.json, "error"), "code"), "bad");
	assert_string_equal(text_of(json_object_get(a.json, "error"), "param"), "training_file");
	assert_true(json_is_null(json_object_get(a.json, "queue_position")));
	answer_fini(&a);
	job_fini(&j);
}

static void expect_status(struct answer a, const char *status)
{
	assert_int_equal(a.status, 200);
	assert_string_equal(text_of(a.json, "status"), status);
	answer_fini(&a);
}

static void test_jobs_are_paused_resumed_and_cancelled(void **state)
{
	struct edge *e = *state;
	struct job j = {0}, claimed = {0};

	job_make(e, NULL, &j);
	expect_error(job_call(e, "POST", j.id, "/resume"), 400, "invalid_request_error", NULL, NULL,
	        "it is queued");
	assert_int_equal(store_job_claim(e->s, "test", 60000, 0, &claimed), OK);
	assert_string_equal(claimed.id, j.id);
	job_fini(&claimed);
	expect_error(job_call(e, "POST", j.id, "/resume"), 400, "invalid_request_error", NULL, NULL,
	        "it is running");
	expect_status(job_call(e, "POST", j.id, "/pause"), "paused");
	expect_status(job_call(e, "POST", j.id, "/resume"), "queued");
	expect_status(job_call(e, "POST", j.id, "/cancel"), "cancelled");
	expect_error(job_call(e, "POST", j.id, "/cancel"), 400, "invalid_request_error", NULL, NULL,
	        "it is cancelled");
	expect_error(job_call(e, "POST", "ftjob-none", "/cancel"), 404, "not_found_error", "id", NULL,
	        "ftjob-none");
	job_fini(&j);
}

static void test_other_tenants_jobs_do_not_exist(void **state)
{
	static const char *const paths[] = {"", "/events", "/events?stream=true", "/checkpoints"};
	struct edge *e = *state;
	char key[128], tenant[STORE_ID_SIZE];
	struct job j = {0};

	job_make(e, NULL, &j);
	edge_tenant(e, "bob", key, tenant);
	snprintf(e->key, sizeof(e->key), "%s", key);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect_error(job_call(e, "GET", j.id, paths[i]), 404, "not_found_error", "id", NULL, j.id);
	expect_error(job_call(e, "POST", j.id, "/cancel"), 404, "not_found_error", "id", NULL, j.id);
	job_fini(&j);
}

static void expect_jobs(struct edge *e, const char *query, size_t n, bool more)
{
	char path[128];
	struct answer a;

	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs%s", query);
	a = http_call(&e->d, e->key, "GET", path, NULL);
	assert_int_equal(a.status, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), n);
	assert_int_equal(json_is_true(json_object_get(a.json, "has_more")), more);
	answer_fini(&a);
}

static void test_jobs_are_listed_and_filtered_by_metadata(void **state)
{
	static const char *const metadata[] = {
	        "{\"k\":\"1\"}", NULL, "{\"k\":\"2\",\"l\":\"1\"}", "{\"k\":\"1\"}"};
	struct edge *e = *state;
	char query[128];
	struct job j[4] = {0};

	for (int i = 0; i < 4; i++)
		job_make(e, metadata[i], &j[i]);
	expect_jobs(e, "", 4, false);
	expect_jobs(e, "?limit=3", 3, true);
	expect_jobs(e, "?metadata%5Bk%5D=1", 2, false);
	expect_jobs(e, "?metadata%5Bk%5D=1&limit=1", 1, true);
	expect_jobs(e, "?metadata%5Bk%5D=2&metadata%5Bl%5D=1", 1, false);
	expect_jobs(e, "?metadata%5Bk%5D=3", 0, false);
	snprintf(query, sizeof(query), "?after=%s", j[1].id);
	expect_jobs(e, query, 1, false);
	expect_error(http_call(&e->d, e->key, "GET", "/v1/fine_tuning/jobs?after=ftjob-none", NULL), 400,
	        "invalid_request_error", "after", NULL, NULL);
	for (int i = 0; i < 4; i++)
		job_fini(&j[i]);
}

/* More than the store is asked for at a time. */
static void test_long_lists_are_whole(void **state)
{
	struct edge *e = *state;
	struct job first = {0};

	job_make(e, NULL, &first);
	for (int i = 1; i < 205; i++) {
		struct job_new in = {.tenant_id = e->tenant_id,
		        .model = "base",
		        .training_file = first.training_file,
		        .metadata = i % 2 ? "{\"k\":\"1\"}" : NULL,
		        .spec = first.spec};
		struct job j = {0};

		assert_int_equal(store_job_create(e->s, &in, &j, NULL), OK);
		job_fini(&j);
	}
	job_fini(&first);
	expect_jobs(e, "", 20, true);
	expect_jobs(e, "?limit=199", 199, true);
	expect_jobs(e, "?limit=204", 204, true);
	expect_jobs(e, "?limit=205", 205, false);
	expect_jobs(e, "?limit=1000", 205, false);
	expect_jobs(e, "?limit=100&metadata%5Bk%5D=1", 100, true);
	expect_jobs(e, "?limit=102&metadata%5Bk%5D=1", 102, false);
}

/* ---- events ---- */

static void event_add(struct edge *e, const char *job_id, const char *message, const char *data)
{
	const struct event_new event = {
	        .level = "info", .type = data ? "metrics" : "message", .message = message, .data = data};

	assert_int_equal(store_event_later(e->s, job_id, &event), OK);
}

static void test_events_are_listed_newest_first(void **state)
{
	struct edge *e = *state;
	const json_t *first;
	struct job j = {0};
	struct answer a;

	job_make(e, NULL, &j);
	event_add(e, j.id, "step 1", "{\"step\":1,\"train_loss\":0.10000000000000001}");
	assert_int_equal(store_flush(e->s), OK);
	a = job_call(e, "GET", j.id, "/events?limit=1");
	assert_true(json_is_true(json_object_get(a.json, "has_more")));
	first = json_array_get(json_object_get(a.json, "data"), 0);
	assert_string_equal(text_of(first, "object"), "fine_tuning.job.event");
	assert_string_equal(text_of(first, "type"), "metrics");
	assert_string_equal(text_of(first, "message"), "step 1");
	assert_true(json_real_value(json_object_get(json_object_get(first, "data"), "train_loss")) == 0.1);
	answer_fini(&a);
	expect_error(job_call(e, "GET", j.id, "/events?after=ftevent-none"), 400, "invalid_request_error",
	        "after", NULL, NULL);
	a = job_call(e, "GET", j.id, "/checkpoints");
	assert_int_equal(a.status, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 0);
	answer_fini(&a);
	job_fini(&j);
}

static int stream_open(struct edge *e, const char *job_id, const char *header)
{
	int fd = edge_connect(e);
	char request[512];

	snprintf(request, sizeof(request),
	        "GET /v1/fine_tuning/jobs/%s/events?stream=true HTTP/1.1\r\nHost: h\r\n"
	        "Authorization: Bearer %s\r\n%sConnection: close\r\n\r\n",
	        job_id, e->key, header);
	edge_send(fd, request);
	return fd;
}

static void test_a_stream_follows_a_job_to_its_end(void **state)
{
	struct edge *e = *state;
	struct job j = {0};
	struct answer a;
	struct buf got;
	int fd;

	job_make(e, NULL, &j);
	event_add(e, j.id, "first words", NULL);
	fd = stream_open(e, j.id, "");
	got = edge_receive(fd, "first words");
	assert_non_null(strstr(got.data, "Content-Type: text/event-stream"));
	assert_non_null(strstr(got.data, "Cache-Control: no-cache"));
	buf_fini(&got);
	event_add(e, j.id, "more words", NULL);
	got = edge_receive(fd, "more words");
	buf_fini(&got);
	a = job_call(e, "POST", j.id, "/cancel");
	answer_fini(&a);
	got = edge_receive(fd, NULL);
	assert_non_null(strstr(got.data, "data: [DONE]\n\n"));
	buf_fini(&got);
	close(fd);
	job_fini(&j);
}

static void test_a_stream_goes_on_after_the_last_event_seen(void **state)
{
	static const struct job_transition cancel = {.to = JOB_CANCELLED};
	struct edge *e = *state;
	struct event *events;
	struct job j = {0};
	struct buf got;
	char header[64];
	size_t n;
	int fd;

	job_make(e, NULL, &j);
	event_add(e, j.id, "seen before", NULL);
	event_add(e, j.id, "not seen yet", NULL);
	assert_int_equal(store_job_transition(e->s, NULL, j.id, &cancel, NULL), OK);
	assert_int_equal(store_event_since(e->s, j.id, 0, 100, &events, &n), OK);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(events[i].message, "seen before"))
			snprintf(header, sizeof(header), "Last-Event-ID: %lld\r\n", (long long)events[i].seq);
	event_list_free(events, n);
	fd = stream_open(e, j.id, header);
	got = edge_receive(fd, NULL);
	assert_null(strstr(got.data, "seen before"));
	assert_non_null(strstr(got.data, "not seen yet"));
	assert_non_null(strstr(got.data, "data: [DONE]\n\n"));
	buf_fini(&got);
	close(fd);
	fd = stream_open(e, j.id, "Last-Event-ID: x1\r\n");
	got = edge_receive(fd, NULL);
	assert_non_null(strstr(got.data, "HTTP/1.1 400"));
	buf_fini(&got);
	close(fd);
	job_fini(&j);
}

static bool streams_open(struct edge *e)
{
	struct answer a = http_call(&e->d, NULL, "GET", "/metrics", NULL);
	bool open = !strstr(a.text, "\nredd_event_streams 0\n");

	assert_non_null(strstr(a.text, "\nredd_event_streams "));
	answer_fini(&a);
	return open;
}

static void test_a_client_that_leaves_ends_its_stream(void **state)
{
	struct edge *e = *state;
	struct job j = {0};
	struct buf got;
	int fd;

	job_make(e, NULL, &j);
	fd = stream_open(e, j.id, "");
	got = edge_receive(fd, "data: ");
	buf_fini(&got);
	assert_true(streams_open(e));
	close(fd);
	while (streams_open(e)) /* for ever, if nobody notices: the program's time limit is the failure */
		;
	job_fini(&j);
}

static void test_stopping_ends_streams_of_jobs_that_go_on(void **state)
{
	struct edge *e = *state;
	struct job j = {0};
	struct buf got;
	int fd;

	job_make(e, NULL, &j);
	fd = stream_open(e, j.id, "");
	got = edge_receive(fd, "data: ");
	buf_fini(&got);
	edge_join(e);
	got = edge_receive(fd, NULL);
	assert_null(strstr(got.data, "[DONE]"));
	buf_fini(&got);
	close(fd);
	job_fini(&j);
}

/* ---- models, and what needs the engine ---- */

static void test_unknown_models_are_404_with_their_code(void **state)
{
	struct edge *e = *state;
	struct answer a = http_call(&e->d, e->key, "GET", "/v1/models", NULL);

	assert_int_equal(a.status, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 0);
	answer_fini(&a);
	expect_error(http_call(&e->d, e->key, "GET", "/v1/models/ft:base:ann%2Fx@1", NULL), 404,
	        "not_found_error", "model", "model_not_found", "'ft:base:ann/x@1'");
	expect_error(http_call(&e->d, e->key, "DELETE", "/v1/models/none", NULL), 404, "not_found_error",
	        "model", "model_not_found", NULL);
}

static void test_creation_waits_for_an_engine(void **state)
{
	struct edge *e = *state;
	json_t *body = json_pack("{s:s, s:s}", "model", "base", "training_file", "file-x");

	expect_error(http_call(&e->d, e->key, "POST", "/v1/fine_tuning/jobs", body), 503, "server_error",
	        NULL, NULL, NULL);
	json_decref(body);
}

#define EDGE(test) cmocka_unit_test_setup_teardown(test, edge_setup, edge_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        EDGE(test_a_job_shows_every_field_of_the_contract),
	        EDGE(test_the_finish_is_estimated_from_the_rate_of_late),
	        EDGE(test_a_queued_jobs_finish_is_estimated_from_the_work_before_it),
	        EDGE(test_a_failed_job_says_why),
	        EDGE(test_jobs_are_paused_resumed_and_cancelled),
	        EDGE(test_other_tenants_jobs_do_not_exist),
	        EDGE(test_jobs_are_listed_and_filtered_by_metadata),
	        EDGE(test_long_lists_are_whole),
	        EDGE(test_events_are_listed_newest_first),
	        EDGE(test_a_stream_follows_a_job_to_its_end),
	        EDGE(test_a_stream_goes_on_after_the_last_event_seen),
	        EDGE(test_a_client_that_leaves_ends_its_stream),
	        EDGE(test_stopping_ends_streams_of_jobs_that_go_on),
	        EDGE(test_unknown_models_are_404_with_their_code),
	        EDGE(test_creation_waits_for_an_engine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
