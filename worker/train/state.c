/*
 * A train_run's state as bytes, little-endian:
 *
 *   magic "REDDRUN1" | binding (32) | steps, updates, tokens, evaluated, best_step, unimproved (u64 each) |
 *   best_score (f64) | n_params (u64) | params, m, v, best (f32 each) | SHA-256 of all before (32)
 *
 * The binding is a hash of all that determines the run's result, so a state never goes on under another
 * configuration, base or data set. Thread: the run's driver.
 */
#include "worker/train/run.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define STATE_MAGIC "REDDRUN1"
#define STATE_HEAD_BYTES (8 + HASH_BYTES + 8 * 8)
#define STATE_ARRAYS 4

static void hash_u64(struct hash *h, uint64_t x)
{
	x = htole64(x);
	hash_update(h, &x, sizeof(x));
}

static void hash_f64(struct hash *h, double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	hash_u64(h, bits);
}

static void hash_config(struct hash *h, const struct train_config *c)
{
	hash_u64(h, c->n_epochs);
	hash_u64(h, c->batch_size);
	hash_f64(h, c->learning_rate);
	hash_u64(h, c->schedule);
	hash_u64(h, c->warmup_steps);
	hash_f64(h, c->weight_decay);
	hash_f64(h, c->beta1);
	hash_f64(h, c->beta2);
	hash_f64(h, c->eps);
	hash_f64(h, c->max_grad_norm);
	hash_u64(h, c->shuffle);
	hash_u64(h, c->eval_every);
	hash_u64(h, c->patience);
	hash_u64(h, c->keep);
	hash_u64(h, c->seed);
	hash_u64(h, c->decay_towards);
	hash_f64(h, c->dropout);
	hash_u64(h, c->metric);
}

static void hash_dataset(struct hash *h, const struct dataset *d)
{
	hash_u64(h, d ? d->n_rows : 0);
	if (!d)
		return;
	hash_u64(h, d->form);
	hash_u64(h, d->labels.kind);
	hash_u64(h, d->labels.n);
	for (size_t i = 0; i < d->n_rows; i++) {
		const struct dataset_row *row = &d->rows[i];

		hash_u64(h, row->n_tokens);
		hash_update(h, d->ids + row->offset, row->n_tokens * sizeof(*d->ids));
		hash_update(h, d->weights + row->offset, row->n_tokens * sizeof(*d->weights));
		hash_u64(h, row->n_source);
		if (row->n_source)
			hash_update(h, d->sources + row->source_offset, row->n_source * sizeof(*d->sources));
		hash_u64(h, (uint64_t)row->class);
		hash_f64(h, (double)row->target);
	}
}

void train_state_bind(struct train_run *r, const float *start_params)
{
	const struct adapter_spec *spec = adapter_layout_spec(r->layout);
	struct hash h;

	hash_init(&h);
	hash_update(&h, model_info(r->model)->hash, MODEL_HASH_SIZE);
	hash_config(&h, &r->config);
	hash_u64(&h, spec->method);
	hash_u64(&h, spec->positions);
	hash_u64(&h, spec->parts);
	hash_u64(&h, spec->all_layers);
	if (!spec->all_layers)
		hash_update(&h, spec->layers, sizeof(spec->layers));
	hash_u64(&h, r->n_params);
	hash_update(&h, start_params, r->n_params * sizeof(*start_params));
	hash_dataset(&h, r->train);
	hash_dataset(&h, r->valid);
	hash_final(&h, r->binding);
}

static char *put_u64(char *p, uint64_t x)
{
	x = htole64(x);
	memcpy(p, &x, sizeof(x));
	return p + sizeof(x);
}

static const char *get_u64(const char *p, uint64_t *x)
{
	memcpy(x, p, sizeof(*x));
	*x = le64toh(*x);
	return p + sizeof(*x);
}

