/*
 * See sequence.h. The life of a sequence:
 *
 *   new -> begin -> echo* (prompt) -> advance* (a token each) -> end -> done
 *     \     / \___________\________________\____________________/
 *      put off   cancelled or failed at any point
 *
 * With beams nothing is certain before the end, so that all tokens are reported between end and done.
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

static void note_ends(struct sequence *q, const struct model_info *info)
{
	const struct serve_request *r = &q->request;

	if (r->ignore_eos)
		return;
	for (size_t i = 0; i < info->n_eos; i++)
		q->ends[q->n_ends++] = info->eos_ids[i];
	if (r->has_end_id)
		q->ends[q->n_ends++] = r->end_id;
}

enum err sequence_new(
        const struct serve_request *r, const struct model_info *info, size_t context, struct sequence **out)
{
	struct sequence *q = mem_calloc(1, sizeof(*q));
	size_t room = 0;

	if (!q)
		return ERR_MEM;
	q->request = *r;
	q->n_rows = q->n_choices = 1;
	if (r->classify) {
		q->n_outputs = adapter_layout_head_labels(r->adapter.layout);
		*out = q;
		return OK;
	}
	sequence_room(r, info, context, &room);
	q->max_tokens = r->max_tokens < room ? r->max_tokens : room;
	q->n_positions = r->n_prompt + q->max_tokens + (info->kind == MODEL_SEQ2SEQ);
	q->n_rows = q->max_tokens > 0 ? sequence_rows_of(r) : 1; /* scoring a prompt needs no beams */
	if (r->n_choices > 0)
		q->n_choices = r->n_choices;
	q->start = sample_history_start(r, info);
	note_ends(q, info);
	rng_seed(&q->rng, r->sample.seed);
	*out = q;
	return OK;
}

/* Be ready for the text of an answer. */
static enum err begin_text(struct sequence *q, const struct tokenizer *t)
{
	const struct serve_request *r = &q->request;
	enum err e;

	detok_free(q->detok);
	stop_scan_free(q->stop);
	q->detok = NULL;
	q->stop = NULL;
	q->stop_found = false;
	buf_consume(&q->text, q->text.len);
	e = detok_new(t, q->start.prompt, q->start.n_prompt, &q->detok);
	if (!e && r->n_stops > 0)
		e = stop_scan_new(r->n_stops, r->stops, &q->stop);
	return e;
}

/* What is had once, however often it is put off. */
static enum err begin_once(struct sequence *q, const struct tokenizer *t)
{
	enum err e;

	q->tokenizer = t;
	if ((e = begin_text(q, t)) || (e = buf_reserve(&q->text, SEQUENCE_TEXT_BYTES)))
		return e;
	q->generated = mem_calloc(q->max_tokens, sizeof(*q->generated));
	return q->generated ? OK : ERR_MEM;
}

enum err sequence_begin(
        struct sequence *q, const struct model *m, struct kv_pool *pool, const struct tokenizer *t)
{
	enum err e = OK;

	if (q->n_outputs > 0) {
		q->outputs = mem_calloc(q->n_outputs, sizeof(*q->outputs));
		return q->outputs ? OK : ERR_MEM;
	}
	if (!q->generated)
		e = begin_once(q, t);
	if (e)
		return e;
	q->put_off = false;
	if (q->n_rows > 1)
		return beam_run_new(
		        &q->request, m, pool, q->max_tokens, q->n_positions, q->n_ends, q->ends, &q->beams);
	return kv_new_in(pool, q->n_positions, &q->kv);
}

void sequence_put_off(struct sequence *q)
{
	kv_free(q->kv);
	beam_run_free(q->beams);
	q->kv = NULL;
	q->beams = NULL;
	q->n_prefilled = q->n_fed = 0;
	q->put_off = q->was_put_off = true;
}

size_t sequence_pages(const struct sequence *q, const struct model_info *info, size_t page_tokens)
{
	size_t source = info->kind == MODEL_SEQ2SEQ ? q->request.n_prompt : 0;
	size_t own = q->request.n_prompt - source + (source > 0) + q->n_generated + 1;

	if (q->n_positions == 0)
		return 0;
	if (own > q->n_positions - source)
		own = q->n_positions - source;
	return (source + page_tokens - 1) / page_tokens + (own + page_tokens - 1) / page_tokens + q->n_rows -
	       1;
}

