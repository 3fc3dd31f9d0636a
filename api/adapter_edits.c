/*
 * GET /v1/adapters/ID/edits: how far an adapter moves each module it edits from the identity. A module's edit
 * is h' = scale * h + bias; said are the sizes of scale - 1 and of bias. Pool threads.
 */
#include "api/adapter_files.h"
#include "api/wire.h"
#include "core/mem.h"

#include <math.h>
#include <string.h>

static const char *position_name(enum position p)
{
	switch (p) {
	case POSITION_FFN:
		return "ffn";
	case POSITION_ATTN:
		return "attn";
	case POSITION_QKV:
		return "qkv";
	}
	return NULL;
}

/* Of v (n) less `identity`: root of the mean square, largest size, mean. */
static json_t *sizes_json(const float *v, size_t n, double identity)
{
	double squares = 0, sum = 0, max = 0;

	for (size_t i = 0; i < n; i++) {
		double d = (double)v[i] - identity;

		squares += d * d;
		sum += d;
		max = fmax(max, fabs(d));
	}
	return json_pack(
	        "{s:f, s:f, s:f}", "rms", sqrt(squares / (double)n), "max", max, "mean", sum / (double)n);
}

static json_t *edit_json(const struct site *s, const float *scale, const float *bias)
{
	return json_pack("{s:s, s:I, s:s, s:I, s:o, s:o}", "site", s->name, "layer", (json_int_t)s->layer,
	        "position", position_name(s->position), "width", (json_int_t)s->width, "scale",
	        sizes_json(scale, s->width, 1), "bias", sizes_json(bias, s->width, 0));
}

static size_t widest(const struct site *sites, size_t n)
{
	size_t max = 1;

	for (size_t i = 0; i < n; i++)
		max = sites[i].width > max ? sites[i].width : max;
	return max;
}

static json_t *edits_json(const struct model *m, const struct adapter_ref *ref)
{
	size_t n_sites = 0, width;
	const struct site *sites = model_sites(m, &n_sites);
	json_t *data = json_array();
	float *room;

	width = widest(sites, n_sites);
	room = mem_calloc(2 * width, sizeof(*room));
	for (size_t i = 0; data && room && i < n_sites; i++)
		if (adapter_layout_edits(ref->layout, i) &&
		        adapter_affine(ref->layout, ref->params, i, room, room + width))
			json_array_append_new(data, edit_json(&sites[i], room, room + width));
	if (!room) {
		json_decref(data);
		return NULL;
	}
	mem_free(room);
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