static char *put_floats(char *p, size_t n, const float *x)
{
	for (size_t i = 0; i < n; i++, p += sizeof(uint32_t)) {
		uint32_t bits;

		memcpy(&bits, &x[i], sizeof(bits));
		bits = htole32(bits);
		memcpy(p, &bits, sizeof(bits));
	}
	return p;
}

static const char *get_floats(const char *p, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++, p += sizeof(uint32_t)) {
		uint32_t bits;

		memcpy(&bits, p, sizeof(bits));
		bits = le32toh(bits);
		memcpy(&x[i], &bits, sizeof(bits));
	}
	return p;
}

static size_t state_bytes(const struct train_run *r)
{
	return STATE_HEAD_BYTES + STATE_ARRAYS * r->n_params * sizeof(float) + HASH_BYTES;
}

enum err train_state_write(const struct train_run *r, struct buf *out)
{
	size_t n = state_bytes(r);
	uint8_t digest[HASH_BYTES];
	uint64_t best_score;
	char *start, *p;

	assert(r->phase == TRAIN_DONE);
	if (buf_reserve(out, n) != OK)
		return ERR_MEM;
	start = p = out->data + out->len;
	memcpy(&best_score, &r->at.best_score, sizeof(best_score));
	memcpy(p, STATE_MAGIC, 8);
	memcpy(p + 8, r->binding, HASH_BYTES);
	p = put_u64(p + 8 + HASH_BYTES, r->at.steps);
	p = put_u64(p, r->at.updates);
	p = put_u64(p, r->at.tokens);
	p = put_u64(p, r->at.evaluated);
	p = put_u64(p, r->at.best_step);
	p = put_u64(p, r->at.unimproved);
	p = put_u64(p, best_score);
	p = put_u64(p, r->n_params);
	p = put_floats(p, r->n_params, r->params);
	p = put_floats(p, r->n_params, r->m);
	p = put_floats(p, r->n_params, r->v);
	p = put_floats(p, r->n_params, r->best);
	hash_bytes(start, (size_t)(p - start), digest);
	memcpy(p, digest, HASH_BYTES);
	out->len += n;
	out->data[out->len] = '\0';
	return OK;
}

enum err train_state_read(struct train_run *r, const void *data, size_t n, struct why *why)
{
	const char *p = data;
	struct train_counters at;
	uint8_t digest[HASH_BYTES];
	uint64_t best_score, n_params;

	assert(r->phase == TRAIN_DONE);
	if (n < STATE_HEAD_BYTES + HASH_BYTES || memcmp(p, STATE_MAGIC, 8) != 0)
		return why_set(why, ERR_FORMAT, "saved training state: not in a form this program knows");
	hash_bytes(p, n - HASH_BYTES, digest);
	if (memcmp(digest, p + n - HASH_BYTES, HASH_BYTES) != 0)
		return why_set(why, ERR_FORMAT, "saved training state: damaged, its checksum differs");
	if (n != state_bytes(r) || memcmp(p + 8, r->binding, HASH_BYTES) != 0)
		return why_set(why, ERR_MISMATCH,
		        "saved training state: made by another base, configuration or data set");
	p = get_u64(p + 8 + HASH_BYTES, &at.steps);
	p = get_u64(p, &at.updates);
	p = get_u64(p, &at.tokens);
	p = get_u64(p, &at.evaluated);
	p = get_u64(p, &at.best_step);
	p = get_u64(p, &at.unimproved);
	p = get_u64(p, &best_score);
	p = get_u64(p, &n_params);
	memcpy(&at.best_score, &best_score, sizeof(best_score));
	if (at.steps > r->total_steps || n_params != r->n_params)
		return why_set(why, ERR_FORMAT, "saved training state: its counters contradict its run");
	r->at = at;
	p = get_floats(p, r->n_params, r->params);
	p = get_floats(p, r->n_params, r->m);
	p = get_floats(p, r->n_params, r->v);
	get_floats(p, r->n_params, r->best);
	return OK;
}
