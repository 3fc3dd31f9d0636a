/* What of a request can be served: by this kind of base, in this context. See sequence.h. */
#include "worker/serve/sequence.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#define SEQUENCE_MAX_LENGTH_PENALTY 100.0

size_t sequence_max_positions(const struct model_info *info)
{
	return info->kind == MODEL_SEQ2SEQ ? 2 * info->max_positions : info->max_positions;
}

bool sequence_room(const struct serve_request *r, const struct model_info *info, size_t context, size_t *room)
{
	size_t left;

	if (r->n_prompt > context || r->n_prompt > info->max_positions)
		return false;
	left = context - r->n_prompt;
	if (info->kind == MODEL_SEQ2SEQ) {
		/* The decoder has positions of its own, one of them for what it starts from. */
		if (left > info->max_positions)
			left = info->max_positions;
		if (left > 0)
			left--;
	}
	*room = left;
	return true;
}

static enum err check_length(
        const struct serve_request *r, const struct model_info *info, size_t context, struct why *why)
{
	size_t room;

	if (sequence_room(r, info, context, &room) && (room > 0 || r->max_tokens == 0 || r->classify))
		return OK;
	why_set(why, ERR_TOO_LONG,
	        "The context holds %zu tokens and the prompt has %zu, which leaves no room for a completion; "
	        "shorten the prompt",
	        context < info->max_positions ? context : info->max_positions, r->n_prompt);
	if (why)
		snprintf(why->code, sizeof(why->code), "context_length_exceeded");
	return ERR_TOO_LONG;
}

/* Whether what is asked for is what this kind of base does. */
static enum err check_kind(const struct serve_request *r, const struct model_info *info, struct why *why)
{
	bool encoder = info->kind == MODEL_ENCODER;

	if (encoder && !r->classify)
		return why_param(why, ERR_INVALID, "model",
		        "this base is an encoder, which writes no text: use /v1/classify");
	if (!encoder && r->classify)
		return why_param(why, ERR_INVALID, "model",
		        "this base writes text and classifies none: use /v1/completions");
	if (r->classify && (!r->adapter.layout || adapter_layout_head_labels(r->adapter.layout) == 0))
		return why_param(why, ERR_INVALID, "model",
		        "this model has no classification head: name an adapter that was trained on labels");
	if (info->kind == MODEL_SEQ2SEQ && r->echo_logprobs)
		return why_param(why, ERR_INVALID, "echo",
		        "the prompt is what the encoder reads: it has no log-probabilities");
	return OK;
}

static enum err check_beams(const struct serve_request *r, const struct model_info *info, struct why *why)
{
	/* A step must have enough to choose from, even if all that can end does. */
	size_t n_beams = sequence_rows_of(r), n_ends = info->n_eos + r->has_end_id;
	size_t most = info->vocab_size / (1 + (n_ends > 1 ? n_ends : 1));

	if (most > SERVE_MAX_BEAMS)
		most = SERVE_MAX_BEAMS;
	if (r->n_choices > n_beams)
		return why_param(why, ERR_INVALID, "n", "n is %zu; %zu beams find at most so many answers",
		        r->n_choices, n_beams);
	if (n_beams == 1)
		return OK;
	if (n_beams > most)
		return why_param(why, ERR_INVALID, "num_beams", "num_beams is %zu; at most %zu are possible",
		        n_beams, most);
	if (r->sample.temperature > 0)
		return why_param(why, ERR_INVALID, "num_beams",
		        "num_beams needs temperature 0: beams are not sampled");
	if (!(fabs(r->beams.length_penalty) <= SEQUENCE_MAX_LENGTH_PENALTY))
		return why_param(why, ERR_INVALID, "length_penalty",
		        "length_penalty must be between %g and %g", -SEQUENCE_MAX_LENGTH_PENALTY,
		        SEQUENCE_MAX_LENGTH_PENALTY);
	return OK;
}

size_t sequence_rows_of(const struct serve_request *r)
{
	return r->beams.n_beams > 1 ? r->beams.n_beams : 1;
}

enum err sequence_check(
        const struct serve_request *r, const struct model_info *info, size_t context, struct why *why)
{
	enum err e;

	assert(r->on_done);
	if (r->n_prompt == 0)
		return why_param(why, ERR_INVALID, "prompt", "the prompt has no tokens");
	e = check_kind(r, info, why);
	if (!e)
		e = check_length(r, info, context, why);
	if (e)
		return e;
	for (size_t i = 0; i < r->n_prompt; i++)
		if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= info->vocab_size)
			return why_param(why, ERR_INVALID, "prompt",
			        "token %zu of the prompt is %d; the vocabulary has %zu", i, (int)r->prompt[i],
			        info->vocab_size);
	if (!isfinite(r->strength))
		return why_param(why, ERR_INVALID, "adapter_strength", "adapter_strength is not finite");
	if (r->n_top_logprobs > SERVE_MAX_LOGPROBS)
		return why_param(why, ERR_INVALID, "top_logprobs",
		        "top_logprobs is %zu; at most %d are possible", r->n_top_logprobs,
		        SERVE_MAX_LOGPROBS);
	if (r->classify)
		return OK;
	e = check_beams(r, info, why);
	if (e)
		return e;
	if (r->n_stops > SERVE_MAX_STOPS)
		return why_param(why, ERR_INVALID, "stop", "stop has %zu strings; at most %d are possible",
		        r->n_stops, SERVE_MAX_STOPS);
	for (size_t i = 0; i < r->n_stops; i++)
		if (!r->stops[i] || !r->stops[i][0])
			return why_param(why, ERR_INVALID, "stop", "stop string %zu is empty", i);
	return sample_params_check(&r->sample, info->vocab_size, why);
}
