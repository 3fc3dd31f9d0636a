/* See tape.h. */
#include "worker/model/tape.h"

#include "worker/math/product.h"

#include <string.h>

#define ALIGN_BYTES 64

/* Hands out slices; with a NULL base it only counts. */
struct cutter {
	char *base;
	size_t used;
};

static void *cut(struct cutter *c, size_t n, size_t size)
{
	char *p = c->base ? c->base + c->used : NULL;

	c->used += (n * size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
	return p;
}

static float *cut_floats(struct cutter *c, size_t n)
{
	return cut(c, n, sizeof(float));
}

/* Queries of N rows and keys and values of S: side by side for an attention to itself. */
static struct qkv cut_qkv(
        struct cutter *c, const struct arch *a, enum attention_kind kind, size_t N, size_t S)
{
	size_t O = a->n_heads * a->head_dim, KV = a->n_kv_heads * a->head_dim, W = O + 2 * KV;
	struct qkv row = {.ldq = W, .ldkv = W};

	if (kind == ATTENTION_CROSS) {
		row.ldq = O;
		row.ldkv = KV;
		row.q = cut_floats(c, N * O);
		row.k = cut_floats(c, S * KV);
		row.v = cut_floats(c, S * KV);
		return row;
	}
	row.q = cut_floats(c, N * W);
	row.k = row.q ? row.q + O : NULL;
	row.v = row.q ? row.k + KV : NULL;
	return row;
}

/* What cut_layer() goes by. */
struct layer_plan {
	const struct arch *arch;
	const struct adapter_layout *layout;
	size_t layer, n_rows, n_source_rows;
	float *x; /* (N,C) the stack's stream */
};

static bool edits(const struct layer_plan *l, enum module module)
{
	size_t site = arch_site(l->arch, l->layer, module);

	return site < l->arch->n_sites && (!l->layout || adapter_layout_edits(l->layout, site));
}

/* A norm's input is what its gradient needs: the stream before the branch, or after the sum. module: the one
 * that gives the branch; the next is the stream that leaves it. */
static struct branch_state cut_branch(struct cutter *c, const struct layer_plan *l, enum module module)
{
	size_t N = l->n_rows, C = l->arch->width;
	struct branch_state s = {.x_in = l->x};

	if (l->arch->post_norm)
		s.x_sum = cut_floats(c, N * C);
	else
		s.x_in = cut_floats(c, N * C);
	s.mean = cut_floats(c, N);
	s.rstd = cut_floats(c, N);
	s.raw = edits(l, module) ? cut_floats(c, N * C) : NULL;
	s.stream = edits(l, module + 1) ? cut_floats(c, N * C) : NULL;
	return s;
}

static struct attention_state cut_attention(
        struct cutter *c, const struct layer_plan *l, enum attention_kind kind)
{
	const struct arch *a = l->arch;
	struct attention_state s = {.branch = cut_branch(c, l, module_of(kind, MODULE_ATTN_OUT))};

	s.row = cut_qkv(c, a, kind, l->n_rows, l->n_source_rows);
	if (edits(l, module_of(kind, MODULE_QKV)) || edits(l, module_of(kind, MODULE_Q)) ||
	        edits(l, module_of(kind, MODULE_K)) || edits(l, module_of(kind, MODULE_V)))
		s.raw = cut_qkv(c, a, kind, l->n_rows, l->n_source_rows);
	s.attn = cut_floats(c, l->n_rows * a->n_heads * a->head_dim);
	s.lse = cut_floats(c, l->n_rows * a->n_heads);
	return s;
}

static void cut_layer(struct cutter *c, const struct layer_plan *l, struct block_state *s)
{
	size_t N = l->n_rows, F = l->arch->ffn_width;

	memset(s, 0, sizeof(*s));
	s->attn[ATTENTION_SELF] = cut_attention(c, l, ATTENTION_SELF);
	if (arch_stack(l->arch, l->layer)->cross)
		s->attn[ATTENTION_CROSS] = cut_attention(c, l, ATTENTION_CROSS);
	s->ffn.branch = cut_branch(c, l, MODULE_FFN_DOWN);
	s->ffn.gate = l->arch->gated ? cut_floats(c, N * F) : NULL;
	s->ffn.up = cut_floats(c, N * F);
}

/* The state of a layer that nothing will be asked of again. */
static struct block_state forgotten(struct block_state s)
{
	for (size_t i = 0; i < 2; i++) {
		s.attn[i].branch.raw = s.attn[i].branch.stream = s.attn[i].lse = NULL;
		s.attn[i].raw = (struct qkv){0};
	}
	s.ffn.branch.raw = s.ffn.branch.stream = NULL;
	return s;
}

/* The first edited site of a stack, or the end of its sites. */
static size_t first_edited(const struct arch *a, const struct stack *s, const struct adapter_layout *layout)
{
	size_t end = s->first_site + s->n_layers * s->n_layer_sites, site = s->first_site;

	while (site < end && layout && site < a->n_sites && !adapter_layout_edits(layout, site))
		site++;
	return site;
}

/* Edits of the source's stack are reached through every cross-attention's keys and values. */
static size_t stack_floor(const struct arch *a, const struct stack *s, const struct adapter_layout *layout)
{
	size_t floor = first_edited(a, s, layout);
	size_t keys = s->cross ? arch_site(a, s->first_layer, MODULE_CROSS_K) : floor;

	return s->cross && layout && adapter_layout_first_site(layout) < s->first_site && keys < floor
	               ? keys
	               : floor;
}

/* One state for the layers from plan->layer on, but for the stream that enters each. Where the norm comes
 * last, the branches of a layer share the stack's stream, which must not be the one that is kept. */
static void cut_sparse(struct cutter *c, struct layer_plan *plan, size_t end, struct block_state *layers)
{
	const struct adapter_layout *layout = plan->layout;
	struct block_state shared;

	plan->layout = NULL;
	cut_layer(c, plan, &shared);
	plan->layout = layout;
	for (; plan->layer < end; plan->layer++) {
		struct block_state *s = &layers[plan->layer];

		*s = shared;
		s->attn[ATTENTION_SELF].branch.x_in = cut_floats(c, plan->n_rows * plan->arch->width);
	}
}

static void cut_stack(struct cutter *c, const struct arch *a, const struct adapter_layout *layout, size_t k,
        const size_t *rows, struct tape *t)
{
	const struct stack *s = &a->stacks[k];
	struct tape_stack *ts = &t->stacks[k];
	size_t N = rows[k], end = s->first_layer + s->n_layers, first;
	struct layer_plan plan = {.arch = a, .layout = layout, .n_rows = N, .n_source_rows = k ? rows[0] : 0};

	ts->positions = cut(c, N, sizeof(*ts->positions));
	ts->segments = a->n_types > 1 ? cut(c, N, sizeof(*ts->segments)) : NULL;
	ts->x = cut_floats(c, N * a->width);
	ts->dx = cut_floats(c, N * a->width);
	ts->floor = stack_floor(a, s, layout);
	first = s->first_layer + (ts->floor - s->first_site) / s->n_layer_sites;
	if (first >= end)
		first = end - 1;
	plan.x = ts->x;
	plan.layer = first;
	if (t->sparse)
		cut_sparse(c, &plan, end, t->layers);
	for (; plan.layer < end; plan.layer++)
		cut_layer(c, &plan, &t->layers[plan.layer]);
	for (size_t i = s->first_layer; i < first; i++)
		t->layers[i] = forgotten(t->layers[first]);
}

static void cut_scratch(struct cutter *c, const struct arch *a, const size_t *rows, struct tape *t)
{
	size_t N = rows[0] > rows[1] ? rows[0] : rows[1], C = a->width, F = a->ffn_width;
	struct attention sizes = {.head_dim = a->head_dim};

	t->attention_scratch = cut_floats(c, attention_scratch_floats(&sizes));
	t->scratch.normed = cut_floats(c, N * C);
	t->scratch.hidden = cut_floats(c, N * F);
	t->scratch.branch = cut_floats(c, N * C);
	/* The passes alternate, so the backward one may use the forward one's scratch. */
	t->grads.d_hidden = t->scratch.hidden;
	t->grads.d_branch = t->scratch.branch;
	t->grads.d_gate = a->gated ? cut_floats(c, N * F) : NULL;
	t->grads.d_attn = cut_floats(c, N * a->n_heads * a->head_dim);
	t->grads.d_row[ATTENTION_SELF] = cut_qkv(c, a, ATTENTION_SELF, N, N);
	t->grads.key_shift = cut_floats(c, a->n_kv_heads * a->head_dim);
	if (a->n_stacks == 1)
		return;
	t->grads.d_row[ATTENTION_CROSS] = cut_qkv(c, a, ATTENTION_CROSS, rows[1], rows[0]);
	t->memory = cut_floats(c, rows[0] * C);
	t->d_memory = cut_floats(c, rows[0] * C);
	t->memory_mean = cut_floats(c, rows[0]);
	t->memory_rstd = cut_floats(c, rows[0]);
}

/* Many rows are quicker, turning the head's weights for each lot of them; of large vocabularies fewer are
 * held. */
#define HEAD_FLOATS ((size_t)10 << 20)
#define MIN_HEAD_ROWS ((size_t)64)
#define MAX_HEAD_ROWS ((size_t)192)

static size_t head_rows(size_t n_outputs)
{
	size_t n = HEAD_FLOATS / n_outputs;

	n = n < MAX_HEAD_ROWS ? n : MAX_HEAD_ROWS;
	return n > MIN_HEAD_ROWS ? n : MIN_HEAD_ROWS;
}

/* Rows rounded to bf16, of whatever a linear map reads or, on the way back, writes. */
static size_t bf16_bytes(const struct tape *t, const struct arch *a, const size_t *rows)
{
	size_t N = rows[0] > rows[1] ? rows[0] : rows[1], O = a->n_heads * a->head_dim;
	size_t W = O + 2 * a->n_kv_heads * a->head_dim, most = a->width;
	size_t block, head = product_scratch_bytes(t->head_rows, a->vocab_size);

	most = most > W ? most : W;
	most = most > a->ffn_width ? most : a->ffn_width;
	block = product_scratch_bytes(N, most);
	return block > head ? block : head;
}

void tape_cut(void *base, const struct model *m, const struct adapter_layout *layout,
        const size_t rows[ARCH_MAX_STACKS], bool sparse, struct tape *t)
{
	const struct arch *a = &m->arch;
	size_t C = a->width;
	size_t n_outputs = a->family->kind == MODEL_ENCODER ? ADAPTER_MAX_LABELS : a->vocab_size;
	struct cutter c = {base, 0};

	memset(t, 0, sizeof(*t));
	t->sparse = sparse;
	t->head_rows = head_rows(n_outputs);
	t->rest_rows = cut(&c, rows[a->n_stacks - 1], sizeof(*t->rest_rows));
	t->rest_lengths = cut(&c, rows[a->n_stacks - 1], sizeof(*t->rest_lengths));
	t->label_rows = cut(&c, rows[a->n_stacks - 1], sizeof(*t->label_rows));
	t->losses = cut(&c, t->head_rows, sizeof(*t->losses));
	t->correct = cut(&c, t->head_rows, sizeof(*t->correct));
	t->targets = cut(&c, t->head_rows, sizeof(*t->targets));
	t->picked = cut_floats(&c, t->head_rows * C);
	t->d_picked = cut_floats(&c, t->head_rows * C);
	t->normed = cut_floats(&c, t->head_rows * C);
	t->d_normed = cut_floats(&c, t->head_rows * C);
	t->mean = cut_floats(&c, t->head_rows);
	t->rstd = cut_floats(&c, t->head_rows);
	t->outputs = cut_floats(&c, t->head_rows * n_outputs);
	t->linear.exact = !m->train_bf16;
	t->linear.rows = m->train_bf16 ? cut(&c, bf16_bytes(t, a, rows), 1) : NULL;
	t->linear.panel = cut_floats(&c, linear_panel_floats(m));
	cut_scratch(&c, a, rows, t);
	for (size_t k = 0; k < a->n_stacks; k++)
		cut_stack(&c, a, layout, k, rows, t);
	t->bytes = c.used;
}
