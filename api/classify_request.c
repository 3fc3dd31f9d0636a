/* See classify_request.h. */
#include "api/classify_request.h"

#include "api/inference_field.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

void classify_request_fini(struct classify_request *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->inputs && i < r->n; i++)
		ids_fini(&r->inputs[i].ids);
	mem_free(r->inputs);
	json_decref(r->body);
	memset(r, 0, sizeof(*r));
}

/* "text" or ["text", "pair"]. */
static enum err parse_input(const json_t *json, size_t i, struct classify_input *out, struct why *why)
{
	const json_t *text = json_is_array(json) ? json_array_get(json, 0) : json;
	const json_t *pair = json_array_get(json, 1);

	if (!json_is_string(text) || (json_is_array(json) && json_array_size(json) > 2) ||
	        (pair && !json_is_string(pair)))
		return why_param(
		        why, ERR_INVALID, "input", "input[%zu] must be a string or a pair of strings", i);
	out->text = text;
	out->pair = pair;
	return OK;
}

static enum err parse_inputs(const json_t *input, struct classify_request *r, struct why *why)
{
	size_t n = json_is_array(input) ? json_array_size(input) : 1;
	enum err e = OK;

	if (!json_is_string(input) && !json_is_array(input))
		return why_param(why, ERR_INVALID, "input",
		        "input must be a string, a list of strings or a list of pairs of strings");
	if (n == 0 || n > CLASSIFY_MAX_INPUTS)
		return why_param(why, ERR_INVALID, "input", "input has %zu entries; it may have 1 to %d", n,
		        CLASSIFY_MAX_INPUTS);
	r->inputs = mem_calloc(n, sizeof(*r->inputs));
	if (!r->inputs)
		return ERR_MEM;
	r->n = n;
	for (size_t i = 0; !e && i < n; i++)
		e = parse_input(
		        json_is_array(input) ? json_array_get(input, i) : input, i, &r->inputs[i], why);
	return e;
}

enum err classify_request_parse(json_t *body, struct classify_request *out, struct why *why)
{
	struct classify_request r = {.strength = 1};
	enum err e = inference_field_string(body, "model", &r.model, why);

	if (!e && (!r.model || !r.model[0]))
		e = why_param(why, ERR_INVALID, "model", "model is missing: name one of your adapters");
	if (!e)
		e = inference_field_strength(body, &r.strength, why);
	if (!e)
		e = inference_field_blend(body, r.blend, &r.n_blend, why);
	if (!e)
		e = parse_inputs(inference_field(body, "input"), &r, why);
	if (e) {
		classify_request_fini(&r);
		return e;
	}
	r.body = json_incref(body);
	*out = r;
	return OK;
}

static enum err check_length(const struct classify_request *r, size_t i, size_t context, struct why *why)
{
	size_t n = r->inputs[i].ids.n;
	enum err e;

	if (n == 0)
		return why_param(why, ERR_INVALID, "input", "input[%zu] has no tokens", i);
	if (n <= context)
		return OK;
	e = why_param(why, ERR_TOO_LONG, "input",
	        "This model's maximum context length is %zu tokens, but input[%zu] has %zu; shorten it",
	        context, i, n);
	if (why)
		snprintf(why->code, sizeof(why->code), "context_length_exceeded");
	return e;
}

enum err classify_request_encode(
        struct classify_request *r, const struct tokenizer *t, size_t context, struct why *why)
{
	enum err e = OK;

	for (size_t i = 0; !e && i < r->n; i++) {
		struct classify_input *in = &r->inputs[i];
		bool cut;

		e = tokenizer_encode_pair(t, json_string_value(in->text), json_string_length(in->text),
		        json_string_value(in->pair), json_string_length(in->pair), 0, &in->ids, &cut);
		if (e == ERR_UNSUPPORTED)
			e = why_param(why, ERR_INVALID, "input", "this base's tokenizer cannot pair texts");
		if (!e)
			e = check_length(r, i, context, why);
	}
	return e;
}
