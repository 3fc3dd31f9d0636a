/*
 * The attention branch of the block, forward and backward side by side: projections, edits, rotation; the
 * attending itself is the pass's. See transformer.h. Thread: the pass's owner.
 */
#include "worker/model/transformer.h"

#include <string.h>

struct attention block_attention(const struct model *m, size_t layer, enum attention_kind kind)
{
	const struct arch *a = &m->arch;
	const struct stack *s = arch_stack(a, layer);
	struct attention at = {
	        .n_heads = a->n_heads,
	        .n_kv_heads = a->n_kv_heads,
	        .head_dim = a->head_dim,
	        .scale = a->attn_scale_by_layer ? a->attn_scale / (float)(layer + 1) : a->attn_scale,
	};

	if (kind == ATTENTION_CROSS)
		return at;
	at.causal = s->causal;
	at.window = layer >= a->window_from ? a->window : 0;
	at.rel_bias = m->weights.layers[layer].attn[kind].rel_bias;
	at.rel_zero = a->relative_distance;
	at.rel_n = 2 * a->relative_distance + 1;
	return at;
}

/* The site of the i-th of an attention's projections; they follow one another. */
static size_t projection_site(const struct pass *p, size_t layer, enum attention_kind kind, size_t i)
{
	const struct arch *a = &p->m->arch;

	return arch_site(a, layer, module_of(kind, a->fused_qkv ? MODULE_QKV : MODULE_Q)) + i;
}

static float *projection(const struct qkv *row, size_t i, size_t *ld)
{
	*ld = i == 0 ? row->ldq : row->ldkv;
	return i == 0 ? row->q : i == 1 ? row->k : row->v;
}

struct projection_work {
	const struct pass *p;
	size_t layer;
	enum attention_kind kind;
	size_t begin, end; /* projections */
	const struct attention_state *s;
};

/* Keep and edit rows of projections. */
static void edit_rows(void *arg, size_t begin, size_t end)
{
	const struct projection_work *w = arg;
	const struct attention_weights *weights = &w->p->m->weights.layers[w->layer].attn[w->kind];

	for (size_t i = w->begin; i < w->end; i++) {
		size_t ld, ldraw, site = projection_site(w->p, w->layer, w->kind, i);
		float *y = projection(&w->s->row, i, &ld), *raw = projection(&w->s->raw, i, &ldraw);

		if (w->s->raw.q)
			rows_copy(end - begin, weights->qkv[i].w.n_out, raw + begin * ldraw, ldraw,
			        y + begin * ld, ld);
		adapter_forward(w->p->runs, w->p->n_runs, site, begin, end, y, ld);
	}
}

/* Projections begin .. end - 1 of x (n,C), n the rows of p, edited. */
static void project(const struct pass *p, size_t layer, enum attention_kind kind, size_t begin, size_t end,
        const float *x, const struct attention_state *s)
{
	const struct attention_weights *w = &p->m->weights.layers[layer].attn[kind];
	struct projection_work work = {p, layer, kind, begin, end, s};
	struct linear_output outputs[LINEAR_MAX_OUTPUTS] = {0};

	for (size_t i = begin; i < end; i++) {
		struct linear_output *o = &outputs[i - begin];

		o->l = &w->qkv[i];
		o->y = projection(&s->row, i, &o->ldy);
	}
	linears_forward(outputs, end - begin, &p->linear, p->n_rows, x, p->m->arch.width);
	crew_run_parts(p->linear.crew, p->n_rows, ROWS_PART, edit_rows, &work);
}

void block_source(
        const struct pass *source, size_t layer, const float *memory, const struct attention_state *s)
{
	project(source, layer, ATTENTION_CROSS, 1, 3, memory, s);
}

struct rotation {
	const struct pass *p;
	const struct qkv *row;
	bool back;
};

static void rotate_rows(void *arg, size_t begin, size_t end)
{
	const struct rotation *r = arg;
	const struct model *m = r->p->m;
	const struct arch *a = &m->arch;
	const size_t *positions = r->p->positions + begin, n = end - begin;
	void (*rope)(size_t, size_t, size_t, float *, size_t, const size_t *, const float *, const float *) =
	        r->back ? rope_backward : rope_forward;

	rope(n, a->n_heads, a->head_dim, r->row->q + begin * r->row->ldq, r->row->ldq, positions, m->rope_cos,
	        m->rope_sin);
	rope(n, a->n_kv_heads, a->head_dim, r->row->k + begin * r->row->ldkv, r->row->ldkv, positions,
	        m->rope_cos, m->rope_sin);
}

static void rotate(const struct pass *p, const struct qkv *row, bool back)
{
	struct rotation r = {p, row, back};

	if (p->m->arch.positions == POSITIONS_ROPE)
		crew_run_parts(p->linear.crew, p->n_rows, ROWS_PART, rotate_rows, &r);
}

void attention_branch(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_scratch *t, float *x_out)
{
	const struct arch *a = &p->m->arch;
	const struct attention_weights *w = &p->m->weights.layers[layer].attn[kind];
	const struct pass *rest = kind == ATTENTION_SELF ? block_rest(p, layer) : p;
	const float *x = branch_begin(p, &w->norm, &s->branch, t);
	struct branch_state branch = s->branch;

	project(p, layer, kind, 0, kind == ATTENTION_SELF ? w->n_qkv : 1, x, s);
	if (kind == ATTENTION_CROSS && p->source)
		block_source(p->source, layer, p->memory, s);
	if (kind == ATTENTION_SELF)
		rotate(p, &s->row, false);
	p->attend(p, layer, kind, s);
	linear_forward(&w->out, &p->linear, rest->n_rows, s->attn, w->out.w.n_in, t->branch, a->width);
	if (rest != p) {
		branch.x_in = a->post_norm ? branch.x_sum : x_out;
		rows_pick(rest->n_rows, p->rest_rows, a->width, branch.x_in, s->branch.x_in);
	}
	branch_join(rest, &w->norm, arch_site(a, layer, module_of(kind, MODULE_ATTN_OUT)), &branch, t, x_out);
}

