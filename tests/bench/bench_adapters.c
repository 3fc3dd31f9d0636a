/*
 * Adapters by the ten thousand: how fast a resident one is found, by name and by alias, how fast one is
 * loaded from the store, and what it costs in memory. Usage: bench_adapters [MODEL_DIR]
 */
#include "core/clock.h"
#include "core/mem.h"
#include "worker/math/cpu.h"
#include "worker/registry.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ADAPTERS 10000
#define PUBLISHERS 100
#define N_FINDS 1000000
#define N_ALIASES 20000

struct bench {
	char dir[64];
	struct store *store;
	struct model *model;
	struct registry *registry;
	struct tenant tenant;
	struct buf content;
	char *manifest;
	size_t n_params;
};

static void name_of(size_t i, char name[64])
{
	snprintf(name, 64, "ft:base:bench::a%05zu", i);
}

static void must(enum err e)
{
	if (e) {
		fprintf(stderr, "%s\n", err_text(e));
		abort();
	}
}

struct publisher {
	struct bench *bench;
	size_t begin;
	pthread_t thread;
};

static void *publish(void *arg)
{
	struct publisher *p = arg;
	char name[64];

	for (size_t i = p->begin; i < p->begin + N_ADAPTERS / PUBLISHERS; i++) {
		struct adapter_new adapter = {.tenant_id = p->bench->tenant.id,
		        .name = name,
		        .parent = "base",
		        .manifest = p->bench->manifest,
		        .content = p->bench->content.data,
		        .n_content = p->bench->content.len};

		name_of(i, name);
		must(store_adapter_add(p->bench->store, &adapter, NULL));
	}
	return NULL;
}

static void setup(struct bench *b, const char *dir)
{
	struct adapter_spec spec;
	struct adapter_layout *layout;
	struct publisher publishers[PUBLISHERS];
	struct alias alias;
	struct why why = {0};
	const struct site *sites;
	float *params;
	size_t n_sites;

	snprintf(b->dir, sizeof(b->dir), "/tmp/redd-bench-XXXXXX");
	if (!mkdtemp(b->dir) || model_open(dir, &b->model, &why) || store_open(b->dir, &b->store, &why)) {
		fprintf(stderr, "%s\n", why.message);
		exit(1);
	}
	must(store_tenant_create(b->store, "bench", NULL, &b->tenant));
	must(registry_new(b->store, b->model, "base", REGISTRY_MAX_BYTES, &b->registry));
	adapter_spec_default(&spec);
	sites = model_sites(b->model, &n_sites);
	must(adapter_layout_new(&spec, sites, n_sites, &layout, NULL));
	b->n_params = adapter_layout_n_params(layout);
	params = mem_calloc(b->n_params, sizeof(*params));
	adapter_layout_start(layout, params);
	must(adapter_write(layout, params, NULL, &b->content));
	mem_free(params);
	adapter_layout_free(layout);
	b->manifest = mem_printf("{\"base_hash\":\"%s\"}", model_info(b->model)->hash);
	for (size_t i = 0; i < PUBLISHERS; i++) {
		publishers[i] = (struct publisher){.bench = b, .begin = i * (N_ADAPTERS / PUBLISHERS)};
		pthread_create(&publishers[i].thread, NULL, publish, &publishers[i]);
	}
	for (size_t i = 0; i < PUBLISHERS; i++)
		pthread_join(publishers[i].thread, NULL);
	must(store_alias_set(b->store, b->tenant.id, "stable", "ft:base:bench::a00001", &alias));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void teardown(struct bench *b)
{
	registry_free(b->registry);
	store_close(b->store);
	model_close(b->model);
	buf_fini(&b->content);
	mem_free(b->manifest);
	nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void acquire(struct bench *b, const char *name)
{
	struct adapter_ref ref;

	must(registry_acquire(b->registry, b->tenant.id, name, &ref, NULL));
	ref.release(ref.owner);
}

static void bench_loads(struct bench *b)
{
	static int64_t ns[N_ADAPTERS];
	struct registry_stats stats;
	char name[64];

	for (size_t i = 0; i < N_ADAPTERS; i++) {
		int64_t start = clock_mono_ns();

		name_of(i, name);
		acquire(b, name);
		ns[i] = clock_mono_ns() - start;
	}
	qsort(ns, N_ADAPTERS, sizeof(*ns), by_size);
	printf("%-60s %9.1f us\n", "first use, loaded from the store: median",
	        (double)ns[N_ADAPTERS / 2] / 1e3);
	printf("%-60s %9.1f us\n", "  99 of 100 within", (double)ns[N_ADAPTERS * 99 / 100] / 1e3);
	registry_stats(b->registry, &stats);
	printf("%-60s %9zu of %d\n", "adapters resident", stats.n_adapters, N_ADAPTERS);
	printf("%-60s %9.1f bytes beside its %zu\n", "  each costs",
	        (double)stats.bytes / (double)stats.n_adapters - (double)(b->n_params * sizeof(float)),
	        b->n_params * sizeof(float));
}

static void bench_finds(struct bench *b)
{
	char name[64];
	int64_t start = clock_mono_ns();

	for (size_t i = 0; i < N_FINDS; i++) {
		name_of(i * 7919 % N_ADAPTERS, name);
		acquire(b, name);
	}
	printf("%-60s %9.3f us\n", "resident, found by name: mean, name printed too",
	        (double)(clock_mono_ns() - start) / 1e3 / N_FINDS);
	start = clock_mono_ns();
	for (size_t i = 0; i < N_ALIASES; i++)
		acquire(b, "stable");
	printf("%-60s %9.3f us\n", "  by alias, which the store is asked for: mean",
	        (double)(clock_mono_ns() - start) / 1e3 / N_ALIASES);
}

int main(int argc, char **argv)
{
	struct bench b = {0};

	cpu_init(CPU_BEST);
	setup(&b, argc > 1 ? argv[1] : "worker/base");
	bench_loads(&b);
	bench_finds(&b);
	teardown(&b);
	return 0;
}
