/* Beams in the batcher over a fake model: their rows, memory and caches, what they report, and how they end.
 */
#include "tests/worker/serve/answer.h"
#include "worker/math/loss.h"
#include "worker/serve/logprob.h"

#include <math.h>

#define MANY 12
#define ROWS 16

static struct serve *start(size_t max_batch, size_t max_queue, size_t n_kv_positions)
{
	struct serve_options options = {
	        .model = &fake,
	        .max_batch = max_batch,
	        .max_queue = max_queue,
	        .kv_bytes = n_kv_positions * FAKE_KV_BYTES,
	        .prefill_rows = 8,
	};
	struct serve *s = NULL;

	assert_int_equal(serve_start(&options, &s, NULL), OK);
	return s;
}

static struct serve *start_roomy(void)
{
	return start(ROWS, 100, ROWS * FAKE_CONTEXT);
}

/* The n_choices best of n_beams, not ending early. */
static void beam_init(struct answer *a, size_t n_prompt, size_t max_tokens, size_t n_beams, size_t n_choices)
{
	answer_init(a, n_prompt, max_tokens, n_beams * 3 + n_choices);
	a->request.beams = (struct beam_params){.n_beams = n_beams, .length_penalty = 1};
	a->request.n_choices = n_choices;
	a->request.ignore_eos = true;
}

static void run(struct answer *a)
{
	struct serve *s = start_roomy();

	answer_submit(a, s);
	answer_wait(a);
	serve_stop(s, 0);
}

/* ---- alone or together ---- */

/* Requests as different as they can be, some without beams. */
static void vary(struct answer *a, size_t i)
{
	beam_init(a, 1 + i * 5 % 37, 20 + i % 3 * 10, i % 4 == 3 ? 1 : 2 + i % 5, i % 4 == 3 ? 1 : 1 + i % 2);
	a->request.ignore_eos = i % 3 == 0;
	a->request.beams.length_penalty = 0.5 * (double)(i % 4);
	a->request.beams.early_stopping = (enum early_stopping)(i % 3);
	a->request.logprobs = i % 2;
	a->request.n_top_logprobs = i % 6;
	a->request.echo_logprobs = i % 5 == 0;
	a->request.sample.no_repeat_ngram_size = i % 4;
	a->request.sample.repetition_penalty = i % 3 ? 1 : 1.2;
	a->request.sample.frequency_penalty = i % 5 == 2 ? 0.5 : 0;
	if (i % 4 == 3)
		a->request.sample.temperature = 1;
}

