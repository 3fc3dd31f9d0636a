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

/* Numbers of a panel: as much as a product of its rows still makes up for, and cache holds. */
#define PANEL_FLOATS ((size_t)1 << 19)

size_t linear_max_inputs(const struct model *m)
{
	const struct arch *a = &m->arch;
	size_t most = a->n_heads * a->head_dim;

	most = most > a->width ? most : a->width;
	return most > a->ffn_width ? most : a->ffn_width;
}

size_t linear_panel_floats(const struct model *m)
{
	size_t least = MATRIX_PANEL * linear_max_inputs(m);

	if (m->weights.format == MATRIX_F32)
		return 0;
	return least > PANEL_FLOATS ? least : PANEL_FLOATS;
}

/* Outputs that fit into a panel. */
static size_t panel_outputs(const struct matrix *w)
{
	size_t n = PANEL_FLOATS / w->n_in / MATRIX_PANEL * MATRIX_PANEL;

	return n ? n : MATRIX_PANEL;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Outputs that one of a crew computes at a time: of products with few rows, which stream weights ... */
#define SHARED_BLOCK ((size_t)64)
/* ... and of others, a quarter of them: enough for BLAS to run well. */
#define GEMM_PARTS 4
#define GEMM_MIN_BLOCK ((size_t)96)
#define GEMM_MAX_BLOCK ((size_t)512)

/* Several maps of the same x, cut into items for a crew. */
struct linears {
	const struct linear_output *outputs;
	size_t n;
	size_t block[LINEAR_MAX_OUTPUTS], items[LINEAR_MAX_OUTPUTS];
	bool shared;
	struct skinny_rows rows;
	const float *x;
	size_t n_rows, ldx;
	float *panel;
};

/* Outputs begin .. end - 1. */
static void gemm_part(const struct linears *s, const struct linear_output *o, size_t begin, size_t end)
{
	const struct matrix *w = &o->l->w;
	size_t step = panel_outputs(w), n;

	if (w->format == MATRIX_F32)
		gemm_nt(s->n_rows, end - begin, w->n_in, s->x, s->ldx,
		        (const float *)w->data + begin * w->n_in, w->n_in, 0, o->y + begin, o->ldy);
	for (size_t at = begin; w->format != MATRIX_F32 && at < end; at += step) {
		n = smaller(step, end - at);
		matrix_unpack(w, at, n, s->panel);
		gemm_nt(s->n_rows, n, w->n_in, s->x, s->ldx, s->panel, w->n_in, 0, o->y + at, o->ldy);
	}
	if (o->l->b)
		vec_add_rows(s->n_rows, end - begin, o->y + begin, o->ldy, o->l->b + begin);
}

static void linears_item(void *arg, size_t item, size_t thread)
{
	const struct linears *s = arg;
	const struct linear_output *o;
	size_t i = 0, begin, end;

	(void)thread;
	while (item >= s->items[i])
		item -= s->items[i++];
	o = &s->outputs[i];
	begin = item * s->block[i];
	end = smaller(begin + s->block[i], o->l->w.n_out);
	if (s->shared)
		skinny_product(&o->l->w, begin, end, &s->rows, o->l->b, o->y, o->ldy);
	else
		gemm_part(s, o, begin, end);
}

static size_t block_of(const struct linear *l, const struct linear_scratch *t, bool shared)
{
	size_t part = (l->w.n_out / GEMM_PARTS + MATRIX_PANEL - 1) / MATRIX_PANEL * MATRIX_PANEL;

	if (shared ? !t->crew : !t->cut)
		return l->w.n_out;
	if (shared)
		return SHARED_BLOCK;
	part = part < GEMM_MIN_BLOCK ? GEMM_MIN_BLOCK : part;
	return smaller(part, GEMM_MAX_BLOCK);
}

void linears_forward(const struct linear_output *outputs, size_t n, const struct linear_scratch *t,
        size_t n_rows, bool shared, const float *x, size_t ldx)
{
	struct linears s = {.outputs = outputs,
	        .n = n,
	        .shared = shared,
	        .x = x,
	        .n_rows = n_rows,
	        .ldx = ldx,
	        .panel = t->panel};
	size_t n_items = 0;

	for (size_t i = 0; i < n; i++) {
		s.block[i] = block_of(outputs[i].l, t, shared);
		s.items[i] = (outputs[i].l->w.n_out + s.block[i] - 1) / s.block[i];
		n_items += s.items[i];
	}
	if (shared)
		skinny_prepare(outputs->l->w.format, n_rows, outputs->l->w.n_in, x, ldx, t->rows, &s.rows);
	/* a panel is one thread's */
	crew_run(s.shared || !s.panel ? t->crew : NULL, n_items, linears_item, &s);
}

void linear_forward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, bool shared,
        const float *x, size_t ldx, float *y, size_t ldy)
{
	linears_forward(&(struct linear_output){l, y, ldy}, 1, t, n_rows, shared, x, ldx);
}

void linear_backward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, const float *dy,
        size_t lddy, float beta, float *dx, size_t lddx)
{
	const struct matrix *w = &l->w;
	size_t step = panel_outputs(w), n;

	if (w->format == MATRIX_F32) {
		gemm_nn(n_rows, w->n_in, w->n_out, dy, lddy, w->data, w->n_in, beta, dx, lddx);
		return;
	}
	for (size_t begin = 0; begin < w->n_out; begin += step, beta = 1) {
		n = smaller(step, w->n_out - begin);
		matrix_unpack(w, begin, n, t->panel);
		gemm_nn(n_rows, w->n_in, n, dy + begin, lddy, t->panel, w->n_in, beta, dx, lddx);
	}
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
