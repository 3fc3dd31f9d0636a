/*
 * tokenizer.json's "post_processor": the special tokens around text. Each kind is a row of the table in
 * post_processor.c. Immutable once parsed.
 */
#ifndef REDD_TEXT_POST_PROCESSOR_H
#define REDD_TEXT_POST_PROCESSOR_H

#include "worker/text/component.h"
#include "worker/text/tokenizer.h"

/* Special tokens before and after a text, and around and between the two of a pair. */
struct post_processor {
	struct ids before, after;
	struct ids pair_before, pair_between, pair_after;
	bool no_pair; /* the pair has a form that is not A, then B */
	bool set;     /* by a component; a Sequence may have one that does */
};

/* Zero-initialise *out; fini it on failure too. json may be NULL or null: no tokens. */
enum err post_processor_parse(const json_t *json, struct post_processor *out, struct why *why);
void post_processor_fini(struct post_processor *p);

#endif
