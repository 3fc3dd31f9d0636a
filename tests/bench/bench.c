/*
 * What this machine can do, and how near redd comes, measured in one run: the limits first (machine.h), then
 * training, prefill and decoding on the bases whose directories are given. Medians of several rounds. Prints
 * a table, and the same as JSON to build/bench.json.
 *
 * Threads: one per core, for training each with its own workspace, for answering a crew, as in the daemon.
 */
#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/bench/machine.h"
#include "worker/math/cpu.h"
#include "worker/math/product.h"
#include "worker/model/model.h"

#include <cblas.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ROUNDS 5
#define MAX_THREADS 64
#define TRAIN_ROWS 512
#define TRAIN_REPEATS 2
#define DECODE_PROMPT 32
#define DECODE_STEPS 16
#define MAX_STREAMS 32
#define PREFILL_ROWS 512
#define MEMORY_PROBE ((size_t)256 << 20)
/* Larger bases only answer here. */
#define MAX_TRAINED 500000000

struct bench {
	const char *name; /* of the model */
	struct model *model;
	size_t n_threads;
	double limit[MACHINE_KINDS], bandwidth; /* all cores, 10^9 a second */
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
	json_array_append_new(b->results, json_pack("{s:s?, s:s, s:f, s:s}", "model", b->name, "name", name,
	                                          "value", value, "unit", unit));
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

struct probe {
	pthread_t thread;
	enum machine_kind kind;
	const float *memory; /* NULL: multiply */
	size_t n;
	double work;
};

static void *probe_run(void *arg)
{
	struct probe *p = arg;

	if (p->memory)
		machine_read(p->memory, p->n);
	p->work = p->memory ? (double)(p->n * sizeof(float)) : machine_round(p->kind);
	return NULL;
}

/* The best of several rounds, n_threads at once: a limit is what can be had. In 10^9 a second. */
static double probe_best(const struct probe *what, size_t n_threads)
{
	struct probe p[MAX_THREADS];
	double best = 0;

	for (int round = 0; round < 2 * ROUNDS; round++) {
		int64_t t0 = clock_mono_ns();
		double work = 0, rate;

		for (size_t i = 0; i < n_threads; i++) {
			p[i] = *what;
			p[i].n = what->n / n_threads / 64 * 64;
			p[i].memory = what->memory ? what->memory + i * p[i].n : NULL;
			if (pthread_create(&p[i].thread, NULL, probe_run, &p[i]))
				abort();
		}
		for (size_t i = 0; i < n_threads; i++) {
			pthread_join(p[i].thread, NULL);
			work += p[i].work;
		}
		rate = work / (double)(clock_mono_ns() - t0);
		best = rate > best ? rate : best;
	}
	return best;
}

/* A product of `rows` rows with a matrix of PRODUCT_SIZE squared, in 10^9 operations a second: ours from
 * panels, OpenBLAS's from rows. */
#define PRODUCT_SIZE 1024

struct product_bench {
	size_t rows;
	const float *x, *weights;
	struct matrix w;
	float *y;
};

static double product_round(const struct product_bench *p, bool blas)
{
	const size_t n = PRODUCT_SIZE;
	struct product_rows x;
	int64_t t0 = clock_mono_ns();

	if (blas) {
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)p->rows, n, n, 1, p->x, n,
		        p->weights, n, 0, p->y, n);
	} else {
		product_prepare(MATRIX_F32, true, p->rows, n, p->x, n, NULL, &x);
		product_forward(&p->w, 0, n, &x, NULL, p->y, n);
	}
	return 2.0 * (double)p->rows * (double)n * (double)n / (double)(clock_mono_ns() - t0);
}

