/*
 * The training pass: forward over packed sequences, loss at labelled rows only, backward down to the first
 * edited module and no further. Only dX products: the base is frozen. See model.h for the face.
 *
 * A workspace is one reservation of address space, cut anew for every batch by its number of rows, so memory
 * is touched in proportion to the rows. Layers below the first edited one share the state of that layer:
 * nothing will ask for theirs again. Thread: the workspace's owner.
 */
#include "core/mem.h"
#include "worker/math/loss.h"
#include "worker/model/transformer.h"

#include <string.h>

/* Labelled rows whose logits are held at once: V * 64 floats, whatever the batch. */
#define HEAD_ROWS 64
#define ALIGN_FLOATS 16

struct train_workspace {
	const struct model *model; /* borrowed */
	size_t max_rows;
	void *base; /* owned: reserved */
	size_t bytes;
};

/* A batch's view of the workspace. Letters as in transformer.h; L labelled rows. */
struct tape {
	size_t *positions;  /* (N) */
	size_t *label_rows; /* (N), L used */
	double *losses;     /* (HEAD_ROWS) */
	unsigned char *correct;
	int32_t *targets;         /* (HEAD_ROWS) */
	float *x;                 /* (N,C) the stream leaving the last block */
	float *dx;                /* (N,C) */
	float *picked, *d_picked; /* (HEAD_ROWS,C) stream at labelled rows */
	float *normed, *d_normed; /* (HEAD_ROWS,C) */
	float *mean, *rstd;       /* (HEAD_ROWS) */
	float *logits;            /* (HEAD_ROWS,V) */
	float *attention_scratch;
	struct block_scratch scratch;
	struct block_grads grads;
	struct block_state layers[ADAPTER_MAX_LAYERS];
	size_t bytes;
};

/* Hands out slices; with a NULL base it only counts. */
struct cutter {
	char *base;
	size_t used;
};

static void *cut(struct cutter *c, size_t n, size_t size)
{
	char *p = c->base ? c->base + c->used : NULL;
	size_t unit = ALIGN_FLOATS * sizeof(float);

	c->used += (n * size + unit - 1) / unit * unit;
	return p;
}

static float *cut_floats(struct cutter *c, size_t n)
{
	return cut(c, n, sizeof(float));
}

static bool layout_edits_layer(
        const struct model *m, const struct adapter_layout *l, size_t layer, enum position p)
{
	for (size_t i = 0; i < m->n_layer_sites; i++)
		if (m->layer_sites[i].position == p && adapter_layout_edits(l, layer * m->n_layer_sites + i))
			return true;
	return false;
}

/* layout NULL: as if everything were edited, the most a layer can need. */
static void cut_layer(struct cutter *c, const struct model *m, const struct adapter_layout *layout,
        size_t layer, size_t N, struct block_state *s)
{
	const struct arch *a = &m->arch;
	size_t C = a->width, F = a->ffn_width, W = arch_qkv_width(a);
	bool all = !layout;

	memset(s, 0, sizeof(*s));
	s->x_in = cut_floats(c, N * C);
	s->mean1 = cut_floats(c, N);
	s->rstd1 = cut_floats(c, N);
	s->qkv = cut_floats(c, N * W);
	s->attn = cut_floats(c, N * a->n_heads * a->head_dim);
	s->lse = cut_floats(c, N * a->n_heads);
	s->x_mid = cut_floats(c, N * C);
	s->mean2 = cut_floats(c, N);
	s->rstd2 = cut_floats(c, N);
	s->gate = a->gated ? cut_floats(c, N * F) : NULL;
	s->up = cut_floats(c, N * F);
	if (all || layout_edits_layer(m, layout, layer, POSITION_QKV))
		s->qkv_raw = cut_floats(c, N * W);
	if (all || layout_edits_layer(m, layout, layer, POSITION_ATTN))
		s->attn_out_raw = cut_floats(c, N * C);
	if (all || layout_edits_layer(m, layout, layer, POSITION_FFN))
		s->ffn_out_raw = cut_floats(c, N * C);
}

