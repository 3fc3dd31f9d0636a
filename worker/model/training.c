/*
 * The training pass: forward over packed sequences, loss where there are labels, backward down to the first
 * edited module and no further. Only dX products but for a classification head: the base is frozen. See
 * model.h for the face. Thread: the workspace's owner.
 */
#include "core/mem.h"
#include "worker/math/loss.h"
#include "worker/model/class_head.h"
#include "worker/model/packed.h"
#include "worker/model/stem.h"
#include "worker/model/tape.h"

#include <math.h>
#include <string.h>

struct train_workspace {
	const struct model *model; /* borrowed */
	size_t max_rows;
	size_t max_bytes; /* 0 = no limit */
	void *base;       /* owned: reserved */
	size_t bytes;
};

/* One model_train() call. */
struct step {
	const struct model *m;
	const struct train_batch *batch;
	const struct adapter_layout *layout;
	const float *params;
	float grad_scale;
	float *grads; /* NULL: forward only */
	struct train_sums sums;
	struct tape tape;
	struct packed packed[ARCH_MAX_STACKS];
	struct edit_run runs[ARCH_MAX_STACKS];
	struct pass passes[ARCH_MAX_STACKS];
	/* of the first stack, unless n_floats is 0 */
	struct stem stem;
	struct stem_rows stem_rows;
	/* the rows that the last stack's last block goes on with */
	struct packed rest_packed;
	struct rest_pass rest;
};

static size_t tape_bytes(const struct model *m, const struct adapter_layout *layout,
        const size_t rows[ARCH_MAX_STACKS], bool sparse)
{
	struct tape t;

	tape_cut(NULL, m, layout, rows, sparse, &t);
	return t.bytes;
}

/* Rows of either stack cost about the same, so the dearer one stands for both. */
size_t train_workspace_bytes(const struct model *m, size_t n_rows, bool sparse)
{
	size_t first = tape_bytes(m, NULL, (size_t[]){n_rows, 0}, sparse);
	size_t second = tape_bytes(m, NULL, (size_t[]){0, n_rows}, sparse);

	return first > second ? first : second;
}

