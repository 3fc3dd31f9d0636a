/*
 * What this machine can do, and how near redd comes, measured in one run: float32 products and memory first,
 * then training and decoding on a base (the bundled one, or the directory given as argument). Medians of
 * several rounds. Prints a table, and the same as JSON to build/bench.json.
 *
 * Threads: one per core for training, each with its own workspace as in the daemon; decoding on one.
 */
#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"
#include "worker/math/cpu.h"
#include "worker/math/gemm.h"
#include "worker/math/skinny.h"
#include "worker/model/model.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 5
#define MAX_THREADS 64
#define TRAIN_ROWS 256
#define TRAIN_LENGTH 64
#define DECODE_PROMPT 32
#define DECODE_STEPS 32
#define MAX_STREAMS 32

struct bench {
	const char *dir;
	struct model *model;
	size_t n_threads;
	json_t *results;
};

static double median(double *x, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t j = i; j > 0 && x[j] < x[j - 1]; j--) {
			double t = x[j];

			x[j] = x[j - 1];
			x[j - 1] = t;
		}
	return x[n / 2];
}

static void report(struct bench *b, const char *name, double value, const char *unit)
{
	printf("%-58s %10.1f %s\n", name, value, unit);
	fflush(stdout);
	json_array_append_new(
	        b->results, json_pack("{s:s, s:f, s:s}", "name", name, "value", value, "unit", unit));
}

static float *random_floats(size_t n)
{
	float *x = mem_aligned(n, sizeof(*x));
	struct rng r = {n};

	if (!x)
		abort();
	for (size_t i = 0; i < n; i++)
		x[i] = (float)rng_uniform(&r) - 0.5f;
	return x;
}

/* ---- the machine ---- */

static double gemm_round(const float *a, const float *b, float *c, size_t n)
{
	int64_t t0 = clock_mono_ns();

	gemm_nt(n, n, n, a, n, b, n, 0, c, n);
	return 2.0 * (double)n * (double)n * (double)n / (double)(clock_mono_ns() - t0);
}

static void bench_machine(struct bench *b)
{
	const size_t n = 1024, K = 4096, N = 8192;
	float *x = random_floats(n * n), *y = random_floats(n * n), *z = random_floats(n * n);
	float *w = random_floats(N * K), *v = random_floats(K), *out = random_floats(N);
	double rate[ROUNDS];

	gemm_round(x, y, z, n);
	for (int i = 0; i < ROUNDS; i++)
		rate[i] = gemm_round(x, y, z, n);
	report(b, "float32 product 1024^3, one thread", median(rate, ROUNDS), "GFLOP/s");
	for (int i = 0; i < ROUNDS; i++) {
		int64_t t0 = clock_mono_ns();

		skinny_product(1, N, K, v, K, w, NULL, out, N);
		rate[i] = (double)(N * K * sizeof(float)) / (double)(clock_mono_ns() - t0);
	}
	report(b, "weights streamed by a one-row product, one thread", median(rate, ROUNDS), "GB/s");
	mem_free(x);
	mem_free(y);
	mem_free(z);
	mem_free(w);
	mem_free(v);
	mem_free(out);
}

/* ---- training ---- */

struct trainer {
	struct bench *bench;
	struct train_workspace *workspace;
	struct adapter_layout *layout;
	float *params, *grads;
	int32_t tokens[TRAIN_ROWS], labels[TRAIN_ROWS];
	size_t lengths[TRAIN_ROWS / TRAIN_LENGTH];
	pthread_t thread;
};

static void trainer_init(struct trainer *t, struct bench *b, bool half)
{
	struct adapter_spec spec;
	const struct site *sites;
	struct rng r = {7};
	size_t n_sites, V = model_info(b->model)->vocab_size;

	memset(t, 0, sizeof(*t));
	t->bench = b;
	adapter_spec_default(&spec);
	sites = model_sites(b->model, &n_sites);
	if (adapter_layout_new(&spec, sites, n_sites, &t->layout, NULL) ||
	        train_workspace_new(b->model, TRAIN_ROWS, &t->workspace))
		abort();
	t->params = mem_calloc(adapter_layout_n_params(t->layout), sizeof(float));
	t->grads = mem_calloc(adapter_layout_n_params(t->layout), sizeof(float));
	adapter_layout_start(t->layout, t->params);
	for (size_t i = 0; i < TRAIN_ROWS; i++) {
		t->tokens[i] = (int32_t)rng_below(&r, V);
		t->labels[i] = half && i % TRAIN_LENGTH < TRAIN_LENGTH / 2 ? -1 : (int32_t)rng_below(&r, V);
		t->lengths[i / TRAIN_LENGTH] = TRAIN_LENGTH;
	}
}

static void trainer_fini(struct trainer *t)
{
	train_workspace_free(t->workspace);
	adapter_layout_free(t->layout);
	mem_free(t->params);
	mem_free(t->grads);
}

