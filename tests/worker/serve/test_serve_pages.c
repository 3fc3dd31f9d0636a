/* Pages of keys and values: who gets them, who gives them back, whose beginnings are kept for whom. */
#include "tests/worker/serve/answer.h"

#define MANY 16
#define CHUNK 8

static struct serve *start(size_t max_batch, size_t n_pages)
{
	struct serve_options options = {
	        .model = &fake,
	        .max_batch = max_batch,
	        .max_queue = 1000,
	        .kv_bytes = n_pages * FAKE_PAGE * FAKE_KV_BYTES,
	        .prefill_rows = CHUNK,
	};
	struct serve *s = NULL;

	assert_int_equal(serve_start(&options, &s, NULL), OK);
	return s;
}

static struct serve_stats stats_of(struct serve *s)
{
	struct serve_stats stats;

	serve_stats(s, &stats);
	return stats;
}

/* ---- when pages run out ---- */

/* Requests of all kinds, whose pages together are many times those of a context. */
static void vary(struct answer *a, size_t i)
{
	answer_init(a, 1 + i * 5 % 40, 10 + i * 7 % 45, i);
	a->request.ignore_eos = i % 5 != 4;
	a->request.logprobs = i % 2;
	a->request.echo_logprobs = i % 4 == 1;
	a->request.n_top_logprobs = i % 3;
	a->request.sample.temperature = i % 3 ? 0.8 : 0;
	a->request.sample.repetition_penalty = i % 6 ? 1 : 1.3;
	a->request.sample.seed = i;
	a->request.adapter.version = i % 3;
	if (i % 4 == 2) {
		a->request.beams.n_beams = 3;
		a->request.n_choices = 2;
		a->request.sample.temperature = 0;
	}
	if (i % 7 == 3) {
		a->request.n_stops = 1;
		a->request.stops[0] = "ab";
	}
}

/* Nobody loses anything by being put off, and nothing comes twice. */
static void test_put_off_and_begun_again_gives_the_same(void **state)
{
	static struct answer alone[MANY], together[MANY];
	struct serve *s = start(3, 3 * FAKE_CONTEXT / FAKE_PAGE);

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		vary(&alone[i], i);
		answer_submit(&alone[i], s);
		answer_wait(&alone[i]);
	}
	assert_int_equal(stats_of(s).put_off, 0);
	serve_stop(s, 0);
	s = start(4 * MANY, 3 * FAKE_CONTEXT / FAKE_PAGE);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		vary(&together[i], i);
		answer_submit(&together[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_wait(&together[i]);
		answer_assert_same(&alone[i], &together[i]);
		assert_int_equal(together[i].n_released, 1);
	}
	assert_true(stats_of(s).put_off > 0);
	serve_stop(s, 0);
}

struct finishers {
	struct answer *last[MANY];
	size_t n;
};

static void note_end(struct answer *a)
{
	struct finishers *f = a->context;

	if (a->n_tokens == a->request.max_tokens)
		f->last[f->n++] = a;
}

/* The oldest is never put off: it ends as if it were alone. */
static void test_the_oldest_always_goes_on(void **state)
{
	static struct answer a[MANY];
	struct serve *s = start(MANY, FAKE_CONTEXT / FAKE_PAGE);
	struct finishers ended = {0};

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		answer_init(&a[i], 4, 80, i);
		a[i].request.ignore_eos = true;
		a[i].at_token = note_end;
		a[i].context = &ended;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++)
		answer_wait(&a[i]);
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(ended.last[i], &a[i]);
	assert_true(stats_of(s).put_off > 0);
	serve_stop(s, 0);
}

static void test_what_is_put_off_can_be_cancelled(void **state)
{
	static struct answer a[3];
	struct serve *s = start(3, FAKE_CONTEXT / FAKE_PAGE);

	(void)state;
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 3; i++) {
		answer_init(&a[i], 4, 90, i);
		a[i].request.ignore_eos = true;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	answer_wait(&a[0]); /* by then the others have had to go */
	serve_cancel(s, a[2].id);
	answer_wait(&a[2]);
	answer_wait(&a[1]);
	assert_int_equal(a[1].result.n_generated, 90);
	assert_int_equal(a[2].n_done, 1);
	assert_int_equal(a[2].n_released, 1);
	serve_stop(s, 0);
}

