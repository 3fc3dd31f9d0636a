/*
 * The sampler against a naive twin that sorts the whole vocabulary: draws at evenly spaced u must fall on
 * each token as often as its probability says.
 */
#include "worker/serve/sampler.h"

#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V 61
#define N_DRAWS 4000

static const struct sample_params plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};
static const struct sample_history nothing;

static int32_t pick(
        const struct sample_params *p, const struct sample_history *h, const float *logits, double u)
{
	struct sampler *s;
	int32_t id = -1;

	assert_int_equal(sampler_new(V, &s), OK);
	assert_int_equal(sampler_pick(s, p, h, logits, u, &id), OK);
	sampler_free(s);
	return id;
}

static void random_logits(uint64_t seed, float *x)
{
	struct rng r;

	rng_seed(&r, seed);
	for (size_t i = 0; i < V; i++)
		x[i] = (float)(rng_uniform(&r) * 8 - 4);
}

/* ---- the twin ---- */

struct ranked {
	double p;
	size_t id;
};

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->p < y->p || x->p > y->p)
		return x->p < y->p ? 1 : -1;
	return x->id < y->id ? -1 : 1;
}

static void normalise(struct ranked *r, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += r[i].p;
	for (size_t i = 0; i < n; i++)
		r[i].p /= sum;
}

static void naive_distribution(const struct sample_params *p, const float *logits, double *out)
{
	struct ranked r[V];
	size_t n = V;
	double sum = 0;

	for (size_t i = 0; i < V; i++)
		r[i] = (struct ranked){.p = exp((double)logits[i] / p->temperature), .id = i};
	qsort(r, V, sizeof(r[0]), by_rank);
	if (p->top_k && p->top_k < n)
		for (n = p->top_k; n < V && r[n].p >= r[p->top_k - 1].p;)
			n++;
	normalise(r, n);
	for (size_t i = 0; i < n && p->top_p < 1; i++) {
		sum += r[i].p;
		if (sum >= p->top_p) {
			n = i + 1;
			break;
		}
	}
	while (n > 1 && r[n - 1].p < p->min_p * r[0].p)
		n--;
	normalise(r, n);
	memset(out, 0, V * sizeof(*out));
	for (size_t i = 0; i < n; i++)
		out[r[i].id] = r[i].p;
}

static void assert_follows_twin(const struct sample_params *p, const float *logits)
{
	double expected[V];
	size_t counts[V] = {0};
	struct sampler *s;

	naive_distribution(p, logits, expected);
	assert_int_equal(sampler_new(V, &s), OK);
	for (size_t i = 0; i < N_DRAWS; i++) {
		int32_t id;

		assert_int_equal(sampler_pick(s, p, &nothing, logits, ((double)i + 0.5) / N_DRAWS, &id), OK);
		assert_in_range(id, 0, V - 1);
		counts[id]++;
	}
	for (size_t i = 0; i < V; i++)
		assert_true(fabs((double)counts[i] - expected[i] * N_DRAWS) <= 1.01);
	sampler_free(s);
}

/* ---- filters ---- */

static void test_draws_follow_the_softmax(void **state)
{
	float x[V];
	struct sample_params p = plain;

	(void)state;
	random_logits(1, x);
	assert_follows_twin(&p, x);
	p.temperature = 0.3;
	assert_follows_twin(&p, x);
	p.temperature = 2.5;
	assert_follows_twin(&p, x);
}

static void test_each_filter_and_all_together_match_the_twin(void **state)
{
	static const size_t top_k[] = {0, 1, 2, 7, V - 1, V, V + 5};
	static const double top_p[] = {1, 0.95, 0.5, 0.05};
	static const double min_p[] = {0, 0.02, 0.3};
	float x[V];

	(void)state;
	for (size_t i = 0; i < 7 * 4 * 3; i++) {
		struct sample_params p = plain;

		random_logits(100 + i, x);
		p.temperature = i % 2 ? 0.8 : 1.3;
		p.top_k = top_k[i % 7];
		p.top_p = top_p[i / 7 % 4];
		p.min_p = min_p[i / 28];
		assert_follows_twin(&p, x);
	}
}