/* The gradient of a constant added to all keys before rotation, added to shift (KV*D).
 *
 * Softmax does not see a constant added to a query's scores, so the gradients of the rotated keys sum to zero
 * over a sequence, and of sum_s R(-s) dk[s] only sum_s (R(-s) - I) dk[s] remains. What is left out is zero
 * but for rounding, which Adam, dividing by its own size, would blow up to full steps; without rotation all
 * of it is, whatever other positions there are. dk (N, KV*D) has row distance ld and is not yet rotated back.
 */
static void key_shift_backward(const struct pass *p, const float *dk, size_t ld, float *shift)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	size_t half = a->head_dim / 2;

	if (a->positions != POSITIONS_ROPE)
		return;
	for (size_t h = 0; h < a->n_kv_heads; h++) {
		for (size_t i = 0; i < half; i++) {
			const float *g = dk + h * a->head_dim + i;
			double first = 0, second = 0;

			for (size_t t = 0; t < p->n_rows; t++, g += ld) {
				double c = (double)m->rope_cos[p->positions[t] * half + i];
				double s = (double)m->rope_sin[p->positions[t] * half + i];
				double c_1 =
				        c > 0 ? -s * s / (1 + c) : c - 1; /* cos - 1 without cancellation */

				first += (double)g[0] * c_1 + (double)g[half] * s;
				second += (double)g[half] * c_1 - (double)g[0] * s;
			}
			shift[h * a->head_dim + i] += (float)first;
			shift[h * a->head_dim + i + half] += (float)second;
		}
	}
}

/* Where the shift gradient of the keys of a layer is gathered, (KV*D), or NULL. */
static float *key_shift_grads(const struct pass *p, size_t layer, enum attention_kind kind, float *grads)
{
	const struct arch *a = &p->m->arch;
	size_t in_site = a->fused_qkv ? a->n_heads * a->head_dim : 0;
	float *shift = adapter_shift_grads(
	        p->runs->layout, projection_site(p, layer, kind, a->fused_qkv ? 0 : 1), grads);

	return shift ? shift + in_site : NULL;
}

/* From g->d_row to the gradients of edits and, where they are needed, of what was projected. p: the pass of
 * the rows projected; dx (n,C), overwritten unless `add` says so, or NULL. */
static void project_backward(const struct pass *p, size_t layer, enum attention_kind kind, size_t begin,
        size_t end, const struct attention_state *s, const struct block_grads *g, bool add, float *dx)
{
	const struct attention_weights *w = &p->m->weights.layers[layer].attn[kind];

	for (size_t i = begin; i < end; i++) {
		size_t ld, ldraw;
		float *dy = projection(&g->d_row[kind], i, &ld), *raw = projection(&s->raw, i, &ldraw);

		adapter_backward(p->runs, projection_site(p, layer, kind, i), dy, ld, raw, ldraw, g->grads);
		if (dx)
			linear_backward(&w->qkv[i], &p->linear, p->n_rows, dy, ld, add || i > begin, dx,
			        p->m->arch.width);
	}
}

bool attention_branch_backward(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_grads *g, float *dx)
{
	const struct arch *a = &p->m->arch;
	const struct attention_weights *w = &p->m->weights.layers[layer].attn[kind];
	const struct qkv *d = &g->d_row[kind];
	const struct pass *rest = kind == ATTENTION_SELF ? block_rest(p, layer) : p;
	size_t out = arch_site(a, layer, module_of(kind, MODULE_ATTN_OUT)),
	       n_keys = a->n_kv_heads * a->head_dim;
	bool below = g->floor < projection_site(p, layer, kind, 0);
	float *shift = key_shift_grads(p, layer, kind, g->grads);

	if (g->floor > out + 1)
		return false;
	branch_join_backward(rest, &w->norm, out, &s->branch, g, dx);
	if (g->floor >= out)
		return false;
	linear_backward(
	        &w->out, &p->linear, rest->n_rows, g->d_branch, a->width, false, g->d_attn, w->out.w.n_in);
	g->attend_backward(p, layer, kind, s, g);
	if (shift) {
		memcpy(g->key_shift, shift, n_keys * sizeof(*shift));
		key_shift_backward(p, d->k, d->ldkv, g->key_shift);
	}
	if (kind == ATTENTION_SELF)
		rotate(p, d, true);
	project_backward(p, layer, kind, 0, kind == ATTENTION_SELF ? w->n_qkv : 1, s, g, false,
	        below ? g->d_branch : NULL);
	if (kind == ATTENTION_CROSS)
		project_backward(p->source, layer, kind, 1, w->n_qkv, s, g, 1, g->d_memory);
	if (shift)
		memcpy(shift, g->key_shift, n_keys * sizeof(*shift));
	if (below && rest != p)
		rows_spread(rest->n_rows, p->rest_rows, p->n_rows, a->width, dx);
	if (below)
		branch_begin_backward(p, &w->norm, &s->branch, g, dx);
	return below;
}
