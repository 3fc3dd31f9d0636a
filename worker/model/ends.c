/* Where the residual stream begins and ends: embeddings and final norms. See transformer.h. */
#include "worker/math/vec.h"
#include "worker/model/transformer.h"

#include <string.h>

void transformer_embed(const struct pass *p, const int32_t *tokens, float *x)
{
	const struct arch *a = &p->m->arch;
	const struct weights *w = &p->m->weights;
	size_t C = a->width;

	for (size_t i = 0; i < p->n_rows; i++) {
		(void)tensor_read_f32(
		        w->embedding, (size_t)tokens[i] * C, C, x + i * C); /* of a known type */
		if (w->types)
			vec_add(C, x + i * C, w->types + (p->segments ? p->segments[i] : 0) * C);
		if (w->positions)
			vec_add(C, x + i * C, w->positions + p->positions[i] * C);
	}
	if (w->embedding_norm.w)
		norm_forward(a, &w->embedding_norm, p->n_rows, x, x, NULL, NULL);
}

static const struct norm *final_norm(const struct model *m, const struct stack *s)
{
	return &m->weights.final_norm[s - m->arch.stacks];
}

void transformer_final_norm(const struct model *m, const struct stack *s, size_t n, const float *x, float *y,
        float *mean, float *rstd)
{
	if (final_norm(m, s)->w)
		norm_forward(&m->arch, final_norm(m, s), n, x, y, mean, rstd);
	else if (y != x)
		memcpy(y, x, n * m->arch.width * sizeof(*y));
}

void transformer_final_norm_backward(const struct model *m, const struct stack *s, size_t n, const float *dy,
        const float *x, const float *mean, const float *rstd, float *dx)
{
	if (final_norm(m, s)->w)
		norm_backward(&m->arch, final_norm(m, s), n, dy, x, mean, rstd, dx);
	else
		vec_add(n * m->arch.width, dx, dy);
}
