/* See inference_choice.h. */
#include "api/inference_choice.h"

#include <string.h>

static bool wants_offsets(const struct inference_request *request)
{
	return request->logprobs && request->kind == INFERENCE_COMPLETION;
}

/* The prompt as it was written; of ids, what they spell. */
static enum err echo_prompt(struct inference_choice *c)
{
	const struct completion_prompt *prompt = &c->request->prompts.items[c->prompt];

	if (prompt->text)
		return buf_append(&c->text, prompt->text, prompt->n_text);
	return tokenizer_decode(c->tokenizer, prompt->ids.ids, prompt->ids.n, true, true, &c->text);
}

enum err inference_choice_init(struct inference_choice *c, const struct inference_codec *codec,
        const struct inference_request *request, const struct tokenizer *t, size_t prompt, size_t index)
{
	const struct ids *before = &request->prompts.items[prompt].ids;
	enum err e = OK;

	c->codec = codec;
	c->request = request;
	c->tokenizer = t;
	c->prompt = prompt;
	c->index = index;
	if (request->echo)
		e = echo_prompt(c);
	c->prompt_chars = inference_text_chars(c->text.data, c->text.len);
	/* An echoed prompt's tokens are counted like the others. */
	if (!e && wants_offsets(request))
		e = detok_new(
		        t, before->ids, request->echo || request->starts_afresh ? 0 : before->n, &c->detok);
	return e;
}

void inference_choice_fini(struct inference_choice *c)
{
	if (!c)
		return;
	buf_fini(&c->text);
	inference_log_fini(&c->log);
	detok_free(c->detok);
	memset(c, 0, sizeof(*c));
}

/* Count the characters that id adds. */
static enum err count_chars(struct inference_choice *c, int32_t id)
{
	struct buf text = {0};
	enum err e = detok_push(c->detok, id, &text);

	c->n_chars += inference_text_chars(text.data, text.len);
	buf_fini(&text);
	return e;
}

static enum err log_token(struct inference_choice *c, const struct serve_token *token)
{
	enum err e = OK;

	if (!c->request->logprobs)
		return OK;
	if (c->codec->logs_special || !tokenizer_is_special(c->tokenizer, token->id))
		e = inference_log_append(&c->log, token, c->n_chars);
	if (!e && c->detok)
		e = count_chars(c, token->id);
	return e;
}

enum err inference_choice_token(struct inference_choice *c, const struct serve_token *token)
{
	enum err e = OK;

	if (!token->is_prompt && !c->started) {
		c->started = true;
		c->n_chars = c->prompt_chars; /* exact, where decoding the prompt does not give it back */
	}
	if (!token->is_prompt) {
		c->logprob_sum += token->has_logprob ? (double)token->logprob : 0;
		c->n_scored += token->has_logprob;
		e = buf_append(&c->text, token->text, token->n_text);
	}
	if (!e)
		e = log_token(c, token);
	return e;
}

enum err inference_choice_done(struct inference_choice *c, const struct serve_result *result)
{
	c->finish = result->finish;
	c->n_generated = result->n_generated;
	c->started = true;
	return buf_append(&c->text, result->text, result->n_text);
}

bool inference_choice_has_text(const struct inference_choice *c)
{
	return c->started && c->text.len > 0;
}

static json_t *logprobs_json(const struct inference_choice *c)
{
	return c->request->logprobs ? c->codec->logprobs(c->tokenizer, &c->log) : json_null();
}

json_t *inference_choice_take_json(struct inference_choice *c, enum serve_finish finish)
{
	bool empty = c->codec->ends_apart && finish != FINISH_NONE;
	const char *text = c->text.data ? c->text.data : "";
	json_t *json;

	if (empty)
		return c->codec->piece(c->index, NULL, 0, json_null(), finish);
	json = c->codec->piece(c->index, text, c->text.len, logprobs_json(c), finish);
	buf_consume(&c->text, c->text.len);
	inference_log_clear(&c->log);
	return json;
}

json_t *inference_choice_json(const struct inference_choice *c, size_t index)
{
	return c->codec->choice(index, c->text.data, c->text.len, logprobs_json(c), c->finish);
}

static double choice_score(const struct inference_choice *c)
{
	return c->n_scored ? c->logprob_sum / (double)c->n_scored : 0;
}

/* The best of n choices that is not taken, the earlier of equals. */
static size_t find_best(const struct inference_choice *choices, size_t n, const bool *taken)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < n; i++)
		if (!taken[i] &&
		        (best == SIZE_MAX || choice_score(&choices[i]) > choice_score(&choices[best])))
			best = i;
	return best;
}

json_t *inference_choices_json(
        const struct inference_request *request, const struct inference_choice *choices)
{
	size_t n = request->n;
	json_t *list = json_array();
	int rc = 0;

	for (size_t prompt = 0; prompt < request->prompts.n; prompt++) {
		const struct inference_choice *sampled = choices + prompt * request->best_of;
		bool taken[INFERENCE_MAX_N] = {false};

		for (size_t k = 0; !rc && k < n; k++) {
			size_t pick = request->best_of > n ? find_best(sampled, request->best_of, taken) : k;

			taken[pick] = true;
			rc = json_array_append_new(
			        list, inference_choice_json(&sampled[pick], prompt * n + k));
		}
	}
	if (!rc)
		return list;
	json_decref(list);
	return NULL;
}

struct inference_usage inference_choices_usage(
        const struct inference_request *request, const struct inference_choice *choices)
{
	struct inference_usage usage = {0};

	for (size_t i = 0; i < request->prompts.n; i++)
		usage.prompt_tokens += request->prompts.items[i].ids.n;
	for (size_t i = 0; i < request->prompts.n * request->best_of; i++)
		usage.completion_tokens += choices[i].n_generated;
	return usage;
}
