/*
 * Linear maps, norms, and how a branch of the block leaves the residual stream and joins it again. See
 * transformer.h. Thread: the pass's owner.
 */
#include "worker/math/gemm.h"
#include "worker/math/norm.h"
#include "worker/math/product.h"
#include "worker/math/vec.h"
#include "worker/model/transformer.h"

#include <string.h>

/* Floats of int8 weights unpacked at a time. */
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

	if (m->weights.format != MATRIX_INT8)
		return PRODUCT_BACK_FLOATS;
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

/* Outputs that one of a crew computes at a time: of products with few rows, which stream weights, and with
 * many, which stream rows. */
#define FEW_ROWS ((size_t)64)
#define FEW_ROWS_BLOCK ((size_t)64)
#define MANY_ROWS_BLOCK ((size_t)192)

/* Several maps of the same x, cut into items for a crew. */
struct linears {
	const struct linear_output *outputs;
	size_t n, block;
	size_t items[LINEAR_MAX_OUTPUTS];
	struct product_rows rows;
};

static void linears_item(void *arg, size_t item, size_t thread)
{
	const struct linears *s = arg;
	const struct linear_output *o;
	size_t i = 0, begin, end;

	(void)thread;
	while (item >= s->items[i])
		item -= s->items[i++];
	o = &s->outputs[i];
	begin = item * s->block;
	end = s->block < o->l->w.n_out - begin ? begin + s->block : o->l->w.n_out;
	product_forward(&o->l->w, begin, end, &s->rows, o->l->b, o->y, o->ldy);
}

/* int8 weights with rows as they are: unpacked a panel at a time. */
static void unpacked_forward(
        const struct linear_output *o, float *panel, size_t n_rows, const float *x, size_t ldx)
{
	const struct matrix *w = &o->l->w;
	size_t step = panel_outputs(w), n;

	for (size_t at = 0; at < w->n_out; at += n) {
		n = smaller(step, w->n_out - at);
		matrix_unpack(w, at, n, panel);
		gemm_nt(n_rows, n, w->n_in, x, ldx, panel, w->n_in, 0, o->y + at, o->ldy);
	}
	if (o->l->b)
		vec_add_rows(n_rows, w->n_out, o->y, o->ldy, o->l->b);
}

static void fill_rows(void *arg, size_t begin, size_t end)
{
	product_fill(arg, begin, end);
}

void linears_forward(const struct linear_output *outputs, size_t n, const struct linear_scratch *t,
        size_t n_rows, const float *x, size_t ldx)
{
	struct linears s = {.outputs = outputs, .n = n};
	const struct matrix *w = &outputs->l->w;
	size_t n_items = 0;

	for (size_t i = 0; t->exact && w->format == MATRIX_INT8 && i < n; i++)
		unpacked_forward(&outputs[i], t->panel, n_rows, x, ldx);
	if (t->exact && w->format == MATRIX_INT8)
		return;
	s.block = !t->crew ? SIZE_MAX : n_rows > FEW_ROWS ? MANY_ROWS_BLOCK : FEW_ROWS_BLOCK;
	for (size_t i = 0; i < n; i++) {
		s.items[i] = t->crew ? (outputs[i].l->w.n_out + s.block - 1) / s.block : 1;
		n_items += s.items[i];
	}
	product_place(w->format, t->exact, n_rows, w->n_in, x, ldx, t->rows, &s.rows);
	if (s.rows.data != x)
		crew_run_parts(t->crew, n_rows, ROWS_PART, fill_rows, &s.rows);
	crew_run(t->crew, n_items, linears_item, &s);
}

void linear_forward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, const float *x,
        size_t ldx, float *y, size_t ldy)
{
	linears_forward(&(struct linear_output){l, y, ldy}, 1, t, n_rows, x, ldx);
}

