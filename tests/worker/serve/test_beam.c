/*
 * The search against a naive twin that keeps every path written out and sorts all continuations of a step,
 * over log-probabilities that are a hash of the path. Coarse ones, so that many are equal.
 */
#include "worker/serve/beam.h"

#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V 23
#define MAX_WIDTH 6
#define MAX_TOKENS 12
#define N_ENDS 2

static const int32_t ends[N_ENDS] = {3, 11};

/* ---- the scores ---- */

/* A row's scores after a path, -INFINITY for one token; an end is likelier than others. logprobs are others.
 */
static void scores_after(uint64_t seed, const int32_t *path, size_t n, float *scores, float *logprobs)
{
	struct rng r;

	for (size_t i = 0; i < n; i++)
		seed = seed * 0x9e3779b97f4a7c15u + (uint64_t)path[i] + 1;
	rng_seed(&r, seed);
	for (size_t i = 0; i < V; i++) {
		scores[i] = -floorf((float)rng_uniform(&r) * 40) / 8;
		logprobs[i] = (float)rng_uniform(&r);
	}
	for (size_t i = 0; i < N_ENDS; i++)
		scores[ends[i]] /= 4;
	scores[rng_next(&r) % V] = -INFINITY;
}

/* ---- the twin ---- */

struct path {
	double sum, score;
	size_t n, row;
	int32_t ids[MAX_TOKENS];
	float logprobs[MAX_TOKENS];
	bool ended;
};

struct twin {
	struct beam_params params;
	size_t max_tokens, n_ends;
	size_t n_running, n_finished;
	struct path running[MAX_WIDTH], finished[3 * MAX_WIDTH + MAX_WIDTH];
};

static int by_sum(const void *a, const void *b)
{
	const struct path *x = a, *y = b;

	if (x->sum < y->sum || x->sum > y->sum)
		return x->sum < y->sum ? 1 : -1;
	if (x->row != y->row)
		return x->row < y->row ? -1 : 1;
	return x->ids[x->n - 1] - y->ids[y->n - 1];
}

static bool twin_ends(const struct twin *t, const struct path *p)
{
	for (size_t i = 0; i < t->n_ends; i++)
		if (p->ids[p->n - 1] == ends[i])
			return true;
	return false;
}

/* Into its place behind those that score the same, the worst dropping out. */
static void twin_finish(struct twin *t, struct path p)
{
	size_t at = t->n_finished++;

	p.score = p.sum / pow((double)p.n, t->params.length_penalty);
	for (; at > 0 && p.score > t->finished[at - 1].score; at--)
		t->finished[at] = t->finished[at - 1];
	t->finished[at] = p;
	if (t->n_finished > t->params.n_beams)
		t->n_finished = t->params.n_beams;
}

static bool twin_over(const struct twin *t)
{
	size_t n = t->running[0].n;

	if (t->n_running == 0)
		return true;
	if (t->n_finished < t->params.n_beams)
		return false;
	if (t->params.early_stopping == EARLY_STOPPING_FIRST)
		return true;
	if (t->params.early_stopping == EARLY_STOPPING_NEVER && t->params.length_penalty > 0)
		n = t->max_tokens;
	return t->running[0].sum / pow((double)n, t->params.length_penalty) <=
	       t->finished[t->n_finished - 1].score;
}

static bool twin_step(struct twin *t, uint64_t seed)
{
	static struct path all[MAX_WIDTH * V];
	size_t width = t->params.n_beams, n_all = 0, kept = (1 + (t->n_ends > 1 ? t->n_ends : 1)) * width;
	float scores[V], logprobs[V];

	for (size_t row = 0; row < t->n_running; row++) {
		const struct path *p = &t->running[row];

		scores_after(seed, p->ids, p->n, scores, logprobs);
		for (size_t i = 0; i < V; i++) {
			struct path next = *p;

			next.row = row;
			next.sum += (double)scores[i];
			next.logprobs[next.n] = logprobs[i];
			next.ids[next.n++] = (int32_t)i;
			if (isfinite(next.sum))
				all[n_all++] = next;
		}
	}
	qsort(all, n_all, sizeof(all[0]), by_sum);
	t->n_running = 0;
	for (size_t i = 0; i < n_all && i < kept; i++) {
		all[i].ended = twin_ends(t, &all[i]);
		if ((all[i].ended || all[i].n == t->max_tokens) && i < width)
			twin_finish(t, all[i]);
		else if (!all[i].ended && all[i].n < t->max_tokens && t->n_running < width)
			t->running[t->n_running++] = all[i];
	}
	return twin_over(t);
}

/* ---- side by side ---- */

static void assert_same_rows(const struct beam *b, const struct twin *t)
{
	int32_t path[MAX_TOKENS];

	assert_int_equal(beam_n_rows(b), t->n_running);
	for (size_t i = 0; i < t->n_running; i++) {
		const struct path *p = &t->running[i];

		assert_int_equal(beam_row_path(b, i, path), p->n);
		assert_memory_equal(path, p->ids, p->n * sizeof(path[0]));
		assert_int_equal(beam_row_token(b, i), p->ids[p->n - 1]);
		assert_int_equal(beam_row_parent(b, i), p->row);
	}
}

static void assert_same_answers(struct beam *b, const struct twin *t)
{
	assert_int_equal(beam_n_answers(b), t->n_finished);
	for (size_t k = 0; k < t->n_finished; k++) {
		const struct path *p = &t->finished[k];
		struct beam_answer a = beam_answer(b, k);

		assert_int_equal(a.n_tokens, p->n);
		assert_int_equal(a.ended, p->ended);
		assert_true(fabs(a.score - p->score) < 1e-12);
		for (size_t i = 0; i < p->n; i++) {
			assert_int_equal(a.tokens[i].id, p->ids[i]);
			assert_true(a.tokens[i].logprob == p->logprobs[i]);
			assert_int_equal(a.tokens[i].source / t->params.n_beams, i);
		}
		assert_int_equal(a.tokens[p->n - 1].source % t->params.n_beams, p->row);
	}
}

