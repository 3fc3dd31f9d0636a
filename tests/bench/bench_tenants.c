/*
 * The serving engine under load: whether the number of tenants and of adapters shows in its speed, and what
 * training beside it does to the time between tokens. Variants take turns, round by round, so that what else
 * the machine does meets them alike. Usage: bench_tenants [MODEL_DIR [ROUNDS]]
 */
#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"
#include "worker/background.h"
#include "worker/math/cpu.h"
#include "worker/serve/serve.h"
#include "worker/text/tokenizer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STREAMS 64
#define PROMPT 16
#define TOKENS 16
#define LONG_PROMPT 400
#define MAX_TENANTS 1000
#define ROUNDS 5
#define TURNS 16 /* rounds of adapters, of tenants, unless told otherwise */
#define MAX_TURNS 256
#define MAX_VARIANTS 4
#define TRAIN_ROWS 512
#define TRAIN_LENGTH 128
#define MAX_TRAINERS 64
#define LATENCY_STREAMS 8
#define LATENCY_TOKENS 100
#define TRAIN_ALONE_NS ((int64_t)1 << 30)
#define MAX_GAPS (ROUNDS * LATENCY_STREAMS * LATENCY_TOKENS)

struct bench {
	struct model *model;
	struct tokenizer *tokenizer;
	struct serve *serve;
	struct adapter_layout *layout;
	float *params; /* (MAX_TENANTS, n_params) */
	size_t n_params;
	size_t n_turns;    /* rounds of variants */
	size_t n_requests; /* so far: each is of the next tenant */
	int32_t prompt[PROMPT];
	sem_t done;
};

/* ---- requests ---- */

struct stream {
	struct bench *bench;
	int64_t last_ns;
	int64_t *gaps; /* NULL = they are not noted */
	size_t n_gaps;
};

static void on_token(void *arg, const struct serve_token *token)
{
	struct stream *s = arg;
	int64_t now = clock_mono_ns();

	(void)token;
	if (s->gaps && s->last_ns)
		s->gaps[s->n_gaps++] = now - s->last_ns;
	s->last_ns = now;
}

static void on_done(void *arg, const struct serve_result *result)
{
	struct stream *s = arg;

	if (result->finish != FINISH_LENGTH)
		abort();
	sem_post(&s->bench->done);
}

