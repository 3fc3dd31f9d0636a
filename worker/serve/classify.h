/*
 * Requests for a head's outputs instead of text: the step of an encoder base, which takes several sequences
 * in one run of the model and is through with each at once. Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_CLASSIFY_H
#define REDD_SERVE_CLASSIFY_H

#include "worker/serve/batch.h"

struct classifier;

/* Room for max_rows tokens of at most max_seqs sequences. ERR_MEM. */
enum err classifier_new(const struct model *m, size_t max_rows, size_t max_seqs, struct classifier **out);
void classifier_free(struct classifier *c);
/* Those of seqs (n_seqs) that have no end yet, from the first on, as many as have heads of one size and fit:
 * they have their outputs and an end then, or a failure. */
void classifier_step(struct classifier *c, struct serve_workspace *w, struct sequence *const *seqs,
        size_t n_seqs, struct batch_work *work);

#endif
