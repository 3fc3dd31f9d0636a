/*
 * GET /v1/adapters/ID/edits: how far an adapter moves each module it edits from the identity, vector by
 * vector: scale and bias, and the weight and bias of a layer norm where one is trained. Pool threads.
 */
#include "api/adapter_files.h"
#include "api/wire.h"

#include <math.h>

/* Of v (n) less `identity`: root of the mean square, largest size, mean. v NULL: not trained, the identity.
 */
static json_t *sizes_json(const float *v, size_t n, double identity)
{
	double squares = 0, sum = 0, max = 0;

	for (size_t i = 0; v && i < n; i++) {
		double d = (double)v[i] - identity;

		squares += d * d;
		sum += d;
		max = fmax(max, fabs(d));
	}
	return json_pack(
	        "{s:f, s:f, s:f}", "rms", sqrt(squares / (double)n), "max", max, "mean", sum / (double)n);
}

static json_t *edit_json(const struct site *s, const struct adapter_ref *ref, size_t i)
{
	const float *scale = adapter_vector(ref->layout, ref->params, i, PART_SCALE),
	            *bias = adapter_vector(ref->layout, ref->params, i, PART_BIAS),
	            *ln_weight = adapter_vector(ref->layout, ref->params, i, PART_LN_WEIGHT),
	            *ln_bias = adapter_vector(ref->layout, ref->params, i, PART_LN_BIAS);
	json_t *json = json_pack("{s:s, s:I, s:s, s:I, s:o, s:o}", "site", s->name, "layer",
	        (json_int_t)s->layer, "position", position_name(s->position), "width", (json_int_t)s->width,
	        "scale", sizes_json(scale, s->width, 1), "bias", sizes_json(bias, s->width, 0));

	if (json && ln_weight)
		json_object_set_new(json, "ln_weight", sizes_json(ln_weight, s->width, 1));
	if (json && ln_bias)
		json_object_set_new(json, "ln_bias", sizes_json(ln_bias, s->width, 0));
	return json;
}

static json_t *edits_json(const struct model *m, const struct adapter_ref *ref)
{
	size_t n_sites = 0;
	const struct site *sites = model_sites(m, &n_sites);
	json_t *data = json_array();

	for (size_t i = 0; i < n_sites; i++)
		if (adapter_layout_edits(ref->layout, i))
			json_array_append_new(data, edit_json(&sites[i], ref, i));
	return json_pack("{s:s, s:o, s:b}", "object", "list", "data", data, "has_more", 0);
}

enum exchange_verdict adapter_edits_get(struct exchange *x)
{
	const char *name = exchange_capture(x, 0);
	struct worker *w = exchange_worker(x);
	struct adapter_ref ref = {0};
	struct why why = {0};
	json_t *json = NULL;
	enum err e;

	if (!w)
		e = why_set(&why, ERR_BUSY, "The daemon has no base model yet.");
	else
		e = worker_adapter_acquire(w, exchange_tenant(x)->id, name, &ref, &why);
	if (!e && !ref.layout)
		e = why_param(&why, ERR_INVALID, "model", "'%.200s' is the base itself.", name);
	if (!e)
		json = edits_json(worker_model(w), &ref);
	if (ref.release)
		ref.release(ref.owner);
	return e ? exchange_reply_error(x, e, &why) : exchange_reply_json(x, 200, json);
}
