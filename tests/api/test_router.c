/* Paths to routes, and the decoding of what they captured. */
#include "api/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum exchange_verdict one(struct exchange *x)
{
	(void)x;
	return EXCHANGE_DONE;
}

static const struct route first[] = {
        {"POST", "/v1/files", ROUTE_TENANT, one},
        {"GET", "/v1/files", ROUTE_TENANT, one},
        {"GET", "/v1/files/{}", ROUTE_TENANT, one},
        {"DELETE", "/v1/files/{}", ROUTE_TENANT, one},
        {"GET", "/v1/files/{}/content", ROUTE_TENANT, one},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
static const struct route second[] = {
        {"DELETE", "/admin/tenants/{}/keys/{}", ROUTE_ADMIN, one},
        {"GET", "/", ROUTE_OPEN, one},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
static const struct route *const tables[] = {first, second, NULL};

static void expect_route(const char *method, const char *path, const struct route *route)
{
	struct router_match m;

	assert_int_equal(router_find(tables, method, path, &m), ROUTER_FOUND);
	assert_ptr_equal(m.route, route);
}

static void test_finds_routes_of_every_table(void **state)
{
	(void)state;
	expect_route("POST", "/v1/files", &first[0]);
	expect_route("GET", "/v1/files", &first[1]);
	expect_route("DELETE", "/v1/files/f1", &first[3]);
	expect_route("GET", "/v1/files/f1/content", &first[4]);
	expect_route("GET", "/", &second[1]);
}

static void test_head_is_answered_by_get(void **state)
{
	(void)state;
	expect_route("HEAD", "/v1/files/f1", &first[2]);
}

static void test_captures_are_raw_segments(void **state)
{
	struct router_match m;

	(void)state;
	assert_int_equal(router_find(tables, "DELETE", "/admin/tenants/a%2Fb:c@d/keys/k", &m), ROUTER_FOUND);
	assert_int_equal(m.n_captures, 2);
	assert_int_equal(m.captures[0].n, strlen("a%2Fb:c@d"));
	assert_memory_equal(m.captures[0].p, "a%2Fb:c@d", m.captures[0].n);
	assert_int_equal(m.captures[1].n, 1);
}

static void test_unknown_paths_are_told_from_unknown_methods(void **state)
{
	struct router_match m;

	(void)state;
	assert_int_equal(router_find(tables, "GET", "/v1/file", &m), ROUTER_NO_PATH);
	assert_int_equal(router_find(tables, "GET", "/v1/files/", &m), ROUTER_NO_PATH);
	assert_int_equal(router_find(tables, "GET", "/v1/files/a/b", &m), ROUTER_NO_PATH);
	assert_int_equal(router_find(tables, "GET", "", &m), ROUTER_NO_PATH);
	assert_int_equal(router_find(tables, "PUT", "/v1/files", &m), ROUTER_NO_METHOD);
	assert_string_equal(m.allow, "POST, GET, HEAD, OPTIONS");
	assert_int_equal(router_find(tables, "HEAD", "/admin/tenants/t/keys/k", &m), ROUTER_NO_METHOD);
	assert_string_equal(m.allow, "DELETE, OPTIONS");
}

static void expect_decoded(const char *from, const char *to)
{
	char s[64];

	strcpy(s, from);
	assert_true(url_decode(s));
	assert_string_equal(s, to);
}

static void test_decoding_happens_once(void **state)
{
	(void)state;
	expect_decoded("ft:base:ann:x:1@2", "ft:base:ann:x:1@2");
	expect_decoded("a%2Fb", "a/b");
	expect_decoded("%252F", "%2F");
	expect_decoded("%c3%A4", "ä");
	expect_decoded("", "");
}

static void test_broken_escapes_leave_the_text_alone(void **state)
{
	static const char *const broken[] = {"%", "a%2", "%zz", "a%2Fb%", "%00", "x%G1"};

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		char s[16];

		strcpy(s, broken[i]);
		assert_false(url_decode(s));
		assert_string_equal(s, broken[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_finds_routes_of_every_table),
	        cmocka_unit_test(test_head_is_answered_by_get),
	        cmocka_unit_test(test_captures_are_raw_segments),
	        cmocka_unit_test(test_unknown_paths_are_told_from_unknown_methods),
	        cmocka_unit_test(test_decoding_happens_once),
	        cmocka_unit_test(test_broken_escapes_leave_the_text_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