static void test_top_k_keeps_those_equal_to_the_last(void **state)
{
	float x[V] = {0};
	struct sample_params p = plain;

	(void)state;
	x[7] = 2;
	x[40] = x[41] = x[3] = 1;
	p.top_k = 2;
	assert_follows_twin(&p, x);
	assert_int_equal(pick(&p, &nothing, x, 0), 7);
	assert_int_equal(pick(&p, &nothing, x, 0.9999), 41);
}

static void test_top_p_zero_and_min_p_one_leave_the_best(void **state)
{
	float x[V];
	struct sample_params p = plain, greedy = plain;
	int32_t best;

	(void)state;
	random_logits(5, x);
	greedy.temperature = 0;
	best = pick(&greedy, &nothing, x, 0);
	p.top_p = 0;
	assert_int_equal(pick(&p, &nothing, x, 0.9999), best);
	p.top_p = 1;
	p.min_p = 1;
	assert_int_equal(pick(&p, &nothing, x, 0.9999), best);
	p.min_p = 0;
	p.temperature = 1e-300;
	assert_int_equal(pick(&p, &nothing, x, 0.9999), best);
}

static void test_greedy_takes_the_lowest_of_equals(void **state)
{
	float x[V] = {0};
	struct sample_params p = plain;

	(void)state;
	p.temperature = 0;
	assert_int_equal(pick(&p, &nothing, x, 0.7), 0);
	x[50] = x[9] = x[33] = 3;
	assert_int_equal(pick(&p, &nothing, x, 0.7), 9);
}

static void test_tokens_that_weigh_nothing_are_not_drawn(void **state)
{
	float x[V];
	struct sample_params p = plain;

	(void)state;
	for (size_t i = 0; i < V; i++)
		x[i] = i % 2 ? -INFINITY : -1e30f;
	x[20] = 1;
	assert_int_equal(pick(&p, &nothing, x, 0), 20);
	assert_int_equal(pick(&p, &nothing, x, 0.999999), 20);
	p.top_k = 30;
	assert_int_equal(pick(&p, &nothing, x, 0.999999), 20);
}

/* ---- bias and penalties ---- */

static int32_t greedy_with(struct sample_params p, const struct sample_history *h, const float *logits)
{
	p.temperature = 0;
	return pick(&p, h, logits, 0);
}

static void test_bias_is_added(void **state)
{
	float x[V] = {0};
	struct sample_params p = plain;

	(void)state;
	x[4] = 5;
	p.n_bias = 2;
	p.bias[0].id = 4;
	p.bias[0].bias = -100;
	p.bias[1].id = 60;
	p.bias[1].bias = 1;
	assert_int_equal(greedy_with(p, &nothing, x), 60);
}

static void test_repetition_penalty_counts_prompt_and_generated_once(void **state)
{
	static const int32_t prompt[] = {10, 10, 10}, generated[] = {10, 11};
	struct sample_history h = {prompt, 3, generated, 2};
	struct sample_params p = plain;
	float x[V];

	(void)state;
	p.repetition_penalty = 2;
	for (size_t i = 0; i < V; i++)
		x[i] = -9;
	x[10] = 4;  /* 2 after one division, 0.5 after three */
	x[11] = -1; /* -2 */
	x[12] = 1.9f;
	assert_int_equal(greedy_with(p, &h, x), 10);
	x[12] = 2.1f;
	assert_int_equal(greedy_with(p, &h, x), 12);
	x[10] = -9;
	x[12] = -1.9f;
	assert_int_equal(greedy_with(p, &h, x), 12);
	x[12] = -2.1f;
	assert_int_equal(greedy_with(p, &h, x), 11);
}

/* Whether id would make the last n tokens of all (n_all) and it come twice: every n-gram is written out. */
static bool naive_repeats(const int32_t *all, size_t n_all, size_t n, int32_t id)
{
	int32_t last[16];

	if (n_all < n)
		return false;
	memcpy(last, all + n_all - (n - 1), (n - 1) * sizeof(last[0]));
	last[n - 1] = id;
	for (size_t i = 0; i + n <= n_all; i++)
		if (!memcmp(all + i, last, n * sizeof(last[0])))
			return true;
	return false;
}

