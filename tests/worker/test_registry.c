/* Who gets which version of which adapter, and for how long. */
#include "worker/registry.h"

#include "tests/worker/fixture.h"
#include "worker/adapter/adapter.h"

/* Store an adapter of one tenant whose every parameter is `value`, as a job's result. */
static void publish(
        struct fixture *f, const struct tenant *t, const char *name, float value, const char *base_hash)
{
	struct adapter_spec spec;
	struct adapter_layout *layout;
	struct buf content = {0};
	struct ask ask = {.tenant = t};
	struct job job;
	char id[STORE_ID_SIZE], *manifest = mem_printf("{\"base_hash\":\"%s\"}", base_hash);
	size_t n_sites;
	const struct site *sites = model_sites(f->model, &n_sites);
	float *params;
	struct job_success success = {.name = name, .parent = "base", .manifest = manifest, .result_csv = ""};

	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &layout, NULL), OK);
	params = mem_calloc(adapter_layout_n_params(layout), sizeof(*params));
	for (size_t i = 0; i < adapter_layout_n_params(layout); i++)
		params[i] = value;
	assert_int_equal(adapter_write(layout, params, NULL, &content), OK);
	make_job(f, &ask, id);
	assert_int_equal(store_job_claim(f->store, "test", 60000, 0, &job), OK);
	job_fini(&job);
	success.job_id = id;
	success.content = content.data;
	success.n_content = content.len;
	assert_int_equal(store_job_succeed(f->store, &success, &job), OK);
	job_fini(&job);
	buf_fini(&content);
	mem_free(manifest);
	mem_free(params);
	adapter_layout_free(layout);
}

static const char *hash(struct fixture *f)
{
	return model_info(f->model)->hash;
}

static void test_base_is_everyones_and_edits_nothing(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref ref, again, other;

	assert_int_equal(registry_acquire(f->registry, f->ann.id, "base", &ref, NULL), OK);
	assert_null(ref.layout);
	assert_null(ref.release);
	assert_int_equal(registry_count(f->registry), 0);
	/* But whose use it is can be told. */
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "base", &again, NULL), OK);
	assert_int_equal(registry_acquire(f->registry, f->bob.id, "base", &other, NULL), OK);
	assert_true(ref.version > 0 && other.version > 0);
	assert_int_equal(again.version, ref.version);
	assert_int_not_equal(other.version, ref.version);
}

static void test_adapter_is_loaded_once_and_shared(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref a, b;

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &a, NULL), OK);
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &b, NULL), OK);
	assert_ptr_equal(a.params, b.params);
	assert_true(a.params[0] == 0.5f);
	assert_int_equal(registry_count(f->registry), 1);
	a.release(a.owner);
	b.release(b.owner);
}

static void test_versions_have_numbers_of_their_own(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref a, b, again;

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	publish(f, &f->ann, "ft:base:ann::two", 0.5f, hash(f));
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &a, NULL), OK);
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::two", &b, NULL), OK);
	assert_true(a.version > 0);
	assert_int_not_equal(a.version, b.version);
	/* What one recipe trained has one layout. */
	assert_ptr_equal(a.layout, b.layout);
	a.release(a.owner);
	registry_forget(f->registry, f->ann.id, "ft:base:ann::one");
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &again, NULL), OK);
	assert_true(again.version > b.version);
	b.release(b.owner);
	again.release(again.owner);
}

static void test_another_tenants_adapter_does_not_exist(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref ref;
	struct why why = {0};

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	assert_int_equal(
	        registry_acquire(f->registry, f->bob.id, "ft:base:ann::one", &ref, &why), ERR_NOT_FOUND);
	assert_string_equal(why.code, "model_not_found");
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &ref, NULL), OK);
	ref.release(ref.owner);
	/* Nor does residence change that. */
	assert_int_equal(
	        registry_acquire(f->registry, f->bob.id, "ft:base:ann::one", &ref, &why), ERR_NOT_FOUND);
	assert_int_equal(
	        registry_acquire(f->registry, f->ann.id, "ft:base:ann::two", &ref, &why), ERR_NOT_FOUND);
}

