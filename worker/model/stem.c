/* See stem.h. */
#include "worker/model/stem.h"

#include <string.h>

struct stem stem_of(const struct arch *a, const struct adapter_layout *layout)
{
	const struct stack *stack = &a->stacks[0];
	size_t n_sites = stack->n_layers * stack->n_layer_sites, site = adapter_layout_first_site(layout);
	size_t last = a->n_stacks > 1 ? stack->n_layers : stack->n_layers - 1;
	struct stem s = {0};

	site = site < n_sites ? site : n_sites;
	s.layer = site / stack->n_layer_sites;
	/* the last block of all goes on with rows that a batch's labels decide on */
	s.joins = s.layer < last && site >= arch_site(a, s.layer, MODULE_FFN_DOWN);
	s.layer = s.layer < last ? s.layer : last;
	s.n_floats = s.joins ? 2 * a->width : s.layer > 0 ? a->width : 0;
	return s;
}

size_t model_stem_floats(const struct model *m, const struct adapter_layout *layout)
{
	return stem_of(&m->arch, layout).n_floats;
}

void stem_keep(const struct stem *s, const struct stem_rows *r, size_t at, size_t C, const float *x)
{
	for (size_t i = 0; i < r->n_seqs; i++)
		for (size_t j = 0; j < r->lengths[i]; j++, x += C)
			memcpy(r->stems[i] + j * s->n_floats + at, x, C * sizeof(*x));
}

void stem_recall(const struct stem *s, const struct stem_rows *r, size_t at, size_t C, float *x)
{
	for (size_t i = 0; i < r->n_seqs; i++)
		for (size_t j = 0; j < r->lengths[i]; j++, x += C)
			memcpy(x, r->stems[i] + j * s->n_floats + at, C * sizeof(*x));
}
