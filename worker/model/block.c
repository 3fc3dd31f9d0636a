/*
 * The block, forward and backward side by side. See transformer.h. Families differ only in what struct arch
 * says; there is no second block. Thread: the pass's owner.
 */
#include "worker/math/edit.h"
#include "worker/math/gemm.h"
#include "worker/math/norm.h"
#include "worker/math/skinny.h"
#include "worker/math/vec.h"
#include "worker/model/transformer.h"

#include <string.h>

size_t model_site(const struct model *m, size_t layer, enum module module)
{
	for (size_t i = 0; i < m->n_layer_sites; i++)
		if (m->layer_sites[i].module == module)
			return layer * m->n_layer_sites + i;
	return m->n_sites;
}

struct attention block_attention(const struct model *m, size_t layer)
{
	const struct arch *a = &m->arch;

	return (struct attention){
	        .n_heads = a->n_heads,
	        .n_kv_heads = a->n_kv_heads,
	        .head_dim = a->head_dim,
	        .scale = a->attn_scale_by_layer ? a->attn_scale / (float)(layer + 1) : a->attn_scale,
	        .causal = true,
	        .window = a->window,
	};
}

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

static void norm_forward(const struct arch *a, const struct norm *n, size_t N, const float *x, float *y,
        float *mean, float *rstd)
{
	if (a->norm == NORM_RMS)
		rmsnorm_forward(N, a->width, x, n->w, a->norm_eps, y, rstd);
	else
		layernorm_forward(N, a->width, x, n->w, n->b, a->norm_eps, y, mean, rstd);
}

static void norm_backward(const struct arch *a, const struct norm *n, size_t N, const float *dy,
        const float *x, const float *mean, const float *rstd, float *dx)
{
	if (a->norm == NORM_RMS)
		rmsnorm_backward(N, a->width, dy, x, n->w, rstd, dx);
	else
		layernorm_backward(N, a->width, dy, x, n->w, mean, rstd, dx);
}

void transformer_embed(const struct pass *p, const int32_t *tokens, float *x)
{
	const struct weights *w = &p->m->weights;
	size_t C = p->m->arch.width;

	for (size_t i = 0; i < p->n_rows; i++) {
		memcpy(x + i * C, w->embedding + (size_t)tokens[i] * C, C * sizeof(*x));
		if (w->positions)
			vec_add(C, x + i * C, w->positions + p->positions[i] * C);
	}
}

void transformer_final_norm(
        const struct model *m, size_t n, const float *x, float *y, float *mean, float *rstd)
{
	norm_forward(&m->arch, &m->weights.final_norm, n, x, y, mean, rstd);
}

void transformer_final_norm_backward(const struct model *m, size_t n, const float *dy, const float *x,
        const float *mean, const float *rstd, float *dx)
{
	norm_backward(&m->arch, &m->weights.final_norm, n, dy, x, mean, rstd, dx);
}

/* Copy rows (N,C) when someone needs the value before the edit. */
static void keep_raw(size_t N, size_t C, float *raw, const float *h, size_t ldh, size_t ldraw)
{
	for (size_t i = 0; i < N; i++)
		memcpy(raw + i * ldraw, h + i * ldh, C * sizeof(*h));
}

void block_qkv(const struct pass *p, size_t layer, const struct block_state *s, const struct block_scratch *t)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	const struct layer *l = &m->weights.layers[layer];
	size_t W = arch_qkv_width(a), at = 0;

	norm_forward(a, &l->norm1, p->n_rows, s->x_in, t->normed, s->mean1, s->rstd1);
	for (size_t i = 0; i < l->n_qkv; i++) {
		linear_forward(&l->qkv[i], p->n_rows, p->shared, t->normed, a->width, s->qkv + at, W);
		if (s->qkv_raw)
			keep_raw(p->n_rows, l->qkv[i].n_out, s->qkv_raw + at, s->qkv + at, W, W);
		adapter_forward(p->runs, p->n_runs, layer * m->n_layer_sites + i, s->qkv + at, W);
		at += l->qkv[i].n_out;
	}
	if (a->positions == POSITIONS_ROPE)
		rope_forward(p->n_rows, a->n_heads + a->n_kv_heads, a->head_dim, s->qkv, W, p->positions,
		        m->rope_cos, m->rope_sin);
}

/* The gradient of a constant added to all keys before rotation, added to shift (KV*D).
 *
 * Softmax does not see a constant added to a query's scores, so the gradients of the rotated keys sum to zero
 * over a sequence, and of sum_s R(-s) dk[s] only sum_s (R(-s) - I) dk[s] remains. What is left out is zero
 * but for rounding, which Adam, dividing by its own size, would blow up to full steps; without rotation all
 * of it is. dk (N, KV*D) has row distance W and is not yet rotated back. */
