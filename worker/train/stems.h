/*
 * The stems (model.h) of a data set's rows, kept from one pass over them to the next. Memory is touched as
 * rows come.
 *
 * Thread: rows are marked by whoever computed them, different threads different rows; who reads whether they
 * are known comes after.
 */
#ifndef REDD_TRAIN_STEMS_H
#define REDD_TRAIN_STEMS_H

#include "worker/model/model.h"
#include "worker/text/dataset.h"

struct stems {
	const struct dataset *rows; /* borrowed */
	float *values;              /* owned: reserved; NULL = none are kept */
	size_t n_bytes;
	size_t n_floats;      /* of a token */
	unsigned char *known; /* owned (n_rows) */
};

/* What all rows of d take; 0: there is nothing to gain. */
size_t stems_bytes(const struct model *m, const struct adapter_layout *layout, const struct dataset *d);
/* ERR_MEM. All zero counts as none. */
enum err stems_init(
        struct stems *s, const struct model *m, const struct adapter_layout *layout, const struct dataset *d);
void stems_fini(struct stems *s);
/* Where a row's is. */
float *stems_at(const struct stems *s, size_t row);

#endif
