/*
 * See batch.h. A prompt's chunks begin at multiples of prefill_rows from its own start, whatever the others
 * do: so its numbers do not depend on them. Prompts take turns, a chunk each.
 */
#include "worker/serve/batch.h"

#include "core/mem.h"
#include "worker/serve/classify.h"

#include <assert.h>
#include <string.h>

#define BATCH_LOGIT_BYTES ((size_t)64 << 20)
#define BATCH_MIN_ROWS 16
#define BATCH_MAX_ROWS 256

struct batch {
	const struct model *model;         /* borrowed */
	const struct model_info *info;     /* borrowed from model */
	struct serve_workspace *workspace; /* owned */
	struct sampler *sampler;           /* owned */
	struct classifier *classifier;     /* owned; of an encoder base, which has nothing else to do */
	size_t max_rows, prefill_rows;

	float *logits; /* owned (max(prefill_rows, max_rows), V); pages cost memory once touched */
	size_t logit_bytes;
	size_t *logit_rows; /* owned (prefill_rows) */

	struct sequence **seqs; /* owned (max_rows): in order of arrival; the sequences are the engine's */
	size_t n_seqs;
	size_t n_rows; /* they take */
	size_t turn;   /* whose prompt is looked at first */

	/* one decode step, owned (max_rows) each; the rows of a sequence lie together */
	struct sequence **rows;
	struct kv **kvs;
	int32_t *tokens;
	struct edit_run *runs;
};

size_t batch_default_prefill_rows(size_t n_vocab)
{
	size_t rows = BATCH_MAX_ROWS;

	while (rows > BATCH_MIN_ROWS && rows * sizeof(float) > BATCH_LOGIT_BYTES / n_vocab)
		rows /= 2;
	return rows;
}

static enum err alloc_arrays(struct batch *b)
{
	size_t n = b->max_rows, n_rows = n > b->prefill_rows ? n : b->prefill_rows;

	if (!mem_mul(n_rows, b->info->vocab_size * sizeof(float), &b->logit_bytes))
		return ERR_MEM;
	b->logits = mem_reserve(b->logit_bytes);
	b->logit_rows = mem_calloc(b->prefill_rows, sizeof(*b->logit_rows));
	b->seqs = mem_calloc(n, sizeof(struct sequence *));
	b->rows = mem_calloc(n, sizeof(struct sequence *));
	b->kvs = mem_calloc(n, sizeof(struct kv *));
	b->tokens = mem_calloc(n, sizeof(*b->tokens));
	b->runs = mem_calloc(n, sizeof(*b->runs));
	if (!b->logits || !b->logit_rows || !b->seqs || !b->rows || !b->kvs || !b->tokens || !b->runs)
		return ERR_MEM;
	return OK;
}

enum err batch_new(const struct serve_options *options, struct batch **out)
{
	struct batch *b = mem_calloc(1, sizeof(*b));
	size_t rows = options->prefill_rows;
	enum err e = ERR_MEM;

	if (!b)
		return ERR_MEM;
	b->model = options->model;
	b->info = model_info(options->model);
	b->max_rows = options->max_batch;
	b->prefill_rows = options->prefill_rows;
	/* An encoder reads all of a sequence at once. */
	if (b->info->kind != MODEL_CAUSAL && rows < b->info->max_positions)
		rows = b->info->max_positions;
	if (b->info->kind == MODEL_ENCODER &&
	        (e = classifier_new(b->model, rows, b->max_rows, &b->classifier)))
		goto fail;
	if ((e = alloc_arrays(b)) || (e = sampler_new(b->info->vocab_size, &b->sampler)) ||
	        (e = serve_workspace_new(b->model, rows, b->max_rows, &b->workspace)))
		goto fail;
	*out = b;
	return OK;
fail:
	batch_free(b);
	return e;
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	assert(b->n_seqs == 0);
	serve_workspace_free(b->workspace);
	sampler_free(b->sampler);
	classifier_free(b->classifier);
	mem_unreserve(b->logits, b->logit_bytes);
	mem_free(b->logit_rows);
	mem_free(b->seqs);
	mem_free(b->rows);
	mem_free(b->kvs);
	mem_free(b->tokens);
	mem_free(b->runs);
	mem_free(b);
}

size_t batch_length(const struct batch *b)
{
	return b->n_seqs;
}

size_t batch_rows(const struct batch *b)
{
	return b->n_rows;
}

void batch_add(struct batch *b, struct sequence *q)
{
	assert(q->n_rows <= b->max_rows - b->n_rows);
	b->seqs[b->n_seqs++] = q;
	b->n_rows += q->n_rows;
}

struct sequence *batch_take_ended(struct batch *b)
{
	for (size_t i = 0; i < b->n_seqs; i++) {
		struct sequence *q = b->seqs[i];

		if (q->finish == FINISH_NONE)
			continue;
		b->n_seqs--;
		b->n_rows -= q->n_rows;
		memmove(&b->seqs[i], &b->seqs[i + 1], (b->n_seqs - i) * sizeof(struct sequence *));
		if (i < b->turn)
			b->turn--;
		return q;
	}
	return NULL;
}

static void advance(struct batch *b, struct sequence *q, float *logits, struct batch_work *work)
{
	size_t before = q->n_generated;

	sequence_advance(q, b->info, b->sampler, logits);
	work->generated_tokens += q->n_generated - before;
}

