/*
 * Bases whose weights are held in bf16 or int8, against twins: directories whose files hold in float32 the
 * very numbers that those formats stand for. Training then computes the same from both; serving does but for
 * what product.h says of its rows. And in every format a sequence's numbers do not depend on its neighbours.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/adapter/safetensors.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define N_TOKENS 40
#define N_STREAMS 5

static const enum matrix_format narrow[] = {MATRIX_BF16, MATRIX_INT8};

struct twins {
	char dir[64];
	struct model *wide, *narrow; /* of the directory */
};

static void write_file(const char *dir, const char *name, const struct buf *b)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
	assert_int_equal(fclose(f), 0);
}

/* What rows (N,K) stand for in a format, in their place. */
static void narrow_rows(enum matrix_format format, size_t N, size_t K, float *rows)
{
	struct matrix m = {.format = format, .n_out = N, .n_in = K};
	void *data = mem_aligned(matrix_bytes(format, N, K), 1);

	assert_non_null(data);
	m.data = data;
	matrix_pack(&m, 0, N, rows, data);
	matrix_unpack(&m, 0, N, rows);
	mem_free(data);
}

/* Matrices in the file as the format has them; GPT-2's are stored (in,out). */
static void narrow_file(enum matrix_format format, bool transposed, struct buf *file)
{
	struct safetensors *s;

	assert_int_equal(safetensors_new(file->data, file->len, &s, NULL), OK);
	for (size_t i = 0; i < safetensors_count(s); i++) {
		const struct tensor *t = safetensors_at(s, i);
		size_t N = t->shape[0], K = t->shape[1];
		bool turn = transposed && !strstr(t->name, "wte") && !strstr(t->name, "wpe");
		float *rows = (float *)(void *)(file->data + ((const char *)t->data - file->data));
		float *copy;

		if (t->n_dims != 2 || t->type != TENSOR_F32)
			continue;
		copy = mem_aligned(N * K, sizeof(float));
		assert_non_null(copy);
		for (size_t n = 0; n < N; n++)
			for (size_t k = 0; k < K; k++)
				memcpy(&copy[turn ? k * N + n : n * K + k], rows + n * K + k, sizeof(float));
		narrow_rows(format, turn ? K : N, turn ? N : K, copy);
		for (size_t n = 0; n < N; n++)
			for (size_t k = 0; k < K; k++)
				memcpy(rows + n * K + k, &copy[turn ? k * N + n : n * K + k], sizeof(float));
		mem_free(copy);
	}
	safetensors_free(s);
}

static void twins_init(struct twins *t, const char *family, enum matrix_format format)
{
	struct buf config = {0}, weights = {0};
	struct why why = {0};
	char path[128];

	memset(t, 0, sizeof(*t));
	snprintf(t->dir, sizeof(t->dir), "/tmp/redd-formats-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/config.json", family);
	assert_int_equal(buf_read_file(&config, path, 1 << 20), OK);
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/model.safetensors", family);
	assert_int_equal(buf_read_file(&weights, path, 1 << 24), OK);
	narrow_file(format, strcmp(family, "gpt2") == 0, &weights);
	write_file(t->dir, "config.json", &config);
	write_file(t->dir, "model.safetensors", &weights);
	buf_fini(&config);
	buf_fini(&weights);
	if (model_open(t->dir, &t->wide, &why) || model_open_as(t->dir, format, &t->narrow, &why))
		fail_msg("%s", why.message);
}

