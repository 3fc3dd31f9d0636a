/*
 * Fields of OpenAI's API, and of its look-alikes, whose meaning this server cannot honour. To ignore them
 * would be to answer another question than was asked. Pure; any thread.
 */
#ifndef REDD_API_INFERENCE_REFUSED_H
#define REDD_API_INFERENCE_REFUSED_H

#include "core/err.h"

#include <jansson.h>

/* ERR_INVALID with why->param naming the first such field that asks for something. */
enum err inference_refused_check(const json_t *body, struct why *why);

#endif