static void bench_products(struct bench *b)
{
	static const size_t rows[] = {1, 8, 32, 512};
	const size_t n = PRODUCT_SIZE;
	float *x = random_floats(n * n), *w = random_floats(n * n), *y = random_floats(n * n);
	void *panels = mem_aligned(matrix_bytes(MATRIX_F32, n, n), 1);
	struct product_bench p = {.x = x, .weights = w, .w = {MATRIX_F32, n, n, panels}, .y = y};
	double rate[ROUNDS];
	char name[80];

	matrix_pack(&p.w, 0, n, w, panels);
	openblas_set_num_threads(1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int blas = 0; blas < 2; blas++) {
			p.rows = rows[i];
			product_round(&p, blas);
			for (int r = 0; r < ROUNDS; r++)
				rate[r] = product_round(&p, blas);
			snprintf(name, sizeof(name), "product of %zu rows by 1024^2, one thread%s", p.rows,
			        blas ? ", OpenBLAS" : "");
			report(b, name, median(rate, ROUNDS), "GFLOP/s");
		}
	mem_free(x);
	mem_free(w);
	mem_free(y);
	mem_free(panels);
}

static void bench_machine(struct bench *b)
{
	static const char *const names[MACHINE_KINDS] = {"float32", "bf16", "int8"};
	struct probe memory = {.n = MEMORY_PROBE / sizeof(float)};
	float *x = random_floats(memory.n);
	char name[64];

	memory.memory = x;
	for (enum machine_kind kind = MACHINE_FLOAT32; kind < MACHINE_KINDS; kind++)
		for (size_t n = 1; n <= b->n_threads; n += b->n_threads > 1 ? b->n_threads - 1 : 1) {
			double rate = probe_best(&(struct probe){.kind = kind}, n);

			snprintf(name, sizeof(name), "limit: %s multiply-add, %s", names[kind],
			        n > 1 ? "all cores" : "one core");
			if (rate > 0)
				report(b, name, rate, "GOP/s");
			b->limit[kind] = rate;
		}
	report(b, "limit: memory read, one core", probe_best(&memory, 1), "GB/s");
	b->bandwidth = probe_best(&memory, b->n_threads);
	report(b, "limit: memory read, all cores", b->bandwidth, "GB/s");
	mem_free(x);
	bench_products(b);
}

/* ---- training ---- */

struct trainer {
	struct bench *bench;
	struct train_workspace *workspace;
	struct adapter_layout *layout;
	float *params, *grads;
	int32_t tokens[TRAIN_ROWS], labels[TRAIN_ROWS];
	size_t lengths[TRAIN_ROWS], n_seqs;
	float *stem_values, *stems[TRAIN_ROWS];
	struct train_batch batch;
	pthread_t thread;
};

/* Sequences of this length, the last `labelled` tenths of each with labels, seen for the first time or with
 * stems known from an epoch before. */
struct training {
	const char *name;
	size_t length, labelled;
	bool again;
};

static void *trainer_run(void *arg)
{
	struct trainer *t = arg;
	struct train_sums sums;

	for (int i = 0; i < TRAIN_REPEATS; i++)
		if (model_train(t->bench->model, t->workspace, &t->batch, t->layout, t->params, 1, t->grads,
		            &sums))
			abort();
	return NULL;
}

static void keep_stems(struct trainer *t, size_t length)
{
	size_t n_floats = model_stem_floats(t->bench->model, t->layout);

	t->stem_values = mem_calloc(TRAIN_ROWS, n_floats * sizeof(float));
	if (!t->stem_values)
		abort();
	for (size_t i = 0; i < t->n_seqs; i++)
		t->stems[i] = t->stem_values + i * length * n_floats;
	t->batch.stems = t->stems;
	trainer_run(t);
	t->batch.stems_known = true;
}

static void trainer_init(struct trainer *t, struct bench *b, const struct training *what)
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
	        train_workspace_new(b->model, TRAIN_ROWS, 0, &t->workspace))
		abort();
	t->params = mem_calloc(adapter_layout_n_params(t->layout), sizeof(float));
	t->grads = mem_calloc(adapter_layout_n_params(t->layout), sizeof(float));
	adapter_layout_start(t->layout, t->params);
	for (size_t i = 0; i < TRAIN_ROWS; i++) {
		t->tokens[i] = (int32_t)rng_below(&r, V);
		t->labels[i] = i % what->length < what->length * (10 - what->labelled) / 10
		                       ? -1
		                       : (int32_t)rng_below(&r, V);
	}
	t->n_seqs = TRAIN_ROWS / what->length;
	for (size_t i = 0; i < t->n_seqs; i++)
		t->lengths[i] = what->length;
	t->batch = (struct train_batch){.n_rows = TRAIN_ROWS,
	        .tokens = t->tokens,
	        .labels = t->labels,
	        .n_seqs = t->n_seqs,
	        .lengths = t->lengths};
	if (what->again)
		keep_stems(t, what->length);
}