static void test_together_gives_what_each_gives_alone(void **state)
{
	static struct answer alone[MANY], together[MANY];
	struct serve *s = start_roomy();
	struct serve_stats stats;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		vary(&alone[i], i);
		answer_submit(&alone[i], s);
		answer_wait(&alone[i]);
		assert_true(alone[i].n_tokens > 0);
	}
	atomic_store(&fake.max_rows, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = MANY; i-- > 0;) {
		vary(&together[i], i);
		answer_submit(&together[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_wait(&together[i]);
		answer_assert_same(&alone[i], &together[i]);
	}
	assert_in_range(atomic_load(&fake.max_rows), ROWS / 2 + 1, ROWS);
	serve_stats(s, &stats);
	assert_int_equal(stats.running + stats.waiting, 0);
	serve_stop(s, 0);
}

/* ---- what is reported ---- */

/* The logits after the first n tokens of all, as the model gives them with chunks of 8 prompt rows. */
static void expected_logits(const struct answer *a, const int32_t *all, size_t n, float *logits)
{
	struct edit_run edits = {.n_rows = 1, .layout = &a->adapter, .strength = a->request.strength};
	struct kv *kv;

	assert_int_equal(kv_new(&fake, n, &kv), OK);
	assert_int_equal(kv_extend(kv, n), OK);
	for (size_t i = 0; i < n; i++)
		fake_append(kv, all[i], i < a->request.n_prompt && i % 8 == 0);
	fake_logits(kv, &edits, logits);
	kv_free(kv);
}

/* Returns the sum of the log-probabilities that a choice's tokens were reported with. */
static double check_logprobs(const struct answer *a, size_t choice, size_t *n_tokens)
{
	int32_t all[FAKE_CONTEXT];
	size_t n = a->request.n_prompt;
	double sum = 0;

	memcpy(all, a->prompt, n * sizeof(all[0]));
	for (size_t i = 0; i < a->n_tokens; i++) {
		const struct serve_token *t = &a->tokens[i];
		struct token_logprob top[SERVE_MAX_LOGPROBS];
		float logits[FAKE_VOCAB];
		double total;

		if (t->choice != choice)
			continue;
		expected_logits(a, all, n, logits);
		total = log_sum_exp(FAKE_VOCAB, logits);
		assert_true(t->has_logprob);
		assert_true(fabs((double)t->logprob - ((double)logits[t->id] - total)) < 1e-6);
		assert_int_equal(t->n_top, a->request.n_top_logprobs);
		logprob_top(FAKE_VOCAB, logits, total, t->n_top, top);
		assert_memory_equal(a->top[i], top, t->n_top * sizeof(top[0]));
		sum += (double)t->logprob;
		all[n++] = t->id;
	}
	*n_tokens = n - a->request.n_prompt;
	return sum;
}

static void test_answers_come_best_first_with_the_models_own_logprobs(void **state)
{
	struct answer a;
	double last = 0;

	(void)state;
	beam_init(&a, 11, 12, 5, 4);
	a.request.logprobs = true;
	a.request.n_top_logprobs = 3;
	run(&a);
	for (size_t k = 0; k < 4; k++) {
		size_t n;
		double sum = check_logprobs(&a, k, &n);

		assert_int_equal(n, 12);
		assert_int_equal(a.results[k].n_generated, 12);
		assert_int_equal(a.results[k].finish, FINISH_LENGTH);
		assert_true(k == 0 || sum <= last);
		last = sum;
	}
	assert_int_equal(a.text[a.n_text - 1], '|');
}

static void test_the_end_is_reported_but_not_counted(void **state)
{
	static const int32_t script[] = {1, 2, 3};
	struct answer a;

	(void)state;
	beam_init(&a, 3, 10, 2, 1);
	a.request.ignore_eos = false;
	a.request.logprobs = true;
	answer_script(&a, script, 3);
	run(&a);
	assert_string_equal(a.text, "abc");
	assert_int_equal(a.result.finish, FINISH_STOP);
	assert_int_equal(a.result.n_generated, 3);
	assert_int_equal(a.n_tokens, 4);
	assert_int_equal(a.tokens[3].id, FAKE_EOS);
	assert_true(a.tokens[3].has_logprob);
}

static void test_a_stop_string_cuts_each_answer(void **state)
{
	static const int32_t script[] = {1, 2, FAKE_STOP, 3, 4, FAKE_C3, FAKE_A9, 5};
	struct answer a;

	(void)state;
	beam_init(&a, 3, 8, 2, 2);
	a.request.n_stops = 1;
	a.request.stops[0] = "topc";
	answer_script(&a, script, 8);
	run(&a);
	assert_int_equal(strncmp(a.text, "abs|", 4), 0);
	assert_int_equal(a.results[0].finish, FINISH_STOP);
	assert_int_equal(a.results[0].n_generated, 4);
	assert_int_equal(a.n_done, 2);
}

static void test_scoring_a_prompt_answers_every_choice(void **state)
{
	struct answer a;

	(void)state;
	beam_init(&a, 9, 0, 4, 3);
	a.request.echo_logprobs = true;
	atomic_store(&fake.kv_peak, 0);
	run(&a);
	assert_int_equal(a.n_prompt_tokens, 3 * 9);
	for (size_t k = 0; k < 3; k++)
		assert_int_equal(a.results[k].finish, FINISH_LENGTH);
	assert_int_equal(atomic_load(&fake.kv_peak), 9 / FAKE_PAGE + 1);
}

/* ---- rows and memory ---- */

static void test_beams_share_what_they_have_in_common(void **state)
{
	struct answer a;
	const size_t n_beams = 8, n_prompt = 40, n_tokens = 50;

	(void)state;
	beam_init(&a, n_prompt, n_tokens, n_beams, 1);
	atomic_store(&fake.kv_peak, 0);
	run(&a);
	/* The prompt is there once; of the answers more than nothing, less than all. */
	assert_in_range(atomic_load(&fake.kv_peak), (n_prompt + n_tokens) / FAKE_PAGE + n_beams,
	        n_prompt / FAKE_PAGE + n_beams * (n_tokens / FAKE_PAGE));
}

static void test_rows_of_beams_are_places_in_the_batch(void **state)
{
	static struct answer a[4];
	struct serve *s = start(6, 100, 6 * FAKE_CONTEXT);

	(void)state;
	atomic_store(&fake.max_rows, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 4; i++) {
		beam_init(&a[i], 4, 20, 3 + i % 2, 1);
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 4; i++)
		answer_wait(&a[i]);
	assert_in_range(atomic_load(&fake.max_rows), 4, 6);
	serve_stop(s, 0);
}

static void test_the_queue_is_counted_in_rows(void **state)
{
	static struct answer a[3];
	struct serve *s = start(4, 3, 4 * FAKE_CONTEXT);
	struct why why = {0};

	(void)state;
	pthread_mutex_lock(&fake.gate);
	beam_init(&a[0], 4, 5, 4, 1);
	answer_submit(&a[0], s);
	beam_init(&a[1], 4, 5, 4, 1);
	assert_int_equal(serve_submit(s, &a[1].request, &a[1].id, &why), ERR_BUSY);
	beam_init(&a[1], 4, 5, 2, 1);
	answer_submit(&a[1], s);
	beam_init(&a[2], 4, 5, 1, 1);
	answer_submit(&a[2], s);
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 3; i++)
		answer_wait(&a[i]);
	serve_stop(s, 0);
}

