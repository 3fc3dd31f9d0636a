/*
 * See beam.h. Paths are kept as a tree: a row of a step is a node that names the node it continues, so that
 * going on from another row copies nothing, and an answer is read from its end. Nodes are numbered step by
 * step, `width` a step, from 1; so a path's nodes are in descending order on the way to the root.
 */
#include "worker/serve/beam.h"

#include "core/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The node that names the empty path. */
#define BEAM_ROOT 0

struct node {
	uint32_t parent;
	int32_t id;
	float logprob;
};

struct row {
	double score; /* sum over its path */
	uint32_t node;
};

struct candidate {
	double score;
	size_t row;
	int32_t id;
	float logprob;
};

struct finished {
	double score; /* with the length's penalty */
	struct node last;
	size_t n_tokens;
	bool ended;
};

struct beam {
	struct beam_params params;
	size_t width, max_tokens;
	size_t n_ends;
	const int32_t *ends; /* borrowed */

	size_t n_steps;
	struct node *nodes; /* owned (1 + max_tokens * width) */
	size_t n_rows;
	struct row *rows, *next; /* owned (width) each */
	size_t n_candidates, max_candidates;
	struct candidate *candidates; /* owned (max_candidates): the best offered in this step, best first */
	size_t n_finished;
	struct finished *finished; /* owned (width): best first */
	struct beam_token *tokens; /* owned (max_tokens): of the answer asked for last */
};

enum err beam_new(
        const struct beam_params *p, size_t max_tokens, size_t n_ends, const int32_t *ends, struct beam **out)
{
	struct beam *b = mem_calloc(1, sizeof(*b));
	size_t n_nodes;

	if (!b)
		return ERR_MEM;
	b->params = *p;
	b->width = p->n_beams;
	b->max_tokens = max_tokens;
	b->n_ends = n_ends;
	b->ends = ends;
	/* Even if each row's best are all the ends there are, `width` that go on are among so many. */
	b->max_candidates = (1 + (n_ends > 1 ? n_ends : 1)) * b->width;
	if (!mem_mul(max_tokens, b->width, &n_nodes) || n_nodes >= UINT32_MAX)
		goto fail;
	b->nodes = mem_calloc(1 + n_nodes, sizeof(*b->nodes));
	b->rows = mem_calloc(b->width, sizeof(*b->rows));
	b->next = mem_calloc(b->width, sizeof(*b->next));
	b->candidates = mem_calloc(b->max_candidates, sizeof(*b->candidates));
	b->finished = mem_calloc(b->width, sizeof(*b->finished));
	b->tokens = mem_calloc(max_tokens, sizeof(*b->tokens));
	if (!b->nodes || !b->rows || !b->next || !b->candidates || !b->finished || !b->tokens)
		goto fail;
	b->n_rows = 1;
	*out = b;
	return OK;
fail:
	beam_free(b);
	return ERR_MEM;
}

void beam_free(struct beam *b)
{
	if (!b)
		return;
	mem_free(b->nodes);
	mem_free(b->rows);
	mem_free(b->next);
	mem_free(b->candidates);
	mem_free(b->finished);
	mem_free(b->tokens);
	mem_free(b);
}

/* ---- rows and paths ---- */

size_t beam_n_rows(const struct beam *b)
{
	return b->n_rows;
}

int32_t beam_row_token(const struct beam *b, size_t row)
{
	return b->nodes[b->rows[row].node].id;
}

size_t beam_row_path(const struct beam *b, size_t row, int32_t *ids)
{
	uint32_t at = b->rows[row].node;

	for (size_t i = b->n_steps; i-- > 0; at = b->nodes[at].parent)
		ids[i] = b->nodes[at].id;
	return b->n_steps;
}

size_t beam_row_parent(const struct beam *b, size_t row)
{
	uint32_t parent = b->nodes[b->rows[row].node].parent;

	return parent == BEAM_ROOT ? 0 : (parent - 1) % b->width;
}

/* ---- a step ---- */

