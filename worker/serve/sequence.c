/*
 * See sequence.h. The life of a sequence:
 *
 *   new -> begin -> echo* (prompt) -> advance* (a token each) -> end -> done
 *     \______\___________\________________\____________________/
 *            cancelled or failed at any point
 */
#include "worker/serve/sequence.h"

#include "core/mem.h"
#include "worker/math/loss.h"
#include "worker/serve/logprob.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Room for text from the start: longer than what all but freak tokens stand for. */
#define SEQUENCE_TEXT_BYTES 1024

static enum err check_length(const struct serve_request *r, size_t context, struct why *why)
{
	if (r->n_prompt <= context && (r->n_prompt < context || r->max_tokens == 0))
		return OK;
	why_set(why, ERR_TOO_LONG,
	        "The context holds %zu tokens and the prompt has %zu, which leaves no room for a completion; "
	        "shorten the prompt",
	        context, r->n_prompt);
	if (why)
		snprintf(why->code, sizeof(why->code), "context_length_exceeded");
	return ERR_TOO_LONG;
}

enum err sequence_check(
        const struct serve_request *r, const struct model_info *info, size_t context, struct why *why)
{
	enum err e;

	assert(r->on_done);
	if (r->n_prompt == 0)
		return why_param(why, ERR_INVALID, "prompt", "the prompt has no tokens");
	e = check_length(r, context, why);
	if (e)
		return e;
	for (size_t i = 0; i < r->n_prompt; i++)
		if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= info->vocab_size)
			return why_param(why, ERR_INVALID, "prompt",
			        "token %zu of the prompt is %d; the vocabulary has %zu", i, (int)r->prompt[i],
			        info->vocab_size);
	if (!isfinite(r->strength))
		return why_param(why, ERR_INVALID, "adapter_strength", "adapter_strength is not finite");
	if (r->n_top_logprobs > SERVE_MAX_LOGPROBS)
		return why_param(why, ERR_INVALID, "top_logprobs",
		        "top_logprobs is %zu; at most %d are possible", r->n_top_logprobs,
		        SERVE_MAX_LOGPROBS);
	if (r->n_stops > SERVE_MAX_STOPS)
		return why_param(why, ERR_INVALID, "stop", "stop has %zu strings; at most %d are possible",
		        r->n_stops, SERVE_MAX_STOPS);
	for (size_t i = 0; i < r->n_stops; i++)
		if (!r->stops[i] || !r->stops[i][0])
			return why_param(why, ERR_INVALID, "stop", "stop string %zu is empty", i);
	return sample_params_check(&r->sample, info->vocab_size, why);
}

enum err sequence_new(const struct serve_request *r, size_t context, struct sequence **out)
{
	struct sequence *q = mem_calloc(1, sizeof(*q));
	size_t room = context - r->n_prompt;

	if (!q)
		return ERR_MEM;
	q->request = *r;
	q->max_tokens = r->max_tokens < room ? r->max_tokens : room;
	q->n_positions = r->n_prompt + q->max_tokens;
	rng_seed(&q->rng, r->sample.seed);
	*out = q;
	return OK;
}

enum err sequence_begin(struct sequence *q, const struct model *m, const struct tokenizer *t)
{
	const struct serve_request *r = &q->request;
	enum err e;

	if ((e = kv_new(m, q->n_positions, &q->kv)) || (e = detok_new(t, &q->detok)) ||
	        (e = buf_reserve(&q->text, SEQUENCE_TEXT_BYTES)))
		return e;
	if (r->n_stops > 0 && (e = stop_scan_new(r->n_stops, r->stops, &q->stop)))
		return e;
	q->generated = mem_calloc(q->max_tokens, sizeof(*q->generated));
	return q->generated ? OK : ERR_MEM;
}

void sequence_free(struct sequence *q)
{
	if (!q)
		return;
	kv_free(q->kv);
	detok_free(q->detok);
	stop_scan_free(q->stop);
	buf_fini(&q->text);
	mem_free(q->generated);
	mem_free(q);
}

void sequence_end(struct sequence *q, enum serve_finish finish, enum err error)
{
	if (q->finish != FINISH_NONE)
		return;
	q->finish = finish;
	q->error = error;
}

/* ---- log-probabilities ---- */

/* Those of t->id and of the best, which top (SERVE_MAX_LOGPROBS) will hold. */
static enum err add_logprobs(
        struct serve_token *t, size_t V, const float *logits, size_t n_top, struct token_logprob *top)
{
	double log_total = log_sum_exp(V, logits);

	if (!isfinite(log_total))
		return ERR_STATE;
	t->has_logprob = true;
	t->logprob = logprob_of(logits[t->id], log_total);
	t->n_top = logprob_top(V, logits, log_total, n_top, top);
	t->top = top;
	return OK;
}

