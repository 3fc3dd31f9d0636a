/*
 * A request to /v1/classify, decoded: texts or pairs of them, and their tokens. Pure; the owner's thread.
 */
#ifndef REDD_API_CLASSIFY_REQUEST_H
#define REDD_API_CLASSIFY_REQUEST_H

#include "worker/blend.h"
#include "worker/text/tokenizer.h"

#include <jansson.h>

#define CLASSIFY_MAX_INPUTS 1024

struct classify_input {
	const json_t *text, *pair; /* borrowed strings; pair NULL = there is one text */
	struct ids ids;            /* owned; once encoded */
};

/* Zero-initialise. */
struct classify_request {
	json_t *body;      /* owned reference: strings point into it */
	const char *model; /* borrowed from body */
	double strength;
	struct blend_part blend[BLEND_MAX]; /* models are borrowed from body */
	size_t n_blend;                     /* 0 = model itself */
	struct classify_input *inputs;      /* owned */
	size_t n;
};
void classify_request_fini(struct classify_request *r);

/* "input": "text", ["text", ..] or [["text", "pair"], ..]. ERR_INVALID with why->param, ERR_MEM; *out is
 * untouched then. */
enum err classify_request_parse(json_t *body, struct classify_request *out, struct why *why);
/* Give every input its ids and hold them against the context. ERR_TOO_LONG with code context_length_exceeded,
 * ERR_INVALID, ERR_MEM; finish r then too. */
enum err classify_request_encode(
        struct classify_request *r, const struct tokenizer *t, size_t context, struct why *why);

#endif
