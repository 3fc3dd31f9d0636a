/*
 * The block, forward and backward side by side, and its feed-forward branch. See transformer.h. Families
 * differ only in what struct arch says; there is no second block. Thread: the pass's owner.
 */
#include "worker/model/transformer.h"

static void ffn_branch(const struct pass *p, size_t layer, const struct ffn_state *s,
        const struct block_scratch *t, float *x_out)
{
	const struct arch *a = &p->m->arch;
	const struct ffn_weights *w = &p->m->weights.layers[layer].ffn;
	size_t N = p->n_rows, C = a->width, F = a->ffn_width;
	const float *x = branch_begin(p, &w->norm, &s->branch, t);

	linear_forward(&w->up, &p->linear, N, p->shared, x, C, s->up, F);
	if (a->gated) {
		linear_forward(&w->gate, &p->linear, N, p->shared, x, C, s->gate, F);
		gated_forward(a->activation, N * F, s->gate, s->up, t->hidden);
	} else {
		activation_forward(a->activation, N * F, s->up, t->hidden);
	}
	linear_forward(&w->down, &p->linear, N, p->shared, t->hidden, F, t->branch, C);
	branch_join(p, &w->norm, arch_site(a, layer, MODULE_FFN_DOWN), &s->branch, t, x_out);
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
	linear_backward(&w->down, &p->linear, N, g->d_branch, C, 0, g->d_hidden, F);
	if (a->gated) {
		gated_backward(a->activation, N * F, s->gate, s->up, g->d_hidden, g->d_gate, g->d_hidden);
		linear_backward(&w->gate, &p->linear, N, g->d_gate, F, 0, g->d_branch, C);
	} else {
		activation_backward(a->activation, N * F, s->up, g->d_hidden, g->d_hidden);
	}
	linear_backward(&w->up, &p->linear, N, g->d_hidden, F, a->gated ? 1 : 0, g->d_branch, C);
	branch_begin_backward(p, &w->norm, &s->branch, g, dx);
	return true;
}

void block_forward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out)
{
	const struct attention_state *self = &s->attn[ATTENTION_SELF], *cross = &s->attn[ATTENTION_CROSS];

	attention_branch(
	        p, layer, ATTENTION_SELF, self, t, p->stack->cross ? cross->branch.x_in : s->ffn.branch.x_in);
	if (p->stack->cross)
		attention_branch(p, layer, ATTENTION_CROSS, cross, t, s->ffn.branch.x_in);
	ffn_branch(p, layer, &s->ffn, t, x_out);
}

bool block_backward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx)
{
	if (!ffn_branch_backward(p, layer, &s->ffn, g, dx))
		return false;
	if (p->stack->cross &&
	        !attention_branch_backward(p, layer, ATTENTION_CROSS, &s->attn[ATTENTION_CROSS], g, dx))
		return false;
	return attention_branch_backward(p, layer, ATTENTION_SELF, &s->attn[ATTENTION_SELF], g, dx);
}