static void *trainer_run(void *arg)
{
	struct trainer *t = arg;
	struct train_batch batch = {.n_rows = TRAIN_ROWS,
	        .tokens = t->tokens,
	        .labels = t->labels,
	        .n_seqs = TRAIN_ROWS / TRAIN_LENGTH,
	        .lengths = t->lengths};
	struct train_sums sums;

	for (int i = 0; i < 4; i++)
		if (model_train(
		            t->bench->model, t->workspace, &batch, t->layout, t->params, 1, t->grads, &sums))
			abort();
	return NULL;
}

static void bench_training(struct bench *b, size_t n_threads, bool half, const char *name)
{
	struct trainer *t = mem_calloc(n_threads, sizeof(*t));
	double rate[ROUNDS];

	for (size_t i = 0; i < n_threads; i++)
		trainer_init(&t[i], b, half);
	for (int round = 0; round < ROUNDS; round++) {
		int64_t t0 = clock_mono_ns();

		for (size_t i = 0; i < n_threads; i++)
			if (pthread_create(&t[i].thread, NULL, trainer_run, &t[i]))
				abort();
		for (size_t i = 0; i < n_threads; i++)
			pthread_join(t[i].thread, NULL);
		rate[round] = 4.0 * TRAIN_ROWS * (double)n_threads * 1e9 / (double)(clock_mono_ns() - t0);
	}
	report(b, name, median(rate, ROUNDS), "tokens/s");
	if (!half)
		report(b, "  as operations, 4 per parameter and token",
		        median(rate, ROUNDS) * 4e-9 * (double)model_info(b->model)->n_params, "GFLOP/s");
	for (size_t i = 0; i < n_threads; i++)
		trainer_fini(&t[i]);
	mem_free(t);
}

/* ---- decoding ---- */

static void bench_decoding(struct bench *b, size_t n)
{
	size_t V = model_info(b->model)->vocab_size;
	struct serve_workspace *w;
	struct kv *kvs[MAX_STREAMS];
	struct edit_run runs[MAX_STREAMS];
	int32_t tokens[MAX_STREAMS], prompt[DECODE_PROMPT];
	float *logits = mem_calloc(MAX_STREAMS * V, sizeof(float));
	double rate[ROUNDS];
	char name[64];

	if (!logits || serve_workspace_new(b->model, DECODE_PROMPT, MAX_STREAMS, &w))
		abort();
	for (size_t i = 0; i < DECODE_PROMPT; i++)
		prompt[i] = (int32_t)(i * 7 % V);
	for (size_t i = 0; i < n; i++) {
		runs[i] = (struct edit_run){.n_rows = 1, .strength = 1};
		tokens[i] = (int32_t)(i % V);
		if (kv_new(b->model, DECODE_PROMPT + DECODE_STEPS, &kvs[i]))
			abort();
	}
	for (int round = 0; round < ROUNDS; round++) {
		int64_t t0;

		for (size_t i = 0; i < n; i++) {
			kv_truncate(kvs[i], 0);
			if (model_prefill(
			            b->model, w, kvs[i], prompt, DECODE_PROMPT, &runs[i], NULL, 0, NULL))
				abort();
		}
		t0 = clock_mono_ns();
		for (int step = 0; step < DECODE_STEPS; step++)
			if (model_decode(b->model, w, n, kvs, tokens, runs, logits))
				abort();
		rate[round] = (double)n * DECODE_STEPS * 1e9 / (double)(clock_mono_ns() - t0);
	}
	snprintf(name, sizeof(name), "decoding, %zu stream%s, one thread", n, n > 1 ? "s" : "");
	report(b, name, median(rate, ROUNDS), "tokens/s");
	for (size_t i = 0; i < n; i++)
		kv_free(kvs[i]);
	serve_workspace_free(w);
	mem_free(logits);
}

int main(int argc, char **argv)
{
	struct bench b = {.dir = argc > 1 ? argv[1] : "worker/base", .results = json_array()};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct why why = {0};

	cpu_init(CPU_AVX512);
	gemm_init();
	b.n_threads = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (size_t)cores;
	if (model_open(b.dir, &b.model, &why)) {
		fprintf(stderr, "%s\n", why.message);
		return 1;
	}
	printf("%s: %.1f M parameters; kernels %s, OpenBLAS %s, %zu cores\n", b.dir,
	        (double)model_info(b.model)->n_params / 1e6, cpu_level_name(cpu_level()), gemm_kernel_name(),
	        b.n_threads);
	bench_machine(&b);
	bench_training(&b, 1, false, "training, all tokens labelled, one thread");
	bench_training(&b, b.n_threads, false, "training, all tokens labelled, all cores");
	bench_training(&b, b.n_threads, true, "training, half of the tokens labelled, all cores");
	bench_decoding(&b, 1);
	bench_decoding(&b, 8);
	bench_decoding(&b, 32);
	if (json_dump_file(b.results, "build/bench.json", JSON_INDENT(1)))
		fprintf(stderr, "build/bench.json could not be written\n");
	json_decref(b.results);
	model_close(b.model);
	return 0;
}
