/*
 * The block, forward and backward side by side, and its feed-forward branch. See transformer.h. Families
 * differ only in what struct arch says; there is no second block. Thread: the pass's owner.
 */
#include "worker/model/transformer.h"

/* Numbers that one of a crew activates at a time. */
#define ACTIVATE_BLOCK ((size_t)4096)

struct activation_work {
	const struct arch *arch;
	const struct ffn_state *s;
	float *hidden;
};

static void activate_part(void *arg, size_t begin, size_t end)
{
	const struct activation_work *w = arg;
	const struct arch *a = w->arch;

	if (a->gated)
		gated_forward(
		        a->activation, end - begin, w->s->gate + begin, w->s->up + begin, w->hidden + begin);
	else
		activation_forward(a->activation, end - begin, w->s->up + begin, w->hidden + begin);
}

/* hidden (N,F) from what goes in. */
static void activate(const struct pass *p, const struct ffn_state *s, float *hidden)
{
	struct activation_work w = {&p->m->arch, s, hidden};

	crew_run_parts(p->linear.crew, p->n_rows * p->m->arch.ffn_width, ACTIVATE_BLOCK, activate_part, &w);
}

/* Its output into t->branch. */
static void ffn_output(
        const struct pass *p, size_t layer, const struct ffn_state *s, const struct block_scratch *t)
{
	const struct arch *a = &p->m->arch;
	const struct ffn_weights *w = &p->m->weights.layers[layer].ffn;
	size_t N = p->n_rows, C = a->width, F = a->ffn_width;
	const float *x = branch_begin(p, &w->norm, &s->branch, t);

	linears_forward((const struct linear_output[]){{&w->up, s->up, F}, {&w->gate, s->gate, F}},
	        a->gated ? 2 : 1, &p->linear, N, x, C);
	activate(p, s, t->hidden);
	linear_forward(&w->down, &p->linear, N, t->hidden, F, t->branch, C);
}

static bool ffn_branch_backward(
        const struct pass *p, size_t layer, const struct ffn_state *s, const struct block_grads *g, float *dx)
{
	const struct arch *a = &p->m->arch;
	const struct ffn_weights *w = &p->m->weights.layers[layer].ffn;
	size_t N = p->n_rows, C = a->width, F = a->ffn_width, site = arch_site(a, layer, MODULE_FFN_DOWN);

	if (g->floor > site + 1)
		return false;
	branch_join_backward(p, &w->norm, site, &s->branch, g, dx);
	if (g->floor >= site)
		return false;
	linear_backward(&w->down, &p->linear, N, g->d_branch, C, false, g->d_hidden, F);
	if (a->gated) {
		gated_backward(a->activation, N * F, s->gate, s->up, g->d_hidden, g->d_gate, g->d_hidden);
		linear_backward(&w->gate, &p->linear, N, g->d_gate, F, false, g->d_branch, C);
	} else {
		activation_backward(a->activation, N * F, s->up, g->d_hidden, g->d_hidden);
	}
	linear_backward(&w->up, &p->linear, N, g->d_hidden, F, a->gated, g->d_branch, C);
	branch_begin_backward(p, &w->norm, &s->branch, g, dx);
	return true;
}

const struct pass *block_rest(const struct pass *p, size_t layer)
{
	return p->rest && layer + 1 == p->stack->first_layer + p->stack->n_layers ? p->rest : p;
}

void pass_narrow(struct pass *p, struct rest_pass *rest, const size_t *rows, size_t n, void *context)
{
	rest->run = *p->runs;
	rest->run.n_rows = n;
	rest->pass = *p;
	rest->pass.n_rows = n;
	rest->pass.runs = &rest->run;
	rest->pass.context = context;
	p->rest = &rest->pass;
	p->rest_rows = rows;
}

void block_outputs(
        const struct pass *p, size_t layer, const struct block_state *s, const struct block_scratch *t)
{
	const struct attention_state *self = &s->attn[ATTENTION_SELF], *cross = &s->attn[ATTENTION_CROSS];
	const struct pass *rest = block_rest(p, layer);

	attention_branch(
	        p, layer, ATTENTION_SELF, self, t, p->stack->cross ? cross->branch.x_in : s->ffn.branch.x_in);
	if (p->stack->cross)
		attention_branch(rest, layer, ATTENTION_CROSS, cross, t, s->ffn.branch.x_in);
	ffn_output(rest, layer, &s->ffn, t);
}

void block_join(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out)
{
	const struct model *m = p->m;

	branch_join(block_rest(p, layer), &m->weights.layers[layer].ffn.norm,
	        arch_site(&m->arch, layer, MODULE_FFN_DOWN), &s->ffn.branch, t, x_out);
}

void block_forward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out)
{
	block_outputs(p, layer, s, t);
	block_join(p, layer, s, t, x_out);
}

bool block_backward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx)
{
	const struct pass *rest = block_rest(p, layer);

	if (!ffn_branch_backward(rest, layer, &s->ffn, g, dx))
		return false;
	if (p->stack->cross &&
	        !attention_branch_backward(rest, layer, ATTENTION_CROSS, &s->attn[ATTENTION_CROSS], g, dx))
		return false;
	return attention_branch_backward(p, layer, ATTENTION_SELF, &s->attn[ATTENTION_SELF], g, dx);
}
