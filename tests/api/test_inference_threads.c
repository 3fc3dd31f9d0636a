/*
 * Inference with its threads: handlers that submit, an engine that calls back, a loop whose clients leave,
 * all at once. Every answer is given exactly once, complete when its client stayed, and every adapter is let
 * go.
 *
 * thread   | does                                              | ends when
 * test     | runs the handlers, waits for the answers          | -
 * engine   | one token for each running request, round by round | told to stop, nothing running
 * loop     | lets every third client leave                      | all have left
 */
#include "tests/api/inference_scene.h"

#define N_ROUNDS 60
#define N_EXCHANGES 12
#define N_TOKENS 6

/* Under the lock: the first request at or after i that is not done; n_requests when there is none. */
static size_t next_running(const struct worker *w, size_t i)
{
	while (i < w->n_requests && w->requests[i].n_done)
		i++;
	return i;
}

/* One step of one request, without the lock, as the engine calls back. */
static void step(struct worker *w, size_t i, bool cancelled)
{
	if (cancelled)
		world_play_done(w, i, FINISH_CANCELLED, OK, "");
	else if (w->requests[i].n_generated[0] < N_TOKENS)
		world_play_token(w, i, 'a', -1, "a");
	else
		world_play_done(w, i, FINISH_LENGTH, OK, "b");
}

static void *engine(void *arg)
{
	struct worker *w = arg;
	size_t i = 0;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		bool cancelled;

		i = next_running(w, i);
		if (i == w->n_requests && next_running(w, 0) < w->n_requests) {
			i = 0;
			continue;
		}
		if (i == w->n_requests && w->stopping)
			break;
		if (i == w->n_requests) {
			pthread_cond_wait(&w->work, &w->lock);
			i = 0;
			continue;
		}
		cancelled = w->cancelled[i];
		pthread_mutex_unlock(&w->lock);
		step(w, i, cancelled);
		pthread_mutex_lock(&w->lock);
		i++;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void *loop(void *arg)
{
	struct exchange *x = arg;

	for (size_t i = 0; i < N_EXCHANGES; i += 3)
		world_client_leaves(&x[i]);
	return NULL;
}

static void wait_over(struct exchange *x)
{
	pthread_mutex_lock(&x->lock);
	while (!x->over)
		pthread_cond_wait(&x->is_over, &x->lock);
	pthread_mutex_unlock(&x->lock);
}

static size_t count(const char *text, const char *word)
{
	size_t n = 0;

	for (const char *at = text; at && (at = strstr(at, word)); at += strlen(word))
		n++;
	return n;
}

/* What a client that stayed must have got. */
static void check_whole(const struct exchange *x, size_t i)
{
	if (i % 2) {
		assert_int_equal(count(x->stream.data, "\"text\":\"a\""), 2 * N_TOKENS);
		assert_int_equal(count(x->stream.data, "\"text\":\"b\""), 2);
		assert_int_equal(count(x->stream.data, "\"finish_reason\":\"length\""), 2);
		assert_int_equal(count(x->stream.data, "data: [DONE]\n\n"), 1);
	} else {
		assert_int_equal(x->status, 200);
		for (size_t k = 0; k < 2; k++)
			assert_string_equal(
			        json_string_value(json_object_get(
			                json_array_get(json_object_get(x->reply, "choices"), k), "text")),
			        "aaaaaab");
	}
}

static void play_round(struct worker *w, struct exchange *x, bool leaving)
{
	pthread_t engine_thread, loop_thread;

	for (size_t i = 0; i < N_EXCHANGES; i++)
		world_exchange_init(&x[i], w,
		        i % 2 ? "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2,\"stream\":true}"
		              : "{\"model\":\"tuned\",\"prompt\":\"p\",\"n\":2,\"logprobs\":1}");
	assert_int_equal(pthread_create(&engine_thread, NULL, engine, w), 0);
	if (leaving)
		assert_int_equal(pthread_create(&loop_thread, NULL, loop, x), 0);
	for (size_t i = 0; i < N_EXCHANGES; i++)
		assert_int_equal(call(&x[i], COMPLETION), EXCHANGE_LATER);
	for (size_t i = 0; i < N_EXCHANGES; i++)
		wait_over(&x[i]);
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	pthread_join(engine_thread, NULL);
	if (leaving)
		pthread_join(loop_thread, NULL);
}

static void play_rounds(bool leaving, size_t busy_at)
{
	struct worker *w = mem_calloc(1, sizeof(*w));
	struct exchange *x = mem_calloc(N_EXCHANGES, sizeof(*x));

	assert_true(w && x);
	for (size_t round = 0; round < N_ROUNDS; round++) {
		world_worker_init(w);
		w->busy_at = busy_at;
		play_round(w, x, leaving);
		for (size_t i = 0; i < N_EXCHANGES; i++) {
			assert_int_equal(x[i].n_answers, 1);
			if (!x[i].left && (2 * i + 1 < busy_at))
				check_whole(&x[i], i);
			else if (!x[i].left)
				assert_int_equal(x[i].status, 503);
			world_exchange_fini(&x[i]);
		}
		world_worker_fini(w);
	}
	mem_free(x);
	mem_free(w);
}

static void test_answers_are_whole_when_all_stay(void **state)
{
	(void)state;
	play_rounds(false, SIZE_MAX);
}

static void test_clients_that_leave_disturb_nobody(void **state)
{
	(void)state;
	play_rounds(true, SIZE_MAX);
}

/* Submits that fail while the engine is already at work on their siblings. */
static void test_a_queue_that_fills_up_in_the_middle(void **state)
{
	(void)state;
	play_rounds(false, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_answers_are_whole_when_all_stay),
	        cmocka_unit_test(test_clients_that_leave_disturb_nobody),
	        cmocka_unit_test(test_a_queue_that_fills_up_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
