/*
 * The choices of /v1/chat/completions: messages, or deltas of one, with log-probabilities as a list of
 * tokens. Tokens without text of their own (end of turn) are not part of a message. See inference_codec.h.
 */
#include "api/inference_codec.h"

static json_t *name_json(const struct tokenizer *t, int32_t id)
{
	struct buf name = {0};
	json_t *json = NULL;

	if (!inference_token_name(t, id, "", &name))
		json = json_stringn(name.len ? name.data : "", name.len);
	buf_fini(&name);
	return json;
}

static json_t *bytes_json(const struct tokenizer *t, int32_t id)
{
	struct buf bytes = {0};
	json_t *list = NULL;
	int rc = 0;

	if (!tokenizer_token_bytes(t, id, &bytes))
		list = json_array();
	for (size_t i = 0; list && !rc && i < bytes.len; i++)
		rc = json_array_append_new(list, json_integer((unsigned char)bytes.data[i]));
	buf_fini(&bytes);
	if (rc) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static json_t *token_json(const struct tokenizer *t, int32_t id, float logprob)
{
	return json_pack("{s:o, s:o, s:o}", "token", name_json(t, id), "logprob",
	        inference_logprob_json(logprob), "bytes", bytes_json(t, id));
}

static json_t *entry_json(
        const struct tokenizer *t, const struct inference_log *log, const struct inference_log_entry *entry)
{
	json_t *token = token_json(t, entry->id, entry->logprob);
	json_t *tops = json_array();
	int rc = 0;

	for (size_t i = 0; !rc && i < entry->n_top; i++) {
		const struct token_logprob *alternative = &log->tops[entry->first_top + i];

		rc = json_array_append_new(tops, token_json(t, alternative->id, alternative->logprob));
	}
	if (rc) {
		json_decref(tops);
		tops = NULL;
	}
	if (!json_object_set_new(token, "top_logprobs", tops))
		return token;
	json_decref(token);
	return NULL;
}

static json_t *chat_logprobs(const struct tokenizer *t, const struct inference_log *log)
{
	json_t *content = json_array();
	int rc = 0;

	for (size_t i = 0; !rc && i < log->n; i++)
		rc = json_array_append_new(content, entry_json(t, log, &log->entries[i]));
	if (rc) {
		json_decref(content);
		return NULL;
	}
	return json_pack("{s:o, s:n}", "content", content, "refusal");
}

static json_t *chat_choice(
        size_t index, const char *text, size_t n_text, json_t *logprobs, enum serve_finish finish)
{
	return json_pack("{s:I, s:{s:s, s:o, s:n}, s:o, s:o}", "index", (json_int_t)index, "message", "role",
	        "assistant", "content", json_stringn(text ? text : "", n_text), "refusal", "logprobs",
	        logprobs, "finish_reason", inference_finish_json(finish));
}

static json_t *chat_opening(size_t index)
{
	return json_pack("{s:I, s:{s:s, s:s}, s:n, s:n}", "index", (json_int_t)index, "delta", "role",
	        "assistant", "content", "", "logprobs", "finish_reason");
}

static json_t *chat_piece(
        size_t index, const char *text, size_t n_text, json_t *logprobs, enum serve_finish finish)
{
	json_t *delta = text ? json_pack("{s:o}", "content", json_stringn(text, n_text)) : json_object();

	return json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)index, "delta", delta, "logprobs",
	        logprobs, "finish_reason", inference_finish_json(finish));
}

const struct inference_codec chat_codec = {
        .id_prefix = "chatcmpl-",
        .object = "chat.completion",
        .chunk_object = "chat.completion.chunk",
        .ends_apart = true,
        .logprobs = chat_logprobs,
        .choice = chat_choice,
        .opening = chat_opening,
        .piece = chat_piece,
};
