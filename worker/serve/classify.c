/* See classify.h. */
#include "worker/serve/classify.h"

#include "core/mem.h"

#include <string.h>

struct classifier {
	const struct model *model; /* borrowed */
	size_t max_rows, max_seqs;
	int32_t *tokens;        /* owned (max_rows) */
	size_t *lengths;        /* owned (max_seqs), as the rest */
	struct sequence **seqs; /* the sequences are the batch's */
	struct edit_run *runs;
	float *outputs; /* (max_seqs, ADAPTER_MAX_LABELS) */
	size_t n_seqs, n_rows;
};

enum err classifier_new(const struct model *m, size_t max_rows, size_t max_seqs, struct classifier **out)
{
	struct classifier *c = mem_calloc(1, sizeof(*c));

	if (!c)
		return ERR_MEM;
	c->model = m;
	c->max_rows = max_rows;
	c->max_seqs = max_seqs;
	c->tokens = mem_calloc(max_rows, sizeof(*c->tokens));
	c->lengths = mem_calloc(max_seqs, sizeof(*c->lengths));
	c->seqs = mem_calloc(max_seqs, sizeof(struct sequence *));
	c->runs = mem_calloc(max_seqs, sizeof(*c->runs));
	c->outputs = mem_calloc(max_seqs, ADAPTER_MAX_LABELS * sizeof(*c->outputs));
	if (!c->tokens || !c->lengths || !c->seqs || !c->runs || !c->outputs) {
		classifier_free(c);
		return ERR_MEM;
	}
	*out = c;
	return OK;
}

void classifier_free(struct classifier *c)
{
	if (!c)
		return;
	mem_free(c->tokens);
	mem_free(c->lengths);
	mem_free(c->seqs);
	mem_free(c->runs);
	mem_free(c->outputs);
	mem_free(c);
}

/* Take q in, unless it does not fit to those that are in. */
static void add(struct classifier *c, struct sequence *q)
{
	const struct serve_request *r = &q->request;

	if (c->n_seqs == c->max_seqs || r->n_prompt > c->max_rows - c->n_rows)
		return;
	if (c->n_seqs > 0 && q->n_outputs != c->seqs[0]->n_outputs)
		return;
	memcpy(c->tokens + c->n_rows, r->prompt, r->n_prompt * sizeof(*c->tokens));
	c->lengths[c->n_seqs] = r->n_prompt;
	c->runs[c->n_seqs] = sequence_run(q, r->n_prompt);
	c->seqs[c->n_seqs++] = q;
	c->n_rows += r->n_prompt;
}

void classifier_step(struct classifier *c, struct serve_workspace *w, struct sequence *const *seqs,
        size_t n_seqs, struct batch_work *work)
{
	size_t n;
	enum err e;

	c->n_seqs = c->n_rows = 0;
	for (size_t i = 0; i < n_seqs; i++)
		if (seqs[i]->finish == FINISH_NONE)
			add(c, seqs[i]);
	if (c->n_seqs == 0)
		return;
	n = c->seqs[0]->n_outputs;
	e = model_classify(c->model, w, c->n_seqs, c->tokens, c->lengths, c->runs, n, c->outputs);
	for (size_t i = 0; i < c->n_seqs; i++) {
		if (!e)
			memcpy(c->seqs[i]->outputs, c->outputs + i * n, n * sizeof(*c->outputs));
		sequence_end(c->seqs[i], e ? FINISH_ERROR : FINISH_STOP, e);
	}
	work->prompt_tokens += c->n_rows;
}
