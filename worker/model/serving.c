/*
 * The serving passes: decoders over a KV cache, a chunk of one prompt or one token for each of many
 * sequences, and encoders over whole sequences. See model.h for the face. Products are those of product.h: no
 * row shows in another. Thread: the workspace's owner.
 */
#include "core/mem.h"
#include "worker/math/product.h"
#include "worker/model/class_head.h"
#include "worker/model/kv.h"
#include "worker/model/packed.h"
#include "worker/model/transformer.h"

#include <string.h>

struct serve_workspace {
	size_t max_rows, max_seqs;
	size_t *positions;        /* (rows), owned like all below */
	size_t *rest_rows;        /* (rows) */
	unsigned char *segments;  /* (rows) */
	float *x;                 /* (rows,C) */
	float *picked;            /* (rows,C) */
	float *attention_scratch; /* for each of the crew */
	size_t n_attention_scratch;
	struct crew *crew; /* owned; NULL = alone */
	struct linear_scratch linear;
	struct block_state state;
	struct block_scratch scratch;
};

/* Scratch for products; rows of float32 are used where they lie. */
static size_t rows_bytes(const struct model *m, size_t n_rows)
{
	return m->weights.format == MATRIX_F32 ? 1 : product_scratch_bytes(n_rows, linear_max_inputs(m));
}

enum err serve_workspace_new(
        const struct model *m, size_t max_rows, size_t max_seqs, struct serve_workspace **out)
{
	const struct arch *a = &m->arch;
	size_t n = max_rows > max_seqs ? max_rows : max_seqs, C = a->width, F = a->ffn_width;
	size_t O = a->n_heads * a->head_dim, KV = a->n_kv_heads * a->head_dim, W = O + 2 * KV;
	struct attention attention = block_attention(m, 0, ATTENTION_SELF);
	struct serve_workspace *w = mem_calloc(1, sizeof(*w));
	struct attention_state *self, *cross;

	if (!w)
		return ERR_MEM;
	self = &w->state.attn[ATTENTION_SELF];
	cross = &w->state.attn[ATTENTION_CROSS];
	w->max_rows = max_rows;
	w->max_seqs = max_seqs;
	w->positions = mem_calloc(n, sizeof(*w->positions));
	w->rest_rows = mem_calloc(n, sizeof(*w->rest_rows));
	w->segments = mem_calloc(n, sizeof(*w->segments));
	w->x = mem_aligned(n * C, sizeof(float));
	w->picked = mem_aligned(n * C, sizeof(float));
	w->n_attention_scratch = attention_scratch_floats(&attention);
	w->attention_scratch = mem_aligned(w->n_attention_scratch, sizeof(float));
	self->row.q = mem_aligned(n * W, sizeof(float));
	self->attn = mem_aligned(n * O, sizeof(float));
	w->state.ffn.gate = mem_aligned(n * F, sizeof(float));
	w->state.ffn.up = mem_aligned(n * F, sizeof(float));
	w->scratch.normed = mem_aligned(n * C, sizeof(float));
	w->scratch.hidden = mem_aligned(n * F, sizeof(float));
	w->scratch.branch = mem_aligned(n * C, sizeof(float));
	w->linear.rows = mem_aligned(rows_bytes(m, n), 1);
	if (!w->positions || !w->rest_rows || !w->segments || !w->x || !w->picked || !w->attention_scratch ||
	        !self->row.q || !self->attn || !w->state.ffn.gate || !w->state.ffn.up || !w->scratch.normed ||
	        !w->scratch.hidden || !w->scratch.branch || !w->linear.rows) {
		serve_workspace_free(w);
		return ERR_MEM;
	}
	self->row = (struct qkv){self->row.q, self->row.q + O, self->row.q + O + KV, W, W};
	self->branch = (struct branch_state){.x_in = w->x, .x_sum = w->x};
	*cross = *self;
	cross->row = (struct qkv){.q = self->row.q, .ldq = O};
	w->state.ffn.branch = self->branch;
	*out = w;
	return OK;
}

