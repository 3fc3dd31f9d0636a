/*
 * What the rows of the first stack are before the first edit: the same whatever an adapter has learned, so it
 * may be kept from one epoch to the next. Internal to model/.
 */
#ifndef REDD_MODEL_STEM_H
#define REDD_MODEL_STEM_H

#include "worker/model/transformer.h"

/* Kept of a row: the stream that enters `layer` (C); or, where the first edit comes behind that layer's
 * feed-forward output, the stream that enters this branch and the output itself (2,C). */
struct stem {
	size_t layer;    /* one behind the stack's last: the stream that leaves it */
	bool joins;      /* the second */
	size_t n_floats; /* of a row; 0: there is nothing to gain */
};

struct stem stem_of(const struct arch *a, const struct adapter_layout *layout);

/* Sequences and where their stems are, (length, n_floats) each. */
struct stem_rows {
	size_t n_seqs;
	const size_t *lengths;
	float *const *stems;
};
/* Copy x (N,C), the rows of all sequences one after the other, to the numbers from `at` on of each row's
 * stem, or back. */
void stem_keep(const struct stem *s, const struct stem_rows *r, size_t at, size_t C, const float *x);
void stem_recall(const struct stem *s, const struct stem_rows *r, size_t at, size_t C, float *x);

#endif
