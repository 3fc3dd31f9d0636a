/* How the end of text is reported by a sequence: over logits of our own, without model or tokenizer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/serve/sequence.h"

#define N_VOCAB 4
#define END 3

static const struct model_info info = {.vocab_size = N_VOCAB, .eos_ids = {END}, .n_eos = 1};
static float ends_here[N_VOCAB] = {0, 0, 0, 5};

/* What was reported. */
struct report {
	size_t n_tokens;
	struct serve_token last;
	struct token_logprob best;
	struct serve_result result;
};

static void on_token(void *arg, const struct serve_token *token)
{
	struct report *r = arg;

	r->n_tokens++;
	r->last = *token;
	if (token->n_top)
		r->best = token->top[0];
}

static void on_done(void *arg, const struct serve_result *result)
{
	((struct report *)arg)->result = *result;
}

/* One step of a sequence whose next token is the end of text. */
static struct report end_text(bool logprobs, float *logits)
{
	static const int32_t prompt[] = {1};
	struct report report = {0};
	const struct serve_request request = {.prompt = prompt,
	        .n_prompt = 1,
	        .strength = 1,
	        .sample = {.top_p = 1, .repetition_penalty = 1},
	        .max_tokens = 1,
	        .logprobs = logprobs,
	        .n_top_logprobs = 1,
	        .on_token = on_token,
	        .on_done = on_done,
	        .arg = &report};
	struct sampler *sampler;
	struct sequence *q;

	assert_int_equal(sampler_new(N_VOCAB, &sampler), OK);
	assert_int_equal(sequence_new(&request, &info, N_VOCAB, &q), OK);
	sequence_advance(q, &info, sampler, logits);
	sequence_done(q);
	sampler_free(sampler);
	return report;
}

static void test_end_of_text_has_a_logprob_but_no_text(void **state)
{
	struct report r = end_text(true, ends_here);

	(void)state;
	assert_int_equal(r.n_tokens, 1);
	assert_int_equal(r.last.id, END);
	assert_false(r.last.is_prompt);
	assert_int_equal(r.last.n_text, 0);
	assert_true(r.last.has_logprob);
	assert_true(fabs((double)r.last.logprob + log(1 + 3 * exp(-5))) < 1e-6);
	assert_int_equal(r.last.n_top, 1);
	assert_int_equal(r.best.id, END);
	assert_int_equal(r.result.finish, FINISH_STOP);
	assert_int_equal(r.result.n_generated, 0);
}

static void test_end_of_text_is_silent_without_logprobs(void **state)
{
	struct report r = end_text(false, ends_here);

	(void)state;
	assert_int_equal(r.n_tokens, 0);
	assert_int_equal(r.result.finish, FINISH_STOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_end_of_text_has_a_logprob_but_no_text),
	        cmocka_unit_test(test_end_of_text_is_silent_without_logprobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
