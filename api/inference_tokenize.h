/*
 * POST /v1/tokenize and /v1/detokenize: what a text or a conversation is to the model, in vLLM's shape.
 */
#ifndef REDD_API_INFERENCE_TOKENIZE_H
#define REDD_API_INFERENCE_TOKENIZE_H

#include "api/exchange.h"

exchange_handler inference_tokenize, inference_detokenize;

#endif
