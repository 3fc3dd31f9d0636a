/* The batcher over a fake model: who runs, in what order, with what memory, and how it ends. */
#include "tests/worker/serve/answer.h"

#define MANY 16

static struct serve *start(size_t max_batch, size_t max_queue, size_t n_kv_positions, size_t prefill_rows)
{
	struct serve_options options = {
	        .model = &fake,
	        .max_batch = max_batch,
	        .max_queue = max_queue,
	        .kv_bytes = n_kv_positions * FAKE_KV_BYTES,
	        .prefill_rows = prefill_rows,
	};
	struct serve *s = NULL;

	assert_int_equal(serve_start(&options, &s, NULL), OK);
	return s;
}

static struct answer *answers_new(size_t n)
{
	struct answer *a = mem_calloc(n, sizeof(*a));

	assert_non_null(a);
	return a;
}

/* ---- alone or together ---- */

/* Requests as different as they can be. */
static void vary(struct answer *a, size_t i)
{
	answer_init(a, 1 + i * 3 % 41, 40, i);
	a->request.strength = i % 3 ? 1 : 0.5f;
	a->request.ignore_eos = i % 4 != 3;
	a->request.logprobs = i % 2;
	a->request.echo_logprobs = i % 5 == 0;
	a->request.n_top_logprobs = i % 7;
	a->request.sample.temperature = i % 4 ? 0.5 + (double)i / 8 : 0;
	a->request.sample.top_p = i % 3 ? 1 : 0.9;
	a->request.sample.top_k = i % 5 ? 0 : 10;
	a->request.sample.repetition_penalty = i % 6 ? 1 : 1.3;
	a->request.sample.presence_penalty = i % 7 ? 0 : 0.4;
	if (i % 8 == 5) {
		a->request.n_stops = 1;
		a->request.stops[0] = "a";
	}
}

static void test_together_gives_what_each_gives_alone(void **state)
{
	struct answer *alone = answers_new(MANY), *together = answers_new(MANY);
	struct serve *s = start(1, 0, FAKE_CONTEXT, 8);
	struct serve_stats stats;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		vary(&alone[i], i);
		answer_submit(&alone[i], s);
		answer_wait(&alone[i]);
	}
	serve_stop(s, 0);
	atomic_store(&fake.max_rows, 0);
	s = start(MANY, 0, MANY * FAKE_CONTEXT, 8);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = MANY; i-- > 0;) {
		vary(&together[i], i);
		answer_submit(&together[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_wait(&together[i]);
		answer_assert_same(&alone[i], &together[i]);
		assert_true(together[i].n_tokens > 0);
	}
	assert_true(atomic_load(&fake.max_rows) > MANY / 2);
	serve_stats(s, &stats);
	assert_int_equal(stats.running + stats.waiting, 0);
	assert_true(stats.batch_rows > stats.steps);
	serve_stop(s, 0);
	mem_free(alone);
	mem_free(together);
}

static void test_seeds_differ_and_repeat(void **state)
{
	struct answer *a = answers_new(3);
	struct serve *s = start(3, 0, 3 * FAKE_CONTEXT, 8);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 5, 30, 1);
		a[i].request.ignore_eos = true;
		a[i].request.sample.temperature = 1;
		a[i].request.sample.seed = i == 2;
		answer_submit(&a[i], s);
	}
	for (size_t i = 0; i < 3; i++)
		answer_wait(&a[i]);
	answer_assert_same(&a[0], &a[1]);
	assert_string_not_equal(a[0].text, a[2].text);
	serve_stop(s, 0);
	mem_free(a);
}

/* ---- order and limits ---- */

struct arrivals {
	struct answer *first[MANY];
	size_t n;
};

static void note_first_token(struct answer *a)
{
	struct arrivals *order = a->context;

	if (a->n_tokens == 1)
		order->first[order->n++] = a;
}

static void test_requests_begin_in_order_of_arrival(void **state)
{
	struct answer *a = answers_new(MANY);
	struct arrivals order = {0};
	struct serve *s = start(2, MANY, 2 * FAKE_CONTEXT, 64);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_init(&a[i], 1 + (MANY - i), 3, i);
		a[i].request.ignore_eos = true;
		a[i].at_token = note_first_token;
		a[i].context = &order;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++)
		answer_wait(&a[i]);
	assert_int_equal(order.n, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(order.first[i], &a[i]);
	serve_stop(s, 0);
	mem_free(a);
}

static void test_a_full_queue_is_busy_and_takes_nothing(void **state)
{
	struct answer *a = answers_new(4);
	struct serve *s = start(1, 2, FAKE_CONTEXT, 8);
	struct why why = {0};

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 4; i++)
		answer_init(&a[i], 4, 2, i);
	for (size_t i = 0; i < 3; i++)
		answer_submit(&a[i], s);
	a[3].id = 77;
	assert_int_equal(serve_submit(s, &a[3].request, &a[3].id, &why), ERR_BUSY);
	assert_non_null(strstr(why.message, "try again"));
	assert_int_equal(a[3].id, 77);
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 3; i++)
		answer_wait(&a[i]);
	assert_int_equal(a[3].n_done + a[3].n_released, 0);
	answer_submit(&a[3], s);
	answer_wait(&a[3]);
	serve_stop(s, 0);
	mem_free(a);
}

