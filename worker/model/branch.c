/*
 * Linear maps, norms, and how a branch of the block leaves the residual stream and joins it again. See
 * transformer.h. Thread: the pass's owner.
 */
#include "worker/math/gemm.h"
#include "worker/math/norm.h"
#include "worker/math/skinny.h"
#include "worker/math/vec.h"
#include "worker/model/transformer.h"

#include <string.h>

void linear_forward(
        const struct linear *l, size_t n_rows, bool shared, const float *x, size_t ldx, float *y, size_t ldy)
{
	if (shared) {
		skinny_product(n_rows, l->n_out, l->n_in, x, ldx, l->w, l->b, y, ldy);
		return;
	}
	gemm_nt(n_rows, l->n_out, l->n_in, x, ldx, l->w, l->n_in, 0, y, ldy);
	if (l->b)
		vec_add_rows(n_rows, l->n_out, y, ldy, l->b);
}

void linear_backward(const struct linear *l, size_t n_rows, const float *dy, size_t lddy, float beta,
        float *dx, size_t lddx)
{
	gemm_nn(n_rows, l->n_in, l->n_out, dy, lddy, l->w, l->n_in, beta, dx, lddx);
}

void norm_forward(const struct arch *a, const struct norm *n, size_t n_rows, const float *x, float *y,
        float *mean, float *rstd)
{
	if (a->norm == NORM_RMS)
		rmsnorm_forward(n_rows, a->width, x, n->w, a->norm_eps, y, rstd);
	else
		layernorm_forward(n_rows, a->width, x, n->w, n->b, a->norm_eps, y, mean, rstd);
}

void norm_backward(const struct arch *a, const struct norm *n, size_t n_rows, const float *dy, const float *x,
        const float *mean, const float *rstd, float *dx)
{
	if (a->norm == NORM_RMS)
		rmsnorm_backward(n_rows, a->width, dy, x, n->w, rstd, dx);
	else
		layernorm_backward(n_rows, a->width, dy, x, n->w, mean, rstd, dx);
}

void rows_copy(size_t n_rows, size_t n, float *to, size_t ldto, const float *from, size_t ldfrom)
{
	for (size_t i = 0; i < n_rows; i++)
		memcpy(to + i * ldto, from + i * ldfrom, n * sizeof(*to));
}

const float *branch_begin(const struct pass *p, const struct norm *norm, const struct branch_state *s,
        const struct block_scratch *t)
{
	const struct arch *a = &p->m->arch;

	if (a->post_norm)
		return s->x_in;
	norm_forward(a, norm, p->n_rows, s->x_in, t->normed, s->mean, s->rstd);
	return t->normed;
}

void branch_join(const struct pass *p, const struct norm *norm, size_t site, const struct branch_state *s,
        const struct block_scratch *t, float *x_out)
{
	const struct arch *a = &p->m->arch;
	size_t N = p->n_rows, C = a->width;
	float *sum = a->post_norm ? s->x_sum : x_out;

	if (s->raw)
		memcpy(s->raw, t->branch, N * C * sizeof(*s->raw));
	adapter_forward(p->runs, p->n_runs, site, t->branch, C);
	if (sum != s->x_in)
		memcpy(sum, s->x_in, N * C * sizeof(*sum));
	vec_add(N * C, sum, t->branch);
	if (a->post_norm)
		norm_forward(a, norm, N, sum, x_out, s->mean, s->rstd);
	if (s->stream)
		memcpy(s->stream, x_out, N * C * sizeof(*x_out));
	adapter_forward(p->runs, p->n_runs, site + 1, x_out, C);
}

void branch_join_backward(const struct pass *p, const struct norm *norm, size_t site,
        const struct branch_state *s, const struct block_grads *g, float *dx)
{
	const struct arch *a = &p->m->arch;
	size_t N = p->n_rows, C = a->width;

	adapter_backward(p->runs, site + 1, dx, C, s->stream, C, g->grads);
	if (a->post_norm) {
		memset(g->d_branch, 0, N * C * sizeof(*dx));
		norm_backward(a, norm, N, dx, s->x_sum, s->mean, s->rstd, g->d_branch);
		memcpy(dx, g->d_branch, N * C * sizeof(*dx));
	} else {
		memcpy(g->d_branch, dx, N * C * sizeof(*dx));
	}
	adapter_backward(p->runs, site, g->d_branch, C, s->raw, C, g->grads);
}

void branch_begin_backward(const struct pass *p, const struct norm *norm, const struct branch_state *s,
        const struct block_grads *g, float *dx)
{
	const struct arch *a = &p->m->arch;

	if (a->post_norm)
		vec_add(p->n_rows * a->width, dx, g->d_branch);
	else
		norm_backward(a, norm, p->n_rows, g->d_branch, s->x_in, s->mean, s->rstd, dx);
}
