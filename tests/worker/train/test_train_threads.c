/* The same run by one thread and by several: the same bits, and no data race. */
#include "worker/train/train.h"

#include "tests/worker/train/fake_model.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX_THREADS 4

struct team {
	struct train_run *run;
	atomic_size_t next;
	size_t n_items;
	atomic_int failures;
};

static void *take_items(void *arg)
{
	struct team *t = arg;
	size_t item;

	while ((item = atomic_fetch_add(&t->next, 1)) < t->n_items)
		if (train_item(t->run, item, NULL) != OK)
			atomic_fetch_add(&t->failures, 1);
	return NULL;
}

static void train_with(const struct dataset *train, const struct dataset *valid, size_t n_threads,
        float *result, double *last_loss)
{
	struct train_config c = fake_config;
	struct team t = {0};
	enum train_phase phase;

	c.batch_size = 24;
	c.keep = KEEP_BEST;
	assert_int_equal(train_run_new(NULL, &fake_layout, NULL, train, valid, &c, &t.run, NULL), OK);
	while ((phase = train_begin(t.run, &t.n_items)) != TRAIN_DONE) {
		pthread_t threads[MAX_THREADS];
		struct train_step step;
		struct train_eval eval;

		t.next = 0;
		for (size_t i = 0; i < n_threads; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, take_items, &t), 0);
		for (size_t i = 0; i < n_threads; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(t.failures, 0);
		assert_int_equal(
		        phase == TRAIN_STEP ? train_end_step(t.run, &step) : train_end_eval(t.run, &eval),
		        OK);
		*last_loss = phase == TRAIN_STEP ? step.loss : *last_loss;
	}
	memcpy(result, train_result(t.run, NULL), FAKE_PARAMS * sizeof(float));
	train_run_free(t.run);
}

static void test_number_of_threads_does_not_show(void **state)
{
	struct dataset train, valid;
	float one[FAKE_PARAMS], many[FAKE_PARAMS];
	double loss_one = 0, loss_many = 0;

	(void)state;
	fake_dataset(&train, 90, 120, 3);
	fake_dataset(&valid, 40, 200, 5);
	train_with(&train, &valid, 1, one, &loss_one);
	for (size_t n = 2; n <= MAX_THREADS; n++) {
		train_with(&train, &valid, n, many, &loss_many);
		assert_memory_equal(one, many, sizeof(one));
		assert_true(loss_one == loss_many);
	}
	fake_dataset_fini(&train);
	fake_dataset_fini(&valid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_number_of_threads_does_not_show)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