static void test_memory_for_keys_and_values_is_a_limit(void **state)
{
	struct answer *a = answers_new(MANY);
	struct serve *s = start(MANY, MANY, 100, 8);

	(void)state;
	atomic_store(&fake.kv_peak, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_init(&a[i], 10, 10 + i, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_wait(&a[i]);
		assert_int_equal(a[i].result.n_generated, 10 + i);
	}
	assert_in_range(atomic_load(&fake.kv_peak), 50 / FAKE_PAGE + 1, 100 / FAKE_PAGE);
	serve_stop(s, 0);
	mem_free(a);
}

/* How far the other was when this one's first token came. */
static void note_progress_of_other(struct answer *a)
{
	struct answer *other = a->context;

	if (a->n_tokens == 1)
		a->adapter.n_script = other->n_tokens;
}

static void test_a_long_prompt_does_not_hold_up_the_others(void **state)
{
	struct answer *a = answers_new(2);
	struct serve *s = start(2, 0, 2 * FAKE_CONTEXT, 8);
	size_t before = atomic_load(&fake.chunks);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	answer_init(&a[0], 1, 60, 1);
	answer_init(&a[1], 80, 1, 2);
	a[0].request.ignore_eos = a[1].request.ignore_eos = true;
	a[1].at_token = note_progress_of_other;
	a[1].context = &a[0];
	answer_submit(&a[0], s);
	answer_submit(&a[1], s);
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&a[0]);
	answer_wait(&a[1]);
	assert_int_equal(atomic_load(&fake.chunks) - before, 1 + 10);
	assert_true(a[1].adapter.n_script >= 10); /* a token beside each of the ten chunks */
	serve_stop(s, 0);
	mem_free(a);
}

static void test_prompts_take_turns(void **state)
{
	struct answer *a = answers_new(2);
	struct arrivals order = {0};
	struct serve *s = start(2, 0, 2 * FAKE_CONTEXT, 8);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 2; i++) {
		answer_init(&a[i], i ? 12 : 80, 2, i);
		a[i].request.ignore_eos = true;
		a[i].at_token = note_first_token;
		a[i].context = &order;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&a[0]);
	answer_wait(&a[1]);
	assert_ptr_equal(order.first[0], &a[1]);
	serve_stop(s, 0);
	mem_free(a);
}

/* Passes over few rows cost less than a chunk, but not as little as their rows. */
static void test_short_prompts_share_a_step(void **state)
{
	struct answer *a = answers_new(6);
	struct serve *s = start(6, 0, 6 * FAKE_CONTEXT, 96);
	struct serve_stats stats;

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 6; i++) {
		answer_init(&a[i], 10, 2, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 6; i++)
		answer_wait(&a[i]);
	serve_stats(s, &stats);
	assert_int_equal(stats.batch_rows, 6);
	assert_in_range(stats.steps, 2, 3); /* three at a time; one may have begun before the others came */
	serve_stop(s, 0);
	mem_free(a);
}

static void test_statistics_add_up(void **state)
{
	struct answer *a = answers_new(3);
	struct serve *s = start(4, 0, 4 * FAKE_CONTEXT, 8);
	struct serve_stats stats;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 9 + i, 5, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	for (size_t i = 0; i < 3; i++)
		answer_wait(&a[i]);
	serve_stats(s, &stats);
	assert_int_equal(stats.prompt_tokens, 9 + 10 + 11);
	assert_int_equal(stats.generated_tokens, 15);
	assert_int_equal(stats.batch_rows, 12); /* the first token of each came from its prompt */
	assert_in_range(stats.steps, 4, 12);
	serve_stop(s, 0);
	mem_free(a);
}

/* ---- cancelling ---- */

static void test_cancel_while_waiting_running_and_done(void **state)
{
	struct answer *a = answers_new(3);
	struct serve *s = start(1, 2, FAKE_CONTEXT, 8);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 4, 90, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	serve_cancel(s, a[1].id);
	serve_cancel(s, a[0].id);
	serve_cancel(s, 12345);
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&a[0]);
	answer_wait(&a[1]);
	answer_wait(&a[2]);
	assert_int_equal(a[0].result.finish, FINISH_CANCELLED);
	assert_true(a[0].result.n_generated <= 2);
	assert_int_equal(a[1].result.finish, FINISH_CANCELLED);
	assert_int_equal(a[1].result.n_generated, 0);
	assert_int_equal(a[2].result.finish, FINISH_LENGTH);
	assert_int_equal(a[2].result.n_generated, 90);
	serve_cancel(s, a[2].id);
	serve_stop(s, 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(a[i].n_done, 1);
	mem_free(a);
}

static void cancel_at_third(struct answer *a)
{
	if (a->n_tokens == 3)
		serve_cancel(a->context, a->id);
}

