/*
 * See inference_codec.h. jansson's *_new() calls and the "o" of json_pack() steal what they are given whether
 * they succeed or not, and fail when it, or what it goes into, is NULL: that carries every shortage of memory
 * up.
 */
#include "api/inference_codec.h"

#include <math.h>

#define LOGPROB_OF_NEVER (-9999.0)

static json_t *usage_json(const struct inference_usage *usage)
{
	return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)usage->prompt_tokens,
	        "completion_tokens", (json_int_t)usage->completion_tokens, "total_tokens",
	        (json_int_t)(usage->prompt_tokens + usage->completion_tokens));
}

static json_t *envelope_json(const struct inference_head *head, const char *object, json_t *choices)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", head->id, "object", object, "created",
	        (json_int_t)head->created, "model", head->model, "system_fingerprint", head->fingerprint,
	        "choices", choices);
}

/* Add usage to an answer; both are stolen. */
static json_t *with_usage_json(json_t *answer, json_t *usage)
{
	if (!json_object_set_new(answer, "usage", usage))
		return answer;
	json_decref(answer);
	return NULL;
}

json_t *inference_answer_json(const struct inference_codec *codec, const struct inference_head *head,
        json_t *choices, const struct inference_usage *usage)
{
	return with_usage_json(envelope_json(head, codec->object, choices), usage_json(usage));
}

json_t *inference_chunk_json(const struct inference_codec *codec, const struct inference_head *head,
        json_t *choice, bool with_usage)
{
	json_t *chunk = envelope_json(head, codec->chunk_object, json_pack("[o]", choice));

	return with_usage ? with_usage_json(chunk, json_null()) : chunk;
}

json_t *inference_usage_chunk_json(const struct inference_codec *codec, const struct inference_head *head,
        const struct inference_usage *usage)
{
	return with_usage_json(envelope_json(head, codec->chunk_object, json_array()), usage_json(usage));
}

json_t *inference_finish_json(enum serve_finish finish)
{
	switch (finish) {
	case FINISH_STOP:
		return json_string("stop");
	case FINISH_LENGTH:
		return json_string("length");
	case FINISH_NONE:
	case FINISH_CANCELLED:
	case FINISH_ERROR:
		break;
	}
	return json_null();
}

json_t *inference_logprob_json(float logprob)
{
	return json_real(isfinite(logprob) ? (double)logprob : LOGPROB_OF_NEVER);
}