static void trainer_fini(struct trainer *t)
{
	train_workspace_free(t->workspace);
	adapter_layout_free(t->layout);
	mem_free(t->params);
	mem_free(t->grads);
	mem_free(t->stem_values);
}

/* Of this process so far, in megabytes. */
static double peak_resident(void)
{
	struct rusage u;

	return getrusage(RUSAGE_SELF, &u) ? 0 : (double)u.ru_maxrss * 1024e-6;
}

static void bench_training(struct bench *b, size_t n_threads, const struct training *what)
{
	struct trainer *t = mem_calloc(n_threads, sizeof(*t));
	double rate[ROUNDS];
	char name[96];

	for (size_t i = 0; i < n_threads; i++)
		trainer_init(&t[i], b, what);
	for (int round = 0; round < ROUNDS; round++) {
		int64_t t0 = clock_mono_ns();

		for (size_t i = 0; i < n_threads; i++)
			if (pthread_create(&t[i].thread, NULL, trainer_run, &t[i]))
				abort();
		for (size_t i = 0; i < n_threads; i++)
			pthread_join(t[i].thread, NULL);
		rate[round] = TRAIN_REPEATS * (double)TRAIN_ROWS * (double)n_threads * 1e9 /
		              (double)(clock_mono_ns() - t0);
	}
	snprintf(
	        name, sizeof(name), "training, %s, %s", what->name, n_threads > 1 ? "all cores" : "one core");
	report(b, name, median(rate, ROUNDS), "tokens/s");
	if (what->labelled == 10)
		report(b, "  of what multiplication allows, 4 operations a parameter",
		        100 * median(rate, ROUNDS) * 4e-9 * (double)model_info(b->model)->n_params *
		                (double)b->n_threads / (double)n_threads / b->limit[MACHINE_FLOAT32],
		        "%");
	for (size_t i = 0; i < n_threads; i++)
		trainer_fini(&t[i]);
	mem_free(t);
}

static void bench_trainings(struct bench *b)
{
	static const struct training all[] = {{"rows of 128, all labelled", 128, 10, false},
	        {"the same in later epochs", 128, 10, true}, {"rows of 512, all labelled", 512, 10, false},
	        {"the same in later epochs", 512, 10, true}, {"rows of 128, 30 % labelled", 128, 3, false}};

	bench_training(b, 1, &all[0]);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		bench_training(b, b->n_threads, &all[i]);
	report(b, "  resident at most, this benchmark's own included", peak_resident(), "MB");
}

/* ---- decoding ---- */

/* What it comes to against the machine: operations against their limit for many rows, bytes against memory
 * for one, whichever is nearer. */
static void report_share(struct bench *b, double rows_per_step, double tokens_per_s)
{
	const struct model_info *info = model_info(b->model);
	enum machine_kind kind = info->weights == MATRIX_INT8 ? MACHINE_INT8
	                         : info->weights == MATRIX_BF16 && b->limit[MACHINE_BF16] > 0
	                                 ? MACHINE_BF16
	                                 : MACHINE_FLOAT32;
	double bytes = (double)info->weight_bytes * tokens_per_s / rows_per_step * 1e-9 / b->bandwidth;
	double operations = 2e-9 * (double)info->n_params * tokens_per_s / b->limit[kind];

	report(b, bytes > operations ? "  of what memory allows" : "  of what multiplication allows",
	        100 * (bytes > operations ? bytes : operations), "%");
}

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

	if (!logits || serve_workspace_new(b->model, DECODE_PROMPT, MAX_STREAMS, &w) ||
	        serve_workspace_set_threads(w, b->n_threads))
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
	snprintf(name, sizeof(name), "decoding, %s, %zu stream%s",
	        matrix_format_name(model_info(b->model)->weights), n, n > 1 ? "s" : "");
	report(b, name, median(rate, ROUNDS), "tokens/s");
	report_share(b, (double)n, median(rate, ROUNDS));
	for (size_t i = 0; i < n; i++)
		kv_free(kvs[i]);
	serve_workspace_free(w);
	mem_free(logits);
}