void serve_workspace_free(struct serve_workspace *w)
{
	if (!w)
		return;
	crew_stop(w->crew);
	mem_free(w->positions);
	mem_free(w->rest_rows);
	mem_free(w->segments);
	mem_free(w->x);
	mem_free(w->picked);
	mem_free(w->attention_scratch);
	mem_free(w->state.attn[ATTENTION_SELF].row.q);
	mem_free(w->state.attn[ATTENTION_SELF].attn);
	mem_free(w->state.ffn.gate);
	mem_free(w->state.ffn.up);
	mem_free(w->scratch.normed);
	mem_free(w->scratch.hidden);
	mem_free(w->scratch.branch);
	mem_free(w->linear.rows);
	mem_free(w);
}

enum err serve_workspace_set_threads(struct serve_workspace *w, size_t n_threads)
{
	struct crew *crew = NULL;
	float *scratch;
	enum err e = OK;

	n_threads = n_threads < 1 ? 1 : n_threads > CREW_MAX_THREADS ? CREW_MAX_THREADS : n_threads;
	scratch = mem_aligned(n_threads * w->n_attention_scratch, sizeof(float));
	if (!scratch)
		return ERR_MEM;
	if (n_threads > 1)
		e = crew_start(n_threads, &crew);
	if (e) {
		mem_free(scratch);
		return e;
	}
	crew_stop(w->crew);
	mem_free(w->attention_scratch);
	w->attention_scratch = scratch;
	w->crew = w->linear.crew = crew;
	return OK;
}

static enum err tokens_check(const struct model *m, const int32_t *tokens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((size_t)tokens[i] >= m->arch.vocab_size)
			return ERR_INVALID;
	return OK;
}

/* The stack of p from w->x, which is embedded, to w->x. */
static void stack_run(const struct pass *p, const struct serve_workspace *w)
{
	for (size_t i = 0; i < p->stack->n_layers; i++)
		block_forward(p, p->stack->first_layer + i, &w->state, &w->scratch, w->x);
}

/* ---- decoders ---- */

/* Small enough that a short answer wastes little, large enough that attention walks rows that lie together.
 */
#define PAGE_TOKENS 16

struct kv_shape kv_shape_of(const struct model *m)
{
	const struct arch *a = &m->arch;

	return (struct kv_shape){.n_layers = a->stacks[a->n_stacks - 1].n_layers,
	        .width = a->n_kv_heads * a->head_dim,
	        .page_tokens = PAGE_TOKENS};
}

/* The context of a pass over caches: its rows are `n_rows` of each kv, one kv after the other. */
struct cached {
	struct kv *const *kvs;
	size_t n, n_rows;
	const struct serve_workspace *w;
};

/* Rows first .. first + n - 1 of a cache's keys or values, from x. */
static void store_rows(const struct paged_rows *to, size_t first, size_t n, const float *x, size_t ldx)
{
	for (size_t i = 0; i < n; i++)
		memcpy(kv_row(to, first + i), x + i * ldx, to->ld * sizeof(*x));
}

/* One layer's attention over caches: an item is a head of a sequence. */
struct cached_heads {
	const struct cached *c;
	const struct attention_state *s;
	struct attention attention;
	enum attention_kind kind;
	size_t layer;    /* of the stack */
	size_t n_asking; /* the last rows of each kv, which attend */
};

/* Store the keys and values of rows behind the `kv->length` ones that are there of their sequences. */
static void cached_store(void *arg, size_t begin, size_t end)
{
	const struct cached_heads *h = arg;
	const struct cached *c = h->c;
	const struct qkv *x = &h->s->row;

	for (size_t row = begin; row < end; row++) {
		const struct kv *kv = c->kvs[row / c->n_rows];
		struct paged_rows keys = kv_keys(kv, h->layer, false),
		                  values = kv_values(kv, h->layer, false);
		size_t at = kv->length + row % c->n_rows;

		store_rows(&keys, at, 1, x->k + row * x->ldkv, x->ldkv);
		store_rows(&values, at, 1, x->v + row * x->ldkv, x->ldkv);
	}
}

/* One query head of an attention as an attention of its own. */
static struct attention attention_of_head(const struct attention *a, size_t head)
{
	struct attention one = *a;

	one.n_heads = one.n_kv_heads = 1;
	one.rel_bias = a->rel_bias ? a->rel_bias + head * a->rel_n : NULL;
	return one;
}

