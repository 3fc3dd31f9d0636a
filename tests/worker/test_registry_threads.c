/* Many threads want few adapters, of which not all stay resident and some are forgotten meanwhile. */
#include "worker/registry.h"

#include "core/rng.h"
#include "tests/worker/fixture.h"
#include "worker/adapter/adapter.h"

#define N_ADAPTERS 12
#define N_THREADS 8
#define N_ROUNDS 200
#define N_HELD 4

static void name_of(size_t i, char name[40])
{
	snprintf(name, 40, "ft:base:ann::a%02zu", i);
}

/* The i-th says i everywhere. */
static void publish(struct fixture *f)
{
	struct adapter_spec spec;
	struct adapter_layout *layout;
	char *manifest = mem_printf("{\"base_hash\":\"%s\"}", model_info(f->model)->hash);
	size_t n_sites;
	const struct site *sites = model_sites(f->model, &n_sites);
	float *params;

	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &layout, NULL), OK);
	params = mem_calloc(adapter_layout_n_params(layout), sizeof(*params));
	for (size_t i = 0; i < N_ADAPTERS; i++) {
		struct buf content = {0};
		char name[40];
		struct adapter_new adapter = {
		        .tenant_id = f->ann.id, .name = name, .parent = "base", .manifest = manifest};

		name_of(i, name);
		for (size_t k = 0; k < adapter_layout_n_params(layout); k++)
			params[k] = (float)i;
		assert_int_equal(adapter_write(layout, params, NULL, &content), OK);
		adapter.content = content.data;
		adapter.n_content = content.len;
		assert_int_equal(store_adapter_add(f->store, &adapter, NULL), OK);
		buf_fini(&content);
	}
	mem_free(params);
	mem_free(manifest);
	adapter_layout_free(layout);
}

struct user {
	struct fixture *fixture;
	struct registry *registry;
	uint64_t seed;
	size_t n_wrong;
	pthread_t thread;
};

/* Hold a few at a time, see that each stays what it is, and have one forgotten now and then. */
static void *user_main(void *arg)
{
	struct user *u = arg;
	struct adapter_ref held[N_HELD] = {{0}};
	size_t which[N_HELD] = {0};
	char name[40];
	struct rng r;

	rng_seed(&r, u->seed);
	for (size_t round = 0; round < N_ROUNDS; round++) {
		size_t slot = rng_below(&r, N_HELD), i = rng_below(&r, N_ADAPTERS);

		if (held[slot].owner) {
			u->n_wrong += held[slot].params[0] != (float)which[slot];
			held[slot].release(held[slot].owner);
		}
		name_of(i, name);
		if (rng_below(&r, 20) == 0)
			registry_forget(u->registry, u->fixture->ann.id, rng_below(&r, 4) ? name : NULL);
		u->n_wrong +=
		        registry_acquire(u->registry, u->fixture->ann.id, name, &held[slot], NULL) != OK;
		which[slot] = i;
	}
	for (size_t slot = 0; slot < N_HELD; slot++)
		if (held[slot].owner)
			held[slot].release(held[slot].owner);
	return NULL;
}

static void test_everyone_has_what_they_asked_for(void **state)
{
	struct fixture *f = *state;
	struct user users[N_THREADS];
	struct registry_stats stats;
	struct registry *small;

	publish(f);
	/* Room for half of them. */
	assert_int_equal(registry_new(f->store, f->model, "base",
	                         N_ADAPTERS / 2 * (384 * sizeof(float) + 256), &small),
	        OK);
	for (size_t i = 0; i < N_THREADS; i++) {
		users[i] = (struct user){.fixture = f, .registry = small, .seed = i};
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
	for (size_t i = 0; i < N_THREADS; i++) {
		pthread_join(users[i].thread, NULL);
		assert_int_equal(users[i].n_wrong, 0);
	}
	registry_stats(small, &stats);
	assert_in_range(stats.n_adapters, 0, N_ADAPTERS / 2 + 2);
	assert_true(stats.load.n >= N_ADAPTERS / 2);
	registry_free(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WORKER_TEST(test_everyone_has_what_they_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