static void tape_cut(
        void *base, const struct model *m, const struct adapter_layout *layout, size_t N, struct tape *t)
{
	const struct arch *a = &m->arch;
	size_t C = a->width, F = a->ffn_width, n = a->n_layers;
	size_t first = layout ? adapter_layout_first_site(layout) / m->n_layer_sites : 0;
	struct cutter c = {base, 0};
	struct attention attention = block_attention(m, 0);

	t->positions = cut(&c, N, sizeof(*t->positions));
	t->label_rows = cut(&c, N, sizeof(*t->label_rows));
	t->losses = cut(&c, HEAD_ROWS, sizeof(*t->losses));
	t->correct = cut(&c, HEAD_ROWS, sizeof(*t->correct));
	t->targets = cut(&c, HEAD_ROWS, sizeof(*t->targets));
	t->x = cut_floats(&c, N * C);
	t->dx = cut_floats(&c, N * C);
	t->picked = cut_floats(&c, HEAD_ROWS * C);
	t->d_picked = cut_floats(&c, HEAD_ROWS * C);
	t->normed = cut_floats(&c, HEAD_ROWS * C);
	t->d_normed = cut_floats(&c, HEAD_ROWS * C);
	t->mean = cut_floats(&c, HEAD_ROWS);
	t->rstd = cut_floats(&c, HEAD_ROWS);
	t->logits = cut_floats(&c, HEAD_ROWS * a->vocab_size);
	t->attention_scratch = cut_floats(&c, attention_scratch_floats(&attention));
	t->scratch.normed = cut_floats(&c, N * C);
	t->scratch.hidden = cut_floats(&c, N * F);
	t->scratch.branch = cut_floats(&c, N * C);
	/* The passes alternate, so the backward one may use the forward one's scratch. */
	t->grads.d_hidden = t->scratch.hidden;
	t->grads.d_branch = t->scratch.branch;
	t->grads.d_gate = a->gated ? cut_floats(&c, N * F) : NULL;
	t->grads.d_attn = cut_floats(&c, N * a->n_heads * a->head_dim);
	t->grads.d_qkv = cut_floats(&c, N * arch_qkv_width(a));
	t->grads.key_shift = cut_floats(&c, a->n_kv_heads * a->head_dim);
	if (first >= n)
		first = n - 1;
	for (size_t i = first; i < n; i++)
		cut_layer(&c, m, layout, i, N, &t->layers[i]);
	for (size_t i = 0; i < first; i++) {
		t->layers[i] = t->layers[first];
		t->layers[i].lse = NULL;
		t->layers[i].qkv_raw = t->layers[i].attn_out_raw = t->layers[i].ffn_out_raw = NULL;
	}
	t->bytes = c.used;
}

size_t train_workspace_bytes(const struct model *m, size_t n_rows)
{
	struct tape t;

	tape_cut(NULL, m, NULL, n_rows, &t);
	return t.bytes;
}

enum err train_workspace_new(const struct model *m, size_t max_rows, struct train_workspace **out)
{
	struct train_workspace *w = mem_calloc(1, sizeof(*w));

	if (!w)
		return ERR_MEM;
	w->model = m;
	w->max_rows = max_rows;
	w->bytes = train_workspace_bytes(m, max_rows);
	w->base = mem_reserve(w->bytes);
	if (!w->base) {
		train_workspace_free(w);
		return ERR_MEM;
	}
	*out = w;
	return OK;
}

void train_workspace_free(struct train_workspace *w)
{
	if (!w)
		return;
	mem_unreserve(w->base, w->bytes);
	mem_free(w);
}

static enum err batch_check(
        const struct model *m, const struct train_workspace *w, const struct train_batch *b)
{
	size_t total = 0;

	if (b->n_rows > w->max_rows)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < b->n_seqs; i++) {
		if (b->lengths[i] > m->arch.max_positions || b->lengths[i] > b->n_rows - total)
			return ERR_TOO_LONG;
		total += b->lengths[i];
	}
	if (total != b->n_rows)
		return ERR_INVALID;
	for (size_t i = 0; i < b->n_rows; i++)
		if ((size_t)b->tokens[i] >= m->arch.vocab_size || b->labels[i] >= (int32_t)m->arch.vocab_size)
			return ERR_INVALID;
	return OK;
}

static void positions_fill(const struct train_batch *b, size_t *positions)
{
	size_t row = 0;

	for (size_t i = 0; i < b->n_seqs; i++)
		for (size_t j = 0; j < b->lengths[i]; j++)
			positions[row++] = j;
}

static void layer_attention(const struct pass *p, size_t layer, const struct train_batch *b,
        const struct block_state *s, float *scratch)
{
	struct attention a = block_attention(p->m, layer);
	size_t W = arch_qkv_width(&p->m->arch), O = a.n_heads * a.head_dim, KV = a.n_kv_heads * a.head_dim,
	       row = 0;

	for (size_t i = 0; i < b->n_seqs; i++) {
		const float *q = s->qkv + row * W;

		attention_forward(&a, b->lengths[i], b->lengths[i], q, W, q + O, W, q + O + KV, W,
		        s->attn + row * O, O, s->lse ? s->lse + row * a.n_heads : NULL, scratch);
		row += b->lengths[i];
	}
}

static void layer_attention_backward(const struct pass *p, size_t layer, const struct train_batch *b,
        const struct block_state *s, const struct block_grads *g, float *scratch)
{
	struct attention a = block_attention(p->m, layer);
	size_t W = arch_qkv_width(&p->m->arch), O = a.n_heads * a.head_dim, KV = a.n_kv_heads * a.head_dim,
	       row = 0;

	for (size_t i = 0; i < b->n_seqs; i++) {
		const float *q = s->qkv + row * W;
		float *dq = g->d_qkv + row * W;

		attention_backward(&a, b->lengths[i], b->lengths[i], q, W, q + O, W, q + O + KV, W,
		        s->attn + row * O, g->d_attn + row * O, O, s->lse + row * a.n_heads, dq, dq + O,
		        dq + O + KV, scratch);
		row += b->lengths[i];
	}
}

