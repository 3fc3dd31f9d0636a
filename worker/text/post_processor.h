/*
 * tokenizer.json's "post_processor": the special tokens around text. Each kind is a row of the table in
 * post_processor.c. Immutable once parsed.
 */
#ifndef REDD_TEXT_POST_PROCESSOR_H
#define REDD_TEXT_POST_PROCESSOR_H

#include "worker/text/component.h"
#include "worker/text/tokenizer.h"

/* Special tokens before and after a text. */
struct post_processor {
	struct ids before, after;
	bool set; /* by a component; a Sequence may have one that does */
};

/* Zero-initialise *out; fini it on failure too. json may be NULL or null: no tokens. */
enum err post_processor_parse(const json_t *json, struct post_processor *out, struct why *why);
void post_processor_fini(struct post_processor *p);

#endif