struct prefix_prompt sequence_prompt(const struct sequence *q)
{
	const struct serve_request *r = &q->request;

	return (struct prefix_prompt){.version = r->adapter.version,
	        .strength = r->strength,
	        .tokens = r->prompt,
	        .n_tokens = r->n_prompt};
}

void sequence_free(struct sequence *q)
{
	if (!q)
		return;
	kv_free(q->kv);
	beam_run_free(q->beams);
	detok_free(q->detok);
	stop_scan_free(q->stop);
	buf_fini(&q->text);
	mem_free(q->generated);
	mem_free(q->outputs);
	mem_free(q);
}

void sequence_end(struct sequence *q, enum serve_finish finish, enum err error)
{
	if (q->finish != FINISH_NONE)
		return;
	q->finish = finish;
	q->error = error;
}

/* ---- rows ---- */

struct edit_run sequence_run(const struct sequence *q, size_t n_rows)
{
	const struct serve_request *r = &q->request;

	return (struct edit_run){
	        .n_rows = n_rows,
	        .layout = r->adapter.layout,
	        .params = r->adapter.params,
	        .strength = r->strength,
	};
}

size_t sequence_n_rows(const struct sequence *q)
{
	return q->beams ? beam_run_n_rows(q->beams) : 1;
}

struct kv *sequence_kv(const struct sequence *q, size_t row)
{
	return q->beams ? beam_run_kv(q->beams, row) : q->kv;
}

