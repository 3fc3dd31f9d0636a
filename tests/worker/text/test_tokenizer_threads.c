/* One tokenizer, many threads: all get what one alone gets. */
#include "core/buf.h"
#include "worker/text/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_THREADS 4
#define N_ROUNDS 50

static const char text[] =
        "Four threads at once, 3 times; caf\xc3\xa9 \xf0\x9f\x99\x82 averyveryveryveryverylongwordindeed";

struct worker_thread {
	pthread_t thread;
	const struct tokenizer *t;
	const struct ids *expected;
	bool same;
};

static void *work(void *arg)
{
	struct worker_thread *w = arg;

	w->same = true;
	for (int i = 0; i < N_ROUNDS; i++) {
		struct ids ids = {0};
		struct buf back = {0};

		if (tokenizer_encode(w->t, text, strlen(text), true, &ids) ||
		        tokenizer_decode(w->t, ids.ids, ids.n, true, true, &back) ||
		        ids.n != w->expected->n ||
		        memcmp(ids.ids, w->expected->ids, ids.n * sizeof(*ids.ids)) != 0 ||
		        strcmp(back.data, text) != 0)
			w->same = false;
		ids_fini(&ids);
		buf_fini(&back);
	}
	return NULL;
}

static void test_threads_share_a_tokenizer(void **state)
{
	static const char *const dirs[] = {"tests/goldens/gpt2", "tests/goldens/llama2"};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct worker_thread workers[N_THREADS];
		struct tokenizer *t = NULL;
		struct ids expected = {0};
		struct why why = {0};

		assert_int_equal(tokenizer_open(dirs[k], &t, &why), OK);
		assert_int_equal(tokenizer_encode(t, text, strlen(text), true, &expected), OK);
		for (size_t i = 0; i < N_THREADS; i++) {
			workers[i] = (struct worker_thread){.t = t, .expected = &expected};
			assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
		}
		for (size_t i = 0; i < N_THREADS; i++)
			assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		for (size_t i = 0; i < N_THREADS; i++)
			assert_true(workers[i].same);
		ids_fini(&expected);
		tokenizer_close(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_share_a_tokenizer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