/* ---- prompts ---- */

static bool in_prompt(const struct sequence *q)
{
	return q->finish == FINISH_NONE && q->n_prefilled < q->request.n_prompt;
}

/* The next sequence whose turn it is, NULL when all prompts are through. */
static struct sequence *take_turn(struct batch *b)
{
	for (size_t i = 0; i < b->n_seqs; i++) {
		size_t at = (b->turn + i) % b->n_seqs;

		if (!in_prompt(b->seqs[at]))
			continue;
		b->turn = at + 1;
		return b->seqs[at];
	}
	return NULL;
}

/* The rows of q's chunk whose logits are wanted: each that predicts a prompt token to be reported, and the
 * last of the prompt when a token follows. Returns how many. */
static size_t choose_rows(struct batch *b, const struct sequence *q, size_t n_rows)
{
	size_t n_prompt = q->request.n_prompt, n = 0;

	for (size_t i = 0; i < n_rows; i++) {
		bool is_last = q->n_prefilled + i + 1 == n_prompt;

		if (is_last ? q->max_tokens > 0 : q->request.echo_logprobs)
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

static void prefill_chunk(struct batch *b, struct sequence *q, struct batch_work *work)
{
	const struct serve_request *r = &q->request;
	size_t first = q->n_prefilled, left = r->n_prompt - first;
	size_t n_rows = left < b->prefill_rows ? left : b->prefill_rows;
	size_t n_logits = choose_rows(b, q, n_rows);
	struct edit_run run = sequence_run(q, n_rows);
	enum err e;

	e = model_prefill(b->model, b->workspace, sequence_kv(q, 0), r->prompt + first, n_rows, &run,
	        b->logit_rows, n_logits, b->logits);
	if (e) {
		sequence_end(q, FINISH_ERROR, e);
		return;
	}
	work->prompt_tokens += n_rows;
	q->n_prefilled += n_rows;
	if (r->echo_logprobs)
		echo_chunk(b, q, first, n_rows);
	if (q->n_prefilled < r->n_prompt || q->finish != FINISH_NONE)
		return;
	if (q->max_tokens == 0)
		sequence_end(q, FINISH_LENGTH, OK);
	else
		advance(b, q, b->logits + (n_logits - 1) * b->info->vocab_size, work);
}

/* A seq2seq's prompt, all of it, and what its decoder starts from. */
static void prefill_source(struct batch *b, struct sequence *q, struct batch_work *work)
{
	const struct serve_request *r = &q->request;
	struct edit_run source = sequence_run(q, r->n_prompt), start = sequence_run(q, 1);
	struct kv *kv = sequence_kv(q, 0);
	enum err e = model_encode_source(b->model, b->workspace, kv, r->prompt, r->n_prompt, &source);

	b->logit_rows[0] = 0;
	if (!e)
		e = model_prefill(b->model, b->workspace, kv, &b->info->decoder_start_id, 1, &start,
		        b->logit_rows, 1, b->logits);
	work->prompt_tokens += r->n_prompt;
	q->n_prefilled = r->n_prompt;
	if (e)
		sequence_end(q, FINISH_ERROR, e);
	else if (q->max_tokens == 0)
		sequence_end(q, FINISH_LENGTH, OK);
	else
		advance(b, q, b->logits, work);
}

/* ---- tokens ---- */

/* The rows of all sequences whose prompt is through. */
static size_t gather_rows(struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_seqs; i++) {
		struct sequence *q = b->seqs[i];

		if (q->finish != FINISH_NONE || in_prompt(q))
			continue;
		for (size_t row = 0; row < sequence_n_rows(q); row++) {
			b->rows[n] = q;
			b->kvs[n] = sequence_kv(q, row);
			b->tokens[n] = sequence_token(q, row);
			b->runs[n] = sequence_run(q, 1);
			n++;
		}
	}
	return n;
}

static void decode(struct batch *b, struct batch_work *work)
{
	size_t n = gather_rows(b), n_rows;
	enum err e;

	if (n == 0)
		return;
	e = model_decode(b->model, b->workspace, n, b->kvs, b->tokens, b->runs, b->logits);
	work->steps++;
	work->decode_rows += n;
	for (size_t i = 0; i < n; i += n_rows) {
		n_rows = sequence_n_rows(b->rows[i]);
		if (e)
			sequence_end(b->rows[i], FINISH_ERROR, e);
		else
			advance(b, b->rows[i], b->logits + i * b->info->vocab_size, work);
	}
}

void batch_step(struct batch *b, struct batch_work *work)
{
	struct sequence *q;

	for (size_t i = 0; i < b->n_seqs; i++)
		if (atomic_load_explicit(&b->seqs[i]->cancelled, memory_order_relaxed))
			sequence_end(b->seqs[i], FINISH_CANCELLED, OK);
	if (b->classifier) {
		classifier_step(b->classifier, b->workspace, b->seqs, b->n_seqs, work);
		return;
	}
	q = take_turn(b);
	if (q && b->info->kind == MODEL_SEQ2SEQ)
		prefill_source(b, q, work);
	else if (q)
		prefill_chunk(b, q, work);
	decode(b, work);
}
