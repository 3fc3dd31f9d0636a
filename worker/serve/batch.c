/*
 * See batch.h: what a batch holds, who is in, and the step. How prompts are read is in batch_prompt.c.
 */
#include "core/clock.h"
#include "core/mem.h"
#include "worker/serve/batch_state.h"

#include <assert.h>
#include <string.h>

#define BATCH_LOGIT_BYTES ((size_t)64 << 20)
#define BATCH_MIN_ROWS 16
#define BATCH_MAX_ROWS 256

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

/* Only a decoder's prompts are taken in chunks, and so can be kept by the chunk. */
static enum err alloc_pages(struct batch *b, size_t kv_bytes)
{
	enum err e = kv_pool_new(b->model, kv_bytes, &b->pool);

	if (e)
		return e;
	b->stats.pages = kv_pool_pages(b->pool);
	return prefix_new(b->pool, b->info->kind == MODEL_CAUSAL ? b->prefill_rows : 1, &b->prefix);
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
	b->tokenizer = options->tokenizer;
	b->max_rows = options->max_batch;
	b->prefill_rows = options->prefill_rows;
	/* An encoder reads all of a sequence at once. */
	if (b->info->kind != MODEL_CAUSAL && rows < b->info->max_positions)
		rows = b->info->max_positions;
	if (b->info->kind == MODEL_ENCODER &&
	        (e = classifier_new(b->model, rows, b->max_rows, &b->classifier)))
		goto fail;
	if (!b->classifier && (e = alloc_pages(b, options->kv_bytes)))
		goto fail;
	if ((e = alloc_arrays(b)) || (e = sampler_new(b->info->vocab_size, &b->sampler)) ||
	        (e = serve_workspace_new(b->model, rows, b->max_rows, &b->workspace)) ||
	        (e = serve_workspace_set_threads(b->workspace, options->n_threads)))
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
	prefix_free(b->prefix);
	kv_pool_free(b->pool);
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

/* ---- pages ---- */

size_t batch_context(const struct batch *b, size_t n_rows)
{
	size_t n_pages, n;

	if (b->classifier)
		return b->info->max_positions;
	n_pages = kv_pool_pages(b->pool) / n_rows;
	if (b->info->kind == MODEL_SEQ2SEQ && n_pages > 0)
		n_pages--; /* a source and what follows it begin pages of their own */
	n = n_pages * kv_pool_page_tokens(b->pool);
	return n < sequence_max_positions(b->info) ? n : sequence_max_positions(b->info);
}

/* Pages that the running have been let in for and do not hold yet, and one for each row to go on. */
static size_t pages_spoken_for(const struct batch *b)
{
	size_t n = b->n_rows;

	for (size_t i = 0; i < b->n_seqs; i++) {
		const struct sequence *q = b->seqs[i];
		size_t held, wanted;

		if (q->finish != FINISH_NONE || q->put_off || sequence_n_rows(q) > 1)
			continue;
		held = kv_held_pages(sequence_kv(q, 0));
		wanted = sequence_pages(q, b->info, kv_pool_page_tokens(b->pool));
		n += wanted > held ? wanted - held : 0;
	}
	return n;
}

bool batch_has_room(const struct batch *b, const struct sequence *q)
{
	struct prefix_prompt prompt = sequence_prompt(q);
	size_t wanted;

	if (q->n_rows > b->max_rows - b->n_rows)
		return false;
	if (b->n_seqs == 0 || q->n_positions == 0)
		return true;
	wanted = sequence_pages(q, b->info, kv_pool_page_tokens(b->pool));
	wanted -= prefix_shared_pages(b->prefix, &prompt);
	wanted += pages_spoken_for(b);
	return wanted <= kv_pool_free_pages(b->pool) ||
	       wanted <= kv_pool_free_pages(b->pool) + kv_pool_idle_pages(b->pool);
}

bool batch_make_room(struct batch *b, struct sequence *q, size_t n)
{
	while (kv_pool_free_pages(b->pool) < n && !prefix_make_room(b->prefix, n)) {
		size_t i = b->n_seqs - 1;

		while (b->seqs[i] != q && (b->seqs[i]->finish != FINISH_NONE || b->seqs[i]->put_off))
			i--;
		sequence_put_off(b->seqs[i]);
		b->stats.n_put_off++;
		if (b->seqs[i] == q)
			return false;
	}
	return true;
}

/* ---- who is in ---- */

void batch_add(struct batch *b, struct sequence *q)
{
	enum err e = sequence_begin(q, b->model, b->pool, b->tokenizer);

	assert(q->n_rows <= b->max_rows - b->n_rows);
	if (e)
		sequence_end(q, FINISH_ERROR, e);
	b->seqs[b->n_seqs++] = q;
	b->n_rows += q->n_rows;
}

static struct sequence *remove_at(struct batch *b, size_t i)
{
	struct sequence *q = b->seqs[i];

