/*
 * Which rows a step sees, and how they are cut into items of work. A pure function of data, seed, epoch and
 * step: it never learns how many threads there are.
 *
 * Rows are shifted for next-token prediction: position i of a row predicts token i + 1 and carries that
 * token's weight, so a row of n tokens takes n - 1 positions. Rows without loss take none. The rows of a
 * labelled data set are not shifted: each is read whole for the one label it has. Consecutive rows are
 * packed, without padding, into one call of the model; an item is one or more packs.
 *
 * Thread: one owner while cutting; read-only for any number between cuts.
 */
#ifndef REDD_TRAIN_PLAN_H
#define REDD_TRAIN_PLAN_H

#include "worker/model/model.h"
#include "worker/text/dataset.h"
#include "worker/train/stems.h"

/* Positions in a pack, unless one row alone is longer: products of 256 rows run near a core's peak, while
 * activations still fit its share of the cache and a step of a few thousand tokens feeds many threads. */
#define PLAN_PACK_POSITIONS 256
/* Items of one step: each has a gradient buffer of its own, so this bounds their memory. Bigger steps get
 * items of several packs. */
#define PLAN_MAX_ITEMS 64

struct plan_pack {
	size_t seq, n_seqs;
	size_t position, n_positions;
	size_t source, n_sources;
};

struct plan {
	int32_t *tokens; /* owned, as all arrays; (n_positions) */
	int32_t *labels;
	float *weights;
	size_t *rows; /* (n_seqs), as the next five: which of the data set's */
	size_t *lengths;
	size_t *source_lengths; /* NULL when there are no sources, as the next */
	int32_t *classes;       /* NULL unless rows have classes */
	float *targets;         /* NULL unless rows have numbers */
	float **stems;          /* NULL unless plan_keep() was called */
	int32_t *sources;       /* (n_sources) */
	struct plan_pack *packs;
	size_t max_seqs; /* that there is room for */
	size_t n_positions, n_sources, n_seqs, n_packs;
	float *outputs; /* borrowed (n_seqs, n_outputs): where the model leaves the head's; NULL = nowhere */
	size_t n_outputs;
	struct stems kept;              /* owned, across cuts; or nothing */
	size_t packs_per_item, n_items; /* n_items >= 1: without any loss the one item is empty */
	double label_weight;            /* sum of the labels' weights */
	size_t n_labels;
};

/* A number that a seed and another number determine, unlike all of their neighbours'. */
uint64_t plan_mix(uint64_t seed, uint64_t x);
/* Write the order of n rows in this epoch: a seeded Fisher-Yates shuffle, or the file's order. */
void plan_order(uint64_t seed, size_t epoch, bool shuffle, size_t n, size_t *order);

/* Room for any n_rows rows of d. ERR_MEM. */
enum err plan_init(struct plan *p, const struct dataset *d, size_t n_rows);
void plan_fini(struct plan *p);
/* Keep the stems of the rows of d, for all cuts to come. ERR_MEM. */
enum err plan_keep(
        struct plan *p, const struct model *m, const struct adapter_layout *layout, const struct dataset *d);
/* Stage these rows of d (rows NULL = 0 .. n_rows - 1) and cut them into at most max_items items. Allocates
 * nothing. */
void plan_cut(struct plan *p, const struct dataset *d, const size_t *rows, size_t n_rows, size_t max_items);
/* Packs [*first, *end) of an item. */
void plan_item(const struct plan *p, size_t item, size_t *first, size_t *end);
/* The model's view of one pack, borrowed from p. */
void plan_batch(const struct plan *p, size_t pack, struct train_batch *out);
/* The model has seen a pack: what is kept of its rows is there from the next cut on. */
void plan_seen(const struct plan *p, size_t pack);
/* The most rows of the model, sources' and positions together, that a pack of d's rows can hold. */
size_t plan_max_rows(const struct dataset *d);

#endif