void sequence_echo(struct sequence *q, size_t i, size_t V, const float *logits)
{
	const struct serve_request *r = &q->request;
	struct serve_token t = {.id = r->prompt[i], .is_prompt = true, .text = ""};
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	enum err e;

	if (!r->on_token || q->finish != FINISH_NONE)
		return;
	if (logits && (e = add_logprobs(&t, V, logits, r->n_top_logprobs, top))) {
		sequence_end(q, FINISH_ERROR, e);
		return;
	}
	r->on_token(r->arg, &t);
}

/* ---- text ---- */

/* Look for stop strings in what was appended to q->text after its first `old` bytes. Returns how many bytes
 * at its start are certain; with a stop string found, what follows them is cut off. */
static size_t certain_text(struct sequence *q, size_t old)
{
	size_t n_tail = 0;

	if (!q->stop)
		return q->text.len;
	if (q->text.len == old)
		return 0;
	q->stop_found = stop_scan_feed(q->stop, q->text.data + old, q->text.len - old, &n_tail);
	if (q->stop_found) {
		q->text.len -= n_tail;
		return q->text.len;
	}
	return q->text.len - n_tail;
}

/* ---- tokens ---- */

static bool is_end(const struct serve_request *r, const struct model_info *info, int32_t id)
{
	if (r->has_end_id && r->end_id == id)
		return true;
	for (size_t i = 0; i < info->n_eos; i++)
		if (info->eos_ids[i] == id)
			return true;
	return false;
}

/* Report one generated token with what its text makes certain. */
static enum err report(struct sequence *q, int32_t id, size_t V, const float *logits)
{
	const struct serve_request *r = &q->request;
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	struct serve_token t = {.id = id, .text = ""};
	size_t old = q->text.len;
	enum err e;

	e = detok_push(q->detok, id, &q->text);
	if (e)
		return e;
	t.n_text = certain_text(q, old);
	if (t.n_text > 0)
		t.text = q->text.data;
	if (r->on_token) {
		if (r->logprobs && (e = add_logprobs(&t, V, logits, r->n_top_logprobs, top)))
			return e;
		r->on_token(r->arg, &t);
	}
	buf_consume(&q->text, t.n_text);
	return OK;
}

/* The token that ended the text: it has a log-probability, but neither text nor a place among the
 * generated. */
static enum err report_end(const struct sequence *q, int32_t id, size_t V, const float *logits)
{
	const struct serve_request *r = &q->request;
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	struct serve_token t = {.id = id, .text = ""};
	enum err e;

	if (!r->on_token || !r->logprobs)
		return OK;
	e = add_logprobs(&t, V, logits, r->n_top_logprobs, top);
	if (e)
		return e;
	r->on_token(r->arg, &t);
	return OK;
}

void sequence_advance(
        struct sequence *q, const struct model_info *info, struct sampler *sampler, const float *logits)
{
	const struct serve_request *r = &q->request;
	struct sample_history history = {
	        .prompt = r->prompt,
	        .n_prompt = r->n_prompt,
	        .generated = q->generated,
	        .n_generated = q->n_generated,
	};
	int32_t id;
	enum err e;

	e = sampler_pick(sampler, &r->sample, &history, logits, rng_uniform(&q->rng), &id);
	if (e) {
		sequence_end(q, FINISH_ERROR, e);
		return;
	}
	if (!r->ignore_eos && is_end(r, info, id)) {
		e = report_end(q, id, info->vocab_size, logits);
		sequence_end(q, e ? FINISH_ERROR : FINISH_STOP, e);
		return;
	}
	q->generated[q->n_generated++] = id;
	e = report(q, id, info->vocab_size, logits);
	if (e)
		sequence_end(q, FINISH_ERROR, e);
	else if (q->stop_found)
		sequence_end(q, FINISH_STOP, OK);
	else if (q->n_generated == q->max_tokens)
		sequence_end(q, FINISH_LENGTH, OK);
}

/* ---- the end ---- */

/* What was held back becomes certain; a stop string may still come out of it. */
static void flush_text(struct sequence *q)
{
	size_t old = q->text.len;

	if (q->stop_found || !q->detok)
		return;
	if (detok_finish(q->detok, &q->text)) {
		if (q->finish != FINISH_ERROR)
			q->error = ERR_MEM;
		q->finish = FINISH_ERROR;
		return;
	}
	certain_text(q, old);
	if (q->stop_found && q->finish == FINISH_LENGTH)
		q->finish = FINISH_STOP;
}

void sequence_done(struct sequence *q)
{
	struct adapter_ref adapter = q->request.adapter;
	struct serve_result result;

	assert(q->finish != FINISH_NONE);
	flush_text(q);
	kv_free(q->kv);
	q->kv = NULL;
	if (adapter.release)
		adapter.release(adapter.owner);
	result = (struct serve_result){
	        .finish = q->finish,
	        .error = q->error,
	        .n_prompt = q->request.n_prompt,
	        .n_generated = q->n_generated,
	        .text = q->text.len > 0 ? q->text.data : "",
	        .n_text = q->text.len,
	};
	q->request.on_done(q->request.arg, &result);
	sequence_free(q);
}
