/* Upgrades: a store as the first release wrote it opens, keeps what it held, and can do what is new. */
#include "core/buf.h"
#include "tests/storage/fixture.h"

/* Make DIR/redd.db of the first schema, with a tenant's file, job, events and adapter in it. */
static void write_first_release(const struct fixture *f)
{
	static const char rows[] =
	        "INSERT INTO tenant (id, name, created_at, limit_queued_jobs, limit_running_jobs, "
	        "limit_file_bytes, limit_requests_per_minute, limit_tokens_per_minute) "
	        "VALUES ('tenant-1', 'old', 5, 7, 0, -1, 0, 0);"
	        "INSERT INTO api_key (id, tenant_id, hash, hint, created_at) "
	        "VALUES ('key-1', 'tenant-1', zeroblob(32), 'hint', 5);"
	        "INSERT INTO file (id, tenant_id, bytes, created_at, expires_at, filename, purpose, sha256) "
	        "VALUES ('file-1', 'tenant-1', 3, 5, 0, 'a.jsonl', 'fine-tune', 'x');"
	        "INSERT INTO job (id, tenant_id, model, training_file, spec, status, created_at) "
	        "VALUES ('ftjob-1', 'tenant-1', 'base', 'file-1', '{}', 'queued', 5);"
	        "INSERT INTO job_state (job_id, data) VALUES ('ftjob-1', x'0102');"
	        "INSERT INTO event (job, once_key, created_at, level, type, message) "
	        "VALUES (1, 4, 5, 'info', 'message', 'hello');"
	        "INSERT INTO adapter (id, name, tenant_id, job_id, parent, created_at, step, is_checkpoint, "
	        "bytes, "
	        "sha256, manifest, content) "
	        "VALUES ('adapter-1', 'ft:base:old::1', 'tenant-1', 'ftjob-1', 'base', 5, 0, 0, 2, 'y', "
	        "'{}', "
	        "x'aabb');"
	        "PRAGMA user_version = 1;";
	struct buf schema = {0};
	char path[160];
	sqlite3 *h;

	snprintf(path, sizeof(path), "%s/redd.db", f->dir);
	assert_int_equal(buf_read_file(&schema, "storage/schema/001-initial.sql", 1 << 20), OK);
	assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, schema.data, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, rows, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(h);
	buf_fini(&schema);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	clock_set_ms(NOW_MS);
	fixture_dir(f);
	write_first_release(f);
	fixture_open(f);
	return 0;
}

static void test_what_the_first_release_held_is_there(void **state)
{
	struct fixture *f = *state;
	const uint8_t hash[HASH_BYTES] = {0};
	struct adapter_record a = {0};
	struct event *events = NULL;
	struct tenant t;
	struct job j = {0};
	void *data = NULL;
	size_t n = 0;

	assert_int_equal(store_tenant_by_key(f->s, hash, &t), OK);
	assert_string_equal(t.name, "old");
	assert_int_equal(t.limits.queued_jobs, 7);
	assert_int_equal(store_job_get(f->s, "tenant-1", "ftjob-1", &j), OK);
	assert_int_equal(j.status, JOB_QUEUED);
	job_fini(&j);
	assert_int_equal(store_job_state_get(f->s, "ftjob-1", &data, &n), OK);
	assert_int_equal(n, 2);
	mem_free(data);
	assert_int_equal(store_event_since(f->s, "ftjob-1", 0, 10, &events, &n), OK);
	assert_int_equal(n, 1);
	assert_string_equal(events[0].message, "hello");
	event_list_free(events, n);
	assert_int_equal(store_adapter_get(f->s, "tenant-1", "ft:base:old::1", &a), OK);
	assert_memory_equal(a.content, "\xaa\xbb", 2);
	adapter_record_fini(&a);
}

static void test_what_came_later_works_on_it(void **state)
{
	struct fixture *f = *state;
	struct fixture fresh = {0};
	struct alias alias;
	struct job j = {0};

	assert_int_equal(store_alias_set(f->s, "tenant-1", "stable", "ft:base:old::1", &alias), OK);
	assert_string_equal(alias.model, "ft:base:old::1");
	assert_int_equal(store_job_claim(f->s, "me", 60000, 0, &j), OK);
	assert_string_equal(j.id, "ftjob-1");
	job_fini(&j);
	/* And it is as new as a store that is made now. */
	fixture_dir(&fresh);
	fixture_open(&fresh);
	assert_int_equal(sql(f, "PRAGMA user_version"), sql(&fresh, "PRAGMA user_version"));
	assert_int_equal(sql(f, "SELECT count(*) FROM sqlite_schema"),
	        sql(&fresh, "SELECT count(*) FROM sqlite_schema"));
	store_close(fresh.s);
	nftw(fresh.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_opening_it_again_changes_nothing(void **state)
{
	struct fixture *f = *state;
	int64_t version = sql(f, "PRAGMA user_version");

	fixture_reopen(f);
	assert_int_equal(sql(f, "PRAGMA user_version"), version);
	test_what_the_first_release_held_is_there(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_what_the_first_release_held_is_there),
	        TEST(test_what_came_later_works_on_it),
	        TEST(test_opening_it_again_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
