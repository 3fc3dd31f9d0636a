/*
 * tokenizer.json's "pre_tokenizer": cutting text into the pieces a model sees one by one. A chain of stages,
 * each a row of the table in pre_tokenizer.c; a Sequence is laid out flat. Immutable once parsed.
 */
#ifndef REDD_TEXT_PRE_TOKENIZER_H
#define REDD_TEXT_PRE_TOKENIZER_H

#include "worker/text/component.h"
#include "worker/text/pieces.h"
#include "worker/text/regex.h"

/* What becomes of a match: SplitDelimiterBehavior. */
enum split_behavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct pre_tokenizer_stage {
	const struct pre_tokenizer_kind *kind;
	struct regex *regex; /* owned; NULL = do not cut */
	enum split_behavior behavior;
	bool invert;                 /* matches are what lies between */
	bool add_prefix_space;       /* ByteLevel */
	enum prepend_scheme prepend; /* Metaspace */
	char replacement[5];         /* Metaspace; one character */
	bool split;                  /* Metaspace */
};

struct pre_tokenizer {
	struct pre_tokenizer_stage stages[COMPONENT_MAX];
	size_t n;
};

/* Zero-initialise *out; fini it on failure too. json may be NULL or null: no stages. */
enum err pre_tokenizer_parse(const json_t *json, struct pre_tokenizer *out, struct why *why);
void pre_tokenizer_fini(struct pre_tokenizer *t);

/* Cut the pieces of *l, which is replaced; spare is lent for the way. ERR_MEM, ERR_LIMIT. */
enum err pre_tokenizer_apply(
        const struct pre_tokenizer *t, struct regex_scratch *s, struct pieces *l, struct pieces *spare);

/* The members of a Metaspace, of which the decoder of that name has the same. */
enum err metaspace_parse(
        const json_t *json, enum prepend_scheme *prepend, char replacement[5], bool *split, struct why *why);

#endif