static void test_ngrams_come_once_over_prompt_and_generated(void **state)
{
	struct sample_params p = plain;
	struct sampler *s;
	struct rng r;
	size_t n_banned = 0;

	(void)state;
	rng_seed(&r, 1);
	assert_int_equal(sampler_new(V, &s), OK);
	for (size_t round = 0; round < 400; round++) {
		size_t n_all = round % 23, n_prompt = n_all ? rng_next(&r) % (n_all + 1) : 0;
		int32_t all[23];
		struct sample_history h = {all, n_prompt, all + n_prompt, n_all - n_prompt};
		float x[V];
		const float *adjusted;

		for (size_t i = 0; i < n_all; i++)
			all[i] = (int32_t)(rng_next(&r) % 3);
		random_logits(round, x);
		p.no_repeat_ngram_size = 1 + round % 5;
		adjusted = sampler_adjust(s, &p, &h, x);
		for (size_t i = 0; i < V; i++) {
			bool banned = naive_repeats(all, n_all, p.no_repeat_ngram_size, (int32_t)i);

			assert_true(banned ? adjusted[i] == -INFINITY : adjusted[i] == x[i]);
			n_banned += banned;
		}
	}
	assert_true(n_banned > 100);
	sampler_free(s);
}

static void test_an_ngram_longer_than_memory_bans_nothing(void **state)
{
	static const int32_t prompt[] = {1, 1, 1};
	const struct sample_history h = {prompt, 3, NULL, 0};
	struct sample_params p = plain;
	float x[V] = {[1] = 5};

	(void)state;
	p.no_repeat_ngram_size = SIZE_MAX;
	assert_int_equal(greedy_with(p, &h, x), 1);
	p.no_repeat_ngram_size = 4;
	assert_int_equal(greedy_with(p, &h, x), 1);
	p.no_repeat_ngram_size = 3;
	assert_int_equal(greedy_with(p, &h, x), 0);
}

/* After all others: no bias brings a banned token back. */
static void test_what_repeats_is_banned_whatever_its_bias(void **state)
{
	static const int32_t prompt[] = {7};
	const struct sample_history h = {prompt, 1, NULL, 0};
	struct sample_params p = plain;
	float x[V] = {0};

	(void)state;
	p.no_repeat_ngram_size = 1;
	p.n_bias = 1;
	p.bias[0].id = 7;
	p.bias[0].bias = 100;
	assert_int_equal(greedy_with(p, &h, x), 0);
}

static void test_presence_and_frequency_count_generated_only(void **state)
{
	static const int32_t prompt[] = {8, 8}, generated[] = {5, 5, 6};
	struct sample_history h = {prompt, 2, generated, 3};
	struct sample_params p = plain;
	float x[V];

	(void)state;
	for (size_t i = 0; i < V; i++)
		x[i] = -9;
	x[8] = 0.5f;
	x[5] = 2;
	x[6] = 1.2f;
	p.presence_penalty = 1; /* 5: 1, 6: 0.2, 8: 0.5 */
	assert_int_equal(greedy_with(p, &h, x), 5);
	p.frequency_penalty = 0.6; /* 5: -0.2, 6: -0.4 */
	assert_int_equal(greedy_with(p, &h, x), 8);
	p.presence_penalty = 0; /* 5: 0.8, 6: 0.6 */
	assert_int_equal(greedy_with(p, &h, x), 5);
}

static void test_a_pick_leaves_no_trace_in_the_next(void **state)
{
	static const int32_t seen[] = {3, 3, 99, -1};
	struct sample_history h = {seen, 4, seen, 4};
	struct sample_params p = plain, penalties = plain;
	struct sampler *s;
	float x[V] = {0}, copy[V];
	int32_t id;

	(void)state;
	x[3] = 1;
	p.temperature = 0;
	penalties.temperature = 0;
	penalties.repetition_penalty = 5;
	penalties.presence_penalty = 2;
	penalties.frequency_penalty = 2;
	memcpy(copy, x, sizeof(x));
	assert_int_equal(sampler_new(V, &s), OK);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(sampler_pick(s, &penalties, &h, x, 0, &id), OK);
		assert_int_equal(id, 0);
		assert_int_equal(sampler_pick(s, &p, &h, x, 0, &id), OK);
		assert_int_equal(id, 3);
	}
	penalties.repetition_penalty = 0.001;
	penalties.presence_penalty = penalties.frequency_penalty = 0;
	assert_int_equal(sampler_pick(s, &penalties, &nothing, x, 0, &id), OK);
	assert_int_equal(id, 3);
	assert_memory_equal(x, copy, sizeof(x));
	sampler_free(s);
}

