/* Keys to principals over a real store: what is remembered, and what must be forgotten. */
#include "tests/api/fixture.h"

#include "api/auth.h"
#include "core/clock.h"

struct keys {
	char dir[64];
	struct store *s;
	struct api_options options;
	struct auth *auth;
	struct tenant ann;
};

static void key_add(struct keys *k, const char *key, struct api_key *out)
{
	uint8_t hash[HASH_BYTES];

	hash_bytes(key, strlen(key), hash);
	assert_int_equal(store_key_create(k->s, k->ann.id, hash, "hint", out), OK);
}

static int setup(void **state)
{
	static const struct tenant_limits none = {0};
	struct keys *k = mem_calloc(1, sizeof(*k));
	struct why why;

	assert_non_null(k);
	snprintf(k->dir, sizeof(k->dir), "/tmp/redd-auth-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	assert_int_equal(store_open(k->dir, &k->s, &why), OK);
	assert_int_equal(store_tenant_create(k->s, "ann", &none, &k->ann), OK);
	hash_bytes(ADMIN_KEY, strlen(ADMIN_KEY), k->options.admin_key_hash);
	assert_int_equal(auth_new(&k->options, k->s, &k->auth), OK);
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	struct keys *k = *state;

	clock_set_ms(-1);
	auth_free(k->auth);
	store_close(k->s);
	nftw(k->dir, edge_remove, 8, FTW_DEPTH | FTW_PHYS);
	mem_free(k);
	return 0;
}

static enum err peek(struct keys *k, const char *header, struct principal *p)
{
	struct why why = {0};
	enum err e = auth_peek(k->auth, header, p, &why);

	assert_true(e != ERR_AUTH || why.message[0]);
	return e;
}

static enum err ask(struct keys *k, const char *header, struct principal *p)
{
	struct why why = {0};

	return auth_ask(k->auth, header, p, &why);
}

static void test_a_key_is_asked_for_once_and_then_remembered(void **state)
{
	struct keys *k = *state;
	struct principal p = {0};
	struct api_key key;

	key_add(k, "secret", &key);
	assert_int_equal(peek(k, "Bearer secret", &p), ERR_BUSY);
	assert_int_equal(ask(k, "Bearer secret", &p), OK);
	assert_true(p.has_tenant && !p.is_admin);
	assert_string_equal(p.tenant.id, k->ann.id);
	memset(&p, 0, sizeof(p));
	assert_int_equal(peek(k, "bearer  secret", &p), OK);
	assert_string_equal(p.tenant.name, "ann");
}

static void test_headers_without_a_key_are_refused_at_once(void **state)
{
	static const char *const wrong[] = {
	        NULL, "", "secret", "Basic c2VjcmV0", "Bearer", "Bearer ", "Bearer    "};
	struct principal p;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(peek(*state, wrong[i], &p), ERR_AUTH);
}

static void test_unknown_keys_are_never_remembered(void **state)
{
	struct keys *k = *state;
	struct principal p;
	struct api_key key;

	assert_int_equal(ask(k, "Bearer later", &p), ERR_AUTH);
	key_add(k, "later", &key);
	assert_int_equal(ask(k, "Bearer later", &p), OK);
}

static void test_a_revoked_key_is_forgotten_at_once(void **state)
{
	struct keys *k = *state;
	struct principal p;
	struct api_key key;

	key_add(k, "secret", &key);
	assert_int_equal(ask(k, "Bearer secret", &p), OK);
	assert_int_equal(store_key_delete(k->s, k->ann.id, key.id), OK);
	auth_forget(k->auth, k->ann.id);
	assert_int_equal(peek(k, "Bearer secret", &p), ERR_BUSY);
	assert_int_equal(ask(k, "Bearer secret", &p), ERR_AUTH);
}

static void test_what_is_remembered_expires(void **state)
{
	struct keys *k = *state;
	struct principal p;
	struct api_key key;

	key_add(k, "secret", &key);
	clock_set_ms(1700000000000);
	assert_int_equal(ask(k, "Bearer secret", &p), OK);
	clock_set_ms(1700000000000 + 29999);
	assert_int_equal(peek(k, "Bearer secret", &p), OK);
	clock_set_ms(1700000000000 + 30000);
	assert_int_equal(peek(k, "Bearer secret", &p), ERR_BUSY);
}

static void test_the_admin_has_no_tenant(void **state)
{
	struct principal p;

	assert_int_equal(peek(*state, "Bearer " ADMIN_KEY, &p), OK);
	assert_true(p.is_admin && !p.has_tenant);
	assert_int_equal(peek(*state, "Bearer " ADMIN_KEY "x", &p), ERR_BUSY);
}

static void test_without_authentication_everyone_is_the_default_tenant(void **state)
{
	struct keys *k = *state;
	struct principal p = {0}, again = {0};

	k->options.no_auth = true;
	assert_int_equal(peek(k, NULL, &p), ERR_BUSY);
	assert_int_equal(ask(k, NULL, &p), OK);
	assert_true(p.is_admin && p.has_tenant);
	assert_string_equal(p.tenant.name, "default");
	assert_int_equal(peek(k, "Bearer whatever", &again), OK);
	assert_string_equal(again.tenant.id, p.tenant.id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_a_key_is_asked_for_once_and_then_remembered, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_headers_without_a_key_are_refused_at_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_unknown_keys_are_never_remembered, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_revoked_key_is_forgotten_at_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_what_is_remembered_expires, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_the_admin_has_no_tenant, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_without_authentication_everyone_is_the_default_tenant, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