/* Rows of one sequence attend over all that is cached of it; or over the source's. */
static void cached_attend_head(void *arg, size_t item, size_t thread)
{
	const struct cached_heads *h = arg;
	const struct cached *c = h->c;
	const struct attention *a = &h->attention;
	size_t index = item / a->n_heads, head = item % a->n_heads, row = index * h->n_asking;
	size_t asking = (index + 1) * c->n_rows - h->n_asking;
	size_t D = a->head_dim, O = a->n_heads * D, shared = head / (a->n_heads / a->n_kv_heads) * D;
	struct attention one = attention_of_head(a, head);
	const struct kv *kv = c->kvs[index];
	const struct qkv *x = &h->s->row;
	bool source = h->kind == ATTENTION_CROSS;
	struct paged_rows keys = kv_keys(kv, h->layer, source), values = kv_values(kv, h->layer, source);
	size_t n_keys = source ? kv->n_source : kv->length + c->n_rows;

	keys.base += shared;
	values.base += shared;
	attention_forward_paged(&one, h->n_asking, n_keys, x->q + asking * x->ldq + head * D, x->ldq, &keys,
	        &values, h->s->attn + row * O + head * D, O,
	        c->w->attention_scratch + thread * c->w->n_attention_scratch);
}

static void cached_attend(
        const struct pass *p, size_t layer, enum attention_kind kind, const struct attention_state *s)
{
	const struct cached *c = p->context;
	const struct cached *asking = (kind == ATTENTION_SELF ? block_rest(p, layer) : p)->context;
	struct cached_heads h = {c, s, block_attention(p->m, layer, kind), kind,
	        layer - p->stack->first_layer, asking->n_rows};

	if (kind == ATTENTION_SELF)
		crew_run_parts(p->linear.crew, c->n * c->n_rows, ROWS_PART, cached_store, &h);
	crew_run(p->linear.crew, c->n * h.attention.n_heads, cached_attend_head, &h);
}

static const struct stack *last_stack(const struct model *m)
{
	return &m->arch.stacks[m->arch.n_stacks - 1];
}

/* Logits (n,V) of rows x (n,C). One row's must not depend on how many others are wanted. */
static void logits_of(
        const struct model *m, const struct serve_workspace *w, size_t n, float *x, float *logits)
{
	transformer_final_norm(m, last_stack(m), n, x, x, NULL, NULL);
	linear_forward(&m->weights.head, &w->linear, n, x, m->arch.width, logits, m->arch.vocab_size);
}

enum err model_prefill(const struct model *m, struct serve_workspace *w, struct kv *kv, const int32_t *tokens,
        size_t n_rows, const struct edit_run *run, const size_t *logit_rows, size_t n_logits, float *logits)
{
	size_t first = n_logits ? logit_rows[0] : n_rows;
	struct edit_run whole = *run;
	struct cached cached = {.kvs = &kv, .n = 1, .n_rows = n_rows, .w = w};
	struct pass pass = {.m = m,
	        .stack = last_stack(m),
	        .n_rows = n_rows,
	        .positions = w->positions,
	        .runs = &whole,
	        .n_runs = 1,
	        .linear = w->linear,
	        .attend = cached_attend,
	        .context = &cached};
	struct cached asking = cached;
	struct rest_pass rest;
	size_t C = m->arch.width;
	enum err e = tokens_check(m, tokens, n_rows);

	whole.n_rows = n_rows;
	asking.n_rows = n_rows - first;
	if (e)
		return e;
	if (n_rows > w->max_rows)
		return ERR_TOO_LARGE;
	e = kv_extend(kv, n_rows);
	if (e)
		return e;
	for (size_t i = 0; i < n_rows; i++)
		w->positions[i] = kv->length + i;
	for (size_t i = first; i < n_rows; i++)
		w->rest_rows[i - first] = i;
	pass_narrow(&pass, &rest, w->rest_rows, n_rows - first, &asking);
	transformer_embed(&pass, tokens, w->x);
	stack_run(&pass, w);
	kv->length += n_rows;
	for (size_t i = 0; i < n_logits; i++)
		memcpy(w->picked + i * C, w->x + (logit_rows[i] - first) * C, C * sizeof(float));
	logits_of(m, w, n_logits, w->picked, logits);
	return OK;
}