/* Loss over one block of n labelled rows; when grads are wanted, their gradient is added to t->dx. */
static void head_block(const struct model *m, const struct train_batch *b, const struct tape *t,
        const size_t *rows, size_t n, float grad_scale, struct train_sums *sums)
{
	const struct arch *a = &m->arch;
	size_t C = a->width, V = a->vocab_size;

	for (size_t i = 0; i < n; i++) {
		memcpy(t->picked + i * C, t->x + rows[i] * C, C * sizeof(float));
		t->targets[i] = b->labels[rows[i]];
	}
	transformer_final_norm(m, n, t->picked, t->normed, t->mean, t->rstd);
	linear_forward(&m->weights.head, n, false, t->normed, C, t->logits, V);
	cross_entropy(n, V, t->logits, t->targets, grad_scale, t->losses, t->correct);
	for (size_t i = 0; i < n; i++) {
		float weight = b->weights ? b->weights[rows[i]] : 1;

		sums->loss += (double)weight * t->losses[i];
		sums->weight += (double)weight;
		sums->n_labels++;
		sums->n_correct += t->correct[i];
		if (grad_scale != 0 && weight != 1)
			for (size_t j = 0; j < V; j++)
				t->logits[i * V + j] *= weight;
	}
	if (grad_scale == 0)
		return;
	linear_backward(&m->weights.head, n, t->logits, V, 0, t->d_normed, C);
	memset(t->d_picked, 0, n * C * sizeof(float));
	transformer_final_norm_backward(m, n, t->d_normed, t->picked, t->mean, t->rstd, t->d_picked);
	for (size_t i = 0; i < n; i++)
		memcpy(t->dx + rows[i] * C, t->d_picked + i * C, C * sizeof(float));
}

static void head_run(const struct model *m, const struct train_batch *b, const struct tape *t,
        float grad_scale, struct train_sums *sums)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_rows; i++)
		if (b->labels[i] >= 0 && (!b->weights || b->weights[i] != 0))
			t->label_rows[n++] = i;
	if (grad_scale != 0)
		memset(t->dx, 0, b->n_rows * m->arch.width * sizeof(float));
	for (size_t at = 0; at < n; at += HEAD_ROWS)
		head_block(m, b, t, t->label_rows + at, n - at < HEAD_ROWS ? n - at : HEAD_ROWS, grad_scale,
		        sums);
}

static void forward_run(const struct pass *p, const struct train_batch *b, const struct tape *t)
{
	size_t n = p->m->arch.n_layers;

	transformer_embed(p, b->tokens, t->layers[0].x_in);
	for (size_t i = 0; i < n; i++) {
		const struct block_state *s = &t->layers[i];

		block_qkv(p, i, s, &t->scratch);
		layer_attention(p, i, b, s, t->attention_scratch);
		block_finish(p, i, s, &t->scratch, i + 1 < n ? t->layers[i + 1].x_in : t->x);
	}
}

/* From t->dx down to the first edited site. */
static void backward_run(const struct pass *p, const struct train_batch *b, const struct tape *t)
{
	const struct model *m = p->m;
	size_t first = adapter_layout_first_site(p->runs->layout);

	for (size_t i = m->arch.n_layers; i-- > 0;) {
		const struct block_state *s = &t->layers[i];
		size_t ffn = model_site(m, i, MODULE_FFN_DOWN), attn = model_site(m, i, MODULE_ATTN_OUT);
		size_t qkv = i * m->n_layer_sites;

		if (first > ffn)
			return;
		block_finish_backward_ffn(p, i, s, &t->grads, t->dx, first < ffn);
		if (first > attn)
			return;
		block_finish_backward_attn(p, i, s, &t->grads, t->dx, first < attn);
		if (first >= attn)
			return;
		layer_attention_backward(p, i, b, s, &t->grads, t->attention_scratch);
		block_qkv_backward(p, i, s, &t->grads, t->dx, first < qkv);
	}
}

enum err model_train(const struct model *m, struct train_workspace *w, const struct train_batch *batch,
        const struct adapter_layout *layout, const float *params, float grad_scale, float *grads,
        struct train_sums *sums)
{
	struct edit_run run = {.n_rows = batch->n_rows, .layout = layout, .params = params, .strength = 1};
	enum err e = batch_check(m, w, batch);
	struct train_sums total = {0};
	struct pass pass = {.m = m, .n_rows = batch->n_rows, .runs = &run, .n_runs = 1};
	struct tape t;

	if (e)
		return e;
	tape_cut(w->base, m, layout, batch->n_rows, &t);
	positions_fill(batch, t.positions);
	pass.positions = t.positions;
	t.grads.grads = grads;
	forward_run(&pass, batch, &t);
	head_run(m, batch, &t, grads ? grad_scale : 0, &total);
	if (grads)
		backward_run(&pass, batch, &t);
	*sums = total;
	return OK;
}