static void test_cancel_from_a_callback_ends_at_the_next_step(void **state)
{
	struct answer *a = answers_new(1);
	struct serve *s = start(1, 0, FAKE_CONTEXT, 8);

	(void)state;
	answer_init(a, 4, 50, 3);
	a->request.ignore_eos = true;
	a->at_token = cancel_at_third;
	a->context = s;
	answer_submit(a, s);
	answer_wait(a);
	assert_int_equal(a->result.finish, FINISH_CANCELLED);
	assert_int_equal(a->result.n_generated, 3);
	serve_stop(s, 0);
	mem_free(a);
}

/* ---- stopping ---- */

static void test_stop_lets_what_was_taken_finish(void **state)
{
	struct answer *a = answers_new(4);
	struct serve *s = start(2, 2, 2 * FAKE_CONTEXT, 8);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		answer_init(&a[i], 6, 60, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	serve_stop(s, 60000);
	for (size_t i = 0; i < 4; i++) {
		answer_wait(&a[i]);
		assert_int_equal(a[i].result.finish, FINISH_LENGTH);
	}
	mem_free(a);
}

static void *stop_now(void *s)
{
	serve_stop(s, 0);
	return NULL;
}

struct flood {
	struct serve *s;
	struct answer *request; /* submitted over and over */
	int n_taken;
};

/* Until the engine is being stopped: then this request, having more to say, is cancelled already. */
static void submit_until_stopping(struct answer *a)
{
	struct flood *f = a->context;
	struct why why = {0};
	uint64_t id;

	while (!strstr(why.message, "shutting down"))
		f->n_taken += serve_submit(f->s, &f->request->request, &id, &why) == OK;
}

static void test_stop_cancels_what_does_not_end_in_time(void **state)
{
	struct answer *a = answers_new(3);
	struct serve *s = start(2, 10, 2 * FAKE_CONTEXT, 8);
	struct flood flood = {.s = s, .request = &a[2]};
	pthread_t stopper;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 4, 90, i);
		a[i].request.ignore_eos = true;
	}
	a[0].at_token = submit_until_stopping;
	a[0].context = &flood;
	pthread_mutex_lock(&fake.gate);
	answer_submit(&a[0], s);
	answer_submit(&a[1], s);
	pthread_mutex_unlock(&fake.gate);
	assert_int_equal(pthread_create(&stopper, NULL, stop_now, s), 0);
	pthread_join(stopper, NULL);
	answer_wait(&a[0]);
	answer_wait(&a[1]);
	assert_int_equal(a[0].result.finish, FINISH_CANCELLED);
	assert_int_equal(a[1].result.finish, FINISH_CANCELLED);
	assert_int_equal(a[2].n_done, flood.n_taken);
	assert_int_equal(a[2].n_released, flood.n_taken);
	mem_free(a);
}

static void test_stop_of_nothing_and_of_an_idle_engine(void **state)
{
	struct serve *s = start(1, 0, FAKE_CONTEXT, 0);

	(void)state;
	assert_false(serve_busy(s));
	serve_stop(s, 1000);
	serve_stop(NULL, 1000);
}

struct busy_seen {
	struct serve *s;
	size_t n;
};

static void note_busy(struct answer *a)
{
	struct busy_seen *seen = a->context;

	seen->n += serve_busy(seen->s);
}

static void test_busy_while_the_batch_is_not_empty(void **state)
{
	struct answer *a = answers_new(1);
	struct serve *s = start(1, 0, FAKE_CONTEXT, 8);
	struct busy_seen seen = {.s = s};

	(void)state;
	answer_init(a, 4, 5, 3);
	a->request.ignore_eos = true;
	a->at_token = note_busy;
	a->context = &seen;
	answer_submit(a, s);
	answer_wait(a);
	assert_int_equal(seen.n, 5);
	serve_stop(s, 0);
	mem_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_together_gives_what_each_gives_alone),
	        cmocka_unit_test(test_seeds_differ_and_repeat),
	        cmocka_unit_test(test_requests_begin_in_order_of_arrival),
	        cmocka_unit_test(test_a_full_queue_is_busy_and_takes_nothing),
	        cmocka_unit_test(test_memory_for_keys_and_values_is_a_limit),
	        cmocka_unit_test(test_a_long_prompt_does_not_hold_up_the_others),
	        cmocka_unit_test(test_prompts_take_turns),
	        cmocka_unit_test(test_short_prompts_share_a_step),
	        cmocka_unit_test(test_statistics_add_up),
	        cmocka_unit_test(test_cancel_while_waiting_running_and_done),
	        cmocka_unit_test(test_cancel_from_a_callback_ends_at_the_next_step),
	        cmocka_unit_test(test_stop_lets_what_was_taken_finish),
	        cmocka_unit_test(test_stop_cancels_what_does_not_end_in_time),
	        cmocka_unit_test(test_stop_of_nothing_and_of_an_idle_engine),
	        cmocka_unit_test(test_busy_while_the_batch_is_not_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
