/* See inference_request.h. */
#include "api/inference_request.h"

#include "api/inference_field.h"
#include "api/inference_refused.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define COMPLETION_DEFAULT_TOKENS 16

void inference_request_fini(struct inference_request *r)
{
	if (!r)
		return;
	completion_prompts_fini(&r->prompts);
	chat_messages_fini(&r->messages);
	json_decref(r->body);
	memset(r, 0, sizeof(*r));
}

static enum err parse_model(const json_t *body, struct inference_request *r, struct why *why)
{
	enum err e = inference_field_string(body, "model", &r->model, why);

	if (!e && (!r->model || !r->model[0]))
		e = why_param(
		        why, ERR_INVALID, "model", "model is missing: name the base or one of your adapters");
	return e;
}

/* Whether this kind of base answers this kind of request. */
static enum err check_kind(
        struct inference_request *r, const struct inference_limits *limits, struct why *why)
{
	if (limits->kind == MODEL_ENCODER)
		return why_param(why, ERR_INVALID, "model",
		        "this base is an encoder, which writes no text: use /v1/classify");
	r->starts_afresh = limits->kind == MODEL_SEQ2SEQ;
	if (!r->starts_afresh)
		return OK;
	if (r->kind == INFERENCE_CHAT)
		return why_param(why, ERR_INVALID, "model",
		        "this base turns text into text and knows no chats: use /v1/completions");
	if (r->echo)
		return why_param(why, ERR_INVALID, "echo",
		        "echo is not possible here: the prompt is what the encoder reads, and no part of the "
		        "answer");
	return OK;
}

static enum err parse_stop(const json_t *body, struct inference_request *r, struct why *why)
{
	const json_t *stop = inference_field(body, "stop");
	size_t n = json_is_array(stop) ? json_array_size(stop) : 1;

	if (!stop)
		return OK;
	if (n > SERVE_MAX_STOPS)
		return why_param(why, ERR_INVALID, "stop", "stop has %zu strings, at most %d are allowed", n,
		        SERVE_MAX_STOPS);
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_is_array(stop) ? json_array_get(stop, i) : stop;
		const char *s = json_string_value(item);

		if (!s || !s[0] || strlen(s) != json_string_length(item))
			return why_param(why, ERR_INVALID, "stop",
			        "stop must be a string or a list of strings, none of them empty");
		r->stops[i] = s;
	}
	r->n_stops = n;
	return OK;
}

static enum err parse_stream(const json_t *body, struct inference_request *r, struct why *why)
{
	const json_t *options = inference_field(body, "stream_options");
	const json_t *usage;
	enum err e = inference_field_bool(body, "stream", &r->stream, why);

	if (e || !options)
		return e;
	if (!json_is_object(options))
		return why_param(why, ERR_INVALID, "stream_options", "stream_options must be an object");
	if (!r->stream)
		return why_param(why, ERR_INVALID, "stream_options",
		        "stream_options is only allowed together with stream: true");
	usage = inference_field(options, "include_usage");
	if (usage && !json_is_boolean(usage))
		return why_param(why, ERR_INVALID, "stream_options.include_usage",
		        "stream_options.include_usage must be true or false");
	r->include_usage = json_is_true(usage);
	return OK;
}

/* The choices of beams are the best they found: no others are sampled. */
static enum err check_beams(const struct inference_request *r, struct why *why)
{
	size_t n_beams = r->sample.beams.n_beams;

	if (n_beams == 1)
		return OK;
	if (r->n > n_beams)
		return why_param(why, ERR_INVALID, "n", "n (%zu) must not be more than num_beams (%zu)", r->n,
		        n_beams);
	if (r->best_of > r->n)
		return why_param(why, ERR_INVALID, "best_of",
		        "best_of is for sampling; num_beams says how many answers are weighed");
	return OK;
}

static enum err parse_counts(const json_t *body, struct inference_request *r, struct why *why)
{
	enum err e;

	r->n = 1;
	e = inference_field_size(body, "n", 1, INFERENCE_MAX_N, &r->n, why);
	r->best_of = r->n;
	if (!e)
		e = inference_field_size(body, "best_of", 1, INFERENCE_MAX_N, &r->best_of, why);
	if (!e && r->best_of < r->n)
		e = why_param(why, ERR_INVALID, "best_of", "best_of (%zu) must not be less than n (%zu)",
		        r->best_of, r->n);
	if (!e && r->stream && r->best_of > r->n)
		e = why_param(why, ERR_INVALID, "best_of", "best_of greater than n cannot be streamed");
	return e ? e : check_beams(r, why);
}

/* max_completion_tokens is max_tokens' newer name and wins. */
static enum err parse_max_tokens(const json_t *body, struct inference_request *r, struct why *why)
{
	bool chat = r->kind == INFERENCE_CHAT;
	size_t min = chat ? 1 : 0;
	enum err e;

	r->max_tokens = chat ? SIZE_MAX : COMPLETION_DEFAULT_TOKENS;
	e = inference_field_size(body, "max_tokens", min, INT32_MAX, &r->max_tokens, why);
	if (!e)
		e = inference_field_size(body, "max_completion_tokens", min, INT32_MAX, &r->max_tokens, why);
	return e;
}

