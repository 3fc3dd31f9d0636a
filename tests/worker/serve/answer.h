/* Requests to the fake model, with everything they answer written down. Include once a program. */
#ifndef REDD_TESTS_ANSWER_H
#define REDD_TESTS_ANSWER_H

#include "core/buf.h"
#include "core/mem.h"
#include "tests/worker/serve/fake_model.h"
#include "worker/serve/serve.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_MAX 256
#define ANSWER_MAX_CHOICES 8

struct answer {
	struct serve_request request;
	uint64_t id;
	struct adapter_layout adapter;
	int32_t prompt[ANSWER_MAX];
	/* what came; is_prompt tokens too */
	size_t n_tokens, n_prompt_tokens;
	struct serve_token tokens[ANSWER_MAX]; /* text and top are not kept */
	struct token_logprob top[ANSWER_MAX][SERVE_MAX_LOGPROBS];
	char text[4 * ANSWER_MAX]; /* of several choices each ends with a bar */
	size_t n_text;
	size_t n_streamed;          /* of it, by on_token */
	struct serve_result result; /* of the first choice; their text is not kept */
	struct serve_result results[ANSWER_MAX_CHOICES];
	atomic_int n_done, n_released;
	sem_t done;
	/* hooks, run on the serving thread */
	void (*at_token)(struct answer *a);
	void *context;
};

static inline void answer_append(struct answer *a, const char *text, size_t n)
{
	if (a->n_text + n < sizeof(a->text))
		memcpy(a->text + a->n_text, text, n);
	a->n_text += n;
}

static inline void answer_on_token(void *arg, const struct serve_token *t)
{
	struct answer *a = arg;

	if (a->n_tokens < ANSWER_MAX) {
		if (t->n_top > 0)
			memcpy(a->top[a->n_tokens], t->top, t->n_top * sizeof(t->top[0]));
		a->tokens[a->n_tokens] = *t;
	}
	a->n_tokens++;
	a->n_prompt_tokens += t->is_prompt;
	answer_append(a, t->text, t->n_text);
	a->n_streamed = a->n_text;
	if (a->at_token)
		a->at_token(a);
}

static inline int answer_n_choices(const struct answer *a)
{
	return a->request.n_choices > 1 ? (int)a->request.n_choices : 1;
}

static inline void answer_on_done(void *arg, const struct serve_result *r)
{
	struct answer *a = arg;

	answer_append(a, r->text, r->n_text);
	if (answer_n_choices(a) > 1)
		answer_append(a, "|", 1);
	if (r->choice < ANSWER_MAX_CHOICES)
		a->results[r->choice] = *r;
	a->result = a->results[0];
	if (atomic_fetch_add(&a->n_done, 1) + 1 == answer_n_choices(a))
		sem_post(&a->done);
}

static inline void answer_release(void *owner)
{
	struct answer *a = owner;

	atomic_fetch_add(&a->n_released, 1);
}

/* Greedy, `n_prompt` letters from a seed, of the adapter `seed`. */
static inline void answer_init(struct answer *a, size_t n_prompt, size_t max_tokens, uint64_t seed)
{
	memset(a, 0, sizeof(*a));
	sem_init(&a->done, 0, 0);
	for (size_t i = 0; i < n_prompt && i < ANSWER_MAX; i++)
		a->prompt[i] = (int32_t)((seed * 7 + i * (i + seed)) % 26 + 1);
	a->adapter.seed = seed;
	a->request = (struct serve_request){
	        .prompt = a->prompt,
	        .n_prompt = n_prompt,
	        .adapter = {.layout = &a->adapter, .release = answer_release, .owner = a},
	        .strength = 1,
	        .sample = {.top_p = 1, .repetition_penalty = 1, .seed = seed},
	        .max_tokens = max_tokens,
	        .on_token = answer_on_token,
	        .on_done = answer_on_done,
	        .arg = a,
	};
}

/* The model will say exactly this (borrowed), then end of text. */
static inline void answer_script(struct answer *a, const int32_t *script, size_t n)
{
	a->adapter.n_prompt = a->request.n_prompt;
	a->adapter.script = script;
	a->adapter.n_script = n;
}

static inline void answer_submit(struct answer *a, struct serve *s)
{
	assert_int_equal(serve_submit(s, &a->request, &a->id, NULL), OK);
}

/* Wait for the end and see that it came once, with nothing kept. */
static inline void answer_wait(struct answer *a)
{
	while (sem_wait(&a->done))
		;
	a->text[a->n_text < sizeof(a->text) ? a->n_text : sizeof(a->text) - 1] = '\0';
	assert_int_equal(a->n_done, answer_n_choices(a));
	assert_int_equal(a->n_released, 1);
}

static inline void answer_assert_same(const struct answer *a, const struct answer *b)
{
	assert_int_equal(answer_n_choices(a), answer_n_choices(b));
	for (int k = 0; k < answer_n_choices(a); k++) {
		assert_int_equal(a->results[k].finish, b->results[k].finish);
		assert_int_equal(a->results[k].n_generated, b->results[k].n_generated);
	}
	assert_int_equal(a->n_tokens, b->n_tokens);
	for (size_t i = 0; i < a->n_tokens; i++) {
		assert_int_equal(a->tokens[i].id, b->tokens[i].id);
		assert_int_equal(a->tokens[i].choice, b->tokens[i].choice);
		assert_int_equal(a->tokens[i].has_logprob, b->tokens[i].has_logprob);
		assert_memory_equal(&a->tokens[i].logprob, &b->tokens[i].logprob, sizeof(float));
		assert_int_equal(a->tokens[i].n_top, b->tokens[i].n_top);
		assert_memory_equal(a->top[i], b->top[i], a->tokens[i].n_top * sizeof(a->top[i][0]));
	}
	assert_string_equal(a->text, b->text);
}

#endif