static void key_shift_backward(const struct pass *p, const float *dk, float *shift)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	size_t W = arch_qkv_width(a), half = a->head_dim / 2;

	if (a->positions != POSITIONS_ROPE)
		return;
	for (size_t h = 0; h < a->n_kv_heads; h++) {
		for (size_t i = 0; i < half; i++) {
			const float *g = dk + h * a->head_dim + i;
			double first = 0, second = 0;

			for (size_t t = 0; t < p->n_rows; t++, g += W) {
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
static float *key_shift_grads(const struct pass *p, size_t layer, float *grads)
{
	const struct model *m = p->m;
	size_t keys = m->arch.n_heads * m->arch.head_dim;

	for (size_t i = 0; i < m->weights.layers[layer].n_qkv; i++) {
		const struct layer_site *site = &m->layer_sites[i];
		float *shift = adapter_shift_grads(p->runs->layout, layer * m->n_layer_sites + i, grads);

		if (site->column <= keys && keys < site->column + site->width)
			return shift ? shift + (keys - site->column) : NULL;
	}
	return NULL;
}

void block_qkv_backward(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx, bool below)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	const struct layer *l = &m->weights.layers[layer];
	size_t W = arch_qkv_width(a), keys = a->n_heads * a->head_dim, n_keys = a->n_kv_heads * a->head_dim,
	       at = 0;
	float *shift = key_shift_grads(p, layer, g->grads);

	if (shift) {
		memcpy(g->key_shift, shift, n_keys * sizeof(*shift));
		key_shift_backward(p, g->d_qkv + keys, g->key_shift);
	}
	if (a->positions == POSITIONS_ROPE)
		rope_backward(p->n_rows, a->n_heads + a->n_kv_heads, a->head_dim, g->d_qkv, W, p->positions,
		        m->rope_cos, m->rope_sin);
	for (size_t i = 0; i < l->n_qkv; i++) {
		adapter_backward(p->runs, layer * m->n_layer_sites + i, g->d_qkv + at, W,
		        s->qkv_raw ? s->qkv_raw + at : NULL, W, g->grads);
		if (below)
			linear_backward(
			        &l->qkv[i], p->n_rows, g->d_qkv + at, W, i ? 1 : 0, g->d_branch, a->width);
		at += l->qkv[i].n_out;
	}
	if (shift)
		memcpy(shift, g->key_shift, n_keys * sizeof(*shift));
	if (below)
		norm_backward(a, &l->norm1, p->n_rows, g->d_branch, s->x_in, s->mean1, s->rstd1, dx);
}

/* out = in + edited(raw): one residual branch joined to the stream. */
static void join_branch(
        const struct pass *p, size_t site, float *raw, float *branch, const float *in, float *out)
{
	size_t C = p->m->arch.width;

	if (raw)
		keep_raw(p->n_rows, C, raw, branch, C, C);
	adapter_forward(p->runs, p->n_runs, site, branch, C);
	if (out != in)
		memcpy(out, in, p->n_rows * C * sizeof(*out));
	vec_add(p->n_rows * C, out, branch);
}

void block_finish(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_scratch *t, float *x_out)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	const struct layer *l = &m->weights.layers[layer];
	size_t N = p->n_rows, C = a->width, F = a->ffn_width;

	linear_forward(&l->attn_out, N, p->shared, s->attn, l->attn_out.n_in, t->branch, C);
	join_branch(p, model_site(m, layer, MODULE_ATTN_OUT), s->attn_out_raw, t->branch, s->x_in, s->x_mid);

	norm_forward(a, &l->norm2, N, s->x_mid, t->normed, s->mean2, s->rstd2);
	linear_forward(&l->up, N, p->shared, t->normed, C, s->up, F);
	if (a->gated) {
		linear_forward(&l->gate, N, p->shared, t->normed, C, s->gate, F);
		gated_forward(a->activation, N * F, s->gate, s->up, t->hidden);
	} else {
		activation_forward(a->activation, N * F, s->up, t->hidden);
	}
	linear_forward(&l->down, N, p->shared, t->hidden, F, t->branch, C);
	join_branch(p, model_site(m, layer, MODULE_FFN_DOWN), s->ffn_out_raw, t->branch, s->x_mid, x_out);
}

void block_finish_backward_ffn(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, float *dx, bool below)
{
	const struct model *m = p->m;
	const struct arch *a = &m->arch;
	const struct layer *l = &m->weights.layers[layer];
	size_t N = p->n_rows, C = a->width, F = a->ffn_width;

	memcpy(g->d_branch, dx, N * C * sizeof(*dx));
	adapter_backward(
	        p->runs, model_site(m, layer, MODULE_FFN_DOWN), g->d_branch, C, s->ffn_out_raw, C, g->grads);
	if (!below)
		return;
	linear_backward(&l->down, N, g->d_branch, C, 0, g->d_hidden, F);
	if (a->gated) {
		gated_backward(a->activation, N * F, s->gate, s->up, g->d_hidden, g->d_gate, g->d_hidden);
		linear_backward(&l->gate, N, g->d_gate, F, 0, g->d_branch, C);
	} else {
		activation_backward(a->activation, N * F, s->up, g->d_hidden, g->d_hidden);
	}
	linear_backward(&l->up, N, g->d_hidden, F, a->gated ? 1 : 0, g->d_branch, C);
	norm_backward(a, &l->norm2, N, g->d_branch, s->x_mid, s->mean2, s->rstd2, dx);
}

void block_finish_backward_attn(const struct pass *p, size_t layer, const struct block_state *s,
        const struct block_grads *g, const float *dx, bool below)
{
	const struct model *m = p->m;
	const struct layer *l = &m->weights.layers[layer];
	size_t N = p->n_rows, C = m->arch.width;

	memcpy(g->d_branch, dx, N * C * sizeof(*dx));
	adapter_backward(
	        p->runs, model_site(m, layer, MODULE_ATTN_OUT), g->d_branch, C, s->attn_out_raw, C, g->grads);
	if (below)
		linear_backward(&l->attn_out, N, g->d_branch, C, 0, g->d_attn, l->attn_out.n_in);
}