static void test_adapter_of_another_base_is_refused(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref ref;
	struct why why = {0};

	publish(f, &f->ann, "ft:base:ann::odd", 0.5f, "0123456789abcdef");
	assert_int_equal(
	        registry_acquire(f->registry, f->ann.id, "ft:base:ann::odd", &ref, &why), ERR_MISMATCH);
	assert_non_null(strstr(why.message, "0123456789ab"));
	assert_int_equal(registry_count(f->registry), 0);
}

static void test_holders_keep_what_is_forgotten(void **state)
{
	struct fixture *f = *state;
	struct adapter_ref held, other;
	struct why why = {0};

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	publish(f, &f->ann, "ft:base:ann::one2", 0.75f, hash(f));
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &held, NULL), OK);
	assert_int_equal(registry_acquire(f->registry, f->ann.id, "ft:base:ann::one2", &other, NULL), OK);
	assert_int_equal(store_adapter_delete(f->store, f->ann.id, "ft:base:ann::one"), OK);
	registry_forget(f->registry, f->ann.id, "ft:base:ann::one");
	assert_int_equal(registry_count(f->registry), 1);
	assert_true(held.params[0] == 0.5f);
	held.release(held.owner);
	assert_int_equal(
	        registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &held, &why), ERR_NOT_FOUND);
	registry_forget(f->registry, f->ann.id, NULL);
	assert_int_equal(registry_count(f->registry), 0);
	assert_true(other.params[0] == 0.75f);
	other.release(other.owner);
}

static void test_checkpoints_are_forgotten_with_their_adapter(void **state)
{
	static const char *const names[] = {"ft:base:ann::one", "ft:base:ann::one:ckpt-step-4",
	        "ft:base:ann::one:ckpt-step-8", "ft:base:ann::on"};
	struct fixture *f = *state;
	struct adapter_ref ref;

	for (size_t i = 0; i < 4; i++) {
		publish(f, &f->ann, names[i], 1, hash(f));
		assert_int_equal(registry_acquire(f->registry, f->ann.id, names[i], &ref, NULL), OK);
		ref.release(ref.owner);
	}
	registry_forget(f->registry, f->bob.id, names[0]);
	registry_forget(f->registry, f->ann.id, names[1]);
	assert_int_equal(registry_count(f->registry), 3);
	registry_forget(f->registry, f->ann.id, names[0]);
	assert_int_equal(registry_count(f->registry), 1);
}

/* ---- many ---- */

#define MANY 10000
#define PUBLISHERS 100

static void many_name(size_t i, char name[64])
{
	snprintf(name, 64, "ft:base:ann::many%05zu", i);
}

/* A share of them. The store commits at once what many threads wait for. */
struct publisher {
	struct fixture *fixture;
	const struct adapter_record *one;
	size_t begin, n_failed;
	pthread_t thread;
};

static void *publish_share(void *arg)
{
	struct publisher *p = arg;
	char name[64];

	for (size_t i = p->begin; i < p->begin + MANY / PUBLISHERS; i++) {
		struct adapter_new adapter = {.tenant_id = p->fixture->ann.id,
		        .name = name,
		        .parent = "base",
		        .manifest = p->one->manifest,
		        .content = p->one->content,
		        .n_content = (size_t)p->one->bytes};

		many_name(i, name);
		p->n_failed += store_adapter_add(p->fixture->store, &adapter, NULL) != OK;
	}
	return NULL;
}

