/* /v1/files over HTTP: uploads in every form, listing, content, deletion, quotas. */
#include "tests/api/fixture.h"

#define FILE_LIMIT 600000

static int setup_limited(void **state)
{
	const struct api_options o = {.max_file_bytes = FILE_LIMIT, .limits = {.file_bytes = 1000}};

	return edge_setup_with(state, &o);
}

static int setup_large(void **state)
{
	const struct api_options o = {.max_file_bytes = FILE_LIMIT};

	return edge_setup_with(state, &o);
}

#define BOUNDARY "multipart/form-data; boundary=xyz"
#define PURPOSE "--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
#define FILE_PART "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.jsonl\"\r\n\r\n"
#define FIELD(name, value) "--xyz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define END "--xyz--\r\n"

static struct answer post(struct edge *e, const char *body)
{
	return http_raw(&e->d, e->key, "POST", "/v1/files", BOUNDARY, body, strlen(body));
}

static void expect_refused(struct edge *e, const char *body, const char *param, const char *words)
{
	expect_error(post(e, body), 400, "invalid_request_error", param, NULL, words);
}

static void expect_content(struct edge *e, const char *id, const char *data, size_t n)
{
	char path[128];
	struct answer a;

	snprintf(path, sizeof(path), "/v1/files/%s/content", id);
	a = http_call(&e->d, e->key, "GET", path, NULL);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.content_type, "application/octet-stream");
	assert_int_equal(a.length, n);
	assert_memory_equal(a.text, data, n);
	answer_fini(&a);
}

static void test_an_upload_is_stored_whatever_the_order_of_its_fields(void **state)
{
	static const char *const bodies[] = {
	        PURPOSE FILE_PART "line\n\r\n" END, FILE_PART "line\n\r\n" PURPOSE END};
	struct edge *e = *state;

	for (size_t i = 0; i < 2; i++) {
		struct answer a = post(e, bodies[i]);

		assert_int_equal(a.status, 200);
		assert_string_equal(text_of(a.json, "object"), "file");
		assert_string_equal(text_of(a.json, "filename"), "f.jsonl");
		assert_string_equal(text_of(a.json, "purpose"), "fine-tune");
		assert_string_equal(text_of(a.json, "status"), "processed");
		assert_int_equal(json_integer_value(json_object_get(a.json, "bytes")), 5);
		assert_null(json_object_get(a.json, "expires_at"));
		expect_content(e, text_of(a.json, "id"), "line\n", 5);
		answer_fini(&a);
	}
}

static void test_a_large_file_goes_through_in_pieces_and_comes_back_whole(void **state)
{
	struct edge *e = *state;
	char *data = mem_calloc(FILE_LIMIT, 1), id[64];

	assert_non_null(data);
	for (size_t i = 0; i < FILE_LIMIT; i++)
		data[i] = (char)(i * 31 + i / 251);
	assert_int_equal(http_upload(&e->d, e->key, "big", data, FILE_LIMIT, id), 200);
	expect_content(e, id, data, FILE_LIMIT);
	mem_free(data);
}

static void test_a_file_over_the_limit_is_refused(void **state)
{
	struct edge *e = *state;
	char *data = mem_calloc(FILE_LIMIT + 100000, 1), id[64];

	assert_non_null(data);
	assert_int_equal(http_upload(&e->d, e->key, "big", data, FILE_LIMIT + 1, id), 413);
	assert_int_equal(http_upload(&e->d, e->key, "big", data, FILE_LIMIT + 100000, id), 413);
	mem_free(data);
}

static void test_an_upload_in_chunks_needs_no_length(void **state)
{
	static const char body[] = PURPOSE FILE_PART "abc\r\n" END;
	struct edge *e = *state;
	int fd = edge_connect(e);
	char head[512];
	struct buf got;

	snprintf(head, sizeof(head),
	        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: " BOUNDARY
	        "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
	        e->key);
	edge_send(fd, head);
	for (const char *p = body; *p; p++) {
		char chunk[16];

		snprintf(chunk, sizeof(chunk), "1\r\n%c\r\n", *p);
		edge_send(fd, chunk);
	}
	edge_send(fd, "0\r\n\r\n");
	got = edge_receive(fd, NULL);
	assert_non_null(strstr(got.data, "HTTP/1.1 200"));
	assert_non_null(strstr(got.data, "\"bytes\":3"));
	buf_fini(&got);
	close(fd);
}