enum err model_decode(const struct model *m, struct serve_workspace *w, size_t n, struct kv *const *kvs,
        const int32_t *tokens, const struct edit_run *runs, float *logits)
{
	struct cached cached = {.kvs = kvs, .n = n, .n_rows = 1, .w = w};
	struct pass pass = {.m = m,
	        .stack = last_stack(m),
	        .n_rows = n,
	        .positions = w->positions,
	        .runs = runs,
	        .n_runs = n,
	        .linear = w->linear,
	        .attend = cached_attend,
	        .context = &cached};
	enum err e = tokens_check(m, tokens, n);

	if (e)
		return e;
	if (n > w->max_seqs)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < n; i++) {
		e = kv_extend(kvs[i], 1);
		if (e)
			return e;
		w->positions[i] = kvs[i]->length;
	}
	transformer_embed(&pass, tokens, w->x);
	stack_run(&pass, w);
	for (size_t i = 0; i < n; i++)
		kvs[i]->length++;
	logits_of(m, w, n, w->x, logits);
	return OK;
}

/* ---- encoders ---- */

/* One sequence through the first stack, into w->x; or, if `only_first`, its first row. */
static enum err encode(const struct model *m, struct serve_workspace *w, const int32_t *tokens, size_t n_rows,
        bool only_first, struct packed *packed, struct pass *pass)
{
	const size_t one = 1, first_row = 0;
	struct packed asking;
	struct rest_pass rest;
	enum err e = tokens_check(m, tokens, n_rows);

	if (e)
		return e;
	if (n_rows > w->max_rows)
		return ERR_TOO_LARGE;
	if (n_rows > m->arch.max_positions)
		return ERR_TOO_LONG;
	*packed = (struct packed){.n_seqs = 1, .lengths = &pass->n_rows, .scratch = w->attention_scratch};
	pass->m = m;
	pass->stack = &m->arch.stacks[0];
	pass->n_rows = n_rows;
	pass->positions = w->positions;
	pass->n_runs = 1;
	pass->linear = w->linear;
	pass->attend = packed_attend;
	pass->context = packed;
	packed_positions(packed, w->positions);
	if (m->arch.n_types > 1) {
		packed_segments(packed, tokens, w->segments);
		pass->segments = w->segments;
	}
	asking = *packed;
	asking.lengths = &one;
	if (only_first)
		pass_narrow(pass, &rest, &first_row, one, &asking);
	transformer_embed(pass, tokens, w->x);
	stack_run(pass, w);
	pass->rest = NULL;
	return OK;
}

enum err model_classify(const struct model *m, struct serve_workspace *w, size_t n_seqs,
        const int32_t *tokens, const size_t *lengths, const struct edit_run *runs, size_t n_labels,
        float *outputs)
{
	size_t row = 0;

	for (size_t i = 0; i < n_seqs; i++) {
		struct pass pass = {.runs = &runs[i]};
		struct packed packed;
		struct class_head head = {.layout = runs[i].layout, .params = runs[i].params};
		struct class_rows rows = {.n = 1, .x = w->x, .pre = w->scratch.normed};
		enum err e;

		if (!lengths[i] || !head.layout || adapter_layout_head_labels(head.layout) != n_labels)
			return ERR_INVALID;
		e = encode(m, w, tokens + row, lengths[i], true, &packed, &pass);
		if (e)
			return e;
		head.width = m->arch.width;
		rows.hidden = w->scratch.branch;
		rows.outputs = outputs + i * n_labels;
		class_head_forward(&head, &rows);
		row += lengths[i];
	}
	return OK;
}

enum err model_encode_source(const struct model *m, struct serve_workspace *w, struct kv *kv,
        const int32_t *tokens, size_t n_rows, const struct edit_run *run)
{
	const struct stack *decoder = last_stack(m);
	struct edit_run whole = *run;
	struct pass pass = {.runs = &whole};
	struct packed packed;
	enum err e;

	if (n_rows > kv->capacity)
		return ERR_TOO_LONG;
	whole.n_rows = n_rows;
	e = encode(m, w, tokens, n_rows, false, &packed, &pass);
	if (!e)
		e = kv_begin_source(kv, n_rows);
	if (e)
		return e;
	transformer_final_norm(m, pass.stack, n_rows, w->x, w->x, NULL, NULL);
	for (size_t i = 0; i < decoder->n_layers; i++) {
		struct attention_state *s = &w->state.attn[ATTENTION_SELF];
		struct paged_rows keys = kv_keys(kv, i, true), values = kv_values(kv, i, true);

		block_source(&pass, decoder->first_layer + i, w->x, s);
		store_rows(&keys, 0, n_rows, s->row.k, s->row.ldkv);
		store_rows(&values, 0, n_rows, s->row.v, s->row.ldkv);
	}
	return OK;
}
