/* See sample_request.h. */
#include "api/sample_request.h"

#include "api/inference_field.h"
#include "core/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_MAX_TEMPERATURE 2.0
#define SAMPLE_MAX_PENALTY 2.0
#define SAMPLE_MIN_REPETITION 0.01
#define SAMPLE_MAX_REPETITION 10.0
#define SAMPLE_MAX_LOGIT_BIAS 100.0
#define SAMPLE_MAX_LENGTH_PENALTY 10.0

/* top_k: 0 and -1 both mean all. */
static enum err parse_top_k(const json_t *body, size_t vocab_size, size_t *out, struct why *why)
{
	const json_t *value = inference_field(body, "top_k");
	json_int_t k = json_integer_value(value);

	if (!value)
		return OK;
	if (!json_is_integer(value) || k < -1)
		return why_param(why, ERR_INVALID, "top_k", "top_k must be a positive integer, or 0 for all");
	*out = k < 0 || (uint64_t)k >= vocab_size ? 0 : (size_t)k;
	return OK;
}

static enum err parse_seed(const json_t *body, struct sample_request *out, struct why *why)
{
	const json_t *value = inference_field(body, "seed");

	if (!value)
		return OK;
	if (!json_is_integer(value))
		return why_param(why, ERR_INVALID, "seed", "seed must be an integer");
	out->params.seed = (uint64_t)json_integer_value(value);
	out->has_seed = true;
	return OK;
}

/* A token id written in decimal; -1 when the key is anything else. */
static int32_t parse_id(const char *key, size_t vocab_size)
{
	char *end = NULL;
	long id;

	if (key[0] < '0' || key[0] > '9')
		return -1;
	errno = 0;
	id = strtol(key, &end, 10);
	if (errno || *end || (size_t)id >= vocab_size || id > INT32_MAX)
		return -1;
	return (int32_t)id;
}

static enum err parse_bias(const json_t *body, size_t vocab_size, struct sample_params *out, struct why *why)
{
	json_t *map = json_object_get(body, "logit_bias");
	const char *key;
	json_t *value;

	if (!map || json_is_null(map))
		return OK;
	if (!json_is_object(map))
		return why_param(
		        why, ERR_INVALID, "logit_bias", "logit_bias must be an object of token id to bias");
	if (json_object_size(map) > SERVE_MAX_BIAS)
		return why_param(why, ERR_INVALID, "logit_bias",
		        "logit_bias has %zu entries, at most %d are allowed", json_object_size(map),
		        SERVE_MAX_BIAS);
	json_object_foreach (map, key, value) {
		double bias = json_number_value(value);
		int32_t id = parse_id(key, vocab_size);

		if (id < 0)
			return why_param(why, ERR_INVALID, "logit_bias",
			        "logit_bias: \"%.32s\" is not a token id; ids go from 0 to %zu", key,
			        vocab_size - 1);
		if (!json_is_number(value) ||
		        !(bias >= -SAMPLE_MAX_LOGIT_BIAS && bias <= SAMPLE_MAX_LOGIT_BIAS))
			return why_param(why, ERR_INVALID, "logit_bias",
			        "logit_bias: the bias of token %d must be a number from -100 to 100", id);
		out->bias[out->n_bias].id = id;
		out->bias[out->n_bias].bias = (float)bias;
		out->n_bias++;
	}
	return OK;
}

/* true, false or "never". */
static enum err parse_early_stopping(const json_t *body, enum early_stopping *out, struct why *why)
{
	const json_t *value = inference_field(body, "early_stopping");
	const char *text = json_string_value(value);

	if (!value)
		return OK;
	if (!json_is_boolean(value) && !(text && !strcmp(text, "never")))
		return why_param(why, ERR_INVALID, "early_stopping",
		        "early_stopping must be true, false or \"never\"");
	if (text)
		*out = EARLY_STOPPING_NEVER;
	else
		*out = json_is_true(value) ? EARLY_STOPPING_FIRST : EARLY_STOPPING_GUESS;
	return OK;
}

/* Beams take the likeliest: a temperature that was asked for cannot be honoured, OpenAI's default is not
 * meant. */
static enum err parse_beams(const json_t *body, struct sample_request *out, struct why *why)
{
	struct beam_params *b = &out->beams;
	enum err e = inference_field_size(body, "num_beams", 1, SERVE_MAX_BEAMS, &b->n_beams, why);

	if (!e)
		e = inference_field_number(body, "length_penalty", -SAMPLE_MAX_LENGTH_PENALTY,
		        SAMPLE_MAX_LENGTH_PENALTY, &b->length_penalty, why);
	if (!e)
		e = parse_early_stopping(body, &b->early_stopping, why);
	if (e || b->n_beams == 1)
		return e;
	if (inference_field(body, "temperature") && out->params.temperature > 0)
		return why_param(why, ERR_INVALID, "num_beams",
		        "num_beams above 1 goes with temperature 0 only: beams are not sampled");
	out->params.temperature = 0;
	return OK;
}

enum err sample_request_parse(
        const json_t *body, size_t vocab_size, struct sample_request *out, struct why *why)
{
	struct sample_request s = {.params = {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
	        .beams = {.n_beams = 1, .length_penalty = 1}};
	struct sample_params *p = &s.params;
	enum err e;

	e = inference_field_number(body, "temperature", 0, SAMPLE_MAX_TEMPERATURE, &p->temperature, why);
	if (!e)
		e = inference_field_number(body, "top_p", 0, 1, &p->top_p, why);
	if (!e)
		e = inference_field_number(body, "min_p", 0, 1, &p->min_p, why);
	if (!e)
		e = parse_top_k(body, vocab_size, &p->top_k, why);
	if (!e)
		e = inference_field_number(body, "presence_penalty", -SAMPLE_MAX_PENALTY, SAMPLE_MAX_PENALTY,
		        &p->presence_penalty, why);
	if (!e)
		e = inference_field_number(body, "frequency_penalty", -SAMPLE_MAX_PENALTY, SAMPLE_MAX_PENALTY,
		        &p->frequency_penalty, why);
	if (!e)
		e = inference_field_number(body, "repetition_penalty", SAMPLE_MIN_REPETITION,
		        SAMPLE_MAX_REPETITION, &p->repetition_penalty, why);
	if (!e)
		e = inference_field_size(
		        body, "no_repeat_ngram_size", 0, INT32_MAX, &p->no_repeat_ngram_size, why);
	if (!e)
		e = parse_beams(body, &s, why);
	if (!e)
		e = parse_seed(body, &s, why);
	if (!e)
		e = parse_bias(body, vocab_size, p, why);
	if (!e)
		*out = s;
	return e;
}

uint64_t sample_request_seed(uint64_t seed, size_t k)
{
	struct rng r;

	rng_seed(&r, seed);
	for (size_t i = 0; i < k; i++)
		seed = rng_next(&r);
	return seed;
}