static size_t run_both(const struct beam_params *params, size_t max_tokens, size_t n_ends, uint64_t seed)
{
	struct twin t = {.params = *params, .max_tokens = max_tokens, .n_ends = n_ends, .n_running = 1};
	struct beam *b;
	bool over = false;
	size_t n = 0;

	assert_int_equal(beam_new(params, max_tokens, n_ends, ends, &b), OK);
	for (; !over; n++) {
		for (size_t row = 0; row < beam_n_rows(b); row++) {
			float scores[V], logprobs[V];

			scores_after(seed, t.running[row].ids, n, scores, logprobs);
			beam_offer(b, row, V, scores, logprobs);
		}
		over = twin_step(&t, seed);
		assert_int_equal(beam_step(b), over);
		assert_same_rows(b, &t);
	}
	assert_same_answers(b, &t);
	beam_free(b);
	return n;
}

static void test_search_is_its_naive_twins(void **state)
{
	static const double penalties[] = {-1, 0, 0.5, 1, 2};
	size_t n_early = 0, n_full = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 600; seed++) {
		struct beam_params p = {.n_beams = 1 + seed % MAX_WIDTH,
		        .length_penalty = penalties[seed % 5],
		        .early_stopping = (enum early_stopping)(seed / 7 % 3)};
		size_t max_tokens = seed % 11 == 0 ? 1 : MAX_TOKENS;
		size_t n = run_both(&p, max_tokens, seed % (N_ENDS + 1), seed);

		n_early += n < max_tokens;
		n_full += n == max_tokens;
	}
	assert_true(n_early > 100);
	assert_true(n_full > 100);
}

/* ---- cases ---- */

/* Rows of two tokens and an end, whatever came before. */
static bool offer_same(struct beam *b, const float *scores, size_t n)
{
	for (size_t row = 0; row < beam_n_rows(b); row++)
		beam_offer(b, row, n, scores, scores);
	return beam_step(b);
}

static void test_an_end_out_of_the_best_is_no_answer(void **state)
{
	static const int32_t end = 3;
	static const float scores[] = {-1, -2, -3, -2.5f};
	const struct beam_params p = {.n_beams = 2, .length_penalty = 1};
	struct beam *b;

	(void)state;
	assert_int_equal(beam_new(&p, 8, 1, &end, &b), OK);
	assert_false(offer_same(b, scores, 4));
	assert_int_equal(beam_n_answers(b), 0); /* it was third of all, and two go on */
	assert_int_equal(beam_n_rows(b), 2);
	beam_free(b);
}

static void test_rules_of_stopping_differ(void **state)
{
	/* Two answers at once; the best beam scores less per token now, but could be better in the end. */
	static const int32_t both[] = {2, 3};
	static const float first[] = {-1, -1.25f, -0.875f, -0.9375f};
	static const struct {
		enum early_stopping rule;
		double length_penalty;
		bool over;
	} cases[] = {
	        {EARLY_STOPPING_GUESS, 1, true},
	        {EARLY_STOPPING_FIRST, 1, true},
	        {EARLY_STOPPING_NEVER, 1, false},
	        {EARLY_STOPPING_NEVER, 0, true},
	        {EARLY_STOPPING_NEVER, -1, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct beam_params p = {.n_beams = 2,
		        .length_penalty = cases[i].length_penalty,
		        .early_stopping = cases[i].rule};
		struct beam *b;

		assert_int_equal(beam_new(&p, 8, 2, both, &b), OK);
		assert_int_equal(offer_same(b, first, 4), cases[i].over);
		assert_int_equal(beam_n_answers(b), 2);
		beam_free(b);
	}
}

static void test_nothing_possible_ends_the_search(void **state)
{
	static const float none[] = {-INFINITY, -INFINITY}, one[] = {-1, -INFINITY};
	const struct beam_params p = {.n_beams = 2, .length_penalty = 1};
	struct beam *b;

	(void)state;
	assert_int_equal(beam_new(&p, 8, 0, NULL, &b), OK);
	assert_false(offer_same(b, one, 2));
	assert_int_equal(beam_n_rows(b), 1);
	assert_true(offer_same(b, none, 2));
	assert_int_equal(beam_n_answers(b), 0);
	beam_free(b);
}

static void test_creation_survives_every_failing_allocation(void **state)
{
	const struct beam_params p = {.n_beams = 4, .length_penalty = 1};
	struct beam *b = NULL;
	enum err e = ERR_MEM;
	long n;

	(void)state;
	for (n = 1; e != OK; n++) {
		mem_fail_at(n);
		e = beam_new(&p, 8, N_ENDS, ends, &b);
		assert_int_equal(e, mem_failed() ? ERR_MEM : OK);
	}
	mem_fail_at(0);
	assert_true(n > 6);
	beam_free(b);
	beam_free(NULL);
	assert_int_equal(beam_new(&p, SIZE_MAX / 2, 0, NULL, &b), ERR_MEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_search_is_its_naive_twins),
	        cmocka_unit_test(test_an_end_out_of_the_best_is_no_answer),
	        cmocka_unit_test(test_rules_of_stopping_differ),
	        cmocka_unit_test(test_nothing_possible_ends_the_search),
	        cmocka_unit_test(test_creation_survives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