int32_t sequence_token(const struct sequence *q, size_t row)
{
	return q->beams ? beam_run_token(q->beams, row) : q->generated[q->n_fed];
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

	if (q->finish != FINISH_NONE || i < q->n_echoed)
		return;
	q->n_echoed = i + 1;
	if (!r->on_token)
		return;
	if (logits && (e = add_logprobs(&t, V, logits, r->n_top_logprobs, top))) {
		sequence_end(q, FINISH_ERROR, e);
		return;
	}
	for (; t.choice < q->n_choices; t.choice++)
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

static bool is_end(const struct sequence *q, int32_t id)
{
	for (size_t i = 0; i < q->n_ends; i++)
		if (q->ends[i] == id)
			return true;
	return false;
}

/* Report one generated token, complete but for its text, with what its text makes certain. */
static enum err report(struct sequence *q, struct serve_token *t)
{
	const struct serve_request *r = &q->request;
	size_t old = q->text.len;
	enum err e = detok_push(q->detok, t->id, &q->text);

	if (e)
		return e;
	t->n_text = certain_text(q, old);
	t->text = t->n_text > 0 ? q->text.data : "";
	if (r->on_token)
		r->on_token(r->arg, t);
	buf_consume(&q->text, t->n_text);
	return OK;
}

/* The token that ended the text: it has a log-probability, but neither text nor a place among the
 * generated. */
static void report_end(const struct sequence *q, const struct serve_token *t)
{
	if (q->request.on_token && q->request.logprobs)
		q->request.on_token(q->request.arg, t);
}

static enum err sample(struct sequence *q, const struct model_info *info, struct sampler *sampler,
        const float *logits, struct serve_token *t, struct token_logprob *top)
{
	const struct serve_request *r = &q->request;
	struct sample_history history = q->start;
	enum err e;

	history.generated = q->generated;
	history.n_generated = q->n_generated;
	e = sampler_pick(sampler, &r->sample, &history, logits, rng_uniform(&q->rng), &t->id);

	if (!e && r->logprobs && r->on_token)
		e = add_logprobs(t, info->vocab_size, logits, r->n_top_logprobs, top);
	return e;
}

static void advance_sampled(
        struct sequence *q, const struct model_info *info, struct sampler *sampler, const float *logits)
{
	struct token_logprob top[SERVE_MAX_LOGPROBS];
	struct serve_token t = {.text = ""};
	enum err e = sample(q, info, sampler, logits, &t, top);

	if (!e && is_end(q, t.id)) {
		report_end(q, &t);
		sequence_end(q, FINISH_STOP, OK);
		return;
	}
	if (!e) {
		q->generated[q->n_generated++] = t.id;
		e = report(q, &t);
	}
	if (e)
		sequence_end(q, FINISH_ERROR, e);
	else if (q->stop_found)
		sequence_end(q, FINISH_STOP, OK);
	else if (q->n_generated == q->max_tokens)
		sequence_end(q, FINISH_LENGTH, OK);
}

static void advance_beams(
        struct sequence *q, const struct model_info *info, struct sampler *sampler, float *logits)
{
	bool over = false;
	enum err e = beam_run_advance(q->beams, info->vocab_size, sampler, logits, &over);

	/* Too little was possible: every continuation repeats an n-gram. */
	if (!e && over && beam_run_n_answers(q->beams) < q->n_choices)
		e = ERR_STATE;
	for (size_t k = 0; !e && over && k < q->n_choices; k++) {
		struct beam_answer answer = beam_run_answer(q->beams, k);

		q->n_generated += answer.n_tokens - answer.ended;
	}
	if (e || over)
		sequence_end(
		        q, e ? FINISH_ERROR : FINISH_LENGTH, e); /* how each ended, its report will say */
}

void sequence_advance(
        struct sequence *q, const struct model_info *info, struct sampler *sampler, float *logits)
{
	if (q->beams)
		advance_beams(q, info, sampler, logits);
	else if (q->n_fed == q->n_generated)
		advance_sampled(q, info, sampler, logits);
}

/* ---- the end ---- */

/* What was held back becomes certain; a stop string may still come out of it. */
static void flush_text(struct sequence *q, struct serve_result *result)
{
	size_t old = q->text.len;

	if (q->stop_found || !q->detok)
		return;
	if (detok_finish(q->detok, &q->text)) {
		if (result->finish != FINISH_ERROR)
			result->error = ERR_MEM;
		result->finish = FINISH_ERROR;
		return;
	}
	certain_text(q, old);
	if (q->stop_found && result->finish == FINISH_LENGTH)
		result->finish = FINISH_STOP;
}

/* Report the tokens of the k-th answer up to a stop string. */
static enum err report_answer(struct sequence *q, size_t k, struct serve_result *result)
{
	const struct serve_request *r = &q->request;
	struct beam_answer answer = beam_run_answer(q->beams, k);
	size_t n_text = answer.n_tokens - answer.ended;
	enum err e = k > 0 ? begin_text(q, q->tokenizer) : OK;

	result->n_generated = 0;
	result->finish = answer.ended ? FINISH_STOP : FINISH_LENGTH;
	for (size_t i = 0; !e && i < answer.n_tokens && !q->stop_found; i++) {
		const struct beam_token *token = &answer.tokens[i];
		struct serve_token t = {.choice = k, .id = token->id, .text = ""};

		if (r->logprobs) {
			t.has_logprob = true;
			t.logprob = token->logprob;
			t.n_top = r->n_top_logprobs;
			t.top = beam_run_top(q->beams, token);
		}
		if (i == n_text) {
			report_end(q, &t);
			break;
		}
		result->n_generated++;
		e = report(q, &t);
	}
	if (q->stop_found)
		result->finish = FINISH_STOP;
	return e;
}

/* One choice is done. */
static void finish_choice(struct sequence *q, size_t k)
{
	struct serve_result result = {
	        .choice = k,
	        .finish = q->finish,
	        .error = q->error,
	        .n_prompt = q->request.n_prompt,
	        .n_reused = q->n_reused,
	        .n_generated = q->beams ? 0 : q->n_generated,
	        .outputs = q->outputs,
	        .n_outputs = q->outputs ? q->n_outputs : 0,
	};

	if (q->beams && q->finish == FINISH_LENGTH) {
		result.error = report_answer(q, k, &result);
		if (result.error)
			result.finish = FINISH_ERROR;
	}
	flush_text(q, &result);
	result.text = q->text.len > 0 ? q->text.data : "";
	result.n_text = q->text.len;
	q->request.on_done(q->request.arg, &result);
}

void sequence_done(struct sequence *q)
{
	struct adapter_ref adapter = q->request.adapter;

	assert(q->finish != FINISH_NONE);
	kv_free(q->kv);
	q->kv = NULL;
	if (q->beams)
		beam_run_free_caches(q->beams);
	if (adapter.release)
		adapter.release(adapter.owner);
	for (size_t k = 0; k < q->n_choices; k++)
		finish_choice(q, k);
	sequence_free(q);
}
