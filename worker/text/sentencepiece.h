/*
 * sentencepiece's `tokenizer.model`, a protobuf of pieces with scores, as the tokenizer.json that Hugging
 * Face's tokenizers for LLaMA (pieces to be joined) and T5 (pieces to be chosen) make of it. Thread: any.
 */
#ifndef REDD_TEXT_SENTENCEPIECE_H
#define REDD_TEXT_SENTENCEPIECE_H

#include "worker/text/tokenizer_config.h"

#define SENTENCEPIECE_MAX_BYTES ((size_t)32 << 20)

/* *out = the tokenizer.json for the n bytes of a model, to own. ERR_FORMAT, ERR_UNSUPPORTED, ERR_MEM. */
enum err sentencepiece_convert(
        const char *model, size_t n, const struct tokenizer_config *config, json_t **out, struct why *why);

#endif
