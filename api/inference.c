/*
 * Inference on the wire: /v1/completions and /v1/chat/completions decode the request, resolve its model and
 * leave the rest to a group (inference_group.h). Handlers; on libuv's thread pool, where encoding a prompt
 * and loading an adapter may take their time.
 */
#include "api/admit.h"
#include "api/exchange.h"
#include "api/inference_adapter.h"
#include "api/inference_group.h"
#include "api/inference_tokenize.h"

/* All that a request may cost at most. */
static enum err admit(struct exchange *x, const struct inference_request *r,
        const struct inference_limits *limits, struct why *why)
{
	size_t n_prompt = 0, n_answer = 0;

	for (size_t i = 0; i < r->prompts.n; i++) {
		size_t n = r->prompts.items[i].ids.n;
		size_t room = limits->context - (limits->kind == MODEL_SEQ2SEQ ? 0 : n);

		n_prompt += n;
		n_answer += (r->max_tokens < room ? r->max_tokens : room) * r->best_of;
	}
	return admit_tokens(x, n_prompt, n_answer, why);
}

static enum exchange_verdict inference_handle(struct exchange *x, enum inference_kind kind)
{
	struct worker *w = exchange_worker(x);
	const struct model_info *info = model_info(worker_model(w));
	const struct inference_limits limits = {.kind = info->kind,
	        .vocab_size = info->vocab_size,
	        .context = info->max_positions,
	        .bos_id = info->bos_id};
	struct inference_request request = {0};
	struct adapter_ref adapter = {0};
	struct why why = {0};
	json_t *body = exchange_json(x);
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = admit_request(x, &why);
	if (!e)
		e = inference_request_parse(kind, body, &limits, &request, &why);
	if (!e)
		e = inference_adapter_acquire(
		        x, request.model, request.blend, request.n_blend, &adapter, &why);
	if (!e)
		e = inference_request_encode(&request, &limits, worker_tokenizer(w), worker_chat(w), &why);
	if (!e)
		e = admit(x, &request, &limits, &why);
	if (!e)
		e = inference_group_start(x, &request, &adapter);
	if (!e)
		return EXCHANGE_LATER;
	admit_settle(x, 0);
	if (adapter.release)
		adapter.release(adapter.owner);
	inference_request_fini(&request);
	return exchange_reply_error(x, e, &why);
}

static enum exchange_verdict handle_completion(struct exchange *x)
{
	return inference_handle(x, INFERENCE_COMPLETION);
}

static enum exchange_verdict handle_chat(struct exchange *x)
{
	return inference_handle(x, INFERENCE_CHAT);
}

const struct route inference_routes[] = {
        {"POST", "/v1/completions", ROUTE_TENANT, handle_completion},
        {"POST", "/v1/chat/completions", ROUTE_TENANT, handle_chat},
        {"POST", "/v1/tokenize", ROUTE_TENANT, inference_tokenize},
        {"POST", "/v1/detokenize", ROUTE_TENANT, inference_detokenize},
        {0},
};
