/* See plan.h. */
#include "worker/train/plan.h"

#include "core/mem.h"
#include "core/rng.h"

#include <assert.h>
#include <string.h>

/* Hashed, since SplitMix streams of nearby seeds are shifts of each other. */
uint64_t plan_mix(uint64_t seed, uint64_t x)
{
	struct rng rng;

	rng_seed(&rng, seed);
	rng_seed(&rng, rng_next(&rng) ^ x);
	return rng_next(&rng);
}

void plan_order(uint64_t seed, size_t epoch, bool shuffle, size_t n, size_t *order)
{
	struct rng rng;

	for (size_t i = 0; i < n; i++)
		order[i] = i;
	if (!shuffle)
		return;
	rng_seed(&rng, plan_mix(seed, epoch));
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rng_below(&rng, i);
		size_t swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

/* Positions that a row takes: all but the last token predict one. */
static size_t row_positions(const struct dataset *d, const struct dataset_row *row)
{
	return d->form == DATASET_LABELLED ? row->n_tokens : row->n_tokens - 1;
}

size_t plan_max_rows(const struct dataset *d)
{
	size_t max = PLAN_PACK_POSITIONS;

	for (size_t i = 0; i < d->n_rows; i++) {
		const struct dataset_row *row = &d->rows[i];
		size_t n = row->n_trained ? row_positions(d, row) + row->n_source : 0;

		if (n > max)
			max = n;
	}
	return max;
}

/* Room for n rows of at most `longest` tokens, which have no more than n_tokens in all. */
static size_t room_for(size_t n, size_t longest, size_t n_tokens)
{
	size_t room;

	return mem_mul(n, longest, &room) && room < n_tokens ? room : n_tokens;
}

enum err plan_init(struct plan *p, const struct dataset *d, size_t n_rows)
{
	bool sourced = d->form == DATASET_SOURCED, classes = d->labels.kind == LABELS_CLASSES,
	     numbers = d->labels.kind == LABELS_NUMBER;
	size_t n_positions, n_sources;

	memset(p, 0, sizeof(*p));
	if (n_rows > d->n_rows)
		n_rows = d->n_rows;
	n_positions = room_for(n_rows, d->longest, d->n_tokens);
	n_sources = room_for(n_rows, d->longest_source, d->n_sources);
	p->tokens = mem_calloc(n_positions, sizeof(*p->tokens));
	p->labels = mem_calloc(n_positions, sizeof(*p->labels));
	p->weights = mem_calloc(n_positions, sizeof(*p->weights));
	p->rows = mem_calloc(n_rows, sizeof(*p->rows));
	p->lengths = mem_calloc(n_rows, sizeof(*p->lengths));
	p->packs = mem_calloc(n_rows, sizeof(*p->packs));
	p->sources = sourced ? mem_calloc(n_sources, sizeof(*p->sources)) : NULL;
	p->source_lengths = sourced ? mem_calloc(n_rows, sizeof(*p->source_lengths)) : NULL;
	p->classes = classes ? mem_calloc(n_rows, sizeof(*p->classes)) : NULL;
	p->targets = numbers ? mem_calloc(n_rows, sizeof(*p->targets)) : NULL;
	p->max_seqs = n_rows;
	if (!p->tokens || !p->labels || !p->weights || !p->rows || !p->lengths || !p->packs ||
	        (sourced && (!p->sources || !p->source_lengths)) || (classes && !p->classes) ||
	        (numbers && !p->targets)) {
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
	mem_free(p->rows);
	mem_free(p->lengths);
	mem_free(p->packs);
	mem_free(p->sources);
	mem_free(p->source_lengths);
	mem_free(p->classes);
	mem_free(p->targets);
	mem_free(p->stems);
	stems_fini(&p->kept);
	memset(p, 0, sizeof(*p));
}

enum err plan_keep(
        struct plan *p, const struct model *m, const struct adapter_layout *layout, const struct dataset *d)
{
	p->stems = mem_calloc(p->max_seqs, sizeof(*p->stems));
	return p->stems ? stems_init(&p->kept, m, layout, d) : ERR_MEM;
}

/* The place of n positions and n_sources source rows in the last pack or a new one. */
static void stage_pack(struct plan *p, size_t n, size_t n_sources)
{
	struct plan_pack *pack = p->n_packs ? &p->packs[p->n_packs - 1] : NULL;

	if (!pack || pack->n_positions + pack->n_sources + n + n_sources > PLAN_PACK_POSITIONS) {
		pack = &p->packs[p->n_packs++];
		*pack = (struct plan_pack){
		        .seq = p->n_seqs, .position = p->n_positions, .source = p->n_sources};
	}
	pack->n_seqs++;
	pack->n_positions += n;
	pack->n_sources += n_sources;
}

/* The labels of a row's n positions, shifted: each is the token after it. */
static void stage_labels(struct plan *p, const struct dataset *d, const struct dataset_row *row, size_t n)
{
	const int32_t *ids = d->ids + row->offset;
	const float *weights = d->weights + row->offset;
	size_t at = p->n_positions;

	for (size_t i = 0; i < n; i++) {
		float weight = weights[i + 1];

		p->labels[at + i] = weight != 0 ? ids[i + 1] : -1;
		p->weights[at + i] = weight;
		p->label_weight += (double)weight;
		p->n_labels += weight != 0;
	}
}

/* Append one row: its positions, its source, its label. */
static void stage_row(struct plan *p, const struct dataset *d, size_t index)
{
	const struct dataset_row *row = &d->rows[index];
	size_t n = row_positions(d, row), seq = p->n_seqs;

	stage_pack(p, n, row->n_source);
	memcpy(p->tokens + p->n_positions, d->ids + row->offset, n * sizeof(*p->tokens));
	if (d->form == DATASET_LABELLED) {
		p->label_weight += 1;
		p->n_labels++;
	} else {
		stage_labels(p, d, row, n);
	}
	if (p->classes)
		p->classes[seq] = row->class;
	if (p->targets)
		p->targets[seq] = row->target;
	if (p->sources) {
		memcpy(p->sources + p->n_sources, d->sources + row->source_offset,
		        row->n_source * sizeof(*p->sources));
		p->source_lengths[seq] = row->n_source;
		p->n_sources += row->n_source;
	}
	if (p->stems)
		p->stems[seq] = stems_at(&p->kept, index);
	p->rows[seq] = index;
	p->lengths[seq] = n;
	p->n_positions += n;
	p->n_seqs++;
}

void plan_cut(struct plan *p, const struct dataset *d, const size_t *rows, size_t n_rows, size_t max_items)
{
	assert(max_items > 0);
	p->n_positions = p->n_sources = p->n_seqs = p->n_packs = p->n_labels = 0;
	p->label_weight = 0;
	for (size_t i = 0; i < n_rows; i++) {
		size_t row = rows ? rows[i] : i;

		if (d->rows[row].n_trained)
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

static bool all_known(const struct plan *p, const struct plan_pack *k)
{
	for (size_t i = k->seq; i < k->seq + k->n_seqs; i++)
		if (!p->kept.known[p->rows[i]])
			return false;
	return true;
}

void plan_seen(const struct plan *p, size_t pack)
{
	const struct plan_pack *k = &p->packs[pack];

	for (size_t i = k->seq; p->stems && i < k->seq + k->n_seqs; i++)
		p->kept.known[p->rows[i]] = true;
}

void plan_batch(const struct plan *p, size_t pack, struct train_batch *out)
{
	const struct plan_pack *k = &p->packs[pack];

	*out = (struct train_batch){
	        .n_rows = k->n_positions,
	        .tokens = p->tokens + k->position,
	        .n_seqs = k->n_seqs,
	        .lengths = p->lengths + k->seq,
	        .stems = p->stems ? p->stems + k->seq : NULL,
	        .stems_known = p->stems && all_known(p, k),
	};
	if (p->classes || p->targets) {
		out->classes = p->classes ? p->classes + k->seq : NULL;
		out->targets = p->targets ? p->targets + k->seq : NULL;
		out->outputs = p->outputs ? p->outputs + k->seq * p->n_outputs : NULL;
		return;
	}
	out->labels = p->labels + k->position;
	out->weights = p->weights + k->position;
	if (p->sources) {
		out->n_source_rows = k->n_sources;
		out->source_tokens = p->sources + k->source;
		out->source_lengths = p->source_lengths + k->seq;
	}
}