static void test_a_client_that_leaves_in_mid_upload_leaves_no_file(void **state)
{
	struct edge *e = *state;
	int fd = edge_connect(e);
	char head[512];
	struct answer a;

	snprintf(head, sizeof(head),
	        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: " BOUNDARY
	        "\r\nContent-Length: 100000\r\n\r\n" PURPOSE FILE_PART "abc",
	        e->key);
	edge_send(fd, head);
	close(fd);
	a = http_call(&e->d, e->key, "GET", "/v1/files", NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 0);
	answer_fini(&a);
}

static void test_malformed_uploads_are_refused(void **state)
{
	struct edge *e = *state;

	expect_refused(e, FILE_PART "x\r\n" END, "purpose", "required");
	expect_refused(e, FIELD("purpose", "fun") FILE_PART "x\r\n" END, "purpose", "'fun'");
	expect_refused(e, PURPOSE END, "file", "required");
	expect_refused(e, PURPOSE FILE_PART "\r\n" END, "file", "empty");
	expect_refused(e, PURPOSE FILE_PART "x\r\n" FILE_PART "y\r\n" END, "file", "twice");
	expect_refused(e, PURPOSE FILE_PART "x", NULL, "closing delimiter");
	expect_refused(e, "hello", NULL, "closing delimiter");
	expect_refused(e,
	        FIELD("expires_after[anchor]", "birth") FIELD("expires_after[seconds]", "3600")
	                PURPOSE FILE_PART "x\r\n" END,
	        "expires_after[anchor]", "created_at");
	expect_refused(e,
	        FIELD("expires_after[anchor]", "created_at") FIELD("expires_after[seconds]", "1h")
	                PURPOSE FILE_PART "x\r\n" END,
	        "expires_after[seconds]", "integer");
	expect_error(http_raw(&e->d, e->key, "POST", "/v1/files", "application/json", "{}", 2), 400,
	        "invalid_request_error", NULL, NULL, "multipart/form-data");
}

static void test_an_expiry_counts_from_creation(void **state)
{
	struct edge *e = *state;
	struct answer a = post(e, FIELD("expires_after[anchor]", "created_at") FIELD(
	                                  "expires_after[seconds]", "3600") PURPOSE FILE_PART "x\r\n" END);
	int64_t created = json_integer_value(json_object_get(a.json, "created_at"));

	assert_int_equal(a.status, 200);
	assert_in_range(
	        json_integer_value(json_object_get(a.json, "expires_at")), created + 3599, created + 3601);
	answer_fini(&a);
}

static void test_lists_page_from_newest_to_oldest(void **state)
{
	struct edge *e = *state;
	char ids[3][64], path[128];
	struct answer a;

	for (int i = 0; i < 3; i++)
		assert_int_equal(http_upload(&e->d, e->key, "f", "x", 1, ids[i]), 200);
	a = http_call(&e->d, e->key, "GET", "/v1/files?limit=2&purpose=fine%2Dtune", NULL);
	assert_true(json_is_true(json_object_get(a.json, "has_more")));
	assert_string_equal(text_of(a.json, "first_id"), ids[2]);
	assert_string_equal(text_of(a.json, "last_id"), ids[1]);
	answer_fini(&a);
	snprintf(path, sizeof(path), "/v1/files?limit=2&after=%s", ids[1]);
	a = http_call(&e->d, e->key, "GET", path, NULL);
	assert_true(json_is_false(json_object_get(a.json, "has_more")));
	assert_string_equal(text_of(a.json, "first_id"), ids[0]);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 1);
	answer_fini(&a);
	a = http_call(&e->d, e->key, "GET", "/v1/files?purpose=batch", NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "data")), 0);
	answer_fini(&a);
}