static void bench_prefill(struct bench *b)
{
	struct edit_run run = {.n_rows = PREFILL_ROWS, .strength = 1};
	size_t V = model_info(b->model)->vocab_size, last = PREFILL_ROWS - 1;
	struct serve_workspace *w;
	struct kv *kv;
	int32_t prompt[PREFILL_ROWS];
	float *logits = mem_calloc(V, sizeof(float));
	double rate[ROUNDS];
	char name[64];

	if (!logits || serve_workspace_new(b->model, PREFILL_ROWS, 1, &w) ||
	        serve_workspace_set_threads(w, b->n_threads) || kv_new(b->model, PREFILL_ROWS, &kv))
		abort();
	for (size_t i = 0; i < PREFILL_ROWS; i++)
		prompt[i] = (int32_t)(i * 7 % V);
	for (int round = 0; round < ROUNDS; round++) {
		int64_t t0 = clock_mono_ns();

		kv_truncate(kv, 0);
		if (model_prefill(b->model, w, kv, prompt, PREFILL_ROWS, &run, &last, 1, logits))
			abort();
		rate[round] = PREFILL_ROWS * 1e9 / (double)(clock_mono_ns() - t0);
	}
	snprintf(name, sizeof(name), "prefill, %s, 512 tokens",
	        matrix_format_name(model_info(b->model)->weights));
	report(b, name, median(rate, ROUNDS), "tokens/s");
	kv_free(kv);
	serve_workspace_free(w);
	mem_free(logits);
}

static void open_model(struct bench *b, const char *dir, enum matrix_format format)
{
	struct why why = {0};
	int64_t t0 = clock_mono_ns();
	char name[64];

	b->name = dir;
	if (model_open_as(dir, format, &b->model, &why)) {
		fprintf(stderr, "%s\n", why.message);
		exit(1);
	}
	if (format == MATRIX_F32)
		printf("\n%s: %.1f M parameters\n", dir, (double)model_info(b->model)->n_params / 1e6);
	snprintf(name, sizeof(name), "opening, %s", matrix_format_name(format));
	report(b, name, (double)(clock_mono_ns() - t0) * 1e-6, "ms");
}

static void bench_model(struct bench *b, const char *dir)
{
	for (enum matrix_format format = MATRIX_F32; format <= MATRIX_INT8; format++) {
		open_model(b, dir, format);
		if (format == MATRIX_BF16)
			model_train_bf16(b->model);
		if (format < MATRIX_INT8 && model_info(b->model)->n_params < MAX_TRAINED)
			bench_trainings(b);
		bench_prefill(b);
		bench_decoding(b, 1);
		bench_decoding(b, 8);
		bench_decoding(b, 32);
		model_close(b->model);
	}
}

int main(int argc, char **argv)
{
	struct bench b = {.results = json_array()};

	cpu_init(CPU_BEST);
	b.n_threads = cpu_count() > MAX_THREADS ? MAX_THREADS : cpu_count();
	printf("kernels %s, OpenBLAS %s, %zu cores\n", cpu_level_name(cpu_level()), openblas_get_corename(),
	        b.n_threads);
	bench_machine(&b);
	for (int i = 1; i < argc; i++)
		bench_model(&b, argv[i]);
	if (json_dump_file(b.results, "build/bench.json", JSON_INDENT(1)))
		fprintf(stderr, "build/bench.json could not be written\n");
	json_decref(b.results);
	return 0;
}
