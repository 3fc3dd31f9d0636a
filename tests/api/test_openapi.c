/* The document and the routes say the same: every route is in it, and nothing else. */
#include "tests/api/fixture.h"

#include "api/edge.h"

#include <ctype.h>

/* "/v1/files/{id}/content" as the route tables have it: "/v1/files/{}/content". */
static void pattern_of(const char *path, char out[128])
{
	size_t n = 0;
	bool inside = false;

	for (; *path && n < 127; path++) {
		if (*path == '}')
			inside = false;
		if (!inside)
			out[n++] = *path;
		if (*path == '{')
			inside = true;
	}
	out[n] = '\0';
}

static json_t *document(struct edge *e)
{
	struct answer a = http_call(&e->d, NULL, "GET", "/openapi.json", NULL);
	json_t *json = json_incref(a.json);

	assert_int_equal(a.status, 200);
	assert_string_equal(a.content_type, "application/json");
	answer_fini(&a);
	return json;
}

static const json_t *find_operation(const json_t *doc, const struct route *r)
{
	const char *path;
	char pattern[128], method[8];
	json_t *item;
	size_t i;

	for (i = 0; r->method[i]; i++)
		method[i] = (char)tolower((unsigned char)r->method[i]);
	method[i] = '\0';
	json_object_foreach (json_object_get(doc, "paths"), path, item) {
		pattern_of(path, pattern);
		if (!strcmp(pattern, r->pattern))
			return json_object_get(item, method);
	}
	return NULL;
}

/* Not in the document: the doubles of /admin under /v1, and the files of the page for people. */
static bool is_left_out(const struct route *r)
{
	return !strncmp(r->pattern, "/v1/admin/", 10) || !strncmp(r->pattern, "/web/", 5);
}

static const char *security_of(const struct route *r)
{
	switch (r->auth) {
	case ROUTE_OPEN:
		return NULL;
	case ROUTE_ADMIN:
		return "admin";
	case ROUTE_TENANT:
	case ROUTE_TENANT_UPLOAD:
		break;
	}
	return "tenant";
}

static void test_every_route_is_described_with_its_key(void **state)
{
	json_t *doc = document(*state);

	for (const struct route *const *t = route_tables; *t; t++) {
		for (const struct route *r = *t; r->method; r++) {
			const json_t *op, *security;
			const char *key = security_of(r);

			if (is_left_out(r))
				continue;
			op = find_operation(doc, r);
			if (!op)
				fail_msg("not in api/openapi.json: %s %s", r->method, r->pattern);
			security = json_object_get(op, "security");
			/* a route that is open to the router may still ask for a key itself */
			if (key && !json_object_get(json_array_get(security, 0), key))
				fail_msg("%s %s is not for the %s", r->method, r->pattern, key);
			if (r->auth == ROUTE_TENANT_UPLOAD &&
			        !json_object_get(
			                json_object_get(json_object_get(op, "requestBody"), "content"),
			                "multipart/form-data"))
				fail_msg("%s %s takes a form", r->method, r->pattern);
		}
	}
	json_decref(doc);
}

static void test_all_that_is_described_is_routed(void **state)
{
	json_t *doc = document(*state), *item, *op;
	const char *path, *method;
	char pattern[128], upper[8];
	struct router_match match;
	size_t n = 0;

	json_object_foreach (json_object_get(doc, "paths"), path, item) {
		json_object_foreach (item, method, op) {
			if (!strcmp(method, "parameters"))
				continue;
			for (n = 0; method[n]; n++)
				upper[n] = (char)toupper((unsigned char)method[n]);
			upper[n] = '\0';
			pattern_of(path, pattern);
			if (router_find(route_tables, upper, pattern, &match) != ROUTER_FOUND ||
			        strcmp(match.route->pattern, pattern) != 0)
				fail_msg("no such route: %s %s", upper, path);
		}
	}
	json_decref(doc);
}

/* Follow every "$ref": a name that is not there is a hole in the document. */
static void check_refs(const json_t *doc, const json_t *v)
{
	const char *key, *name;
	json_t *member;
	size_t i;

	json_array_foreach (v, i, member)
		check_refs(doc, member);
	json_object_foreach ((json_t *)v, key, member) {
		const json_t *at = json_object_get(doc, "components");

		if (strcmp(key, "$ref") != 0) {
			check_refs(doc, member);
			continue;
		}
		name = json_string_value(member);
		assert_int_equal(strncmp(name, "#/components/", 13), 0);
		at = json_object_get(at, strncmp(name + 13, "schemas/", 8) ? "responses" : "schemas");
		if (!json_object_get(at, strrchr(name, '/') + 1))
			fail_msg("%s is not there", name);
	}
}

static void test_the_document_has_no_holes(void **state)
{
	json_t *doc = document(*state);

	assert_string_equal(text_of(doc, "openapi"), "3.1.0");
	check_refs(doc, doc);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_every_route_is_described_with_its_key, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_all_that_is_described_is_routed, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(test_the_document_has_no_holes, edge_setup, edge_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
