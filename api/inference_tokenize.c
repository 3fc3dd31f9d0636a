/* See inference_tokenize.h. Handlers; on libuv's thread pool. */
#include "api/inference_tokenize.h"

#include "api/chat_messages.h"
#include "api/completion_prompt.h"
#include "api/inference_field.h"

/* A model that is named must be there, though all of them share the base's tokenizer. */
static enum err check_model(struct exchange *x, const json_t *body, struct why *why)
{
	const struct tenant *tenant = exchange_tenant(x);
	struct adapter_ref adapter = {0};
	const char *model = NULL;
	enum err e = inference_field_string(body, "model", &model, why);

	if (!e && model)
		e = worker_adapter_acquire(exchange_worker(x), tenant->id, model, &adapter, why);
	if (!e && adapter.release)
		adapter.release(adapter.owner);
	return e;
}

static enum err encode_messages(struct worker *w, const json_t *body, struct ids *out, struct why *why)
{
	struct chat_messages messages = {0};
	bool opening = true;
	enum err e = inference_field_bool(body, "add_generation_prompt", &opening, why);

	if (!e && !opening)
		e = why_param(why, ERR_INVALID, "add_generation_prompt",
		        "add_generation_prompt: false is not supported: a prompt ends with the assistant's "
		        "turn opened");
	if (!e)
		e = chat_messages_parse(json_object_get(body, "messages"), &messages, why);
	if (!e)
		e = chat_encode_prompt(
		        worker_chat(w), worker_tokenizer(w), messages.items, messages.n, out, why);
	chat_messages_fini(&messages);
	return e;
}

static enum err encode_body(struct worker *w, const json_t *body, struct ids *out, struct why *why)
{
	const json_t *prompt = inference_field(body, "prompt");
	bool add_special = true;
	enum err e;

	if (inference_field(body, "messages"))
		return encode_messages(w, body, out, why);
	if (!json_is_string(prompt))
		return why_param(why, ERR_INVALID, "prompt", "prompt must be a string; or give messages");
	e = inference_field_bool(body, "add_special_tokens", &add_special, why);
	if (!e)
		e = tokenizer_encode(worker_tokenizer(w), json_string_value(prompt),
		        json_string_length(prompt), add_special, out);
	return e;
}

/* NULL when memory is short. */
static json_t *ids_json(const struct ids *ids)
{
	json_t *list = json_array();
	int rc = 0;

	for (size_t i = 0; !rc && i < ids->n; i++)
		rc = json_array_append_new(list, json_integer(ids->ids[i]));
	if (!rc)
		return list;
	json_decref(list);
	return NULL;
}

enum exchange_verdict inference_tokenize(struct exchange *x)
{
	struct worker *w = exchange_worker(x);
	json_t *body = exchange_json(x);
	struct ids ids = {0};
	struct why why = {0};
	json_t *answer = NULL;
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = check_model(x, body, &why);
	if (!e)
		e = encode_body(w, body, &ids, &why);
	if (!e)
		answer = json_pack("{s:I, s:I, s:o}", "count", (json_int_t)ids.n, "max_model_len",
		        (json_int_t)model_info(worker_model(w))->max_positions, "tokens", ids_json(&ids));
	ids_fini(&ids);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, answer);
}

enum exchange_verdict inference_detokenize(struct exchange *x)
{
	struct worker *w = exchange_worker(x);
	json_t *body = exchange_json(x);
	json_t *tokens = json_object_get(body, "tokens");
	struct ids ids = {0};
	struct buf text = {0};
	struct why why = {0};
	json_t *answer = NULL;
	bool skip_special = true;
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = check_model(x, body, &why);
	if (!e)
		e = inference_field_bool(body, "skip_special_tokens", &skip_special, &why);
	if (!e && (!json_is_array(tokens) || json_array_size(tokens)))
		e = completion_ids_parse(
		        tokens, model_info(worker_model(w))->vocab_size, "tokens", "tokens", &ids, &why);
	if (!e)
		e = tokenizer_decode(worker_tokenizer(w), ids.ids, ids.n, skip_special, true, &text);
	if (!e)
		answer = json_pack("{s:o}", "prompt", json_stringn(text.len ? text.data : "", text.len));
	ids_fini(&ids);
	buf_fini(&text);
	if (e)
		return exchange_reply_error(x, e, &why);
	return exchange_reply_json(x, 200, answer);
}
