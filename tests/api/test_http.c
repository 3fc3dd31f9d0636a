/* The edge over real sockets: routes, keys, sizes, slow and broken clients, stopping. No engine behind it. */
#include "tests/api/fixture.h"

#define BODY_LIMIT 4096

static int setup_small(void **state)
{
	const struct api_options o = {.max_body_bytes = BODY_LIMIT, .max_connections = 64};

	return edge_setup_with(state, &o);
}

static int setup_open(void **state)
{
	const struct api_options o = {.no_auth = true};

	return edge_setup_with(state, &o);
}

static void expect_contains(struct buf got, const char *words)
{
	if (!strstr(got.data, words))
		fail_msg("no \"%s\" in: %s", words, got.data);
	buf_fini(&got);
}

/* ---- routes ---- */

static void test_unknown_paths_and_methods_are_json_errors(void **state)
{
	struct edge *e = *state;

	expect_error(
	        http_call(&e->d, NULL, "GET", "/nope", NULL), 404, "not_found_error", NULL, NULL, "/nope");
	expect_error(http_call(&e->d, e->key, "GET", "/v1/filesx", NULL), 404, "not_found_error", NULL, NULL,
	        NULL);
	expect_error(http_call(&e->d, e->key, "PATCH", "/v1/files", NULL), 405, "invalid_request_error", NULL,
	        NULL, "POST, GET, HEAD, OPTIONS");
	expect_error(http_call(&e->d, e->key, "GET", "/v1/files/%zz", NULL), 400, "invalid_request_error",
	        NULL, NULL, "escape");
}

