/* Webhooks over HTTP: the endpoints' own routes, and what arrives at a receiver of ours. */
#include "tests/api/fixture.h"

#include "api/edge.h"
#include "core/clock.h"

#include <poll.h>

#define WEBHOOKS "/v1/webhook_endpoints"

static const char *const all_types[] = {
        "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"};

static int setup_private(void **state)
{
	static const struct api_options options = {.webhook_private = true};

	return edge_setup_with(state, &options);
}

static int teardown(void **state)
{
	clock_set_ms(-1);
	return edge_teardown(state);
}

static json_t *webhook_body(const char *url)
{
	json_t *types = json_array();

	for (size_t i = 0; i < 3; i++)
		json_array_append_new(types, json_string(all_types[i]));
	return json_pack("{s:s, s:s, s:o}", "name", "ours", "url", url, "event_types", types);
}

static void make_webhook(struct edge *e, const char *url, char id[STORE_ID_SIZE])
{
	json_t *body = webhook_body(url);
	struct answer a = http_call(&e->d, e->key, "POST", WEBHOOKS, body);

	assert_int_equal(a.status, 200);
	snprintf(id, STORE_ID_SIZE, "%s", text_of(a.json, "id"));
	json_decref(body);
	answer_fini(&a);
}

/* A job that is created and cancelled over HTTP. */
static void end_job(struct edge *e, char id[STORE_ID_SIZE])
{
	char file[64], path[128];
	struct job_new in = {.tenant_id = e->tenant_id, .model = "base", .training_file = file, .spec = "{}"};
	struct job j = {0};
	struct answer a;

	assert_int_equal(http_upload(&e->d, e->key, "t.jsonl", "x", 1, file), 200);
	assert_int_equal(store_job_create(e->s, &in, &j, NULL), OK);
	snprintf(id, STORE_ID_SIZE, "%s", j.id);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/cancel", id);
	a = http_call(&e->d, e->key, "POST", path, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	job_fini(&j);
}

/* ---- the receiver ---- */

static int receiver_open(char url[64])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = RECEIVE_TIMEOUT_S};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	snprintf(url, 64, "http://127.0.0.1:%d/hook?a=b", ntohs(at.sin_port));
	return fd;
}

/* Take one request and answer it. buf_fini() what came. */
static struct buf receive(int fd, const char *status)
{
	char answer[96];
	int c = accept(fd, NULL, NULL);
	struct buf b;

	assert_true(c >= 0);
	b = edge_receive(c, "\"}}");
	snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	        status);
	edge_send(c, answer);
	close(c);
	return b;
}

static void expect_in(const struct buf *b, const char *words)
{
	if (!strstr(b->data, words))
		fail_msg("no \"%s\" in %s", words, b->data);
}

/* How often the one thing that is due has been tried; -1 = nothing is due any more. */
static int64_t attempts(struct edge *e)
{
	struct delivery *items;
	int64_t next, n_attempts;
	size_t n;

	assert_int_equal(store_delivery_due(e->s, INT64_MAX - 1, 1, &items, &n, &next), OK);
	n_attempts = n ? items[0].attempts : -1;
	mem_free(items);
	return n_attempts;
}

static void await_attempts(struct edge *e, int64_t n)
{
	for (int i = 0; i < 6000 && attempts(e) != n; i++)
		poll(NULL, 0, 10);
	assert_int_equal(attempts(e), n);
}

/* ---- tests ---- */

