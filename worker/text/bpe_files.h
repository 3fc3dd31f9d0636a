/*
 * `vocab.json` and `merges.txt`, a byte-level BPE, as the tokenizer.json that Hugging Face's tokenizers for
 * GPT-2, RoBERTa and Qwen2 make of them. Thread: any.
 */
#ifndef REDD_TEXT_BPE_FILES_H
#define REDD_TEXT_BPE_FILES_H

#include "core/buf.h"
#include "worker/text/tokenizer_config.h"

/* *out = the tokenizer.json for the texts of the two files, to own. ERR_FORMAT, ERR_MEM. */
enum err bpe_files_convert(const struct buf *vocab, const struct buf *merges,
        const struct tokenizer_config *config, json_t **out, struct why *why);

#endif
