/*
 * See beam_run.h. A row goes on in its parent's cache when it is the parent's first child; its other children
 * get the caches of rows that were given up, and share the parent's pages in them.
 */
#include "worker/serve/beam_run.h"

#include "core/mem.h"
#include "worker/math/loss.h"
#include "worker/serve/logprob.h"

#include <math.h>

struct beam_run {
	const struct serve_request *request; /* borrowed */
	struct sample_history start;
	struct beam *search; /* owned */
	size_t width;
	struct kv *caches[SERVE_MAX_BEAMS]; /* owned (width): the first beam_run_n_rows() are the rows' */
	int32_t *path;                      /* owned (max_tokens): scratch */
	struct token_logprob *tops;         /* owned (max_tokens * width, n_top_logprobs), or NULL */
};

enum err beam_run_new(const struct serve_request *request, const struct model *m, struct kv_pool *pool,
        size_t max_tokens, size_t n_positions, size_t n_ends, const int32_t *ends, struct beam_run **out)
{
	struct beam_run *run = mem_calloc(1, sizeof(*run));
	size_t n_top = request->logprobs ? request->n_top_logprobs : 0;
	enum err e = ERR_MEM;

	if (!run)
		return ERR_MEM;
	run->request = request;
	run->start = sample_history_start(request, model_info(m));
	run->width = request->beams.n_beams;
	e = beam_new(&request->beams, max_tokens, n_ends, ends, &run->search);
	for (size_t i = 0; !e && i < run->width; i++)
		e = kv_new_in(pool, n_positions, &run->caches[i]);
	if (e)
		goto fail;
	e = ERR_MEM;
	run->path = mem_calloc(max_tokens, sizeof(*run->path));
	if (!run->path)
		goto fail;
	if (n_top > 0) {
		run->tops = mem_calloc(max_tokens * run->width, n_top * sizeof(*run->tops));
		if (!run->tops)
			goto fail;
	}
	*out = run;
	return OK;
fail:
	beam_run_free(run);
	return e;
}

void beam_run_free_caches(struct beam_run *run)
{
	for (size_t i = 0; i < run->width; i++) {
		kv_free(run->caches[i]);
		run->caches[i] = NULL;
	}
}

void beam_run_free(struct beam_run *run)
{
	if (!run)
		return;
	beam_run_free_caches(run);
	beam_free(run->search);
	mem_free(run->path);
	mem_free(run->tops);
	mem_free(run);
}

size_t beam_run_n_rows(const struct beam_run *run)
{
	return beam_n_rows(run->search);
}

int32_t beam_run_token(const struct beam_run *run, size_t row)
{
	return beam_row_token(run->search, row);
}

struct kv *beam_run_kv(const struct beam_run *run, size_t row)
{
	return run->caches[row];
}

/* ---- a step ---- */

/* logits (V) of a row become log-probabilities, and the best of them are noted. */
static enum err take_logprobs(struct beam_run *run, size_t n_steps, size_t row, size_t V, float *logits)
{
	size_t n_top = run->request->n_top_logprobs;
	double log_total = log_sum_exp(V, logits);

	if (!isfinite(log_total))
		return ERR_STATE;
	if (run->tops)
		logprob_top(V, logits, log_total, n_top, run->tops + (n_steps * run->width + row) * n_top);
	for (size_t i = 0; i < V; i++)
		logits[i] = logprob_of(logits[i], log_total);
	return OK;
}

/* A cache that no row has; there is one for each row that has none. */
static struct kv *take_free(struct kv *const *caches, bool *taken)
{
	size_t i = 0;

	while (taken[i])
		i++;
	taken[i] = true;
	return caches[i];
}

/* Caches follow the rows of the step just made. */
static void move_caches(struct beam_run *run)
{
	struct kv *old[SERVE_MAX_BEAMS];
	bool taken[SERVE_MAX_BEAMS] = {false}, fresh[SERVE_MAX_BEAMS] = {false};
	size_t n_rows = beam_n_rows(run->search);

	for (size_t i = 0; i < run->width; i++)
		old[i] = run->caches[i];
	for (size_t i = 0; i < n_rows; i++) {
		size_t parent = beam_row_parent(run->search, i);

		fresh[i] = taken[parent];
		if (!fresh[i])
			run->caches[i] = old[parent];
		taken[parent] = true;
	}
	for (size_t i = 0; i < run->width; i++)
		if (i >= n_rows || fresh[i])
			run->caches[i] = take_free(old, taken);
	for (size_t i = 0; i < run->width; i++) {
		if (i >= n_rows)
			kv_truncate(run->caches[i], 0);
		else if (fresh[i])
			kv_share(run->caches[i], old[beam_row_parent(run->search, i)]);
	}
}

enum err beam_run_advance(struct beam_run *run, size_t V, struct sampler *sampler, float *logits, bool *over)
{
	const struct serve_request *r = run->request;
	size_t n_rows = beam_n_rows(run->search);

	for (size_t i = 0; i < n_rows; i++) {
		struct sample_history history = run->start;
		float *logprobs = logits + i * V;
		enum err e;

		history.generated = run->path;
		history.n_generated = beam_row_path(run->search, i, run->path);
		e = take_logprobs(run, history.n_generated, i, V, logprobs);
		if (e)
			return e;
		beam_offer(
		        run->search, i, V, sampler_adjust(sampler, &r->sample, &history, logprobs), logprobs);
	}
	*over = beam_step(run->search);
	if (!*over)
		move_caches(run);
	return OK;
}

/* ---- answers ---- */

size_t beam_run_n_answers(const struct beam_run *run)
{
	return beam_n_answers(run->search);
}

struct beam_answer beam_run_answer(struct beam_run *run, size_t k)
{
	return beam_answer(run->search, k);
}

const struct token_logprob *beam_run_top(const struct beam_run *run, const struct beam_token *token)
{
	return run->tops ? run->tops + token->source * run->request->n_top_logprobs : NULL;
}
