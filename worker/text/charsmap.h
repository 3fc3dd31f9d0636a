/*
 * sentencepiece's compiled table of what characters become ("precompiled_charsmap"): a double-array trie from
 * strings to places in a text of NUL-terminated replacements. It came from a stranger: every index is checked
 * as it is followed. Immutable once read; any thread may apply it.
 */
#ifndef REDD_TEXT_CHARSMAP_H
#define REDD_TEXT_CHARSMAP_H

#include "core/buf.h"
#include "core/err.h"

#include <stddef.h>

struct charsmap;

/* From base64, as tokenizer.json has it. ERR_FORMAT, ERR_MEM. */
enum err charsmap_new(const char *base64, size_t n, struct charsmap **out, struct why *why);
void charsmap_free(struct charsmap *m);

/* Append p (UTF-8) with its characters replaced, as Hugging Face does: a grapheme cluster of fewer than 6
 * bytes becomes what its shortest known beginning becomes; other clusters go character by character. */
enum err charsmap_apply(const struct charsmap *m, const char *p, size_t n, struct buf *out);

#endif
