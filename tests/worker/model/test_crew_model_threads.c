/*
 * However many threads compute a serving pass, every bit is the same, in every format: prefill in chunks,
 * decoding, a seq2seq's source.
 */
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N_PROMPT 24
#define N_CHUNK 20
#define N_STREAMS 3
#define N_STEPS 4

/* Logits (N_STREAMS, V) after a prompt in two chunks and a few steps. */
static void answer(const struct model *m, size_t n_threads, float *logits)
{
	int32_t tokens[N_PROMPT + N_STREAMS];
	struct edit_run runs[N_STREAMS];
	struct kv *kvs[N_STREAMS];
	struct serve_workspace *w;
	struct rng r = {3};

	for (size_t i = 0; i < N_PROMPT + N_STREAMS; i++)
		tokens[i] = (int32_t)rng_below(&r, model_info(m)->vocab_size);
	assert_int_equal(serve_workspace_new(m, N_PROMPT, N_STREAMS, &w), OK);
	assert_int_equal(serve_workspace_set_threads(w, n_threads), OK);
	for (size_t i = 0; i < N_STREAMS; i++) {
		const int32_t *prompt = tokens + i;

		runs[i] = (struct edit_run){.n_rows = 1, .strength = 1};
		assert_int_equal(kv_new(m, 2 * N_PROMPT + N_STEPS, &kvs[i]), OK);
		if (model_info(m)->kind == MODEL_SEQ2SEQ)
			assert_int_equal(model_encode_source(m, w, kvs[i], prompt, N_PROMPT, &runs[i]), OK);
		assert_int_equal(model_prefill(m, w, kvs[i], prompt, N_CHUNK, &runs[i], NULL, 0, NULL), OK);
		assert_int_equal(model_prefill(m, w, kvs[i], prompt + N_CHUNK, N_PROMPT - N_CHUNK, &runs[i],
		                         NULL, 0, NULL),
		        OK);
	}
	for (size_t i = 0; i < N_STEPS; i++)
		assert_int_equal(model_decode(m, w, N_STREAMS, kvs, tokens + i, runs, logits), OK);
	for (size_t i = 0; i < N_STREAMS; i++)
		kv_free(kvs[i]);
	serve_workspace_free(w);
}

static void test_the_number_of_threads_does_not_show(void **state)
{
	static const char *const families[] = {"gpt2", "llama3", "t5"};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (enum matrix_format f = MATRIX_F32; f <= MATRIX_INT8; f++) {
			char dir[128];
			struct model *m;
			size_t n;
			float *one, *many;

			snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", families[i]);
			assert_int_equal(model_open_as(dir, f, &m, NULL), OK);
			n = N_STREAMS * model_info(m)->vocab_size;
			one = mem_calloc(n, sizeof(float));
			many = mem_calloc(n, sizeof(float));
			assert_true(one && many);
			answer(m, 1, one);
			for (size_t n_threads = 2; n_threads <= 5; n_threads += 3) {
				answer(m, n_threads, many);
				assert_memory_equal(one, many, n * sizeof(float));
			}
			mem_free(one);
			mem_free(many);
			model_close(m);
		}
}

static void test_threads_can_be_set_again(void **state)
{
	struct serve_workspace *w;
	struct model *m;

	(void)state;
	assert_int_equal(model_open(GOLDEN_DIR "gpt2", &m, NULL), OK);
	assert_int_equal(serve_workspace_new(m, 4, 4, &w), OK);
	for (size_t n = 0; n < 4; n++)
		assert_int_equal(serve_workspace_set_threads(w, n), OK);
	mem_fail_at(1);
	assert_int_equal(serve_workspace_set_threads(w, 2), ERR_MEM);
	mem_fail_at(2);
	assert_int_equal(serve_workspace_set_threads(w, 2), ERR_MEM);
	mem_fail_at(0);
	serve_workspace_free(w);
	model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_number_of_threads_does_not_show),
	        cmocka_unit_test(test_threads_can_be_set_again),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
