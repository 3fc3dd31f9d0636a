/*
 * The regular expressions of tokenizer.json: Oniguruma's dialect, as far as tokenizers use it, on PCRE2 with
 * Unicode properties and just-in-time compilation. A compiled expression is immutable; a scratch has one
 * owner.
 */
#ifndef REDD_TEXT_REGEX_H
#define REDD_TEXT_REGEX_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

struct regex;
struct regex_scratch; /* what one thread needs to match any of them */

/* literal: the pattern's characters stand for themselves. ERR_FORMAT for a pattern that is not one,
 * ERR_UNSUPPORTED for what the two dialects read differently and we do not translate, ERR_MEM. */
enum err regex_new(const char *pattern, size_t n, bool literal, struct regex **out, struct why *why);
void regex_free(struct regex *r);

enum err regex_scratch_new(struct regex_scratch **out);
void regex_scratch_free(struct regex_scratch *s);

/* Successive matches in p (UTF-8, n bytes), never overlapping; an empty match next to the previous one is
 * passed over. for (it = regex_iter(r, s, p, n); regex_iter_next(&it);) use it.start, it.end; then look at
 * it.error. */
struct regex_iter {
	const struct regex *regex;     /* borrowed */
	struct regex_scratch *scratch; /* borrowed */
	const char *p;                 /* borrowed */
	size_t n;
	size_t start, end; /* the match */
	size_t pos;        /* where the search goes on */
	bool matched;      /* there was one */
	enum err error;    /* ERR_MEM, or ERR_LIMIT when the expression needs more steps than it may take */
};
struct regex_iter regex_iter(const struct regex *r, struct regex_scratch *s, const char *p, size_t n);
bool regex_iter_next(struct regex_iter *it);

#endif
