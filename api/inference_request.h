/*
 * A request for inference, decoded: the one place where the JSON of /v1/completions and /v1/chat/completions
 * is read and checked. Pure: knows no server, no model and no store. The owner's thread.
 */
#ifndef REDD_API_INFERENCE_REQUEST_H
#define REDD_API_INFERENCE_REQUEST_H

#include "api/chat_messages.h"
#include "api/completion_prompt.h"
#include "api/inference_field.h"
#include "api/sample_request.h"

#define INFERENCE_MAX_N 128        /* n and best_of */
#define INFERENCE_MAX_CHOICES 1024 /* prompts times best_of */

enum inference_kind { INFERENCE_COMPLETION, INFERENCE_CHAT };

/* What the base allows. */
struct inference_limits {
	enum model_kind kind;
	size_t vocab_size;
	size_t context; /* tokens of prompt and answer together */
	int32_t bos_id; /* -1 = none */
};

/* Zero-initialise. */
struct inference_request {
	enum inference_kind kind;
	json_t *body;                      /* owned reference: strings here point into it */
	const char *model;                 /* borrowed from body, as the stops below */
	struct completion_prompts prompts; /* owned; of a chat one, without text, once encoded */
	struct chat_messages messages;     /* owned; chat only */
	struct sample_request sample;
	size_t n;          /* choices wanted per prompt */
	size_t best_of;    /* choices sampled per prompt, >= n; with beams the n best of them */
	size_t max_tokens; /* may be more than the context holds */
	bool stream, include_usage, echo, ignore_eos;
	bool starts_afresh; /* the answer is a text of its own, which does not continue the prompt's */
	int32_t end_id;     /* of the chat format, -1 = none; once encoded */
	bool logprobs;
	size_t n_top_logprobs;
	double strength;
	struct blend_part blend[BLEND_MAX]; /* models are borrowed from body */
	size_t n_blend;                     /* 0 = model itself */
	size_t n_stops;
	const char *stops[SERVE_MAX_STOPS];
};
void inference_request_fini(struct inference_request *r);

/* Harmless unknown fields are ignored; what we cannot honour is ERR_INVALID with why->param, as is anything
 * out of range. ERR_MEM. *out is untouched on failure. */
enum err inference_request_parse(enum inference_kind kind, json_t *body,
        const struct inference_limits *limits, struct inference_request *out, struct why *why);

/* Turn prompts or messages into token ids and hold them against the context. ERR_TOO_LONG with code
 * context_length_exceeded, ERR_INVALID, ERR_MEM; finish r with inference_request_fini() then too. */
enum err inference_request_encode(struct inference_request *r, const struct inference_limits *limits,
        const struct tokenizer *t, const struct chat_format *format, struct why *why);

#endif
