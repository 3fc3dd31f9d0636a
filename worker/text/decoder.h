/*
 * tokenizer.json's "decoder": from token strings back to text. A chain of stages that tokens flow through one
 * after the other, so that a stream and a whole text are decoded by the same code. Each kind is a row of the
 * table in decoder.c. The parsed chain is immutable; a run has one owner.
 */
#ifndef REDD_TEXT_DECODER_H
#define REDD_TEXT_DECODER_H

#include "core/buf.h"
#include "worker/text/component.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/regex.h"
#include "worker/text/utf8.h"

struct decoder_stage {
	const struct decoder_kind *kind;
	struct regex *regex; /* owned; Replace */
	char *content;       /* owned; Replace, Strip; WordPiece's prefix, BPEDecoder's suffix */
	size_t n_content;
	size_t start, stop;          /* Strip */
	bool cleanup;                /* WordPiece */
	enum prepend_scheme prepend; /* Metaspace */
	char replacement[5];         /* Metaspace */
};

struct decoder {
	struct decoder_stage stages[COMPONENT_MAX];
	size_t n;
	bool none; /* the file has no decoder: tokens are joined by spaces */
};

/* Zero-initialise *out; fini it on failure too. json may be NULL or null. */
enum err decoder_parse(const json_t *json, struct decoder *out, struct why *why);
void decoder_fini(struct decoder *d);

/* What one stage remembers between tokens. */
struct decoder_memory {
	struct buf token; /* of a stage that needs whole tokens: what has come of this one */
	struct buf held;  /* bytes kept back until more is known */
	struct buf text;  /* what the stage makes of a token, until it is handed on */
	struct utf8_stream utf8;
	size_t n_cut; /* Strip: characters taken from this token's start */
	bool started; /* Metaspace, WordPiece: a token has passed; BPEDecoder: one is held; Strip: this token
	                 has shown something else */
};

struct decoder_run {
	const struct decoder *decoder; /* borrowed */
	struct regex_scratch *scratch; /* owned */
	struct decoder_memory memory[COMPONENT_MAX];
	bool lossy;
	bool started;
};

/* lossy: bytes that are not UTF-8 become U+FFFD. middle: the tokens are not the first of their text, so
 * nothing is stripped for being at its start. fini on failure too. */
enum err decoder_run_init(struct decoder_run *run, const struct decoder *d, bool lossy, bool middle);
void decoder_run_fini(struct decoder_run *run);
/* Append what is certain after one more token (n bytes of UTF-8). */
enum err decoder_run_push(struct decoder_run *run, const char *p, size_t n, struct buf *out);
/* Append the rest. */
enum err decoder_run_finish(struct decoder_run *run, struct buf *out);

#endif
