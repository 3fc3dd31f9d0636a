/* See plan.h. */
#include "worker/train/plan.h"

#include "core/mem.h"
#include "core/rng.h"

#include <assert.h>
#include <string.h>

void plan_order(uint64_t seed, size_t epoch, bool shuffle, size_t n, size_t *order)
{
	struct rng rng;

	for (size_t i = 0; i < n; i++)
		order[i] = i;
	if (!shuffle)
		return;
	/* Hash seed and epoch together: SplitMix streams of nearby seeds are shifts of each other. */
	rng_seed(&rng, seed);
	rng_seed(&rng, rng_next(&rng) ^ (uint64_t)epoch);
	rng_seed(&rng, rng_next(&rng));
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rng_below(&rng, i);
		size_t swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

size_t plan_max_positions(const struct dataset *d)
{
	return d->longest > PLAN_PACK_POSITIONS ? d->longest - 1 : PLAN_PACK_POSITIONS;
}

enum err plan_init(struct plan *p, const struct dataset *d, size_t n_rows)
{
	size_t n_positions;

	memset(p, 0, sizeof(*p));
	if (n_rows > d->n_rows)
		n_rows = d->n_rows;
	if (!mem_mul(n_rows, d->longest, &n_positions) || n_positions > d->n_tokens)
		n_positions = d->n_tokens;
	p->tokens = mem_calloc(n_positions, sizeof(*p->tokens));
	p->labels = mem_calloc(n_positions, sizeof(*p->labels));
	p->weights = mem_calloc(n_positions, sizeof(*p->weights));
	p->lengths = mem_calloc(n_rows, sizeof(*p->lengths));
	p->packs = mem_calloc(n_rows, sizeof(*p->packs));
	if (!p->tokens || !p->labels || !p->weights || !p->lengths || !p->packs) {
		plan_fini(p);
		return ERR_MEM;
	}
	return OK;
}

void plan_fini(struct plan *p)
{
	if (!p)
		return;
	mem_free(p->tokens);
	mem_free(p->labels);
	mem_free(p->weights);
	mem_free(p->lengths);
	mem_free(p->packs);
	memset(p, 0, sizeof(*p));
}

/* Append one row's positions, shifted, and its place in the last pack or a new one. */
static void stage_row(struct plan *p, const struct dataset *d, const struct dataset_row *row)
{
	const int32_t *ids = d->ids + row->offset;
	const float *weights = d->weights + row->offset;
	size_t n = row->n_tokens - 1, at = p->n_positions;
	struct plan_pack *pack = p->n_packs ? &p->packs[p->n_packs - 1] : NULL;

	memcpy(p->tokens + at, ids, n * sizeof(*ids));
	for (size_t i = 0; i < n; i++) {
		float weight = weights[i + 1];

		p->labels[at + i] = weight != 0 ? ids[i + 1] : -1;
		p->weights[at + i] = weight;
		p->label_weight += (double)weight;
		p->n_labels += weight != 0;
	}
	if (!pack || pack->n_positions + n > PLAN_PACK_POSITIONS) {
		pack = &p->packs[p->n_packs++];
		*pack = (struct plan_pack){.seq = p->n_seqs, .position = at};
	}
	pack->n_seqs++;
	pack->n_positions += n;
	p->lengths[p->n_seqs++] = n;
	p->n_positions += n;
}

void plan_cut(struct plan *p, const struct dataset *d, const size_t *rows, size_t n_rows, size_t max_items)
{
	assert(max_items > 0);
	p->n_positions = p->n_seqs = p->n_packs = p->n_labels = 0;
	p->label_weight = 0;
	for (size_t i = 0; i < n_rows; i++) {
		const struct dataset_row *row = &d->rows[rows ? rows[i] : i];

		if (row->n_trained)
			stage_row(p, d, row);
	}
	p->packs_per_item = p->n_packs ? (p->n_packs + max_items - 1) / max_items : 1;
	p->n_items = p->n_packs ? (p->n_packs + p->packs_per_item - 1) / p->packs_per_item : 1;
}

void plan_item(const struct plan *p, size_t item, size_t *first, size_t *end)
{
	assert(item < p->n_items);
	*first = item * p->packs_per_item;
	*end = *first + p->packs_per_item;
	if (*end > p->n_packs)
		*end = p->n_packs;
}

void plan_batch(const struct plan *p, size_t pack, struct train_batch *out)
{
	const struct plan_pack *k = &p->packs[pack];

	*out = (struct train_batch){
	        .n_rows = k->n_positions,
	        .tokens = p->tokens + k->position,
	        .labels = p->labels + k->position,
	        .weights = p->weights + k->position,
	        .n_seqs = k->n_seqs,
	        .lengths = p->lengths + k->seq,
	};
}
