/*
 * BERT's own way with text: cleaning it, setting Chinese characters apart, and cutting it at white space and
 * around punctuation. Thread: any.
 */
#ifndef REDD_TEXT_BERT_TEXT_H
#define REDD_TEXT_BERT_TEXT_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Append p (UTF-8); clean: without control characters and with a space for each white one; chinese: with
 * spaces around each Chinese character. */
enum err bert_text_clean(const char *p, size_t n, bool clean, bool chinese, struct buf *out);

/* Whether c is punctuation: Unicode's, and all of ASCII's symbols. */
bool bert_text_is_punctuation(uint32_t c);

#endif
