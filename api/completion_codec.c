/*
 * The choices of /v1/completions, in the legacy shape: log-probabilities as parallel lists, which is what
 * lm-evaluation-harness reads. See inference_codec.h.
 */
#include "api/inference_codec.h"

static json_t *name_json(const struct tokenizer *t, int32_t id)
{
	struct buf name = {0};
	json_t *json = NULL;

	if (!inference_token_name(t, id, "bytes:", &name))
		json = json_stringn(name.len ? name.data : "", name.len);
	buf_fini(&name);
	return json;
}

/* Set key (stolen, a string) unless it is there: of two tokens with one name the more likely came first. */
static int set_first(json_t *object, json_t *key, float logprob)
{
	const char *name = json_string_value(key);
	int rc = -1;

	if (name)
		rc = json_object_getn(object, name, json_string_length(key))
		             ? 0
		             : json_object_setn_new(object, name, json_string_length(key),
		                       inference_logprob_json(logprob));
	json_decref(key);
	return rc;
}

/* The alternatives best first, and the token itself when it is not among them. */
static json_t *top_json(
        const struct tokenizer *t, const struct inference_log *log, const struct inference_log_entry *entry)
{
	json_t *top;
	int rc = 0;

	if (!entry->has_logprob)
		return json_null();
	top = json_object();
	for (size_t i = 0; !rc && i < entry->n_top; i++) {
		const struct token_logprob *alternative = &log->tops[entry->first_top + i];

		rc = set_first(top, name_json(t, alternative->id), alternative->logprob);
	}
	if (!rc)
		rc = set_first(top, name_json(t, entry->id), entry->logprob);
	if (rc) {
		json_decref(top);
		return NULL;
	}
	return top;
}

static json_t *completion_logprobs(const struct tokenizer *t, const struct inference_log *log)
{
	json_t *tokens = json_array();
	json_t *logprobs = json_array();
	json_t *tops = json_array();
	json_t *offsets = json_array();
	int rc = 0;

	for (size_t i = 0; !rc && i < log->n; i++) {
		const struct inference_log_entry *entry = &log->entries[i];

		rc |= json_array_append_new(tokens, name_json(t, entry->id));
		rc |= json_array_append_new(
		        logprobs, entry->has_logprob ? inference_logprob_json(entry->logprob) : json_null());
		rc |= json_array_append_new(tops, top_json(t, log, entry));
		rc |= json_array_append_new(offsets, json_integer((json_int_t)entry->text_offset));
	}
	if (rc) {
		json_decref(tokens);
		json_decref(logprobs);
		json_decref(tops);
		json_decref(offsets);
		return NULL;
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", logprobs, "top_logprobs",
	        tops, "text_offset", offsets);
}

static json_t *completion_choice(
        size_t index, const char *text, size_t n_text, json_t *logprobs, enum serve_finish finish)
{
	return json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)index, "text",
	        json_stringn(text ? text : "", n_text), "logprobs", logprobs, "finish_reason",
	        inference_finish_json(finish));
}

const struct inference_codec completion_codec = {
        .id_prefix = "cmpl-",
        .object = "text_completion",
        .chunk_object = "text_completion",
        .logs_special = true,
        .logprobs = completion_logprobs,
        .choice = completion_choice,
        .piece = completion_choice,
};