/* MANY adapters, all of the one content. */
static void publish_many(struct fixture *f)
{
	struct publisher publishers[PUBLISHERS];
	struct adapter_record one;

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	assert_int_equal(store_adapter_get(f->store, f->ann.id, "ft:base:ann::one", &one), OK);
	for (size_t i = 0; i < PUBLISHERS; i++) {
		publishers[i] =
		        (struct publisher){.fixture = f, .one = &one, .begin = i * (MANY / PUBLISHERS)};
		assert_int_equal(
		        pthread_create(&publishers[i].thread, NULL, publish_share, &publishers[i]), 0);
	}
	for (size_t i = 0; i < PUBLISHERS; i++) {
		pthread_join(publishers[i].thread, NULL);
		assert_int_equal(publishers[i].n_failed, 0);
	}
	adapter_record_fini(&one);
}

static void test_ten_thousand_stay_resident(void **state)
{
	struct fixture *f = *state;
	struct registry_stats stats;
	struct adapter_ref ref;
	char name[64];

	publish_many(f);
	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < MANY; i++) {
			many_name(i, name);
			assert_int_equal(registry_acquire(f->registry, f->ann.id, name, &ref, NULL), OK);
			assert_true(ref.params[0] == 0.5f);
			ref.release(ref.owner);
		}
	registry_stats(f->registry, &stats);
	assert_int_equal(stats.n_adapters, MANY);
	assert_int_equal(stats.load.n, MANY); /* the second time none came from the store */
	assert_true(stats.bytes / MANY >= 384 * sizeof(float));
	assert_true(stats.bytes / MANY <= 384 * sizeof(float) + 256);
}

static void test_longest_unused_goes_first(void **state)
{
	struct fixture *f = *state;
	struct registry *small;
	struct adapter_ref ref;
	const float *kept;
	char name[40];

	/* Room for two of these. */
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "ft:base:ann::a%d", i);
		publish(f, &f->ann, name, (float)i, hash(f));
	}
	assert_int_equal(
	        registry_new(f->store, f->model, "base", 2 * (384 * sizeof(float) + 600), &small), OK);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "ft:base:ann::a%d", i);
		assert_int_equal(registry_acquire(small, f->ann.id, name, &ref, NULL), OK);
		ref.release(ref.owner);
	}
	assert_int_equal(registry_acquire(small, f->ann.id, "ft:base:ann::a0", &ref, NULL), OK);
	kept = ref.params;
	assert_int_equal(registry_count(small), 2);
	ref.release(ref.owner);
	assert_int_equal(registry_acquire(small, f->ann.id, "ft:base:ann::a2", &ref, NULL), OK);
	ref.release(ref.owner);
	assert_int_equal(registry_count(small), 2);
	/* a1 had to go; a0 is the same as before. */
	assert_int_equal(registry_acquire(small, f->ann.id, "ft:base:ann::a0", &ref, NULL), OK);
	assert_ptr_equal(ref.params, kept);
	ref.release(ref.owner);
	registry_free(small);
}

static void test_acquire_survives_every_failed_allocation(void **state)
{
	struct fixture *f = *state;
	enum err e = ERR_MEM;

	publish(f, &f->ann, "ft:base:ann::one", 0.5f, hash(f));
	for (long n = 1; e != OK; n++) {
		struct adapter_ref ref;

		mem_fail_at(n);
		e = registry_acquire(f->registry, f->ann.id, "ft:base:ann::one", &ref, NULL);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
		if (e == OK)
			ref.release(ref.owner);
		assert_in_range(n, 1, 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORKER_TEST(test_base_is_everyones_and_edits_nothing),
	        WORKER_TEST(test_adapter_is_loaded_once_and_shared),
	        WORKER_TEST(test_versions_have_numbers_of_their_own),
	        WORKER_TEST(test_another_tenants_adapter_does_not_exist),
	        WORKER_TEST(test_adapter_of_another_base_is_refused),
	        WORKER_TEST(test_holders_keep_what_is_forgotten),
	        WORKER_TEST(test_checkpoints_are_forgotten_with_their_adapter),
	        WORKER_TEST(test_ten_thousand_stay_resident),
	        WORKER_TEST(test_longest_unused_goes_first),
	        WORKER_TEST(test_acquire_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
