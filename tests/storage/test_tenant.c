/* Tenants and their keys; erasing a tenant. */
#include "tests/storage/fixture.h"

static void test_tenant_is_found_by_id_and_name(void **state)
{
	struct fixture *f = *state;
	struct tenant_limits limits = {1, -1, 3, 4, 5};
	struct tenant made, got;

	assert_int_equal(store_tenant_create(f->s, "carl-2", &limits, &made), OK);
	assert_int_equal(strncmp(made.id, "tenant-", 7), 0);
	fixture_reopen(f);
	assert_int_equal(store_tenant_get(f->s, made.id, &got), OK);
	assert_string_equal(got.name, "carl-2");
	assert_int_equal(got.created_at, NOW_MS / 1000);
	assert_memory_equal(&got.limits, &limits, sizeof(limits));
	assert_int_equal(store_tenant_by_name(f->s, "carl-2", &got), OK);
	assert_string_equal(got.id, made.id);
	got.created_at = 7;
	assert_int_equal(store_tenant_get(f->s, "tenant-unknown", &got), ERR_NOT_FOUND);
	assert_int_equal(store_tenant_by_name(f->s, "nobody", &got), ERR_NOT_FOUND);
	assert_int_equal(got.created_at, 7);
}

static void test_tenant_names_are_unique_and_plain(void **state)
{
	struct fixture *f = *state;
	const char *bad[] = {"", "Ann", "a b", "a_b", "a:b", "\xc3\xa4"};
	char name[STORE_NAME_SIZE + 1];
	struct tenant t;

	assert_int_equal(store_tenant_create(f->s, "ann", NULL, &t), ERR_EXISTS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(store_tenant_create(f->s, bad[i], NULL, &t), ERR_INVALID);
	memset(name, 'n', sizeof(name));
	name[STORE_NAME_SIZE] = '\0';
	assert_int_equal(store_tenant_create(f->s, name, NULL, &t), ERR_INVALID);
	name[STORE_NAME_SIZE - 1] = '\0';
	assert_int_equal(store_tenant_create(f->s, name, NULL, &t), OK);
}

static void test_tenant_list_pages(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 1};
	struct tenant *items;
	bool more;
	size_t n;

	assert_int_equal(store_tenant_list(f->s, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_true(more);
	assert_string_equal(items[0].name, "bob");
	mem_free(items);
	page.after = f->bob.id;
	assert_int_equal(store_tenant_list(f->s, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	assert_string_equal(items[0].name, "ann");
	mem_free(items);
	page.after = "tenant-unknown";
	assert_int_equal(store_tenant_list(f->s, &page, &items, &n, &more), ERR_NOT_FOUND);
}

static void test_tenant_limits_are_replaced(void **state)
{
	struct fixture *f = *state;
	const struct tenant_limits limits = {1, 2, 3, -1, 5};
	struct tenant t;

	assert_int_equal(store_tenant_limit(f->s, f->ann.id, &limits, &t), OK);
	assert_string_equal(t.name, f->ann.name);
	assert_memory_equal(&t.limits, &limits, sizeof(limits));
	assert_int_equal(store_tenant_get(f->s, f->bob.id, &t), OK);
	assert_memory_equal(&t.limits, &f->bob.limits, sizeof(limits));
	assert_int_equal(store_tenant_limit(f->s, "tenant-unknown", &limits, &t), ERR_NOT_FOUND);
}

static void test_key_leads_to_its_tenant_until_deleted(void **state)
{
	struct fixture *f = *state;
	uint8_t one[HASH_BYTES] = {1}, two[HASH_BYTES] = {2};
	struct api_key key, other, *keys;
	struct tenant t;
	size_t n;

	assert_int_equal(store_key_create(f->s, f->ann.id, one, "...cafe", &key), OK);
	assert_int_equal(store_key_create(f->s, f->ann.id, two, "...beef", &other), OK);
	assert_int_equal(store_tenant_by_key(f->s, one, &t), OK);
	assert_string_equal(t.id, f->ann.id);
	assert_int_equal(store_key_list(f->s, f->ann.id, &keys, &n), OK);
	assert_int_equal(n, 2);
	assert_string_equal(keys[0].hint, "...beef");
	assert_string_equal(keys[1].id, key.id);
	assert_string_equal(keys[1].tenant_id, f->ann.id);
	mem_free(keys);
	assert_int_equal(store_key_delete(f->s, f->bob.id, key.id), ERR_NOT_FOUND);
	assert_int_equal(store_key_delete(f->s, f->ann.id, key.id), OK);
	assert_int_equal(store_key_delete(f->s, f->ann.id, key.id), ERR_NOT_FOUND);
	assert_int_equal(store_tenant_by_key(f->s, one, &t), ERR_NOT_FOUND);
	assert_int_equal(store_tenant_by_key(f->s, two, &t), OK);
}

static void test_key_needs_a_tenant_a_fresh_hash_and_a_short_hint(void **state)
{
	struct fixture *f = *state;
	uint8_t hash[HASH_BYTES] = {3};
	struct api_key key;

	assert_int_equal(store_key_create(f->s, "tenant-unknown", hash, "x", &key), ERR_NOT_FOUND);
	assert_int_equal(store_key_create(f->s, f->ann.id, hash, "sixteen letters!", &key), ERR_INVALID);
	assert_int_equal(store_key_create(f->s, f->ann.id, hash, "x", &key), OK);
	assert_int_equal(store_key_create(f->s, f->bob.id, hash, "x", &key), ERR_EXISTS);
}

/* Whether any file of the store, the log too, holds the word. */
static bool found_on_disk(const struct fixture *f, const char *word)
{
	char command[256];

	snprintf(command, sizeof(command), "grep -r -q -a -F '%s' %s", word, f->dir);
	return system(command) == 0;
}

static void test_tenant_delete_erases_everything_of_it(void **state)
{
	struct fixture *f = *state;
	uint8_t hash[HASH_BYTES] = {4};
	struct checkpoint_new c = {.state = "zanzibar-state",
	        .n_state = 14,
	        .name = "ft:zanzibar",
	        .parent = "base",
	        .manifest = "{}",
	        .content = "zanzibar-weights",
	        .n_content = 16};
	struct event_new e = {.level = "info", .type = "message", .message = "zanzibar"};
	char id[STORE_ID_SIZE], file[STORE_ID_SIZE], bobs[STORE_ID_SIZE];
	struct api_key key;
	struct tenant t;

	put_file(f, f->ann.id, "zanzibar-data", 0, file);
	put_file(f, f->bob.id, "kept", 0, bobs);
	make_running(f, id);
	c.job_id = id;
	assert_int_equal(store_checkpoint_put(f->s, &c), OK);
	assert_int_equal(store_event_later(f->s, id, &e), OK);
	assert_int_equal(store_key_create(f->s, f->ann.id, hash, "x", &key), OK);
	assert_true(found_on_disk(f, "zanzibar"));
	assert_int_equal(store_tenant_delete(f->s, f->ann.id), OK);
	assert_false(found_on_disk(f, "zanzibar"));
	assert_int_equal(store_tenant_get(f->s, f->ann.id, &t), ERR_NOT_FOUND);
	assert_int_equal(store_tenant_by_key(f->s, hash, &t), ERR_NOT_FOUND);
	assert_int_equal(count_entries(f, "files"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM tenant"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM file"), 1);
	assert_int_equal(sql(f, "SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM event)"
	                        " + (SELECT count(*) FROM job_state) + (SELECT count(*) FROM adapter)"
	                        " + (SELECT count(*) FROM checkpoint) + (SELECT count(*) FROM api_key)"),
	        0);
	assert_int_equal(store_tenant_delete(f->s, f->ann.id), ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_tenant_is_found_by_id_and_name),
	        STORE_TEST(test_tenant_names_are_unique_and_plain),
	        STORE_TEST(test_tenant_list_pages),
	        STORE_TEST(test_tenant_limits_are_replaced),
	        STORE_TEST(test_key_leads_to_its_tenant_until_deleted),
	        STORE_TEST(test_key_needs_a_tenant_a_fresh_hash_and_a_short_hint),
	        STORE_TEST(test_tenant_delete_erases_everything_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
