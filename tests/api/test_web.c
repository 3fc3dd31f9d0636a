/* The dashboard's files as they leave the edge: under one strict policy, kept for ever or asked for anew. */
#include "tests/api/fixture.h"

#include "api/web.h"

static int setup_open(void **state)
{
	const struct api_options o = {.no_auth = true};

	return edge_setup_with(state, &o);
}

/* The whole answer to a GET of path with more header lines; buf_fini() it. */
static struct buf fetch(const struct edge *e, const char *path, const char *headers)
{
	char *request =
	        mem_printf("GET %s HTTP/1.1\r\nHost: h\r\n%sConnection: close\r\n\r\n", path, headers);
	struct buf got = edge_dialogue(e, request);

	mem_free(request);
	return got;
}

static void expect_words(const struct buf *got, const char *words)
{
	if (!strstr(got->data, words))
		fail_msg("no \"%s\" in: %s", words, got->data);
}

static void expect_policy(const struct buf *got)
{
	expect_words(got, "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
	                  "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
	                  "frame-ancestors 'none'\r\n");
	expect_words(got, "X-Content-Type-Options: nosniff\r\n");
	expect_words(got, "Referrer-Policy: no-referrer\r\n");
}

/* The ETag line's value of an answer, as If-None-Match would give it. */
static char *condition_of(const struct buf *got)
{
	const char *at = strstr(got->data, "ETag: ");

	assert_non_null(at);
	at += strlen("ETag: ");
	return mem_printf("If-None-Match: %.*s\r\n", (int)strcspn(at, "\r"), at);
}

static void test_page_names_its_bundle_and_is_never_kept_unasked(void **state)
{
	char *path = mem_printf("/web/%s/app.js", web_bundle());
	struct buf got = fetch(*state, "/", "");

	expect_words(&got, "HTTP/1.1 200");
	expect_words(&got, "Content-Type: text/html; charset=utf-8\r\n");
	expect_words(&got, "Cache-Control: no-cache\r\n");
	expect_words(&got, path);
	expect_words(&got, "name=\"redd-auth\" content=\"key\"");
	expect_policy(&got);
	buf_fini(&got);
	mem_free(path);
}

static void test_page_says_when_no_key_is_asked_for(void **state)
{
	struct buf got = fetch(*state, "/", "");

	expect_words(&got, "name=\"redd-auth\" content=\"none\"");
	buf_fini(&got);
}

static void test_page_holds_nothing_inline_and_no_other_host(void **state)
{
	struct buf page = {0};

	(void)state;
	assert_int_equal(web_index(false, &page), OK);
	assert_null(strstr(page.data, "@BUNDLE@"));
	assert_null(strstr(page.data, "<style"));
	assert_null(strstr(page.data, "style="));
	assert_null(strstr(page.data, "onclick"));
	assert_null(strstr(page.data, "://"));
	for (const char *at = page.data; (at = strstr(at, "<script")); at++)
		assert_memory_equal(at, "<script type=\"module\" src=\"/web/", 32);
	buf_fini(&page);
}

/* Every file that the page refers to is there, whole, of its type, and kept for ever. */
static void test_bundled_files_are_immutable(void **state)
{
	struct buf page = {0};
	size_t n = 0;

	assert_int_equal(web_index(false, &page), OK);
	for (char *at = page.data; (at = strstr(at, "/web/")); n++) {
		size_t length = strcspn(at, "\"");
		char *path = mem_printf("%.*s", (int)length, at);
		const struct web_file *file = web_file_find(strrchr(path, '/') + 1);
		struct buf got = fetch(*state, path, "");

		assert_non_null(file);
		expect_words(&got, "HTTP/1.1 200");
		expect_words(&got, file->content_type);
		expect_words(&got, "Cache-Control: public, max-age=31536000, immutable\r\n");
		expect_policy(&got);
		assert_string_equal(strstr(got.data, "\r\n\r\n") + 4, file->data);
		assert_int_equal(strlen(file->data), file->n);
		buf_fini(&got);
		mem_free(path);
		at += length;
	}
	assert_true(n > 10);
	buf_fini(&page);
}

static void test_older_bundle_gets_what_there_is_unkept(void **state)
{
	struct buf got = fetch(*state, "/web/0123456789abcdef/api.js", "");

	expect_words(&got, "HTTP/1.1 200");
	expect_words(&got, "Cache-Control: no-cache\r\n");
	buf_fini(&got);
}

static void test_what_is_unchanged_is_not_sent_again(void **state)
{
	struct buf got = fetch(*state, "/", "");
	char *condition = condition_of(&got);

	buf_fini(&got);
	got = fetch(*state, "/", condition);
	expect_words(&got, "HTTP/1.1 304");
	expect_policy(&got);
	assert_string_equal(strstr(got.data, "\r\n\r\n"), "\r\n\r\n");
	buf_fini(&got);
	got = fetch(*state, "/", "If-None-Match: \"another\"\r\n");
	expect_words(&got, "HTTP/1.1 200");
	buf_fini(&got);
	mem_free(condition);
}

static void test_unknown_files_are_errors(void **state)
{
	struct edge *e = *state;

	expect_error(http_call(&e->d, NULL, "GET", "/web/x/nope.js", NULL), 404, "not_found_error", NULL,
	        NULL, "nope.js");
	expect_error(http_call(&e->d, NULL, "GET", "/web/x/index.html", NULL), 404, "not_found_error", NULL,
	        NULL, NULL);
	expect_error(http_call(&e->d, NULL, "GET", "/web/x/..%2fweb.c", NULL), 404, "not_found_error", NULL,
	        NULL, NULL);
}

/* ---- who am I ---- */

static void test_session_tells_tenant_from_admin(void **state)
{
	struct edge *e = *state;
	struct answer a = http_call(&e->d, e->key, "GET", "/v1/session", NULL);

	assert_int_equal(a.status, 200);
	assert_string_equal(text_of(json_object_get(a.json, "tenant"), "name"), "ann");
	assert_true(json_is_false(json_object_get(a.json, "admin")));
	assert_true(json_is_null(json_object_get(a.json, "base")));
	answer_fini(&a);
	a = http_call(&e->d, ADMIN_KEY, "GET", "/v1/session", NULL);
	assert_int_equal(a.status, 200);
	assert_true(json_is_null(json_object_get(a.json, "tenant")));
	assert_true(json_is_true(json_object_get(a.json, "admin")));
	answer_fini(&a);
}

static void test_session_refuses_strangers(void **state)
{
	struct edge *e = *state;

	expect_error(http_call(&e->d, "sk-redd-of-nobody", "GET", "/v1/session", NULL), 401,
	        "authentication_error", NULL, "invalid_api_key", NULL);
	expect_error(http_call(&e->d, NULL, "GET", "/v1/session", NULL), 401, "authentication_error", NULL,
	        "invalid_api_key", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_page_names_its_bundle_and_is_never_kept_unasked, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_page_says_when_no_key_is_asked_for, setup_open, edge_teardown),
	        cmocka_unit_test(test_page_holds_nothing_inline_and_no_other_host),
	        cmocka_unit_test_setup_teardown(test_bundled_files_are_immutable, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_older_bundle_gets_what_there_is_unkept, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_what_is_unchanged_is_not_sent_again, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(test_unknown_files_are_errors, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_session_tells_tenant_from_admin, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(test_session_refuses_strangers, edge_setup, edge_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
