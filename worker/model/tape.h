/*
 * What a training pass keeps: one reservation of address space, cut anew for every batch by its numbers of
 * rows, so memory is touched in proportion to them. Layers below the first edited one of a stack share the
 * state of that layer: nothing will ask for theirs again. A sparse tape keeps the stream that enters each of
 * the others, and one state for all: the way back computes a layer's anew (Chen et al., "Training Deep Nets
 * with Sublinear Memory Cost", arXiv 1604.06174). Internal to model/.
 *
 * Letters as in transformer.h; rows[k] are those of stack k.
 */
#ifndef REDD_MODEL_TAPE_H
#define REDD_MODEL_TAPE_H

#include "worker/model/transformer.h"

struct tape_stack {
	size_t *positions;       /* (N) */
	unsigned char *segments; /* (N), or NULL where the family has one */
	float *x;                /* (N,C) the stream leaving the last block */
	float *dx;               /* (N,C) */
	size_t floor;            /* as struct block_grads has it */
};

struct tape {
	struct tape_stack stacks[ARCH_MAX_STACKS];
	float *memory, *d_memory;         /* (M,C) what the source's stack gave; seq2seq */
	float *memory_mean, *memory_rstd; /* (M) */
	size_t *rest_rows;                /* (N) those of the last stack that its last block goes on with */
	size_t *rest_lengths;             /* (N) how many of each sequence */
	size_t *label_rows;               /* (N) those among them that are labelled */
	/* Labelled rows whose logits are held at once, whatever the batch: HR. */
	size_t head_rows;
	double *losses; /* (HR), as all below */
	unsigned char *correct;
	int32_t *targets;
	float *picked, *d_picked; /* (HR,C) stream at labelled rows */
	float *normed, *d_normed; /* (HR,C) */
	float *mean, *rstd;
	float *outputs; /* (HR, V or labels) */
	float *attention_scratch;
	struct block_scratch scratch;
	struct linear_scratch linear;
	struct block_grads grads;
	struct block_state layers[ADAPTER_MAX_LAYERS];
	bool sparse;
	size_t bytes;
};

/* layout NULL: as if everything were edited, the most a layer can need. base NULL: only count. */
void tape_cut(void *base, const struct model *m, const struct adapter_layout *layout,
        const size_t rows[ARCH_MAX_STACKS], bool sparse, struct tape *t);

#endif