void beam_offer(struct beam *b, size_t row, size_t n_vocab, const float *scores, const float *logprobs)
{
	struct candidate *best = b->candidates;
	double sum = b->rows[row].score;

	for (size_t i = 0; i < n_vocab; i++) {
		double score = sum + (double)scores[i];
		bool full = b->n_candidates == b->max_candidates;
		size_t at;

		if (!(score > (full ? best[b->n_candidates - 1].score : -INFINITY)))
			continue;
		at = full ? b->n_candidates - 1 : b->n_candidates++;
		for (; at > 0 && score > best[at - 1].score; at--)
			best[at] = best[at - 1];
		best[at] = (struct candidate){
		        .score = score, .row = row, .id = (int32_t)i, .logprob = logprobs[i]};
	}
}

static bool is_end(const struct beam *b, int32_t id)
{
	for (size_t i = 0; i < b->n_ends; i++)
		if (b->ends[i] == id)
			return true;
	return false;
}

static struct node node_of(const struct beam *b, const struct candidate *c)
{
	return (struct node){.parent = b->rows[c->row].node, .id = c->id, .logprob = c->logprob};
}

/* What a sum over n_tokens counts. */
static double normalise(const struct beam *b, double sum, size_t n_tokens)
{
	return sum / pow((double)n_tokens, b->params.length_penalty);
}

/* Keep the `width` best of the finished, the earlier of equals. */
static void finish(struct beam *b, const struct candidate *c, bool ended)
{
	size_t n_tokens = b->n_steps + 1, at;
	double score = normalise(b, c->score, n_tokens);

	if (b->n_finished == b->width && !(score > b->finished[b->width - 1].score))
		return;
	at = b->n_finished < b->width ? b->n_finished++ : b->width - 1;
	for (; at > 0 && score > b->finished[at - 1].score; at--)
		b->finished[at] = b->finished[at - 1];
	b->finished[at] = (struct finished){
	        .score = score, .last = node_of(b, c), .n_tokens = n_tokens, .ended = ended};
}

static void go_on(struct beam *b, size_t row, const struct candidate *c)
{
	uint32_t node = (uint32_t)(1 + b->n_steps * b->width + row);

	b->nodes[node] = node_of(b, c);
	b->next[row] = (struct row){.score = c->score, .node = node};
}

/* Whether the best row may yet become better than the worst of the finished. The authors' guess is that it
 * will not score better than it does now, unless they are never to stop early. */
static bool may_improve(const struct beam *b)
{
	bool longest = b->params.early_stopping == EARLY_STOPPING_NEVER && b->params.length_penalty > 0;
	double best = normalise(b, b->rows[0].score, longest ? b->max_tokens : b->n_steps);

	return best > b->finished[b->width - 1].score;
}

bool beam_step(struct beam *b)
{
	bool last = b->n_steps + 1 == b->max_tokens;
	struct row *rows = b->rows;
	size_t n_rows = 0;

	assert(b->n_steps < b->max_tokens);
	for (size_t i = 0; i < b->n_candidates; i++) {
		const struct candidate *c = &b->candidates[i];
		bool ended = is_end(b, c->id);

		if (!ended && !last && n_rows < b->width)
			go_on(b, n_rows++, c);
		else if ((ended || last) && i < b->width)
			finish(b, c, ended);
	}
	b->n_candidates = 0;
	b->n_steps++;
	b->n_rows = n_rows;
	b->rows = b->next;
	b->next = rows;
	if (last || n_rows == 0)
		return true;
	return b->n_finished == b->width &&
	       (b->params.early_stopping == EARLY_STOPPING_FIRST || !may_improve(b));
}

/* ---- answers ---- */

size_t beam_n_answers(const struct beam *b)
{
	return b->n_finished;
}

struct beam_answer beam_answer(struct beam *b, size_t k)
{
	const struct finished *f = &b->finished[k];
	struct node at = f->last;

	for (size_t i = f->n_tokens; i-- > 0; at = b->nodes[at.parent])
		b->tokens[i] = (struct beam_token){
		        .id = at.id,
		        .logprob = at.logprob,
		        .source = at.parent == BEAM_ROOT ? 0 : at.parent - 1 + b->width,
		};
	return (struct beam_answer){
	        .n_tokens = f->n_tokens, .tokens = b->tokens, .score = f->score, .ended = f->ended};
}