/* n requests for n_tokens each, of n_tenants in turn. */
static void run_streams(struct bench *b, struct stream *streams, size_t n, size_t n_tenants, size_t n_tokens)
{
	for (size_t i = 0; i < n; i++) {
		size_t tenant = b->n_requests++ % n_tenants;
		struct serve_request r = {.prompt = b->prompt,
		        .n_prompt = PROMPT,
		        .adapter = {.layout = b->layout, .params = b->params + tenant * b->n_params},
		        .strength = 1,
		        .sample = {.top_p = 1, .repetition_penalty = 1},
		        .max_tokens = n_tokens,
		        .ignore_eos = true,
		        .on_token = on_token,
		        .on_done = on_done,
		        .arg = &streams[i]};
		uint64_t id;

		streams[i].bench = b;
		streams[i].last_ns = 0;
		if (serve_submit(b->serve, &r, &id, NULL))
			abort();
	}
	for (size_t i = 0; i < n; i++)
		while (sem_wait(&b->done))
			;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *x, size_t n)
{
	qsort(x, n, sizeof(*x), by_size);
	return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

/* What the process computed for, which others on the machine do not lengthen as they do time. */
static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* Tokens that n_streams side by side get of a second of the serving thread's. */
static double rate_of(struct bench *b, size_t n_streams, size_t n_tenants)
{
	static struct stream streams[STREAMS];
	int64_t start = cpu_ns();

	run_streams(b, streams, n_streams, n_tenants, TOKENS);
	return (double)(n_streams * TOKENS) * 1e9 / (double)(cpu_ns() - start);
}

/* The variant that has turn k of a round: every other round goes back the way the one before it came, and the
 * next begins one further on, so that in 2 n rounds each has stood in every place twice. */
static size_t whose_turn(size_t round, size_t k, size_t n)
{
	return (round / 2 + (round % 2 ? n - 1 - k : k)) % n;
}

/* Rounds in which every variant has its turn; each is compared with the first variant's of its own round, so
 * that a machine which is faster in some minutes than in others is so for both. */
static void compare(struct bench *b, size_t n_streams, const size_t *tenants, size_t n, const char *what)
{
	static double rate[MAX_VARIANTS][MAX_TURNS], ratio[MAX_VARIANTS][MAX_TURNS];

	rate_of(b, n_streams, 1);
	for (size_t round = 0; round < b->n_turns; round++) {
		for (size_t k = 0; k < n; k++) {
			size_t i = whose_turn(round, k, n);

			rate[i][round] = rate_of(b, n_streams, tenants[i]);
		}
		for (size_t i = 0; i < n; i++)
			ratio[i][round] = rate[i][round] / rate[0][round];
	}
	for (size_t i = 0; i < n; i++) {
		double middle = median(ratio[i], b->n_turns);
		char name[64];

		snprintf(name, sizeof(name), "%zu streams, %zu %s", n_streams, tenants[i], what);
		printf("%-28s %9.1f tokens/s of CPU, %.3f of the first's", name, median(rate[i], b->n_turns),
		        middle);
		printf(" (half of %zu rounds: %.3f to %.3f)\n", b->n_turns, ratio[i][b->n_turns / 4],
		        ratio[i][b->n_turns - 1 - b->n_turns / 4]);
	}
}

/* ---- prompts that begin alike ---- */

/* Seconds of the serving thread's until the first token, of a prompt that begins as one seen before, or as
 * none. */
static double first_token_of(struct bench *b, uint64_t version)
{
	static int32_t prompt[LONG_PROMPT];
	struct stream stream = {.bench = b};
	struct serve_request r = {.prompt = prompt,
	        .n_prompt = LONG_PROMPT,
	        .adapter = {.version = version},
	        .strength = 1,
	        .sample = {.top_p = 1, .repetition_penalty = 1},
	        .max_tokens = 1,
	        .ignore_eos = true,
	        .on_done = on_done,
	        .arg = &stream};
	int64_t start = cpu_ns();
	uint64_t id;

	for (size_t i = 0; i < LONG_PROMPT; i++)
		prompt[i] = (int32_t)(i * 11 % 100 + 3);
	if (serve_submit(b->serve, &r, &id, NULL))
		abort();
	while (sem_wait(&b->done))
		;
	return (double)(cpu_ns() - start) / 1e9;
}

static void bench_prefixes(struct bench *b)
{
	double fresh[ROUNDS], kept[ROUNDS];

	for (uint64_t round = 0; round < ROUNDS; round++) {
		fresh[round] = first_token_of(b, round + 1);
		kept[round] = first_token_of(b, round + 1);
	}
	printf("prompt of %d tokens, to its first token: %.1f ms of CPU, %.1f ms when its beginning is "
	       "kept\n",
	        LONG_PROMPT, 1e3 * median(fresh, ROUNDS), 1e3 * median(kept, ROUNDS));
}

/* ---- training beside it ---- */

struct trainer {
	struct bench *bench;
	atomic_bool *stop;
	size_t n_batches;
	int64_t ns;
	pthread_t thread;
};

static void *trainer_main(void *arg)
{
	struct trainer *t = arg;
	const struct model *m = t->bench->model;
	static int32_t tokens[TRAIN_ROWS];
	static const size_t lengths[] = {TRAIN_LENGTH, TRAIN_LENGTH, TRAIN_LENGTH, TRAIN_LENGTH};
	struct train_batch batch = {.n_rows = TRAIN_ROWS,
	        .tokens = tokens,
	        .labels = tokens,
	        .n_seqs = TRAIN_ROWS / TRAIN_LENGTH,
	        .lengths = lengths};
	float *grads = mem_calloc(t->bench->n_params, sizeof(*grads));
	struct train_workspace *w;
	struct train_sums sums;
	int64_t start;

	background_enter();
	if (!grads || train_workspace_new(m, TRAIN_ROWS, 0, &w))
		abort();
	start = clock_mono_ns();
	while (!atomic_load(t->stop)) {
		if (model_train(m, w, &batch, t->bench->layout, t->bench->params, 1, grads, &sums))
			abort();
		t->n_batches++;
	}
	t->ns = clock_mono_ns() - start;
	train_workspace_free(w);
	mem_free(grads);
	return NULL;
}

static size_t start_trainers(struct bench *b, struct trainer *trainers, atomic_bool *stop)
{
	size_t n = cpu_count() > MAX_TRAINERS ? MAX_TRAINERS : cpu_count();

	atomic_store(stop, false);
	for (size_t i = 0; i < n; i++) {
		trainers[i] = (struct trainer){.bench = b, .stop = stop};
		if (pthread_create(&trainers[i].thread, NULL, trainer_main, &trainers[i]))
			abort();
	}
	return n;
}

/* Their tokens a second. */
static double stop_trainers(struct trainer *trainers, size_t n, atomic_bool *stop)
{
	double rate = 0;

	atomic_store(stop, true);
	for (size_t i = 0; i < n; i++) {
		pthread_join(trainers[i].thread, NULL);
		rate += (double)(trainers[i].n_batches * TRAIN_ROWS) * 1e9 / (double)trainers[i].ns;
	}
	return rate;
}

static int by_gap(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

struct gaps {
	int64_t ns[MAX_GAPS];
	size_t n;
};

static void collect_gaps(struct bench *b, struct gaps *gaps)
{
	static struct stream streams[LATENCY_STREAMS];
	static int64_t room[LATENCY_STREAMS][LATENCY_TOKENS];

	for (size_t i = 0; i < LATENCY_STREAMS; i++)
		streams[i] = (struct stream){.gaps = room[i]};
	run_streams(b, streams, LATENCY_STREAMS, LATENCY_STREAMS, LATENCY_TOKENS);
	/* The first are beside the others' prompts. */
	for (size_t i = 0; i < LATENCY_STREAMS; i++)
		for (size_t k = LATENCY_STREAMS; k < streams[i].n_gaps; k++)
			gaps->ns[gaps->n++] = room[i][k];
}

static double quantile(struct gaps *g, double q)
{
	qsort(g->ns, g->n, sizeof(g->ns[0]), by_gap);
	return (double)g->ns[(size_t)(q * (double)(g->n - 1))] / 1e6;
}

/* Let training go on alone for so long. */
static void wait_ns(int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	while (nanosleep(&t, &t))
		;
}

/* Training's tokens a second with answers asked for half of the time, and otherwise not; gaps as they come.
 */
static double train_at_half_load(struct bench *b, struct gaps *gaps)
{
	static struct trainer trainers[MAX_TRAINERS];
	atomic_bool stop;
	size_t n = start_trainers(b, trainers, &stop);
	int64_t start = clock_mono_ns();

	collect_gaps(b, gaps);
	wait_ns(clock_mono_ns() - start);
	return stop_trainers(trainers, n, &stop);
}

static double train_alone(struct bench *b)
{
	static struct trainer trainers[MAX_TRAINERS];
	atomic_bool stop;
	size_t n = start_trainers(b, trainers, &stop);

	wait_ns(TRAIN_ALONE_NS);
	return stop_trainers(trainers, n, &stop);
}

static double train_beside(struct bench *b, struct gaps *gaps)
{
	static struct trainer trainers[MAX_TRAINERS];
	atomic_bool stop;
	size_t n = start_trainers(b, trainers, &stop);

	collect_gaps(b, gaps);
	return stop_trainers(trainers, n, &stop);
}

static void bench_training_beside(struct bench *b)
{
	static struct gaps alone, beside, half;
	double trains[ROUNDS], trains_beside[ROUNDS], trains_half[ROUNDS];

	for (size_t round = 0; round < ROUNDS; round++) {
		collect_gaps(b, &alone);
		trains_beside[round] = train_beside(b, &beside);
		trains[round] = train_alone(b);
		trains_half[round] = train_at_half_load(b, &half);
	}
	printf("%d streams, from token to token: median %.2f ms, p99 %.2f ms\n", LATENCY_STREAMS,
	        quantile(&alone, 0.5), quantile(&alone, 0.99));
	printf("  with training on all cores:     median %.2f ms, p99 %.2f ms, ratio of p99 %.2f\n",
	        quantile(&beside, 0.5), quantile(&beside, 0.99),
	        quantile(&beside, 0.99) / quantile(&alone, 0.99));
	printf("training alone %.1f tokens/s; beside streams all the time %.2f of it, half of the time "
	       "%.2f\n",
	        median(trains, ROUNDS), median(trains_beside, ROUNDS) / median(trains, ROUNDS),
	        median(trains_half, ROUNDS) / median(trains, ROUNDS));
}

/* ---- */

static void setup(struct bench *b, const char *dir)
{
	struct serve_options options = {.max_batch = STREAMS,
	        .max_queue = MAX_TENANTS,
	        .kv_bytes = (size_t)1 << 30,
	        .prefill_rows = 128};
	struct adapter_spec spec;
	struct why why = {0};
	const struct site *sites;
	struct rng rng;
	size_t n_sites;

	sem_init(&b->done, 0, 0);
	if (model_open(dir, &b->model, &why) || tokenizer_open(dir, &b->tokenizer, &why)) {
		fprintf(stderr, "%s\n", why.message);
		exit(1);
	}
	options.model = b->model;
	options.tokenizer = b->tokenizer;
	adapter_spec_default(&spec);
	sites = model_sites(b->model, &n_sites);
	if (serve_start(&options, &b->serve, &why) ||
	        adapter_layout_new(&spec, sites, n_sites, &b->layout, &why)) {
		fprintf(stderr, "%s\n", why.message);
		exit(1);
	}
	b->n_params = adapter_layout_n_params(b->layout);
	b->params = mem_calloc(MAX_TENANTS * b->n_params, sizeof(float));
	if (!b->params)
		abort();
	rng_seed(&rng, 1);
	for (size_t i = 0; i < MAX_TENANTS; i++) {
		adapter_layout_start(b->layout, b->params + i * b->n_params);
		for (size_t k = 0; k < b->n_params; k++)
			b->params[i * b->n_params + k] += (float)(rng_uniform(&rng) - 0.5) / 16;
	}
	for (size_t i = 0; i < PROMPT; i++)
		b->prompt[i] = (int32_t)(i * 7 + 3);
}

int main(int argc, char **argv)
{
	static const size_t tenants[] = {1, 10, 100, 1000}, adapters[] = {1, 32};
	struct bench b = {.n_turns = argc > 2 ? strtoul(argv[2], NULL, 10) : TURNS};

	if (!b.n_turns || b.n_turns > MAX_TURNS) {
		fprintf(stderr, "usage: bench_tenants [MODEL_DIR [ROUNDS]], 1 to %d rounds\n", MAX_TURNS);
		return 2;
	}
	cpu_init(CPU_BEST);
	setvbuf(stdout, NULL, _IOLBF, 0);
	setup(&b, argc > 1 ? argv[1] : "worker/base");
	compare(&b, 32, adapters, 2, "adapters");
	compare(&b, STREAMS, tenants, 4, "tenants");
	bench_prefixes(&b);
	bench_training_beside(&b);
	serve_stop(b.serve, 0);
	mem_free(b.params);
	adapter_layout_free(b.layout);
	tokenizer_close(b.tokenizer);
	model_close(b.model);
	return 0;
}
