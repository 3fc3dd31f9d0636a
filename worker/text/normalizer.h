/*
 * tokenizer.json's "normalizer": what happens to text before it is cut. A chain of stages, each a row of the
 * table in normalizer.c; a Sequence is laid out flat. Immutable once parsed; any thread may apply it.
 */
#ifndef REDD_TEXT_NORMALIZER_H
#define REDD_TEXT_NORMALIZER_H

#include "core/buf.h"
#include "worker/text/component.h"
#include "worker/text/regex.h"

struct normalizer_stage {
	const struct normalizer_kind *kind;
	struct regex *regex; /* owned; or NULL */
	char *content;       /* owned; or NULL */
	size_t n_content;
	struct charsmap *charsmap;                     /* owned; or NULL */
	bool left, right;                              /* Strip */
	bool clean, chinese, strip_accents, lowercase; /* BertNormalizer */
	int form;                                      /* utf8proc's options */
};

struct normalizer {
	struct normalizer_stage stages[COMPONENT_MAX];
	size_t n;
};

/* Zero-initialise *out; fini it on failure too. json may be NULL or null: no stages. */
enum err normalizer_parse(const json_t *json, struct normalizer *out, struct why *why);
void normalizer_fini(struct normalizer *n);

/* Put text (UTF-8) through all stages, in place; spare is lent for the way. ERR_MEM, ERR_LIMIT. */
enum err normalizer_apply(
        const struct normalizer *n, struct regex_scratch *s, struct buf *text, struct buf *spare);

#endif