	b->n_seqs--;
	b->n_rows -= q->n_rows;
	memmove(&b->seqs[i], &b->seqs[i + 1], (b->n_seqs - i) * sizeof(struct sequence *));
	if (i < b->turn)
		b->turn--;
	return q;
}

struct sequence *batch_take_ended(struct batch *b)
{
	for (size_t i = 0; i < b->n_seqs; i++)
		if (b->seqs[i]->finish != FINISH_NONE)
			return remove_at(b, i);
	return NULL;
}

struct sequence *batch_take_put_off(struct batch *b)
{
	for (size_t i = b->n_seqs; i-- > 0;)
		if (b->seqs[i]->put_off && b->seqs[i]->finish == FINISH_NONE)
			return remove_at(b, i);
	return NULL;
}

void batch_stats(const struct batch *b, struct batch_stats *out)
{
	*out = b->stats;
	if (!b->pool)
		return;
	out->pages_used = out->pages - kv_pool_free_pages(b->pool);
	out->pages_kept = kv_pool_idle_pages(b->pool);
}

/* ---- steps ---- */

static void note_token(struct batch *b, struct sequence *q, bool first)
{
	int64_t now = clock_mono_ns();

	if (first)
		histogram_add(&b->stats.first_token, now - q->submitted_ns);
	else
		histogram_add(&b->stats.next_token, now - q->last_token_ns);
	q->last_token_ns = now;
}

void batch_advance(struct batch *b, struct sequence *q, float *logits, struct batch_work *work)
{
	size_t before = q->n_generated;

	sequence_advance(q, b->info, b->sampler, logits);
	work->generated_tokens += q->n_generated - before;
	if (q->n_generated > before)
		note_token(b, q, before == 0);
}

/* ---- tokens ---- */

/* Pages for another token of each row of q, whose kvs these are. False: it was put off, or failed. */
static bool extend_rows(struct batch *b, struct sequence *q, size_t n, struct kv *const *kvs)
{
	for (size_t row = 0; row < n; row++) {
		enum err e;

		if (!batch_make_room(b, q, kv_lacks_pages(kvs[row], 1)))
			return false;
		e = kv_extend(kvs[row], 1);
		if (e) {
			sequence_end(q, FINISH_ERROR, e);
			return false;
		}
	}
	return true;
}

/* The rows of all sequences whose prompt is through. The oldest come first, so that whoever is put off for
 * one has no row among them yet. */
static size_t gather_rows(struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_seqs; i++) {
		struct sequence *q = b->seqs[i];
		size_t n_rows;

		if (q->finish != FINISH_NONE || q->put_off || batch_in_prompt(q))
			continue;
		n_rows = sequence_n_rows(q);
		for (size_t row = 0; row < n_rows; row++) {
			b->rows[n + row] = q;
			b->kvs[n + row] = sequence_kv(q, row);
			b->tokens[n + row] = sequence_token(q, row);
			b->runs[n + row] = sequence_run(q, 1);
		}
		if (extend_rows(b, q, n_rows, b->kvs + n))
			n += n_rows;
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
		b->rows[i]->n_fed++;
		if (e)
			sequence_end(b->rows[i], FINISH_ERROR, e);
		else
			batch_advance(b, b->rows[i], b->logits + i * b->info->vocab_size, work);
	}
}

void batch_step(struct batch *b, struct batch_work *work)
{
	for (size_t i = 0; i < b->n_seqs; i++)
		if (atomic_load_explicit(&b->seqs[i]->cancelled, memory_order_relaxed))
			sequence_end(b->seqs[i], FINISH_CANCELLED, OK);
	if (b->classifier) {
		classifier_step(b->classifier, b->workspace, b->seqs, b->n_seqs, work);
		return;
	}
	batch_read_prompts(b, work);
	decode(b, work);
}