static void test_endpoints_are_made_shown_changed_and_deleted(void **state)
{
	struct edge *e = *state;
	json_t *body = webhook_body("https://example.org/a"), *change;
	struct answer made = http_call(&e->d, e->key, "POST", WEBHOOKS, body), a;
	char path[128];

	assert_int_equal(made.status, 200);
	assert_string_equal(text_of(made.json, "object"), "webhook_endpoint");
	assert_int_equal(strncmp(text_of(made.json, "signing_secret"), "whsec_", 6), 0);
	snprintf(path, sizeof(path), WEBHOOKS "/%s", text_of(made.json, "id"));
	a = http_call(&e->d, e->key, "GET", path, NULL);
	assert_string_equal(text_of(a.json, "url"), "https://example.org/a");
	assert_int_equal(json_array_size(json_object_get(a.json, "event_types")), 3);
	assert_null(json_object_get(a.json, "signing_secret")); /* shown once */
	answer_fini(&a);
	change = json_pack("{s:[s, s]}", "event_types", all_types[1], all_types[1]);
	a = http_call(&e->d, e->key, "POST", path, change);
	assert_int_equal(a.status, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "event_types")), 1);
	assert_string_equal(text_of(a.json, "name"), "ours");
	answer_fini(&a);
	a = http_call(&e->d, e->key, "GET", WEBHOOKS, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 1);
	assert_null(strstr(a.text, text_of(made.json, "signing_secret")));
	answer_fini(&a);
	a = http_call(&e->d, e->key, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	expect_error(http_call(&e->d, e->key, "GET", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	json_decref(body);
	json_decref(change);
	answer_fini(&made);
}

static void test_another_tenants_endpoints_are_not_there(void **state)
{
	struct edge *e = *state;
	char key[128], id[STORE_ID_SIZE], webhook[STORE_ID_SIZE], path[128];
	json_t *body = json_pack("{s:s}", "name", "x");

	make_webhook(e, "https://example.org/", webhook);
	edge_tenant(e, "bob", key, id);
	snprintf(path, sizeof(path), WEBHOOKS "/%s", webhook);
	expect_error(http_call(&e->d, key, "GET", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	expect_error(http_call(&e->d, key, "POST", path, body), 404, "not_found_error", "id", NULL, NULL);
	expect_error(http_call(&e->d, key, "DELETE", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	json_decref(body);
}

static void expect_refused(struct edge *e, json_t *body, const char *param)
{
	expect_error(http_call(&e->d, e->key, "POST", WEBHOOKS, body), 400, "invalid_request_error", param,
	        NULL, NULL);
	json_decref(body);
}

static void test_endpoints_are_checked(void **state)
{
	struct edge *e = *state;
	char id[STORE_ID_SIZE];
	json_t *body;

	expect_refused(e, json_object(), "name");
	expect_refused(e, json_pack("{s:s}", "name", "x"), "url");
	expect_refused(e, json_pack("{s:s, s:s}", "name", "x", "url", "ftp://example.org"), "url");
	expect_refused(e, json_pack("{s:s, s:s}", "name", "x", "url", "http://a"), "event_types");
	expect_refused(e,
	        json_pack("{s:s, s:s, s:[s]}", "name", "x", "url", "http://a", "event_types",
	                "batch.completed"),
	        "event_types");
	for (int i = 0; i < 8; i++)
		make_webhook(e, "https://example.org/", id);
	body = webhook_body("https://example.org/");
	expect_error(http_call(&e->d, e->key, "POST", WEBHOOKS, body), 429, "rate_limit_error", NULL,
	        "insufficient_quota", "8");
	json_decref(body);
}

static void test_an_end_arrives_once_and_is_signed(void **state)
{
	struct edge *e = *state;
	char url[64], webhook[STORE_ID_SIZE], job[STORE_ID_SIZE];
	int fd = receiver_open(url);
	struct buf b;

	make_webhook(e, url, webhook);
	end_job(e, job);
	b = receive(fd, "204 No Content");
	expect_in(&b, "POST /hook?a=b HTTP/1.1\r\n");
	expect_in(&b, "Content-Type: application/json\r\n");
	expect_in(&b, "webhook-id: evt_");
	expect_in(&b, "webhook-timestamp: ");
	expect_in(&b, "webhook-signature: v1,");
	expect_in(&b, "\"type\":\"fine_tuning.job.cancelled\"");
	expect_in(&b, job);
	await_attempts(e, -1);
	buf_fini(&b);
	close(fd);
}

static void test_what_failed_is_tried_again_with_the_same_id(void **state)
{
	static const char *const failures[] = {
	        "500 Oops", "404 Not Found", "302 Found\r\nLocation: http://127.0.0.1:1/"};
	struct edge *e = *state;
	char url[64], webhook[STORE_ID_SIZE], job[STORE_ID_SIZE], id[64];
	int64_t now = 1800000000000;
	int fd = receiver_open(url);
	struct buf b;

	clock_set_ms(now);
	make_webhook(e, url, webhook);
	end_job(e, job);
	b = receive(fd, failures[0]);
	snprintf(id, sizeof(id), "%.35s", strstr(b.data, "webhook-id: "));
	buf_fini(&b);
	await_attempts(e, 1);
	for (int i = 1; i <= 3; i++) {
		now += (int64_t)1000 << 2 * (i - 1);
		clock_set_ms(now - 1); /* not yet: only what follows is received below */
		webhook_pump_poke(e->api->webhooks);
		clock_set_ms(now);
		webhook_pump_poke(e->api->webhooks);
		b = receive(fd, i < 3 ? failures[i] : "200 OK");
		expect_in(&b, id);
		buf_fini(&b);
		await_attempts(e, i < 3 ? i + 1 : -1);
	}
	close(fd);
}

static void test_what_never_arrives_is_given_up(void **state)
{
	struct edge *e = *state;
	char url[64], webhook[STORE_ID_SIZE], job[STORE_ID_SIZE];
	int64_t now = 1800000000000;
	int fd = receiver_open(url);
	struct buf b;

	clock_set_ms(now);
	make_webhook(e, url, webhook);
	end_job(e, job);
	b = receive(fd, "500 Oops");
	buf_fini(&b);
	await_attempts(e, 1);
	clock_set_ms(now + (int64_t)73 * 3600 * 1000);
	webhook_pump_poke(e->api->webhooks);
	b = receive(fd, "500 Oops");
	buf_fini(&b);
	await_attempts(e, -1);
	close(fd);
}

/* The member last_delivery of the only webhook there is; json_decref() it. */
static json_t *last_delivery(struct edge *e)
{
	struct answer a = http_call(&e->d, e->key, "GET", WEBHOOKS, NULL);
	json_t *last = json_incref(
	        json_object_get(json_array_get(json_object_get(a.json, "data"), 0), "last_delivery"));

	answer_fini(&a);
	return last;
}

static void expect_last(struct edge *e, json_int_t status, const char *error)
{
	json_t *last = last_delivery(e);

	assert_int_equal(json_integer_value(json_object_get(last, "status")), status);
	assert_true(json_integer_value(json_object_get(last, "created_at")) > 0);
	if (error)
		assert_string_equal(text_of(last, "error"), error);
	else
		assert_true(json_is_null(json_object_get(last, "error")));
	json_decref(last);
}

static void test_a_test_is_signed_and_tried_once(void **state)
{
	struct edge *e = *state;
	char url[64], webhook[STORE_ID_SIZE], path[128], id[64];
	json_t *body = json_pack("{s:s}", "event_type", all_types[1]), *none;
	int fd = receiver_open(url);
	struct answer a;
	struct buf b;

	make_webhook(e, url, webhook);
	none = last_delivery(e);
	assert_true(json_is_null(none));
	snprintf(path, sizeof(path), WEBHOOKS "/%s/test", webhook);
	a = http_call(&e->d, e->key, "POST", path, NULL);
	assert_int_equal(a.status, 200);
	assert_string_equal(text_of(a.json, "type"), all_types[0]);
	snprintf(id, sizeof(id), "webhook-id: %s\r\n", text_of(a.json, "id"));
	answer_fini(&a);
	expect_error(http_call(&e->d, e->key, "POST", path, NULL), 400, "invalid_request_error", NULL, NULL,
	        "under way");
	b = receive(fd, "500 Oops");
	expect_in(&b, id);
	expect_in(&b, "webhook-signature: v1,");
	expect_in(&b, "\"data\":{\"id\":\"ftjob-test\"}");
	await_attempts(e, -1); /* and not again */
	expect_last(e, 500, "it did not answer with 2xx");
	buf_fini(&b);
	a = http_call(&e->d, e->key, "POST", path, body);
	assert_string_equal(text_of(a.json, "type"), all_types[1]);
	answer_fini(&a);
	b = receive(fd, "200 OK");
	expect_in(&b, all_types[1]);
	await_attempts(e, -1);
	expect_last(e, 200, NULL);
	buf_fini(&b);
	json_decref(body);
	json_decref(none);
	close(fd);
}

static void test_a_test_is_of_what_the_webhook_is_told(void **state)
{
	struct edge *e = *state;
	json_t *body = json_pack("{s:s}", "event_type", "fine_tuning.job.paused");
	char webhook[STORE_ID_SIZE], path[128];

	make_webhook(e, "https://example.org/", webhook);
	snprintf(path, sizeof(path), WEBHOOKS "/%s/test", webhook);
	expect_error(http_call(&e->d, e->key, "POST", path, body), 400, "invalid_request_error", "event_type",
	        NULL, NULL);
	expect_error(http_call(&e->d, e->key, "POST", WEBHOOKS "/we_none/test", NULL), 404, "not_found_error",
	        "id", NULL, NULL);
	json_decref(body);
}

static void test_private_addresses_are_not_connected_to(void **state)
{
	struct edge *e = *state;
	char url[64], webhook[STORE_ID_SIZE], job[STORE_ID_SIZE];
	int fd = receiver_open(url);
	struct pollfd incoming = {.fd = fd, .events = POLLIN};

	make_webhook(e, url, webhook);
	end_job(e, job);
	await_attempts(e, 1);
	assert_int_equal(poll(&incoming, 1, 0), 0);
	expect_last(e, 0, "the address is not public");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_endpoints_are_made_shown_changed_and_deleted, edge_setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_another_tenants_endpoints_are_not_there, edge_setup, teardown),
	        cmocka_unit_test_setup_teardown(test_endpoints_are_checked, edge_setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_an_end_arrives_once_and_is_signed, setup_private, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_what_failed_is_tried_again_with_the_same_id, setup_private, teardown),
	        cmocka_unit_test_setup_teardown(test_what_never_arrives_is_given_up, setup_private, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_a_test_is_signed_and_tried_once, setup_private, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_a_test_is_of_what_the_webhook_is_told, edge_setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_private_addresses_are_not_connected_to, edge_setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
