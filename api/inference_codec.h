/*
 * Answers of inference, as JSON. What /v1/completions and /v1/chat/completions have in common is here; where
 * they differ each offers a table. Pure; any thread.
 *
 * Every json_t returned is a new reference, NULL when memory is short; every json_t taken is stolen, and
 * taken as "memory was short" when NULL, so that calls nest.
 */
#ifndef REDD_API_INFERENCE_CODEC_H
#define REDD_API_INFERENCE_CODEC_H

#include "api/inference_log.h"

#include <jansson.h>

/* What all objects of one answer carry. */
struct inference_head {
	const char *id, *model, *fingerprint;
	int64_t created; /* unix seconds */
};

struct inference_usage {
	size_t prompt_tokens, completion_tokens;
};

struct inference_codec {
	const char *id_prefix, *object, *chunk_object;
	bool logs_special; /* whether special tokens are listed among the log-probabilities */
	bool ends_apart;   /* whether a stream says finish_reason in a chunk without text */
	/* "logprobs" of a choice. */
	json_t *(*logprobs)(const struct tokenizer *t, const struct inference_log *log);
	/* A whole choice; logprobs as made above, or json_null(). */
	json_t *(*choice)(
	        size_t index, const char *text, size_t n_text, json_t *logprobs, enum serve_finish finish);
	/* The chunk that opens a choice's stream; NULL = none is sent. */
	json_t *(*opening)(size_t index);
	/* A piece of a choice's stream; finish = FINISH_NONE while more follows. text may be NULL at the end.
	 */
	json_t *(*piece)(
	        size_t index, const char *text, size_t n_text, json_t *logprobs, enum serve_finish finish);
};
extern const struct inference_codec completion_codec, chat_codec;

/* The whole answer. */
json_t *inference_answer_json(const struct inference_codec *codec, const struct inference_head *head,
        json_t *choices, const struct inference_usage *usage);
/* One chunk of a stream with one choice. with_usage: the stream will end with its usage, so each chunk has
 * the field. */
json_t *inference_chunk_json(const struct inference_codec *codec, const struct inference_head *head,
        json_t *choice, bool with_usage);
/* The chunk that says the usage: no choices. */
json_t *inference_usage_chunk_json(const struct inference_codec *codec, const struct inference_head *head,
        const struct inference_usage *usage);

/* "stop", "length", or null. */
json_t *inference_finish_json(enum serve_finish finish);
/* A number JSON can hold: what is not finite becomes -9999. */
json_t *inference_logprob_json(float logprob);

#endif
