/*
 * Passes over whole sequences, packed one after the other without padding: what training and every encoder
 * run. The context of such a pass is a struct packed. Internal to model/. Thread: the pass's owner.
 */
#ifndef REDD_MODEL_PACKED_H
#define REDD_MODEL_PACKED_H

#include "worker/model/transformer.h"

struct packed {
	size_t n_seqs;
	const size_t *lengths;        /* (n_seqs) */
	const size_t *source_lengths; /* (n_seqs), or NULL: of what cross-attention looks at */
	float *scratch;               /* attention_scratch_floats() */
};

/* The position of each row in its sequence, (N). */
void packed_positions(const struct packed *b, size_t *positions);
/* The segment of each row, (N): a sequence's first reaches up to the first separator, which is the token that
 * it ends with. */
void packed_segments(const struct packed *b, const int32_t *tokens, unsigned char *segments);
/* pass.attend and grads.attend_backward. */
void packed_attend(
        const struct pass *p, size_t layer, enum attention_kind kind, const struct attention_state *s);
void packed_attend_backward(const struct pass *p, size_t layer, enum attention_kind kind,
        const struct attention_state *s, const struct block_grads *g);

#endif
