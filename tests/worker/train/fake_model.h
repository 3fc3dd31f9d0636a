/*
 * A model small enough to check by hand, linked instead of the real one: include it once per test program.
 * The parameters are the weights of a linear regression from a token (and its place in its sequence) to the
 * next one, so losses and gradients are known in closed form and a run visibly learns.
 * Labelled sequences are regressed in the same way on their mean feature: on the number, or on 1 for the
 * right one of two classes and 0 for the other, half of the parameters each. A source shifts all places of
 * its sequence by its first token. The stem of a token is its number.
 */
#ifndef REDD_TESTS_FAKE_MODEL_H
#define REDD_TESTS_FAKE_MODEL_H

#include "core/mem.h"
#include "worker/train/train.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define FAKE_PARAMS 24
#define FAKE_VOCAB 50
#define FAKE_CONTEXT 512

struct adapter_layout {
	struct adapter_spec spec;
};

static const struct adapter_layout fake_layout = {
        .spec = {.positions = POSITION_FFN, .parts = PART_SCALE | PART_BIAS, .all_layers = true}};
static const struct model_info fake_info = {
        .family = "fake", .vocab_size = FAKE_VOCAB, .max_positions = FAKE_CONTEXT, .hash = "f00d"};
/* Tokens whose stems were known, and those among them that were not what had been written. */
static atomic_long fake_stems_known, fake_stems_wrong;
/* From this call of model_train() on the loss is not a number; 0 = never. */
static atomic_long fake_nan_at;

const struct model_info *model_info(const struct model *m)
{
	(void)m;
	return &fake_info;
}

size_t model_stem_floats(const struct model *m, const struct adapter_layout *layout)
{
	(void)m, (void)layout;
	return 1;
}

/* Write the stems, or look whether they are what was written. */
static void fake_stems(const struct train_batch *b)
{
	const int32_t *tokens = b->source_tokens ? b->source_tokens : b->tokens;
	const size_t *lengths = b->source_tokens ? b->source_lengths : b->lengths;

	for (size_t s = 0; b->stems && s < b->n_seqs; tokens += lengths[s++])
		for (size_t i = 0; i < lengths[s]; i++) {
			float token = (float)tokens[i];

			if (!b->stems_known) {
				b->stems[s][i] = token;
				continue;
			}
			atomic_fetch_add(&fake_stems_known, 1);
			atomic_fetch_add(&fake_stems_wrong, b->stems[s][i] != token);
		}
}

size_t adapter_layout_n_params(const struct adapter_layout *l)
{
	(void)l;
	return FAKE_PARAMS;
}

const struct adapter_spec *adapter_layout_spec(const struct adapter_layout *l)
{
	return &l->spec;
}

void adapter_layout_start(const struct adapter_layout *l, float *params)
{
	(void)l;
	for (size_t k = 0; k < FAKE_PARAMS; k++)
		params[k] = k % 2 ? 0.0f : 1.0f;
}

static double fake_feature(int32_t token, size_t place, size_t k)
{
	return sin(0.37 * (double)token * (double)(k + 1) + 0.11 * (double)place) / 5;
}

static double fake_target(int32_t label)
{
	return cos(0.9 * (double)label);
}

/* What is off the target for one position. */
static double fake_error(const float *params, int32_t token, size_t place, int32_t label)
{
	double y = -fake_target(label);

	for (size_t k = 0; k < FAKE_PARAMS; k++)
		y += (double)params[k] * fake_feature(token, place, k);
	return y;
}

/* Mean over a sequence, with what dropout leaves of it. */
static double fake_pooled(const struct train_batch *b, const int32_t *tokens, size_t n, size_t k)
{
	double sum = 0;

	if (b->dropout > 0 && (b->dropout_seed >> k & 1))
		return 0;
	for (size_t i = 0; i < n; i++)
		sum += fake_feature(tokens[i], i, k);
	return 5 * sum / (double)n;
}

