/* A tokenizer from the value of a tokenizer.json, wherever that came from. Internal to the tokenizer. */
#ifndef REDD_TEXT_TOKENIZER_BUILD_H
#define REDD_TEXT_TOKENIZER_BUILD_H

#include "worker/text/tokenizer.h"

#include <jansson.h>

/* ERR_FORMAT, ERR_UNSUPPORTED, ERR_MEM; why names part and reason. */
enum err tokenizer_build(const json_t *root, struct tokenizer **out, struct why *why);

#endif
