/*
 * How a batch reads prompts; see batch_state.h. A prompt's chunks begin at multiples of prefill_rows from its
 * own start, whatever the others do: so its numbers do not depend on them. Prompts take turns, a chunk each;
 * a step has one chunk, or several short prompts that take no longer.
 */
#include "worker/serve/batch_state.h"

/* Rows that a pass over the weights is worth, however few it has. */
#define BATCH_PASS_ROWS 32

bool batch_in_prompt(const struct sequence *q)
{
	return q->finish == FINISH_NONE && !q->put_off && q->n_prefilled < q->request.n_prompt;
}

/* Rows of the next pass over q's prompt, at most; an encoder reads all of it at once. */
static size_t chunk_rows(const struct batch *b, const struct sequence *q)
{
	size_t left = q->request.n_prompt - q->n_prefilled;

	return left < b->prefill_rows || b->info->kind == MODEL_SEQ2SEQ ? left : b->prefill_rows;
}

/* The next sequence whose turn it is, NULL when all prompts are through. *budget: what the step has left for
 * prompts; the first always has its turn, others when they come within it. */
static struct sequence *take_turn(struct batch *b, size_t *budget)
{
	size_t whole = b->prefill_rows + BATCH_PASS_ROWS;

	for (size_t i = 0; i < b->n_seqs; i++) {
		size_t at = (b->turn + i) % b->n_seqs, cost;

		if (!batch_in_prompt(b->seqs[at]))
			continue;
		cost = chunk_rows(b, b->seqs[at]) + BATCH_PASS_ROWS;
		if (cost > *budget && *budget < whole)
			return NULL;
		*budget -= cost < *budget ? cost : *budget;
		b->turn = at + 1;
		return b->seqs[at];
	}
	return NULL;
}

static bool echoes(const struct sequence *q)
{
	return q->request.echo_logprobs && q->n_echoed < q->request.n_prompt;
}

/* The rows of q's chunk whose logits are wanted: each that predicts a prompt token to be reported, and the
 * last of the prompt when a token follows. Returns how many. */
static size_t choose_rows(struct batch *b, const struct sequence *q, size_t n_rows)
{
	size_t n_prompt = q->request.n_prompt, n = 0;

	for (size_t i = 0; i < n_rows; i++) {
		bool is_last = q->n_prefilled + i + 1 == n_prompt;

		if (is_last ? q->max_tokens > 0 : echoes(q))
			b->logit_rows[n++] = i;
	}
	return n;
}

static void echo_chunk(struct batch *b, struct sequence *q, size_t first, size_t n_rows)
{
	size_t V = b->info->vocab_size;

	if (first == 0)
		sequence_echo(q, 0, V, NULL);
	for (size_t i = 0; i < n_rows && first + i + 1 < q->request.n_prompt; i++)
		sequence_echo(q, first + i + 1, V, b->logits + i * V);
}

/* What of the prompt is kept already, unless its logits are wanted. */
static void take_prefix(struct batch *b, struct sequence *q, const struct prefix_prompt *prompt)
{
	size_t n = echoes(q) ? 0 : prefix_adopt(b->prefix, prompt, sequence_kv(q, 0));

	q->n_prefilled += n;
	if (q->was_put_off)
		return; /* it may be its own */
	b->stats.prefix_hits += n > 0 && q->n_reused == 0;
	b->stats.prefix_tokens += n;
	q->n_reused += n;
}

/* The prompt is through; logits (V) of its last token. */
static void begin_answer(struct batch *b, struct sequence *q, float *logits, struct batch_work *work)
{
	if (q->finish != FINISH_NONE)
		return;
	if (q->max_tokens == 0)
		sequence_end(q, FINISH_LENGTH, OK);
	else
		batch_advance(b, q, logits, work);
}

static void prefill_chunk(struct batch *b, struct sequence *q, struct batch_work *work)
{
	const struct serve_request *r = &q->request;
	struct prefix_prompt prompt = sequence_prompt(q);
	size_t first, n_rows, n_logits;
	struct edit_run run;
	bool echo = echoes(q);
	enum err e;

	take_prefix(b, q, &prompt);
	first = q->n_prefilled;
	n_rows = chunk_rows(b, q);
	if (!batch_make_room(b, q, kv_lacks_pages(sequence_kv(q, 0), n_rows)))
		return;
	run = sequence_run(q, n_rows);
	n_logits = choose_rows(b, q, n_rows);
	e = model_prefill(b->model, b->workspace, sequence_kv(q, 0), r->prompt + first, n_rows, &run,
	        b->logit_rows, n_logits, b->logits);
	if (e) {
		sequence_end(q, FINISH_ERROR, e);
		return;
	}
	work->prompt_tokens += n_rows;
	q->n_prefilled += n_rows;
	prefix_keep(b->prefix, &prompt, sequence_kv(q, 0));
	if (echo)
		echo_chunk(b, q, first, n_rows);
	if (q->n_prefilled == r->n_prompt)
		begin_answer(b, q, b->logits + (n_logits - (n_logits > 0)) * b->info->vocab_size, work);
}

/* A seq2seq's prompt, all of it, and what its decoder starts from. */
static void prefill_source(struct batch *b, struct sequence *q, struct batch_work *work)
{
	const struct serve_request *r = &q->request;
	struct edit_run source = sequence_run(q, r->n_prompt), start = sequence_run(q, 1);
	struct kv *kv = sequence_kv(q, 0);
	enum err e;

	if (!batch_make_room(b, q, sequence_pages(q, b->info, kv_pool_page_tokens(b->pool))))
		return;
	e = model_encode_source(b->model, b->workspace, kv, r->prompt, r->n_prompt, &source);
	b->logit_rows[0] = 0;
	if (!e)
		e = model_prefill(b->model, b->workspace, kv, &b->info->decoder_start_id, 1, &start,
		        b->logit_rows, 1, b->logits);
	work->prompt_tokens += r->n_prompt;
	q->n_prefilled = r->n_prompt;
	if (e)
		sequence_end(q, FINISH_ERROR, e);
	else
		begin_answer(b, q, b->logits, work);
}

void batch_read_prompts(struct batch *b, struct batch_work *work)
{
	size_t budget = b->prefill_rows + BATCH_PASS_ROWS;
	struct sequence *q;

	while ((q = take_turn(b, &budget)))
		if (b->info->kind == MODEL_SEQ2SEQ)
			prefill_source(b, q, work);
		else
			prefill_chunk(b, q, work);
}