static void test_pages_are_checked(void **state)
{
	static const char *const wrong[] = {"0", "1001", "-1", "x", "", "1x", "99999999999999999999"};
	struct edge *e = *state;
	char path[128];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(path, sizeof(path), "/v1/files?limit=%s", wrong[i]);
		expect_error(http_call(&e->d, e->key, "GET", path, NULL), 400, "invalid_request_error",
		        "limit", NULL, "1 to 1000");
	}
	expect_error(http_call(&e->d, e->key, "GET", "/v1/files?after=file-none", NULL), 400,
	        "invalid_request_error", "after", NULL, NULL);
}

static void test_deleted_files_are_gone(void **state)
{
	struct edge *e = *state;
	char id[64], path[128];
	struct answer a;

	assert_int_equal(http_upload(&e->d, e->key, "f", "x", 1, id), 200);
	snprintf(path, sizeof(path), "/v1/files/%s", id);
	a = http_call(&e->d, e->key, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	assert_string_equal(text_of(a.json, "id"), id);
	assert_string_equal(text_of(a.json, "object"), "file");
	assert_true(json_is_true(json_object_get(a.json, "deleted")));
	answer_fini(&a);
	expect_error(http_call(&e->d, e->key, "GET", path, NULL), 404, "not_found_error", "id", NULL, id);
	expect_error(http_call(&e->d, e->key, "DELETE", path, NULL), 404, "not_found_error", "id", NULL, id);
	strcat(path, "/content");
	expect_error(http_call(&e->d, e->key, "GET", path, NULL), 404, "not_found_error", "id", NULL, id);
}

static void test_other_tenants_files_do_not_exist(void **state)
{
	struct edge *e = *state;
	char key[128], tenant[STORE_ID_SIZE], id[64], path[128];

	edge_tenant(e, "bob", key, tenant);
	assert_int_equal(http_upload(&e->d, e->key, "f", "x", 1, id), 200);
	snprintf(path, sizeof(path), "/v1/files/%s", id);
	expect_error(http_call(&e->d, key, "GET", path, NULL), 404, "not_found_error", "id", NULL, NULL);
	expect_error(http_call(&e->d, key, "DELETE", path, NULL), 404, "not_found_error", "id", NULL, NULL);
}

static void test_a_full_quota_is_429_and_not_to_be_retried(void **state)
{
	struct edge *e = *state;
	int fd = edge_connect(e);
	char data[600] = {0}, id[64], request[2048];
	struct buf got;

	assert_int_equal(http_upload(&e->d, e->key, "f", data, sizeof(data), id), 200);
	assert_int_equal(http_upload(&e->d, e->key, "f", data, sizeof(data), id), 429);
	snprintf(request, sizeof(request),
	        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: " BOUNDARY
	        "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s%0500d\r\n%s",
	        e->key, strlen(PURPOSE FILE_PART) + 500 + 2 + strlen(END), PURPOSE FILE_PART, 0, END);
	edge_send(fd, request);
	got = edge_receive(fd, NULL);
	assert_non_null(strstr(got.data, "HTTP/1.1 429"));
	assert_non_null(strstr(got.data, "x-should-retry: false"));
	assert_non_null(strstr(got.data, "\"insufficient_quota\""));
	buf_fini(&got);
	close(fd);
}

#define EDGE(test) cmocka_unit_test_setup_teardown(test, edge_setup, edge_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        EDGE(test_an_upload_is_stored_whatever_the_order_of_its_fields),
	        cmocka_unit_test_setup_teardown(test_a_large_file_goes_through_in_pieces_and_comes_back_whole,
	                setup_large, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_a_file_over_the_limit_is_refused, setup_large, edge_teardown),
	        EDGE(test_an_upload_in_chunks_needs_no_length),
	        EDGE(test_a_client_that_leaves_in_mid_upload_leaves_no_file),
	        EDGE(test_malformed_uploads_are_refused),
	        EDGE(test_an_expiry_counts_from_creation),
	        EDGE(test_lists_page_from_newest_to_oldest),
	        EDGE(test_pages_are_checked),
	        EDGE(test_deleted_files_are_gone),
	        EDGE(test_other_tenants_files_do_not_exist),
	        cmocka_unit_test_setup_teardown(
	                test_a_full_quota_is_429_and_not_to_be_retried, setup_limited, edge_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
