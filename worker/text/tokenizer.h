/*
 * Text to token ids and back, as Hugging Face's `tokenizer.json` describes it. Immutable once open, so any
 * number of threads may encode and decode at once. Knows nothing of models, JSON replies or logging.
 */
#ifndef REDD_TEXT_TOKENIZER_H
#define REDD_TEXT_TOKENIZER_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* A growing list of ids that the caller owns; zero-initialise. */
struct ids {
	int32_t *ids; /* owned */
	size_t n;
	size_t cap;
};
enum err ids_append(struct ids *l, const int32_t *ids, size_t n);
void ids_fini(struct ids *l);

/* Load a directory's tokenizer: tokenizer.json, or else tokenizer.model (sentencepiece), or else vocab.json
 * with merges.txt; the latter two as tokenizer_config.json and the files beside it say. ERR_NOT_FOUND,
 * ERR_FORMAT, ERR_UNSUPPORTED (a component it does not know, named), ERR_MEM; why names file and reason. */
enum err tokenizer_open(const char *dir, struct tokenizer **out, struct why *why);
/* The same from the text of a tokenizer.json in memory; for tests and fuzzing. */
enum err tokenizer_parse(const char *json, size_t n, struct tokenizer **out, struct why *why);
void tokenizer_close(struct tokenizer *t);

/* One more than the highest id. */
size_t tokenizer_vocab_size(const struct tokenizer *t);

/* Append the ids of text (n bytes; NULs are allowed) to out. Bytes that are not UTF-8 count as U+FFFD.
 * add_special: apply the post-processor. Special tokens written out in text are recognised, as Hugging Face
 * does. ERR_MEM; out is unmodified then. */
enum err tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t n, bool add_special, struct ids *out);

/* Append the ids of a text a, and of a second one b unless that is NULL, with the special tokens that the
 * post-processor puts around one text or two. max (0 = none) is the most ids in all: then the longer text is
 * cut first, at its end, never a special token; *cut says whether one was. ERR_TOO_LONG: max holds not even
 * the special tokens. ERR_UNSUPPORTED: this tokenizer pairs texts in a way of its own. ERR_MEM. out is
 * unmodified then. */
enum err tokenizer_encode_pair(const struct tokenizer *t, const char *a, size_t n_a, const char *b,
        size_t n_b, size_t max, struct ids *out, bool *cut);

/* Append the text of ids. skip_special leaves special tokens out; ids out of range are skipped. The bytes are
 * what the ids stand for, valid UTF-8 or not (a character may be cut at the end); decoding as a whole
 * replaces invalid bytes by U+FFFD when `lossy` is set. */
enum err tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
        bool lossy, struct buf *out);

/* The raw bytes of one id (as in logprobs' "bytes"): decoded alone, without the strip at the start of text.
 */
enum err tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct buf *out);

/* The *n special tokens that the post-processor puts before a text; borrowed. */
const int32_t *tokenizer_leading(const struct tokenizer *t, size_t *n);

/* The id of an exact token string ("</s>"), or -1. */
int32_t tokenizer_token_id(const struct tokenizer *t, const char *token);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);

/* Incremental decoding for streams: feed ids, get the text that has become certain; an unfinished UTF-8
 * character is held back. The stream continues the `before` ids, as a completion does its prompt (n_before =
 * 0: it is a text of its own): its text is what it adds to theirs, both as tokenizer_decode() (skip_special,
 * lossy) gives them. So only where no text precedes is a leading space stripped. */
struct detok; /* one per stream, one owner */
enum err detok_new(const struct tokenizer *t, const int32_t *before, size_t n_before, struct detok **out);
void detok_free(struct detok *d);
/* Append what is certain after one more id. */
enum err detok_push(struct detok *d, int32_t id, struct buf *out);
/* Append what was held back: the end of the stream. */
enum err detok_finish(struct detok *d, struct buf *out);

#endif