static void twins_fini(struct twins *t)
{
	char path[128];

	model_close(t->wide);
	model_close(t->narrow);
	snprintf(path, sizeof(path), "%s/config.json", t->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/model.safetensors", t->dir);
	unlink(path);
	assert_int_equal(rmdir(t->dir), 0);
}

/* |a - b| against |b|, both as vectors. */
static double residual(const float *a, const float *b, size_t n)
{
	double difference = 0, size = 0;

	for (size_t i = 0; i < n; i++) {
		difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
		size += (double)b[i] * (double)b[i];
	}
	return sqrt(difference / size);
}

static void tokens_fill(const struct model *m, int32_t *tokens, size_t n)
{
	struct rng r = {11};

	for (size_t i = 0; i < n; i++)
		tokens[i] = (int32_t)rng_below(&r, model_info(m)->vocab_size);
}

/* ---- training ---- */

/* Gradients of everything an adapter has, mem_free() them. */
static float *gradients(const struct model *m, size_t *n, double *loss)
{
	int32_t tokens[2 * N_TOKENS], labels[2 * N_TOKENS];
	size_t lengths[] = {N_TOKENS, N_TOKENS}, n_sites;
	struct train_batch batch = {.n_rows = N_TOKENS,
	        .tokens = tokens,
	        .labels = labels,
	        .n_seqs = 1,
	        .lengths = lengths,
	        .n_source_rows = N_TOKENS,
	        .source_tokens = tokens + N_TOKENS,
	        .source_lengths = lengths};
	const struct site *sites = model_sites(m, &n_sites);
	struct adapter_layout *layout;
	struct train_workspace *w;
	struct adapter_spec spec;
	struct train_sums sums;
	float *params, *grads;

	tokens_fill(m, tokens, 2 * N_TOKENS);
	memcpy(labels, tokens + N_TOKENS, sizeof(labels) / 2);
	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &layout, NULL), OK);
	*n = adapter_layout_n_params(layout);
	params = mem_calloc(*n, sizeof(float));
	grads = mem_calloc(*n, sizeof(float));
	assert_true(params && grads);
	adapter_layout_start(layout, params);
	assert_int_equal(train_workspace_new(m, 2 * N_TOKENS, 0, &w), OK);
	assert_int_equal(model_train(m, w, &batch, layout, params, 1, grads, &sums), OK);
	*loss = sums.loss;
	train_workspace_free(w);
	adapter_layout_free(layout);
	mem_free(params);
	return grads;
}

static void test_training_computes_with_what_the_weights_stand_for(void **state)
{
	static const char *const families[] = {"gpt2", "llama2", "t5"};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (size_t f = 0; f < 2; f++) {
			struct twins t;
			size_t n;
			double loss, twin_loss, off;
			float *grads, *twin;

			twins_init(&t, families[i], narrow[f]);
			grads = gradients(t.narrow, &n, &loss);
			twin = gradients(t.wide, &n, &twin_loss);
			off = residual(grads, twin, n);
			if (!(off < 1e-5) || !(fabs(loss - twin_loss) < 1e-5 * fabs(twin_loss)))
				fail_msg("%s, %s: loss %.9g, not %.9g; gradients off by %.3g", families[i],
				        matrix_format_name(narrow[f]), loss, twin_loss, off);
			mem_free(grads);
			mem_free(twin);
			twins_fini(&t);
		}
}

/* Rows rounded to bf16 lose what their 8 bits of mantissa cost, where the processor multiplies pairs of bf16;
 * on others nothing. most: of the gradients' length; more where rectifiers switch by it. */
static void bf16_training(const char *family, double most)
{
	struct twins t;
	size_t n;
	double loss, twin_loss, off;
	float *grads, *twin;
	bool rounds = cpu_level() >= CPU_AVX512_BF16;

	twins_init(&t, family, MATRIX_BF16);
	twin = gradients(t.narrow, &n, &twin_loss);
	model_train_bf16(t.narrow);
	grads = gradients(t.narrow, &n, &loss);
	off = residual(grads, twin, n);
	if (rounds ? !(off > 0 && off < most) || !(fabs(loss - twin_loss) < 0.005 * fabs(twin_loss))
	           : memcmp(grads, twin, n * sizeof(*grads)) != 0 || loss != twin_loss)
		fail_msg("%s, %s: loss %.9g, not %.9g; gradients off by %.3g", family,
		        cpu_level_name(cpu_level()), loss, twin_loss, off);
	mem_free(grads);
	mem_free(twin);
	twins_fini(&t);
}

static void test_training_in_bf16_is_near(void **state)
{
	(void)state;
	for (enum cpu_level level = CPU_PORTABLE; level < CPU_BEST; level++) {
		cpu_init(level);
		if (cpu_level() != level)
			continue;
		bf16_training("gpt2", 0.03);
		bf16_training("llama2", 0.03);
		bf16_training("t5", 0.1);
	}
	cpu_init(CPU_BEST);
}

/* ---- serving ---- */

/* Logits (n,V) after a prompt and N_TOKENS decode steps of n sequences together, of which the i-th begins
 * with token first + i, computed by n_threads. */