/* ---- refusals ---- */

static void test_logits_that_are_not_finite_are_refused(void **state)
{
	float x[V];
	struct sampler *s;
	int32_t id = -7;

	(void)state;
	assert_int_equal(sampler_new(V, &s), OK);
	for (size_t i = 0; i < V; i++)
		x[i] = NAN;
	assert_int_equal(sampler_pick(s, &plain, &nothing, x, 0.5, &id), ERR_STATE);
	for (size_t i = 0; i < V; i++)
		x[i] = 0;
	x[17] = INFINITY;
	assert_int_equal(sampler_pick(s, &plain, &nothing, x, 0.5, &id), ERR_STATE);
	assert_int_equal(id, -7);
	sampler_free(s);
}

static void assert_refused(const struct sample_params *p, const char *param)
{
	struct why why = {0};

	assert_int_equal(sample_params_check(p, V, &why), ERR_INVALID);
	assert_string_equal(why.param, param);
	assert_true(why.message[0] != '\0');
}

static void test_parameters_out_of_range_are_named(void **state)
{
	struct sample_params p = plain;

	(void)state;
	assert_int_equal(sample_params_check(&p, V, NULL), OK);
	p.temperature = -0.1;
	assert_refused(&p, "temperature");
	p = plain;
	p.top_p = 1.01;
	assert_refused(&p, "top_p");
	p = plain;
	p.min_p = NAN;
	assert_refused(&p, "min_p");
	p = plain;
	p.presence_penalty = INFINITY;
	assert_refused(&p, "presence_penalty");
	p = plain;
	p.frequency_penalty = NAN;
	assert_refused(&p, "frequency_penalty");
	p = plain;
	p.repetition_penalty = 0;
	assert_refused(&p, "repetition_penalty");
	p = plain;
	p.n_bias = 1;
	p.bias[0].id = V;
	assert_refused(&p, "logit_bias");
	p.bias[0].id = 0;
	p.bias[0].bias = NAN;
	assert_refused(&p, "logit_bias");
	p.n_bias = SERVE_MAX_BIAS + 1;
	assert_refused(&p, "logit_bias");
}

static void test_new_survives_every_failing_allocation(void **state)
{
	struct sampler *s = NULL;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		mem_fail_at(n);
		e = sampler_new(V, &s);
		assert_int_equal(e, mem_failed() ? ERR_MEM : OK);
		assert_true((e == OK) == (s != NULL));
	}
	mem_fail_at(0);
	sampler_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_draws_follow_the_softmax),
	        cmocka_unit_test(test_each_filter_and_all_together_match_the_twin),
	        cmocka_unit_test(test_top_k_keeps_those_equal_to_the_last),
	        cmocka_unit_test(test_top_p_zero_and_min_p_one_leave_the_best),
	        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
	        cmocka_unit_test(test_tokens_that_weigh_nothing_are_not_drawn),
	        cmocka_unit_test(test_bias_is_added),
	        cmocka_unit_test(test_repetition_penalty_counts_prompt_and_generated_once),
	        cmocka_unit_test(test_ngrams_come_once_over_prompt_and_generated),
	        cmocka_unit_test(test_an_ngram_longer_than_memory_bans_nothing),
	        cmocka_unit_test(test_what_repeats_is_banned_whatever_its_bias),
	        cmocka_unit_test(test_presence_and_frequency_count_generated_only),
	        cmocka_unit_test(test_a_pick_leaves_no_trace_in_the_next),
	        cmocka_unit_test(test_logits_that_are_not_finite_are_refused),
	        cmocka_unit_test(test_parameters_out_of_range_are_named),
	        cmocka_unit_test(test_new_survives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
