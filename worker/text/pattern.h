/*
 * The "pattern" of tokenizer.json's components: {"String": ...}, which stands for itself, or {"Regex": ...}.
 * Thread: any.
 */
#ifndef REDD_TEXT_PATTERN_H
#define REDD_TEXT_PATTERN_H

#include "core/buf.h"
#include "worker/text/json_get.h"
#include "worker/text/regex.h"

/* Compile component's "pattern". ERR_FORMAT, ERR_UNSUPPORTED, ERR_MEM. */
enum err pattern_parse(const json_t *component, struct regex **out, struct why *why);

/* Append p (UTF-8) to out with every match replaced by content. */
enum err pattern_replace(const struct regex *r, struct regex_scratch *s, const char *p, size_t n,
        struct json_text content, struct buf *out);

/* A copy of t with a NUL behind it, mem_free() it; NULL when memory is short. */
char *pattern_copy(struct json_text t);

#endif