enum err train_workspace_new(
        const struct model *m, size_t max_rows, size_t max_bytes, struct train_workspace **out)
{
	const size_t rows[ARCH_MAX_STACKS] = {max_rows, m->arch.n_stacks > 1 ? max_rows : 0};
	size_t sparse = tape_bytes(m, NULL, rows, true);
	struct train_workspace *w = mem_calloc(1, sizeof(*w));

	if (!w)
		return ERR_MEM;
	w->model = m;
	w->max_rows = max_rows;
	w->max_bytes = max_bytes;
	w->bytes = tape_bytes(m, NULL, rows, false);
	w->bytes = w->bytes > sparse ? w->bytes : sparse;
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

static enum err tokens_check(
        const struct arch *a, size_t n_rows, const int32_t *tokens, size_t n_seqs, const size_t *lengths)
{
	size_t total = 0;

	for (size_t i = 0; i < n_seqs; i++) {
		if (!lengths[i])
			return ERR_INVALID;
		if (lengths[i] > a->max_positions || lengths[i] > n_rows - total)
			return ERR_TOO_LONG;
		total += lengths[i];
	}
	if (total != n_rows)
		return ERR_INVALID;
	for (size_t i = 0; i < n_rows; i++)
		if ((size_t)tokens[i] >= a->vocab_size)
			return ERR_INVALID;
	return OK;
}

static enum err labels_check(const struct step *s)
{
	const struct train_batch *b = s->batch;
	int32_t n_classes = (int32_t)adapter_layout_head_labels(s->layout);

	if (s->m->arch.family->kind != MODEL_ENCODER) {
		for (size_t i = 0; i < b->n_rows; i++)
			if (b->labels[i] >= (int32_t)s->m->arch.vocab_size)
				return ERR_INVALID;
		return OK;
	}
	if (!n_classes || !(b->dropout >= 0 && b->dropout < 1))
		return ERR_INVALID;
	for (size_t i = 0; b->classes && i < b->n_seqs; i++)
		if (b->classes[i] >= n_classes)
			return ERR_INVALID;
	return OK;
}

static enum err step_check(const struct step *s, size_t max_rows)
{
	const struct train_batch *b = s->batch;
	bool source = s->m->arch.n_stacks > 1;
	size_t n_source = source ? b->n_source_rows : 0;
	enum err e;

	if (b->n_rows > max_rows || n_source > max_rows - b->n_rows)
		return ERR_TOO_LARGE;
	e = tokens_check(&s->m->arch, b->n_rows, b->tokens, b->n_seqs, b->lengths);
	if (!e && source)
		e = tokens_check(
		        &s->m->arch, b->n_source_rows, b->source_tokens, b->n_seqs, b->source_lengths);
	return e ? e : labels_check(s);
}

/* ---- what is learned ---- */

/* Gradients of rows picked from the stream, back to where they came from. */
static void scatter(float *dx, const float *d_picked, const size_t *rows, size_t n, size_t C)
{
	for (size_t i = 0; i < n; i++)
		memcpy(dx + rows[i] * C, d_picked + i * C, C * sizeof(float));
}

/* Which row of the batch one is that went on. */
static size_t batch_row(const struct step *s, size_t row)
{
	return s->tape.rest_rows[row];
}

/* Loss over one block of n labelled rows; when grads are wanted, their gradient is added to dx. */
static void token_block(struct step *s, const size_t *rows, size_t n)
{
	const struct model *m = s->m;
	const struct train_batch *b = s->batch;
	const struct tape *t = &s->tape;
	const struct stack *last = &m->arch.stacks[m->arch.n_stacks - 1];
	const struct tape_stack *end = &t->stacks[m->arch.n_stacks - 1];
	float grad_scale = s->grads ? s->grad_scale : 0;
	size_t C = m->arch.width, V = m->arch.vocab_size;

	for (size_t i = 0; i < n; i++) {
		memcpy(t->picked + i * C, end->x + rows[i] * C, C * sizeof(float));
		t->targets[i] = b->labels[batch_row(s, rows[i])];
	}
	transformer_final_norm(m, last, n, t->picked, t->normed, t->mean, t->rstd);
	linear_forward(&m->weights.head, &t->linear, n, t->normed, C, t->outputs, V);
	cross_entropy(n, V, t->outputs, t->targets, grad_scale, t->losses, t->correct);
	for (size_t i = 0; i < n; i++) {
		float weight = b->weights ? b->weights[batch_row(s, rows[i])] : 1;

		s->sums.loss += (double)weight * t->losses[i];
		s->sums.weight += (double)weight;
		s->sums.n_labels++;
		s->sums.n_correct += t->correct[i];
		if (grad_scale != 0 && weight != 1)
			for (size_t j = 0; j < V; j++)
				t->outputs[i * V + j] *= weight;
	}
	if (grad_scale == 0)
		return;
	linear_backward(&m->weights.head, &t->linear, n, t->outputs, V, false, t->d_normed, C);
	memset(t->d_picked, 0, n * C * sizeof(float));
	transformer_final_norm_backward(m, last, n, t->d_normed, t->picked, t->mean, t->rstd, t->d_picked);
	scatter(end->dx, t->d_picked, rows, n, C);
}

/* The loss of sequence i from its outputs (L), which become their gradient. */
static void class_loss(struct step *s, size_t i, float *outputs, size_t L)
{
	const struct train_batch *b = s->batch;
	float weight = b->weights ? b->weights[i] : 1, scale = s->grads ? s->grad_scale * weight : 0;
	bool class = b->classes && b->classes[i] >= 0, target = b->targets && !isnan(b->targets[i]);
	unsigned char correct = 0;
	double loss = 0;

	if (class)
		cross_entropy(1, L, outputs, &b->classes[i], scale, &loss, &correct);
	if (!class && target)
		loss = ((double)outputs[0] - (double)b->targets[i]) *
		       ((double)outputs[0] - (double)b->targets[i]);
	if (!class && target && scale != 0) {
		outputs[0] = 2 * scale * (outputs[0] - b->targets[i]);
		memset(outputs + 1, 0, (L - 1) * sizeof(*outputs));
	}
	if ((!class && !target) || scale == 0)
		memset(outputs, 0, L * sizeof(*outputs));
	if ((!class && !target) || weight == 0)
		return;
	s->sums.loss += (double)weight * loss;
	s->sums.weight += (double)weight;
	s->sums.n_labels++;
	s->sums.n_correct += correct;
}

/* The head over n sequences from `first` on. */
static void class_block(struct step *s, size_t first, size_t n)
{
	const struct train_batch *b = s->batch;
	const struct tape *t = &s->tape;
	size_t C = s->m->arch.width, L = adapter_layout_head_labels(s->layout);
	struct class_head head = {s->layout, s->params, C, b->dropout, b->dropout_seed};
	struct class_rows r = {n, first, t->picked, t->normed, t->d_normed, t->outputs};

	memcpy(t->picked, t->stacks[0].x + first * C, n * C * sizeof(float));
	class_head_forward(&head, &r);
	if (b->outputs)
		memcpy(b->outputs + first * L, t->outputs, n * L * sizeof(float));
	for (size_t i = 0; i < n; i++)
		class_loss(s, first + i, t->outputs + i * L, L);
	if (!s->grads)
		return;
	class_head_backward(&head, &r, s->grads, t->stacks[0].dx + first * C);
}

static bool is_labelled(const struct train_batch *b, size_t row)
{
	return b->labels[row] >= 0 && (!b->weights || b->weights[row] != 0);
}

/* Rows of a sequence that the last block goes on with, which begins at `row`: the first, or all from the
 * first labelled one on. *from: the first of them. */
static size_t rest_of(const struct step *s, size_t row, size_t length, size_t *from)
{
	size_t end = row + length;

	*from = row;
	if (s->m->arch.family->kind == MODEL_ENCODER)
		return 1;
	while (*from < end && !is_labelled(s->batch, *from))
		++*from;
	return end - *from;
}

static void rest_prepare(struct step *s)
{
	const struct train_batch *b = s->batch;
	struct tape *t = &s->tape;
	struct pass *p = &s->passes[s->m->arch.n_stacks - 1];
	size_t n = 0, from;

	for (size_t i = 0, row = 0; i < b->n_seqs; row += b->lengths[i++]) {
		t->rest_lengths[i] = rest_of(s, row, b->lengths[i], &from);
		for (size_t j = 0; j < t->rest_lengths[i]; j++)
			t->rest_rows[n++] = from + j;
	}
	s->rest_packed = *(struct packed *)p->context;
	s->rest_packed.lengths = t->rest_lengths;
	pass_narrow(p, &s->rest, t->rest_rows, n, &s->rest_packed);
}

/* Of the rows that went on, those that the head reads: labelled ones, or all. */
static size_t head_rows(const struct step *s)
{
	size_t *rows = s->tape.label_rows, n = 0;

	if (s->m->arch.family->kind == MODEL_ENCODER)
		return s->rest.pass.n_rows;
	for (size_t i = 0; i < s->rest.pass.n_rows; i++)
		if (is_labelled(s->batch, batch_row(s, i)))
			rows[n++] = i;
	return n;
}

static void head_run(struct step *s)
{
	const struct arch *a = &s->m->arch;
	size_t n = head_rows(s), most = s->tape.head_rows;

	if (s->grads)
		memset(s->tape.stacks[a->n_stacks - 1].dx, 0, s->rest.pass.n_rows * a->width * sizeof(float));
	for (size_t at = 0; at < n; at += most) {
		size_t some = n - at < most ? n - at : most;

		if (a->family->kind == MODEL_ENCODER)
			class_block(s, at, some);
		else
			token_block(s, s->tape.label_rows + at, some);
	}
}

/* ---- the stacks ---- */

static void pass_prepare(struct step *s, size_t k)
{
	const struct train_batch *b = s->batch;
	bool source = k + 1 < s->m->arch.n_stacks;
	const struct tape_stack *t = &s->tape.stacks[k];
	size_t n_rows = source ? b->n_source_rows : b->n_rows;

	s->packed[k] = (struct packed){.n_seqs = b->n_seqs,
	        .lengths = source ? b->source_lengths : b->lengths,
	        .source_lengths = k ? b->source_lengths : NULL,
	        .scratch = s->tape.attention_scratch};
	s->runs[k] =
	        (struct edit_run){.n_rows = n_rows, .layout = s->layout, .params = s->params, .strength = 1};
	s->passes[k] = (struct pass){.m = s->m,
	        .stack = &s->m->arch.stacks[k],
	        .n_rows = n_rows,
	        .positions = t->positions,
	        .segments = t->segments,
	        .runs = &s->runs[k],
	        .n_runs = 1,
	        .attend = packed_attend,
	        .context = &s->packed[k],
	        .linear = s->tape.linear,
	        .source = k ? &s->passes[0] : NULL,
	        .memory = s->tape.memory};
	packed_positions(&s->packed[k], t->positions);
}

/* The stream that enters layer i of stack k, or leaves its last one. */
static float *stream_at(const struct step *s, size_t k, size_t i)
{
	const struct stack *stack = s->passes[k].stack;
	const struct tape *t = &s->tape;

	return i < stack->first_layer + stack->n_layers ? t->layers[i].attn[ATTENTION_SELF].branch.x_in
	                                                : t->stacks[k].x;
}

static bool stem_begins(const struct step *s, size_t k, size_t i)
{
	return k == 0 && s->stem.n_floats && i == s->stem.layer;
}

static void stem_pass(const struct step *s, size_t at, float *x)
{
	size_t C = s->m->arch.width;

	if (s->batch->stems_known)
		stem_recall(&s->stem, &s->stem_rows, at, C, x);
	else
		stem_keep(&s->stem, &s->stem_rows, at, C, x);
}

static void layer_forward(const struct step *s, size_t k, size_t i, float *x_out)
{
	const struct pass *p = &s->passes[k];
	const struct tape *t = &s->tape;
	const struct block_state *state = &t->layers[i];
	bool joins = stem_begins(s, k, i) && s->stem.joins;

	if (!joins || !s->batch->stems_known)
		block_outputs(p, i, state, &t->scratch);
	if (joins) {
		stem_pass(s, 0, state->ffn.branch.x_in);
		stem_pass(s, s->m->arch.width, t->scratch.branch);
	}
	block_join(p, i, state, &t->scratch, x_out);
}

static void stack_forward(struct step *s, size_t k)
{
	const struct pass *p = &s->passes[k];
	const int32_t *tokens = k + 1 < s->m->arch.n_stacks ? s->batch->source_tokens : s->batch->tokens;
	size_t begin = p->stack->first_layer, end = begin + p->stack->n_layers;
	bool known = k == 0 && s->stem.n_floats && s->batch->stems_known;

	if (p->segments)
		packed_segments(&s->packed[k], tokens, s->tape.stacks[k].segments);
	if (!known)
		transformer_embed(p, tokens, stream_at(s, k, begin));
	for (size_t i = known ? s->stem.layer : begin; i <= end; i++) {
		if (stem_begins(s, k, i) && !s->stem.joins)
			stem_pass(s, 0, stream_at(s, k, i));
		if (i < end)
			layer_forward(s, k, i, stream_at(s, k, i + 1));
	}
}

static void forward_run(struct step *s)
{
	const struct tape *t = &s->tape;
	size_t n = s->m->arch.n_stacks;

	for (size_t k = 0; k < n; k++)
		pass_prepare(s, k);
	rest_prepare(s);
	if (s->batch->stems) {
		s->stem = stem_of(&s->m->arch, s->layout);
		s->stem_rows = (struct stem_rows){s->packed[0].n_seqs, s->packed[0].lengths, s->batch->stems};
	}
	for (size_t k = 0; k < n; k++) {
		stack_forward(s, k);
		if (k + 1 < n)
			transformer_final_norm(s->m, s->passes[k].stack, s->passes[k].n_rows, t->stacks[k].x,
			        t->memory, t->memory_mean, t->memory_rstd);
	}
}

static void stack_backward(struct step *s, size_t k, struct block_grads *g)
{
	const struct stack *stack = s->passes[k].stack;

	const struct tape *t = &s->tape;
	size_t end = stack->first_layer + stack->n_layers;

	g->floor = t->stacks[k].floor;
	for (size_t i = end; i-- > stack->first_layer;) {
		/* the state of the last one is still there; where its stream went, nobody looks again */
		if (t->sparse && i + 1 < end)
			layer_forward(s, k, i, t->stacks[k].x);
		if (!block_backward(&s->passes[k], i, &t->layers[i], g, t->stacks[k].dx))
			return;
	}
}

/* From the last stack's dx down to the first edited site. */
static void backward_run(struct step *s)
{
	const struct model *m = s->m;
	const struct tape *t = &s->tape;
	struct block_grads g = t->grads;
	size_t first = adapter_layout_first_site(s->layout), bytes;

	g.grads = s->grads;
	g.attend_backward = packed_attend_backward;
	for (size_t k = m->arch.n_stacks; k-- > 0;) {
		bool source = k && first < m->arch.stacks[k].first_site;

		bytes = k ? s->passes[0].n_rows * m->arch.width * sizeof(float) : 0;
		g.d_memory = source ? t->d_memory : NULL;
		if (source)
			memset(t->d_memory, 0, bytes);
		stack_backward(s, k, &g);
		if (!source)
			return;
		memset(t->stacks[0].dx, 0, bytes);
		transformer_final_norm_backward(m, &m->arch.stacks[0], s->passes[0].n_rows, t->d_memory,
		        t->stacks[0].x, t->memory_mean, t->memory_rstd, t->stacks[0].dx);
	}
}

enum err model_train(const struct model *m, struct train_workspace *w, const struct train_batch *batch,
        const struct adapter_layout *layout, const float *params, float grad_scale, float *grads,
        struct train_sums *sums)
{
	struct step s = {.m = m,
	        .batch = batch,
	        .layout = layout,
	        .params = params,
	        .grad_scale = grad_scale,
	        .grads = grads};
	bool source = m->arch.n_stacks > 1;
	size_t rows[ARCH_MAX_STACKS] = {source ? batch->n_source_rows : batch->n_rows, batch->n_rows};
	enum err e = step_check(&s, w->max_rows);
	bool sparse;

	if (e)
		return e;
	rows[1] = source ? rows[1] : 0;
	sparse = grads && w->max_bytes && tape_bytes(m, layout, rows, false) > w->max_bytes;
	tape_cut(w->base, m, layout, rows, sparse, &s.tape);
	forward_run(&s);
	head_run(&s);
	if (grads)
		backward_run(&s);
	*sums = s.sums;
	return OK;
}
