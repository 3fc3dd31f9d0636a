/* Submitting, cancelling, asking and stopping from many threads at once. */
#include "tests/worker/serve/answer.h"

#include "core/rng.h"

#define N_CLIENTS 6
#define N_REQUESTS 60
#define MAX_BEAMS 3

struct client {
	struct serve *s;
	struct answer answers[N_REQUESTS];
	bool taken[N_REQUESTS];
	uint64_t seed;
	pthread_t thread;
};

static struct serve *start(size_t max_queue)
{
	struct serve_options options = {
	        .model = &fake,
	        .max_batch = 4,
	        .max_queue = max_queue,
	        .kv_bytes = FAKE_CONTEXT * FAKE_KV_BYTES, /* so that some are put off */
	        .prefill_rows = 8,
	};
	struct serve *s = NULL;

	assert_int_equal(serve_start(&options, &s, NULL), OK);
	return s;
}

/* Send everything, cancelling some of it, own or foreign, at any stage. */
static void *client_main(void *arg)
{
	struct client *c = arg;
	struct serve_stats stats;
	struct rng r;

	rng_seed(&r, c->seed);
	for (size_t i = 0; i < N_REQUESTS; i++) {
		struct answer *a = &c->answers[i];

		answer_init(a, 1 + rng_below(&r, 30), 1 + rng_below(&r, 12), c->seed * N_REQUESTS + i);
		a->request.ignore_eos = rng_below(&r, 2);
		a->request.beams =
		        (struct beam_params){.n_beams = 1 + rng_below(&r, MAX_BEAMS), .length_penalty = 1};
		a->request.adapter.version = rng_below(&r, 3);
		a->request.n_choices = 1 + rng_below(&r, a->request.beams.n_beams);
		c->taken[i] = serve_submit(c->s, &a->request, &a->id, NULL) == OK;
		if (rng_below(&r, 3) == 0)
			serve_cancel(c->s, 1 + rng_below(&r, N_CLIENTS * N_REQUESTS));
		if (rng_below(&r, 8) == 0)
			serve_stats(c->s, &stats);
		serve_busy(c->s);
	}
	return NULL;
}

static struct client *clients_start(struct serve *s)
{
	struct client *clients = mem_calloc(N_CLIENTS, sizeof(*clients));

	assert_non_null(clients);
	for (size_t i = 0; i < N_CLIENTS; i++) {
		clients[i].s = s;
		clients[i].seed = i;
		assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
	}
	return clients;
}

static void clients_join(struct client *clients)
{
	for (size_t i = 0; i < N_CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
}

static size_t count_finished(struct client *clients, enum serve_finish finish)
{
	size_t n = 0;

	for (size_t i = 0; i < N_CLIENTS; i++)
		for (size_t k = 0; k < N_REQUESTS; k++)
			n += clients[i].taken[k] && clients[i].answers[k].result.finish == finish;
	return n;
}

static void wait_for_all(struct client *clients)
{
	for (size_t i = 0; i < N_CLIENTS; i++)
		for (size_t k = 0; k < N_REQUESTS; k++)
			if (clients[i].taken[k])
				answer_wait(&clients[i].answers[k]);
			else
				assert_int_equal(clients[i].answers[k].n_done, 0);
}

static void test_every_request_ends_once(void **state)
{
	struct serve *s = start(N_CLIENTS * N_REQUESTS * MAX_BEAMS);
	struct client *clients = clients_start(s);
	struct serve_stats stats;

	(void)state;
	clients_join(clients);
	wait_for_all(clients);
	assert_int_equal(count_finished(clients, FINISH_STOP) + count_finished(clients, FINISH_LENGTH) +
	                         count_finished(clients, FINISH_CANCELLED),
	        N_CLIENTS * N_REQUESTS);
	serve_stats(s, &stats);
	assert_int_equal(stats.running + stats.waiting, 0);
	serve_stop(s, 0);
	mem_free(clients);
}

static void test_a_small_queue_refuses_and_loses_nothing(void **state)
{
	struct serve *s = start(2);
	struct client *clients = clients_start(s);

	(void)state;
	clients_join(clients);
	wait_for_all(clients);
	assert_true(count_finished(clients, FINISH_LENGTH) > 0);
	serve_stop(s, 0);
	mem_free(clients);
}

struct stopper {
	struct serve *s;
	int drain_ms;
};

static void *stopper_main(void *arg)
{
	struct stopper *stopper = arg;

	serve_stop(stopper->s, stopper->drain_ms);
	return NULL;
}

static void test_stopping_with_everything_in_flight(void **state)
{
	static const int drains[] = {0, 1, 60000};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct stopper stopper = {.s = start(N_CLIENTS * N_REQUESTS), .drain_ms = drains[i]};
		struct client *clients = clients_start(stopper.s);
		pthread_t thread;

		clients_join(clients);
		assert_int_equal(pthread_create(&thread, NULL, stopper_main, &stopper), 0);
		wait_for_all(clients);
		pthread_join(thread, NULL);
		assert_int_equal(count_finished(clients, FINISH_NONE), 0);
		mem_free(clients);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_request_ends_once),
	        cmocka_unit_test(test_a_small_queue_refuses_and_loses_nothing),
	        cmocka_unit_test(test_stopping_with_everything_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