void linear_backward(const struct linear *l, const struct linear_scratch *t, size_t n_rows, const float *dy,
        size_t lddy, bool add, float *dx, size_t lddx)
{
	const struct matrix *w = &l->w;
	size_t step = panel_outputs(w), n;
	struct product_rows rows;

	if (w->format != MATRIX_INT8) {
		product_prepare(w->format, t->exact, n_rows, w->n_out, dy, lddy, t->rows, &rows);
		product_backward(w, &rows, t->panel, add, dx, lddx);
		return;
	}
	for (size_t begin = 0; begin < w->n_out; begin += n, add = true) {
		n = smaller(step, w->n_out - begin);
		matrix_unpack(w, begin, n, t->panel);
		gemm_nn(n_rows, w->n_in, n, dy + begin, lddy, t->panel, w->n_in, add ? 1 : 0, dx, lddx);
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

void rows_pick(size_t n_rows, const size_t *rows, size_t n, float *to, const float *from)
{
	for (size_t i = 0; i < n_rows; i++)
		memmove(to + i * n, from + rows[i] * n, n * sizeof(*to));
}

void rows_spread(size_t n_rows, const size_t *rows, size_t n_all, size_t n, float *x)
{
	size_t end = n_all;

	for (size_t i = n_rows; i-- > 0; end = rows[i]) {
		memset(x + (rows[i] + 1) * n, 0, (end - rows[i] - 1) * n * sizeof(*x));
		memmove(x + rows[i] * n, x + i * n, n * sizeof(*x));
	}
	memset(x, 0, end * n * sizeof(*x));
}

/* What the parts of a branch's beginning and end go by. */
struct branch_work {
	const struct pass *p;
	const struct norm *norm;
	size_t site;
	const struct branch_state *s;
	const struct block_scratch *t;
	float *x_out;
};

static float *from_row(float *x, size_t row)
{
	return x ? x + row : NULL;
}

static void begin_rows(void *arg, size_t begin, size_t end)
{
	const struct branch_work *w = arg;
	const struct arch *a = &w->p->m->arch;
	size_t at = begin * a->width;

	norm_forward(a, w->norm, end - begin, w->s->x_in + at, w->t->normed + at, from_row(w->s->mean, begin),
	        from_row(w->s->rstd, begin));
}

const float *branch_begin(const struct pass *p, const struct norm *norm, const struct branch_state *s,
        const struct block_scratch *t)
{
	struct branch_work w = {.p = p, .norm = norm, .s = s, .t = t};

	if (p->m->arch.post_norm)
		return s->x_in;
	crew_run_parts(p->linear.crew, p->n_rows, ROWS_PART, begin_rows, &w);
	return t->normed;
}

static void join_rows(void *arg, size_t begin, size_t end)
{
	const struct branch_work *w = arg;
	const struct pass *p = w->p;
	const struct branch_state *s = w->s;
	const struct arch *a = &p->m->arch;
	size_t C = a->width, at = begin * C, n = (end - begin) * C;
	float *x_out = w->x_out + at, *sum = a->post_norm ? s->x_sum + at : x_out;

	if (s->raw)
		memcpy(s->raw + at, w->t->branch + at, n * sizeof(*s->raw));
	adapter_forward(p->runs, p->n_runs, w->site, begin, end, w->t->branch, C);
	if (sum != s->x_in + at)
		memcpy(sum, s->x_in + at, n * sizeof(*sum));
	vec_add(n, sum, w->t->branch + at);
	if (a->post_norm)
		norm_forward(a, w->norm, end - begin, sum, x_out, from_row(s->mean, begin),
		        from_row(s->rstd, begin));
	if (s->stream)
		memcpy(s->stream + at, x_out, n * sizeof(*x_out));
	adapter_forward(p->runs, p->n_runs, w->site + 1, begin, end, w->x_out, C);
}

void branch_join(const struct pass *p, const struct norm *norm, size_t site, const struct branch_state *s,
        const struct block_scratch *t, float *x_out)
{
	struct branch_work w = {p, norm, site, s, t, x_out};

	crew_run_parts(p->linear.crew, p->n_rows, ROWS_PART, join_rows, &w);
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