static void test_memory_is_counted_for_every_beam(void **state)
{
	static struct answer a[6];
	struct serve *s = start(ROWS, 100, 100);
	struct why why = {0};

	(void)state;
	atomic_store(&fake.kv_peak, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 6; i++) {
		beam_init(&a[i], 10, 10, 3, 1);
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 6; i++)
		answer_wait(&a[i]);
	assert_in_range(atomic_load(&fake.kv_peak), 60 / FAKE_PAGE, 100 / FAKE_PAGE);
	beam_init(&a[0], 20, 50, 4, 1); /* 6 of the 25 pages for each of four */
	answer_submit(&a[0], s);
	answer_wait(&a[0]);
	assert_int_equal(a[0].result.n_generated, 4);
	beam_init(&a[0], 25, 1, 4, 1);
	assert_int_equal(serve_submit(s, &a[0].request, &a[0].id, &why), ERR_TOO_LONG);
	serve_stop(s, 0);
}

/* ---- refusals ---- */

static void assert_refused(struct serve *s, struct answer *a, const char *param)
{
	struct why why = {0};

	assert_int_equal(serve_submit(s, &a->request, &a->id, &why), ERR_INVALID);
	assert_string_equal(why.param, param);
	assert_int_equal(a->n_done + a->n_released, 0);
}

static void test_what_beams_cannot_be_is_named(void **state)
{
	struct serve *s = start(100, 0, 100 * FAKE_CONTEXT);
	struct answer a;

	(void)state;
	beam_init(&a, 4, 4, SERVE_MAX_BEAMS + 1, 1);
	assert_refused(s, &a, "num_beams");
	beam_init(&a, 4, 4, FAKE_VOCAB / 2 + 1, 1); /* each may need two continuations at the first step */
	assert_refused(s, &a, "num_beams");
	beam_init(&a, 4, 4, FAKE_VOCAB / 2, 1);
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(a.result.n_generated, 4);
	beam_init(&a, 4, 4, 4, 5);
	assert_refused(s, &a, "n");
	beam_init(&a, 4, 4, 1, 2);
	assert_refused(s, &a, "n");
	beam_init(&a, 4, 4, 4, 1);
	a.request.sample.temperature = 0.5;
	assert_refused(s, &a, "num_beams");
	beam_init(&a, 4, 4, 4, 1);
	a.request.beams.length_penalty = NAN;
	assert_refused(s, &a, "length_penalty");
	serve_stop(s, 0);
	s = start(3, 100, 3 * FAKE_CONTEXT);
	beam_init(&a, 4, 4, 4, 1);
	assert_refused(s, &a, "num_beams");
	serve_stop(s, 0);
}

/* ---- ends ---- */

static void assert_nothing_came(const struct answer *a, enum serve_finish finish, enum err error)
{
	for (int k = 0; k < answer_n_choices(a); k++) {
		assert_int_equal(a->results[k].finish, finish);
		assert_int_equal(a->results[k].error, error);
		assert_int_equal(a->results[k].n_generated, 0);
	}
	assert_int_equal(a->n_tokens, 0);
}

struct other {
	struct serve *serve;
	struct answer *beams;
};

static void cancel_other(struct answer *a)
{
	struct other *other = a->context;

	if (a->n_tokens == 10)
		serve_cancel(other->serve, other->beams->id);
}

static void test_cancelled_in_the_middle_every_choice_hears_of_it(void **state)
{
	struct serve *s = start_roomy();
	struct answer neighbour, beams;
	struct other other = {s, &beams};

	(void)state;
	answer_init(&neighbour, 5, 40, 1);
	neighbour.request.ignore_eos = true;
	neighbour.at_token = cancel_other;
	neighbour.context = &other;
	beam_init(&beams, 5, 60, 4, 3);
	pthread_mutex_lock(&fake.gate);
	answer_submit(&beams, s);
	answer_submit(&neighbour, s);
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&beams);
	answer_wait(&neighbour);
	assert_nothing_came(&beams, FINISH_CANCELLED, OK);
	assert_int_equal(neighbour.result.n_generated, 40);
	serve_stop(s, 0);
}