static void fake_train_labelled(const struct train_batch *b, const float *params, float grad_scale,
        float *grads, struct train_sums *sums)
{
	size_t n_outputs = b->classes ? 2 : 1, n_features = FAKE_PARAMS / n_outputs, row = 0;

	for (size_t s = 0; s < b->n_seqs; row += b->lengths[s++]) {
		double out[2] = {0};

		for (size_t o = 0; o < n_outputs; o++) {
			double want = b->classes ? b->classes[s] == (int32_t)o : (double)b->targets[s], error;

			for (size_t k = 0; k < n_features; k++)
				out[o] += (double)params[o * n_features + k] *
				          fake_pooled(b, b->tokens + row, b->lengths[s], k);
			error = out[o] - want;
			sums->loss += 0.5 * error * error;
			if (b->outputs)
				b->outputs[s * n_outputs + o] = (float)out[o];
			for (size_t k = 0; grads && k < n_features; k++)
				grads[o * n_features + k] +=
				        (float)((double)grad_scale * error *
				                fake_pooled(b, b->tokens + row, b->lengths[s], k));
		}
		sums->weight += 1;
		sums->n_labels++;
		sums->n_correct += b->classes && b->classes[s] == (out[1] > out[0]);
	}
}

enum err model_train(const struct model *m, struct train_workspace *w, const struct train_batch *batch,
        const struct adapter_layout *layout, const float *params, float grad_scale, float *grads,
        struct train_sums *sums)
{
	size_t row = 0, source = 0;

	(void)m, (void)w, (void)layout;
	memset(sums, 0, sizeof(*sums));
	fake_stems(batch);
	if (batch->classes || batch->targets) {
		fake_train_labelled(batch, params, grad_scale, grads, sums);
		return OK;
	}
	for (size_t s = 0; s < batch->n_seqs; s++) {
		size_t shift = batch->source_tokens ? (size_t)batch->source_tokens[source] : 0;

		source += batch->source_tokens ? batch->source_lengths[s] : 0;
		for (size_t i = 0; i < batch->lengths[s]; i++, row++) {
			double error, weight = batch->weights ? (double)batch->weights[row] : 1;

			if (batch->labels[row] < 0)
				continue;
			error = fake_error(params, batch->tokens[row], i + shift, batch->labels[row]);
			sums->loss += weight * 0.5 * error * error;
			sums->weight += weight;
			sums->n_labels++;
			sums->n_correct += fabs(error) < 0.5;
			for (size_t k = 0; grads && k < FAKE_PARAMS; k++)
				grads[k] += (float)((double)grad_scale * weight * error *
				                    fake_feature(batch->tokens[row], i + shift, k));
		}
	}
	if (row != batch->n_rows || source != batch->n_source_rows)
		return ERR_INVALID;
	if (atomic_load(&fake_nan_at) && atomic_fetch_sub(&fake_nan_at, 1) == 1)
		sums->loss = NAN;
	return OK;
}

/* A data set of n_rows rows, lengths 2 .. 2 + spread; each third token has no loss, and each row whose index
 * is `silent` modulo 5 has none at all (5 = every row has loss). */
static void fake_dataset(struct dataset *d, size_t n_rows, size_t spread, size_t silent)
{
	size_t at = 0;

	memset(d, 0, sizeof(*d));
	d->rows = mem_calloc(n_rows, sizeof(*d->rows));
	d->ids = mem_calloc(n_rows * (spread + 2), sizeof(*d->ids));
	d->weights = mem_calloc(n_rows * (spread + 2), sizeof(*d->weights));
	d->n_rows = n_rows;
	for (size_t r = 0; r < n_rows; r++) {
		struct dataset_row *row = &d->rows[r];

		row->offset = at;
		row->n_tokens = 2 + r * 7 % (spread + 1);
		row->line = r + 1;
		for (size_t i = 0; i < row->n_tokens; i++, at++) {
			d->ids[at] = (int32_t)((r * 31 + i * 17) % FAKE_VOCAB);
			d->weights[at] = r % 5 == silent || i % 3 == 0 ? 0.0f : r % 4 == 1 ? 0.5f : 1.0f;
			row->n_trained += i > 0 && d->weights[at] != 0;
		}
		d->n_trained += row->n_trained;
		if (row->n_tokens > d->longest)
			d->longest = row->n_tokens;
	}
	d->n_tokens = at;
}

static void fake_dataset_fini(struct dataset *d)
{
	mem_free(d->rows);
	mem_free(d->ids);
	mem_free(d->weights);
}

static const struct train_config fake_config = {.n_epochs = 3,
        .batch_size = 8,
        .learning_rate = 0.05,
        .schedule = SCHEDULE_LINEAR,
        .warmup_steps = 2,
        .weight_decay = 0.01,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .max_grad_norm = 1.0,
        .shuffle = true,
        .keep = KEEP_LAST,
        .seed = 7};

#endif