/* As many run side by side as their prompts let in, not as their limits would. */
static void test_a_high_limit_takes_no_room(void **state)
{
	static struct answer a[MANY];
	struct serve *s = start(MANY, 2 * FAKE_CONTEXT / FAKE_PAGE);

	(void)state;
	atomic_store(&fake.max_rows, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < MANY; i++) {
		static const int32_t script[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

		answer_init(&a[i], 4, 90, i);
		answer_script(&a[i], script, 10);
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < MANY; i++)
		answer_wait(&a[i]);
	assert_true(atomic_load(&fake.max_rows) > 4); /* at 94 positions each, two */
	serve_stop(s, 0);
}

/* ---- beginnings that are kept ---- */

static void ask(struct answer *a, struct serve *s, size_t n_prompt, uint64_t version)
{
	answer_init(a, n_prompt, 6, 1);
	a->request.ignore_eos = true;
	a->request.adapter.version = version;
	answer_submit(a, s);
	answer_wait(a);
}

static void test_a_kept_beginning_gives_the_same(void **state)
{
	static struct answer fresh, again, longer, longer_fresh;
	struct serve *s = start(2, 100), *other = start(2, 100);

	(void)state;
	ask(&fresh, s, 37, 5);
	assert_int_equal(stats_of(s).prefix_tokens, 0);
	ask(&again, s, 37, 5);
	answer_assert_same(&fresh, &again);
	assert_int_equal(stats_of(s).prefix_tokens, 32); /* four chunks of 8 */
	assert_int_equal(stats_of(s).prefix_hits, 1);
	assert_int_equal(fresh.result.n_reused, 0);
	assert_int_equal(again.result.n_reused, 32);
	ask(&longer, s, 60, 5); /* its first 37 tokens are the others' */
	ask(&longer_fresh, other, 60, 5);
	answer_assert_same(&longer, &longer_fresh);
	assert_int_equal(stats_of(s).prefix_tokens, 64);
	assert_int_equal(stats_of(s).prompt_tokens, 37 + 5 + 28);
	serve_stop(s, 0);
	serve_stop(other, 0);
}

static void test_the_last_token_is_always_computed(void **state)
{
	static struct answer fresh, again;
	struct serve *s = start(2, 100);

	(void)state;
	ask(&fresh, s, 4 * CHUNK, 5);
	ask(&again, s, 4 * CHUNK, 5);
	answer_assert_same(&fresh, &again);
	assert_int_equal(stats_of(s).prefix_tokens, 3 * CHUNK);
	serve_stop(s, 0);
}

static void test_another_version_or_strength_finds_nothing(void **state)
{
	static struct answer a;
	struct serve *s = start(2, 100);

	(void)state;
	ask(&a, s, 37, 5);
	ask(&a, s, 37, 6); /* of another tenant, say */
	ask(&a, s, 37, 0); /* of nobody known */
	ask(&a, s, 37, 0);
	answer_init(&a, 37, 6, 1);
	a.request.strength = 0.5f;
	a.request.adapter.version = 5;
	answer_submit(&a, s);
	answer_wait(&a);
	answer_init(&a, 37, 6, 1);
	a.prompt[3]++; /* another beginning */
	a.request.adapter.version = 5;
	answer_submit(&a, s);
	answer_wait(&a);
	assert_int_equal(stats_of(s).prefix_hits, 0);
	serve_stop(s, 0);
}

static void test_scored_prompts_are_computed_but_kept(void **state)
{
	static struct answer scored, again, plain;
	struct serve *s = start(2, 100);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct answer *a = i ? &again : &scored;

		answer_init(a, 37, 6, 1);
		a->request.echo_logprobs = a->request.logprobs = true;
		a->request.adapter.version = 5;
		answer_submit(a, s);
		answer_wait(a);
	}
	answer_assert_same(&scored, &again);
	assert_int_equal(stats_of(s).prefix_hits, 0);
	ask(&plain, s, 37, 5);
	assert_int_equal(stats_of(s).prefix_hits, 1);
	serve_stop(s, 0);
}

/* Choices asked for at once compute their prompt's chunks once between them, and hold them once. */
static void test_prompts_side_by_side_share_chunks(void **state)
{
	static struct answer a[4];
	struct serve *s = start(4, 100);

	(void)state;
	atomic_store(&fake.kv_peak, 0);
	pthread_mutex_lock(&fake.gate);
	for (size_t i = 0; i < 4; i++) {
		answer_init(&a[i], 65, 4, 1);
		a[i].request.ignore_eos = true;
		a[i].request.adapter.version = 5;
		answer_submit(&a[i], s);
	}
	pthread_mutex_unlock(&fake.gate);
	for (size_t i = 0; i < 4; i++) {
		answer_wait(&a[i]);
		answer_assert_same(&a[0], &a[i]);
	}
	assert_int_equal(stats_of(s).prompt_tokens + stats_of(s).prefix_tokens, 4 * 65);
	assert_in_range(stats_of(s).prompt_tokens, 65 + 3, 2 * 65);
	assert_true(atomic_load(&fake.kv_peak) < 2 * 64 / FAKE_PAGE);
	serve_stop(s, 0);
}

static void test_kept_pages_go_when_others_need_them(void **state)
{
	static struct answer a;
	struct serve *s = start(2, FAKE_CONTEXT / FAKE_PAGE);

	(void)state;
	for (uint64_t version = 1; version < 20; version++) {
		ask(&a, s, 50, version);
		assert_int_equal(a.result.finish, FINISH_LENGTH);
		assert_int_equal(a.result.n_generated, 6);
	}
	assert_int_equal(stats_of(s).put_off, 0);
	assert_int_equal(stats_of(s).prefix_hits, 0);
	ask(&a, s, 50, 19);
	assert_int_equal(stats_of(s).prefix_hits, 1); /* the latest is there still */
	serve_stop(s, 0);
}

static void test_times_are_counted(void **state)
{
	static struct answer a;
	struct serve *s = start(2, 100);
	struct serve_stats stats;

	(void)state;
	ask(&a, s, 5, 0);
	ask(&a, s, 5, 0);
	stats = stats_of(s);
	assert_int_equal(stats.first_token.n, 2);
	assert_int_equal(stats.next_token.n, 10);
	assert_int_equal(stats.kv_pages, 100);
	serve_stop(s, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_put_off_and_begun_again_gives_the_same),
	        cmocka_unit_test(test_the_oldest_always_goes_on),
	        cmocka_unit_test(test_what_is_put_off_can_be_cancelled),
	        cmocka_unit_test(test_a_high_limit_takes_no_room),
	        cmocka_unit_test(test_a_kept_beginning_gives_the_same),
	        cmocka_unit_test(test_the_last_token_is_always_computed),
	        cmocka_unit_test(test_another_version_or_strength_finds_nothing),
	        cmocka_unit_test(test_scored_prompts_are_computed_but_kept),
	        cmocka_unit_test(test_prompts_side_by_side_share_chunks),
	        cmocka_unit_test(test_kept_pages_go_when_others_need_them),
	        cmocka_unit_test(test_times_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