/* What only /v1/completions takes. */
static enum err parse_completion(const json_t *body, const struct inference_limits *limits,
        struct inference_request *r, struct why *why)
{
	enum err e = inference_field_bool(body, "echo", &r->echo, why);

	if (!e)
		e = inference_field_size(body, "logprobs", 0, SERVE_MAX_LOGPROBS, &r->n_top_logprobs, why);
	r->logprobs = inference_field(body, "logprobs") != NULL;
	if (!e)
		e = completion_prompts_parse(
		        json_object_get(body, "prompt"), limits->vocab_size, &r->prompts, why);
	if (!e && r->prompts.n * r->best_of > INFERENCE_MAX_CHOICES)
		e = why_param(why, ERR_INVALID, "prompt",
		        "%zu prompts with %zu choices each are too many: at most %d choices per request",
		        r->prompts.n, r->best_of, INFERENCE_MAX_CHOICES);
	return e;
}

/* What only /v1/chat/completions takes. */
static enum err parse_chat(const json_t *body, struct inference_request *r, struct why *why)
{
	bool echo = false;
	enum err e = inference_field_bool(body, "logprobs", &r->logprobs, why);

	if (!e)
		e = inference_field_size(
		        body, "top_logprobs", 0, SERVE_MAX_LOGPROBS, &r->n_top_logprobs, why);
	if (!e && r->n_top_logprobs && !r->logprobs)
		e = why_param(why, ERR_INVALID, "top_logprobs", "top_logprobs needs logprobs: true");
	if (!e)
		e = inference_field_bool(body, "echo", &echo, why);
	if (!e && echo)
		e = why_param(why, ERR_INVALID, "echo", "echo is for /v1/completions");
	if (!e)
		e = chat_messages_parse(json_object_get(body, "messages"), &r->messages, why);
	return e;
}

enum err inference_request_parse(enum inference_kind kind, json_t *body,
        const struct inference_limits *limits, struct inference_request *out, struct why *why)
{
	struct inference_request r = {.kind = kind, .strength = 1};
	enum err e = parse_model(body, &r, why);

	if (!e)
		e = inference_refused_check(body, why);
	if (!e)
		e = sample_request_parse(body, limits->vocab_size, &r.sample, why);
	if (!e)
		e = parse_stop(body, &r, why);
	if (!e)
		e = parse_stream(body, &r, why);
	if (!e)
		e = parse_counts(body, &r, why);
	if (!e)
		e = parse_max_tokens(body, &r, why);
	if (!e)
		e = inference_field_bool(body, "ignore_eos", &r.ignore_eos, why);
	if (!e)
		e = inference_field_strength(body, &r.strength, why);
	if (!e)
		e = inference_field_blend(body, r.blend, &r.n_blend, why);
	if (!e)
		e = kind == INFERENCE_CHAT ? parse_chat(body, &r, why)
		                           : parse_completion(body, limits, &r, why);
	if (!e)
		e = check_kind(&r, limits, why);
	if (e) {
		inference_request_fini(&r);
		return e;
	}
	r.body = json_incref(body);
	*out = r;
	return OK;
}

/* A prompt must fit, and leave room for one token unless none is asked for. */
static enum err check_context(
        const struct inference_request *r, size_t i, const struct inference_limits *limits, struct why *why)
{
	const char *param = r->kind == INFERENCE_CHAT ? "messages" : "prompt";
	size_t n = r->prompts.items[i].ids.n;
	char which[32] = "";
	enum err e;

	/* An encoder-decoder's answer has a context of its own. */
	if (n <= limits->context && (n < limits->context || !r->max_tokens || limits->kind == MODEL_SEQ2SEQ))
		return OK;
	if (r->prompts.n > 1)
		snprintf(which, sizeof(which), "[%zu]", i);
	e = why_param(why, ERR_TOO_LONG, param,
	        "This model's maximum context length is %zu tokens, but %s%s has %zu tokens and the answer "
	        "needs room too; "
	        "shorten it",
	        limits->context, param, which, n);
	if (why)
		snprintf(why->code, sizeof(why->code), "context_length_exceeded");
	return e;
}

static enum err encode_messages(struct inference_request *r, const struct tokenizer *t,
        const struct chat_format *format, struct why *why)
{
	r->prompts.items = mem_calloc(1, sizeof(*r->prompts.items));
	if (!r->prompts.items)
		return ERR_MEM;
	r->prompts.n = 1;
	return chat_encode_prompt(format, t, r->messages.items, r->messages.n, &r->prompts.items[0].ids, why);
}

enum err inference_request_encode(struct inference_request *r, const struct inference_limits *limits,
        const struct tokenizer *t, const struct chat_format *format, struct why *why)
{
	enum err e;

	r->end_id = r->kind == INFERENCE_CHAT ? chat_format_end_id(format, t) : -1;
	if (r->kind == INFERENCE_CHAT)
		e = encode_messages(r, t, format, why);
	else
		e = completion_prompts_encode(&r->prompts, t, limits->bos_id, why);
	for (size_t i = 0; !e && i < r->prompts.n; i++)
		e = check_context(r, i, limits, why);
	return e;
}