static void decode(const struct model *m, size_t n_threads, size_t first, size_t n, float *logits)
{
	int32_t tokens[N_TOKENS], next[N_STREAMS];
	struct edit_run runs[N_STREAMS];
	struct kv *kvs[N_STREAMS];
	struct serve_workspace *w;

	tokens_fill(m, tokens, N_TOKENS);
	assert_int_equal(serve_workspace_new(m, 8, N_STREAMS, &w), OK);
	assert_int_equal(serve_workspace_set_threads(w, n_threads), OK);
	for (size_t i = 0; i < n; i++) {
		runs[i] = (struct edit_run){.n_rows = 1, .strength = 1};
		assert_int_equal(kv_new(m, 8 + N_TOKENS, &kvs[i]), OK);
		assert_int_equal(
		        model_prefill(m, w, kvs[i], tokens + first + i, 8, &runs[i], NULL, 0, NULL), OK);
	}
	for (size_t step = 0; step < N_TOKENS; step++) {
		for (size_t i = 0; i < n; i++)
			next[i] = tokens[(step + first + i) % N_TOKENS];
		assert_int_equal(model_decode(m, w, n, kvs, next, runs, logits), OK);
	}
	for (size_t i = 0; i < n; i++)
		kv_free(kvs[i]);
	serve_workspace_free(w);
}

/* Rows rounded to bf16, or quantised, are off by no more than their format's step allows. */
static double allowed(enum matrix_format format)
{
	if (format == MATRIX_INT8)
		return 0.03;
	return cpu_level() >= CPU_AVX512_BF16 ? 0.02 : 1e-5;
}

static void serving(const char *family, enum matrix_format format)
{
	struct twins t;
	size_t V;
	float *together, *alone, *twin;
	double off;

	twins_init(&t, family, format);
	V = model_info(t.narrow)->vocab_size;
	together = mem_calloc(N_STREAMS * V, sizeof(float));
	alone = mem_calloc(V, sizeof(float));
	twin = mem_calloc(N_STREAMS * V, sizeof(float));
	assert_true(together && alone && twin);
	decode(t.narrow, 1, 0, N_STREAMS, together);
	decode(t.wide, 1, 0, N_STREAMS, twin);
	off = residual(together, twin, N_STREAMS * V);
	if (!(off < allowed(format)))
		fail_msg("%s, %s, %s: logits off by %.3g", family, matrix_format_name(format),
		        cpu_level_name(cpu_level()), off);
	for (size_t i = 0; i < N_STREAMS; i++) {
		decode(t.narrow, 1 + i % 2, i, 1, alone);
		assert_memory_equal(alone, together + i * V, V * sizeof(float));
	}
	mem_free(together);
	mem_free(alone);
	mem_free(twin);
	twins_fini(&t);
}

static void test_serving_is_near_and_the_same_alone_and_together(void **state)
{
	(void)state;
	for (enum cpu_level level = CPU_PORTABLE; level < CPU_BEST; level++) {
		cpu_init(level);
		for (size_t f = 0; cpu_level() == level && f < 2; f++) {
			serving("gpt2", narrow[f]);
			serving("llama2", narrow[f]);
		}
	}
	cpu_init(CPU_BEST);
}

/* ---- opening ---- */

static void test_a_base_is_the_same_in_every_format(void **state)
{
	struct model *m[3];

	(void)state;
	for (enum matrix_format f = MATRIX_F32; f <= MATRIX_INT8; f++) {
		assert_int_equal(model_open_as(GOLDEN_DIR "gpt2", f, &m[f], NULL), OK);
		assert_int_equal(model_info(m[f])->weights, f);
		assert_string_equal(model_info(m[f])->hash, model_info(m[0])->hash);
		assert_true(model_info(m[f])->n_params == model_info(m[0])->n_params);
	}
	assert_true(model_info(m[1])->weight_bytes * 2 == model_info(m[0])->weight_bytes);
	assert_true(model_info(m[2])->weight_bytes < model_info(m[1])->weight_bytes);
	for (size_t f = 0; f < 3; f++)
		model_close(m[f]);
}

static void test_opening_survives_short_memory(void **state)
{
	struct model *m = NULL;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e; n++) {
		mem_fail_at(n);
		e = model_open_as(GOLDEN_DIR "gpt2", MATRIX_INT8, &m, NULL);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
	}
	model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_training_computes_with_what_the_weights_stand_for),
	        cmocka_unit_test(test_training_in_bf16_is_near),
	        cmocka_unit_test(test_serving_is_near_and_the_same_alone_and_together),
	        cmocka_unit_test(test_a_base_is_the_same_in_every_format),
	        cmocka_unit_test(test_opening_survives_short_memory),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