static void test_a_failing_step_ends_every_choice(void **state)
{
	struct serve *s = start_roomy();
	struct answer a;

	(void)state;
	beam_init(&a, 5, 20, 4, 3);
	atomic_store(&fake.fail_decode, 7);
	answer_submit(&a, s);
	answer_wait(&a);
	assert_nothing_came(&a, FINISH_ERROR, ERR_MEM);
	beam_init(&a, 5, 20, 4, 3);
	atomic_store(&fake.not_finite, true);
	answer_submit(&a, s);
	answer_wait(&a);
	atomic_store(&fake.not_finite, false);
	assert_nothing_came(&a, FINISH_ERROR, ERR_STATE);
	serve_stop(s, 0);
}

static void test_no_continuation_left_is_an_error(void **state)
{
	struct answer a;

	(void)state;
	beam_init(&a, 5, FAKE_CONTEXT, 4, 1);
	a.request.sample.no_repeat_ngram_size = 1;
	run(&a);
	assert_nothing_came(&a, FINISH_ERROR, ERR_STATE);
}

static void test_a_request_survives_every_failing_allocation(void **state)
{
	struct serve *s = start_roomy();
	bool failed = true;
	long n;

	(void)state;
	for (n = 1; failed; n++) {
		struct answer a;
		bool some_error = false;

		beam_init(&a, 12, 8, 3, 2);
		a.request.logprobs = true;
		a.request.n_top_logprobs = 2;
		a.request.n_stops = 1;
		a.request.stops[0] = "never said";
		mem_fail_at(n);
		if (serve_submit(s, &a.request, &a.id, NULL) == OK) {
			answer_wait(&a);
			for (size_t k = 0; k < 2; k++) {
				bool error = a.results[k].finish == FINISH_ERROR;

				assert_int_equal(a.results[k].error, error ? ERR_MEM : OK);
				some_error |= error;
			}
		} else {
			assert_int_equal(a.n_done + a.n_released, 0);
			some_error = true;
		}
		failed = mem_failed();
		assert_int_equal(some_error, failed);
		mem_fail_at(0);
	}
	assert_true(n > 15);
	serve_stop(s, 0);
}

static void watch_heap(struct answer *a)
{
	if (a->n_tokens == 2)
		mem_fail_at(1);
	if (a->n_tokens == 30) {
		assert_false(mem_failed());
		mem_fail_at(0);
	}
}

static void test_steps_allocate_nothing(void **state)
{
	struct serve *s = start_roomy();
	struct answer neighbour, beams;

	(void)state;
	answer_init(&neighbour, 5, 30, 1);
	neighbour.request.ignore_eos = true;
	neighbour.at_token = watch_heap;
	beam_init(&beams, 5, 60, 4, 3);
	beams.request.logprobs = true;
	beams.request.n_top_logprobs = 5;
	beams.request.sample.no_repeat_ngram_size = 3;
	beams.request.sample.repetition_penalty = 1.2;
	pthread_mutex_lock(&fake.gate);
	answer_submit(&beams, s);
	answer_submit(&neighbour, s);
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&neighbour);
	answer_wait(&beams);
	assert_int_equal(neighbour.result.finish, FINISH_LENGTH);
	assert_int_equal(beams.result.finish, FINISH_LENGTH);
	serve_stop(s, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_together_gives_what_each_gives_alone),
	        cmocka_unit_test(test_answers_come_best_first_with_the_models_own_logprobs),
	        cmocka_unit_test(test_the_end_is_reported_but_not_counted),
	        cmocka_unit_test(test_a_stop_string_cuts_each_answer),
	        cmocka_unit_test(test_scoring_a_prompt_answers_every_choice),
	        cmocka_unit_test(test_beams_share_what_they_have_in_common),
	        cmocka_unit_test(test_rows_of_beams_are_places_in_the_batch),
	        cmocka_unit_test(test_the_queue_is_counted_in_rows),
	        cmocka_unit_test(test_memory_is_counted_for_every_beam),
	        cmocka_unit_test(test_what_beams_cannot_be_is_named),
	        cmocka_unit_test(test_cancelled_in_the_middle_every_choice_hears_of_it),
	        cmocka_unit_test(test_a_failing_step_ends_every_choice),
	        cmocka_unit_test(test_no_continuation_left_is_an_error),
	        cmocka_unit_test(test_a_request_survives_every_failing_allocation),
	        cmocka_unit_test(test_steps_allocate_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