static void test_every_answer_has_an_id_and_its_headers(void **state)
{
	struct edge *e = *state;

	expect_contains(edge_dialogue(e, "GET /v1/files HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
	        "WWW-Authenticate: Bearer");
	expect_contains(edge_dialogue(e, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
	        "x-request-id: req_");
	expect_contains(edge_dialogue(e, "PUT /v1/files HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
	        "Allow: POST, GET, HEAD, OPTIONS");
	expect_contains(
	        edge_dialogue(e, "OPTIONS /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
	        "HTTP/1.1 204");
}

static void test_head_has_the_headers_and_no_body(void **state)
{
	struct buf got =
	        edge_dialogue(*state, "HEAD /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	assert_non_null(strstr(got.data, "HTTP/1.1 200"));
	assert_non_null(strstr(got.data, "Content-Length: 16"));
	assert_string_equal(strstr(got.data, "\r\n\r\n"), "\r\n\r\n");
	buf_fini(&got);
}

/* Cookies and links of browsers are kilobytes; beyond what is held for them the protocol has its own words.
 */
static void test_long_heads_are_taken_up_to_a_limit(void **state)
{
	static const struct {
		int n;
		const char *status;
	} heads[] = {{12000, "HTTP/1.1 200"}, {40000, "HTTP/1.1 431"}};
	char *request = mem_calloc(50000, 1);

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		snprintf(request, 50000,
		        "GET /healthz HTTP/1.1\r\nHost: h\r\nCookie: a=%0*d\r\nConnection: close\r\n\r\n",
		        heads[i].n, 0);
		expect_contains(edge_dialogue(*state, request), heads[i].status);
	}
	mem_free(request);
}

static void test_health_and_metrics_need_no_key(void **state)
{
	static const char *const paths[] = {"/healthz", "/readyz", "/metrics", "/"};
	struct edge *e = *state;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct answer a = http_call(&e->d, NULL, "GET", paths[i], NULL);

		assert_int_equal(a.status, 200);
		assert_true(a.length > 0);
		answer_fini(&a);
	}
}

/* ---- keys ---- */

static void test_keys_decide_what_is_open(void **state)
{
	struct edge *e = *state;
	struct answer a;

	expect_error(http_call(&e->d, NULL, "GET", "/v1/files", NULL), 401, "authentication_error", NULL,
	        "invalid_api_key", "Bearer");
	expect_error(http_call(&e->d, "sk-wrong", "GET", "/v1/files", NULL), 401, "authentication_error",
	        NULL, "invalid_api_key", "Incorrect");
	expect_error(http_call(&e->d, ADMIN_KEY, "GET", "/v1/files", NULL), 403, "permission_error", NULL,
	        NULL, "no tenant");
	expect_error(http_call(&e->d, e->key, "GET", "/admin/tenants", NULL), 403, "permission_error", NULL,
	        NULL, "admin key");
	for (int i = 0; i < 2; i++) { /* asked for, then remembered */
		a = http_call(&e->d, e->key, "GET", "/v1/files", NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
}

static void test_tenants_and_keys_are_made_listed_and_revoked(void **state)
{
	struct edge *e = *state;
	char key[128], id[STORE_ID_SIZE], path[256];
	struct answer a;

	edge_tenant(e, "bob", key, id);
	snprintf(path, sizeof(path), "/admin/tenants/%s/keys", id);
	a = http_call(&e->d, ADMIN_KEY, "POST", path, NULL);
	assert_int_equal(a.status, 200);
	snprintf(key, sizeof(key), "%s", text_of(a.json, "api_key"));
	snprintf(path, sizeof(path), "/admin/tenants/%s/keys/%s", id, text_of(a.json, "id"));
	answer_fini(&a);
	a = http_call(&e->d, key, "GET", "/v1/files", NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = http_call(&e->d, ADMIN_KEY, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	assert_true(json_is_true(json_object_get(a.json, "deleted")));
	answer_fini(&a);
	expect_error(http_call(&e->d, key, "GET", "/v1/files", NULL), 401, "authentication_error", NULL,
	        "invalid_api_key", NULL);
	expect_error(
	        http_call(&e->d, ADMIN_KEY, "DELETE", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	a = http_call(&e->d, ADMIN_KEY, "GET", "/v1/admin/tenants?limit=1", NULL);
	assert_string_equal(text_of(json_array_get(json_object_get(a.json, "data"), 0), "name"), "bob");
	assert_true(json_is_true(json_object_get(a.json, "has_more")));
	assert_null(strstr(a.text, "sk-redd-"));
	answer_fini(&a);
}

static void test_limits_change_one_by_one_and_at_once(void **state)
{
	struct edge *e = *state;
	json_t *body = json_pack("{s:{s:i, s:i}}", "limits", "file_bytes", 4, "queued_jobs", -1), *limits;
	char path[128], file[64];
	struct answer a;

	snprintf(path, sizeof(path), "/admin/tenants/%s", e->tenant_id);
	assert_int_equal(http_upload(&e->d, e->key, "a.jsonl", "xyz", 3, file), 200);
	a = http_call(&e->d, ADMIN_KEY, "POST", path, body);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	assert_int_equal(http_upload(&e->d, e->key, "a.jsonl", "xyz", 3, file), 429);
	json_object_del(json_object_get(body, "limits"), "queued_jobs");
	json_object_set_new(json_object_get(body, "limits"), "file_bytes", json_integer(6));
	a = http_call(&e->d, ADMIN_KEY, "POST", path, body);
	limits = json_object_get(a.json, "limits");
	assert_int_equal(json_integer_value(json_object_get(limits, "queued_jobs")), -1);
	assert_int_equal(json_integer_value(json_object_get(limits, "file_bytes")), 6);
	answer_fini(&a);
	assert_int_equal(http_upload(&e->d, e->key, "a.jsonl", "xyz", 3, file), 200);
	json_object_set_new(json_object_get(body, "limits"), "files", json_integer(6));
	expect_error(http_call(&e->d, ADMIN_KEY, "POST", path, body), 400, "invalid_request_error", "limits",
	        NULL, "Unknown limit");
	expect_error(http_call(&e->d, ADMIN_KEY, "POST", "/admin/tenants/none", body), 404, "not_found_error",
	        "id", NULL, "none");
	json_decref(body);
}

static void test_a_deleted_tenant_leaves_nothing(void **state)
{
	struct edge *e = *state;
	char key[128], id[STORE_ID_SIZE], path[256], file[64];
	struct answer a;

	edge_tenant(e, "carl", key, id);
	assert_int_equal(http_upload(&e->d, key, "a.jsonl", "x", 1, file), 200);
	snprintf(path, sizeof(path), "/admin/tenants/%s", id);
	a = http_call(&e->d, ADMIN_KEY, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	expect_error(http_call(&e->d, key, "GET", "/v1/files", NULL), 401, "authentication_error", NULL,
	        "invalid_api_key", NULL);
	expect_error(
	        http_call(&e->d, ADMIN_KEY, "GET", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	expect_error(
	        http_call(&e->d, ADMIN_KEY, "DELETE", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	edge_tenant(e, "carl", key, id); /* the name is free again */
}

static void expect_tenant_refused(struct edge *e, json_t *body, const char *param, const char *words)
{
	expect_error(http_call(&e->d, ADMIN_KEY, "POST", "/admin/tenants", body), 400,
	        "invalid_request_error", param, NULL, words);
	json_decref(body);
}

static void test_tenants_are_checked(void **state)
{
	struct edge *e = *state;

	expect_tenant_refused(e, json_object(), "name", "required");
	expect_tenant_refused(e, json_pack("{s:i}", "name", 1), "name", "string");
	expect_tenant_refused(e, json_pack("{s:s}", "name", "No Such"), "name", "a-z");
	expect_tenant_refused(e, json_pack("{s:s}", "name", "ann"), "name", "already");
	expect_tenant_refused(e, json_pack("{s:s, s:[]}", "name", "x", "limits"), "limits", "object");
	expect_tenant_refused(
	        e, json_pack("{s:s, s:{s:i}}", "name", "x", "limits", "filebytes", 1), "limits", "filebytes");
	expect_tenant_refused(e, json_pack("{s:s, s:{s:s}}", "name", "x", "limits", "file_bytes", "1"),
	        "limits", "integer");
}

static void test_without_authentication_one_tenant_owns_all(void **state)
{
	struct edge *e = *state;
	char file[64];
	struct answer a;

	assert_int_equal(http_upload(&e->d, NULL, "a.jsonl", "x", 1, file), 200);
	a = http_call(&e->d, "any", "GET", "/v1/files", NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 1);
	answer_fini(&a);
	a = http_call(&e->d, NULL, "GET", "/admin/tenants", NULL);
	assert_string_equal(text_of(json_array_get(json_object_get(a.json, "data"), 0), "name"), "default");
	answer_fini(&a);
}

static void test_open_doors_are_refused_beyond_loopback(void **state)
{
	struct edge e = {.options = {.no_auth = true}};

	(void)state;
	assert_int_equal(edge_start(&e, "0.0.0.0:0"), ERR_FORBIDDEN);
	assert_non_null(strstr(e.why.message, "loopback"));
	edge_stop(&e);
}

static void test_addresses_nobody_can_listen_on_are_refused(void **state)
{
	static const char *const wrong[] = {
	        "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "no.such.host.invalid:1"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct edge e = {0};

		assert_int_equal(edge_start(&e, wrong[i]), ERR_INVALID);
		assert_string_equal(e.why.param, "listen");
		edge_stop(&e);
	}
}

/* ---- bodies ---- */

static void expect_job_refused(struct edge *e, const char *body, const char *param, const char *words)
{
	expect_error(http_raw(&e->d, e->key, "POST", "/v1/fine_tuning/jobs", "application/json", body,
	                     strlen(body)),
	        400, "invalid_request_error", param, NULL, words);
}

static void test_bodies_that_are_no_object_are_refused(void **state)
{
	struct edge *e = *state;

	expect_job_refused(e, "", NULL, "without any");
	expect_job_refused(e, "{\"model\":", NULL, "line 1");
	expect_job_refused(e, "{}\n{}", NULL, "line 2");
	expect_job_refused(e, "[1]", NULL, "object");
	expect_job_refused(e, "{\"a\":\"\xff\"}", NULL, "not valid JSON");
	expect_job_refused(e, "{}", "model", "required");
	expect_job_refused(e, "{\"model\":1}", "model", "string");
	expect_job_refused(e, "{\"model\":\"m\",\"training_file\":[]}", "training_file", "string");
	expect_job_refused(e, "{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"dpo\"}}",
	        "method.type", "supervised");
	expect_job_refused(
	        e, "{\"model\":\"m\",\"training_file\":\"f\",\"integrations\":[{}]}", "integrations", NULL);
	expect_job_refused(
	        e, "{\"model\":\"m\",\"training_file\":\"f\",\"metadata\":{\"a\":1}}", "metadata", NULL);
}

static void test_json_nested_without_end_is_refused(void **state)
{
	struct edge *e = *state;
	char deep[4000];

	memset(deep, '[', sizeof(deep));
	expect_error(http_raw(&e->d, e->key, "POST", "/v1/fine_tuning/jobs", "application/json", deep,
	                     sizeof(deep)),
	        400, "invalid_request_error", NULL, NULL, "not valid JSON");
}

static void test_oversize_bodies_are_413_and_the_connection_lives(void **state)
{
	struct edge *e = *state;
	char big[BODY_LIMIT + 1];

	memset(big, ' ', sizeof(big));
	expect_error(
	        http_raw(&e->d, e->key, "POST", "/v1/fine_tuning/jobs", "application/json", big, sizeof(big)),
	        413, "invalid_request_error", NULL, NULL, "4096");
	expect_error(http_raw(&e->d, e->key, "POST", "/v1/fine_tuning/jobs", "application/json", big,
	                     sizeof(big) - 1),
	        400, "invalid_request_error", NULL, NULL, NULL);
}

static void test_oversize_bodies_in_chunks_are_413_too(void **state)
{
	struct edge *e = *state;
	int fd = edge_connect(e);
	char head[512], chunk[1100];

	snprintf(head, sizeof(head),
	        "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
	        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
	        e->key);
	edge_send(fd, head);
	snprintf(chunk, sizeof(chunk), "400\r\n%01024d\r\n", 0);
	for (int i = 0; i < 5; i++)
		edge_send(fd, chunk);
	edge_send(fd, "0\r\n\r\n");
	expect_contains(edge_receive(fd, NULL), "HTTP/1.1 413");
	close(fd);
}

static void test_a_body_too_large_to_swallow_is_answered_before_it_is_sent(void **state)
{
	struct edge *e = *state;
	int fd = edge_connect(e);
	char head[512];
	struct buf got;

	snprintf(head, sizeof(head),
	        "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
	        "Content-Length: 1000000000000\r\n\r\nsome of it",
	        e->key);
	edge_send(fd, head);
	got = edge_receive(fd, NULL); /* to the end: closed, not reset */
	assert_non_null(strstr(got.data, "HTTP/1.1 413"));
	assert_non_null(strstr(got.data, "Connection: close"));
	assert_non_null(strstr(got.data, "\"invalid_request_error\""));
	buf_fini(&got);
	close(fd);
}

static void test_a_client_that_waits_for_100_is_told_at_once(void **state)
{
	struct edge *e = *state;

	expect_contains(
	        edge_dialogue(e, "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n"
	                         "Expect: 100-continue\r\n\r\n"),
	        "HTTP/1.1 401");
}

static void test_connections_are_kept_alive_through_errors(void **state)
{
	struct edge *e = *state;
	int fd = edge_connect(e);

	for (int i = 0; i < 3; i++) {
		edge_send(fd, "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
		expect_contains(edge_receive(fd, "\"code\":\"invalid_api_key\"}}\n"), "HTTP/1.1 401");
	}
	close(fd);
}

static void test_slow_and_vanishing_clients_hold_up_nobody(void **state)
{
	struct edge *e = *state;
	int slow[8];
	struct answer a;

	for (size_t i = 0; i < 8; i++) {
		slow[i] = edge_connect(e);
		edge_send(slow[i], i % 2 ? "POST /v1/files HTTP/1.1\r\nHost: h\r\nContent-Le" : "GET /v1/f");
	}
	a = http_call(&e->d, e->key, "GET", "/v1/files", NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	for (size_t i = 0; i < 8; i++)
		close(slow[i]);
}

static void test_nonsense_is_refused_by_the_protocol(void **state)
{
	static const char *const nonsense[] = {
	        "GET\r\n\r\n\r\n",
	        "\x16\x03\x01\x02\r\n\r\n",
	        "GET / HTTP/9.9\r\n\r\n",
	        "POST /v1/files HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct edge *e = *state;
	struct answer a;

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct buf got = edge_dialogue(e, nonsense[i]); /* ends, with or without words */

		assert_null(strstr(got.data, "HTTP/1.1 2"));
		buf_fini(&got);
	}
	expect_contains(edge_dialogue(e, "POST /v1/files HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
	        " 400 ");
	a = http_call(&e->d, NULL, "GET", "/healthz", NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

/* ---- the end ---- */

static void test_draining_refuses_what_is_new(void **state)
{
	struct edge *e = *state;
	struct buf got;
	char head[512];
	struct answer a;

	edge_order(e, EDGE_DRAIN);
	snprintf(head, sizeof(head), "GET /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
	        e->key);
	got = edge_dialogue(e, head);
	assert_non_null(strstr(got.data, "HTTP/1.1 503"));
	assert_non_null(strstr(got.data, "Retry-After: 5"));
	assert_non_null(strstr(got.data, "\"server_error\""));
	buf_fini(&got);
	a = http_call(&e->d, NULL, "GET", "/healthz", NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = http_call(&e->d, NULL, "GET", "/readyz", NULL);
	assert_int_equal(a.status, 503);
	answer_fini(&a);
}

static void test_stopping_closes_what_is_open(void **state)
{
	struct edge *e = *state;
	int idle = edge_connect(e), half = edge_connect(e);
	struct buf got;

	edge_send(idle, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
	got = edge_receive(idle, "\"ok\"}\n");
	buf_fini(&got);
	edge_send(half, "POST /v1/files HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
	edge_join(e);
	got = edge_receive(idle, NULL);
	assert_int_equal(got.len, 0);
	buf_fini(&got);
	close(idle);
	close(half);
}

#define EDGE(test) cmocka_unit_test_setup_teardown(test, edge_setup, edge_teardown)
#define SMALL(test) cmocka_unit_test_setup_teardown(test, setup_small, edge_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        EDGE(test_unknown_paths_and_methods_are_json_errors),
	        EDGE(test_every_answer_has_an_id_and_its_headers),
	        EDGE(test_head_has_the_headers_and_no_body),
	        EDGE(test_long_heads_are_taken_up_to_a_limit),
	        EDGE(test_health_and_metrics_need_no_key),
	        EDGE(test_keys_decide_what_is_open),
	        EDGE(test_tenants_and_keys_are_made_listed_and_revoked),
	        EDGE(test_limits_change_one_by_one_and_at_once),
	        EDGE(test_a_deleted_tenant_leaves_nothing),
	        EDGE(test_tenants_are_checked),
	        cmocka_unit_test_setup_teardown(
	                test_without_authentication_one_tenant_owns_all, setup_open, edge_teardown),
	        cmocka_unit_test(test_open_doors_are_refused_beyond_loopback),
	        cmocka_unit_test(test_addresses_nobody_can_listen_on_are_refused),
	        EDGE(test_bodies_that_are_no_object_are_refused),
	        EDGE(test_json_nested_without_end_is_refused),
	        SMALL(test_oversize_bodies_are_413_and_the_connection_lives),
	        SMALL(test_oversize_bodies_in_chunks_are_413_too),
	        SMALL(test_a_body_too_large_to_swallow_is_answered_before_it_is_sent),
	        EDGE(test_a_client_that_waits_for_100_is_told_at_once),
	        EDGE(test_connections_are_kept_alive_through_errors),
	        EDGE(test_slow_and_vanishing_clients_hold_up_nobody),
	        EDGE(test_nonsense_is_refused_by_the_protocol),
	        EDGE(test_draining_refuses_what_is_new),
	        EDGE(test_stopping_closes_what_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
