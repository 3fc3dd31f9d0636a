/*
 * GET /v1/session: whose key this is, and what base answers here. For programs that people sign in to; any
 * key is welcome, a tenant's and the admin's. Pool threads.
 */
#include "api/edge.h"
#include "api/wire.h"

static const char *kind_name(enum model_kind kind)
{
	switch (kind) {
	case MODEL_CAUSAL:
		return "causal";
	case MODEL_ENCODER:
		return "encoder";
	case MODEL_SEQ2SEQ:
		return "seq2seq";
	}
	return NULL;
}

static json_t *base_json(const struct worker *w)
{
	const struct model_info *m;

	if (!w)
		return json_null();
	m = model_info(worker_model(w));
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "id", worker_base_name(w), "kind",
	        kind_name(m->kind), "family", m->family, "n_params", (json_int_t)m->n_params, "n_layers",
	        (json_int_t)m->n_layers, "width", (json_int_t)m->width, "max_positions",
	        (json_int_t)m->max_positions, "chat_format", chat_format_name(worker_chat(w)));
}

static enum exchange_verdict session_get(struct exchange *x)
{
	struct principal who = {0};
	struct why why = {0};
	json_t *tenant;
	enum err e = auth_ask(exchange_api(x)->auth, exchange_header(x, "Authorization"), &who, &why);

	if (e)
		return exchange_reply_error(x, e, &why);
	tenant = who.has_tenant ? json_pack("{s:s, s:s}", "id", who.tenant.id, "name", who.tenant.name)
	                        : json_null();
	return exchange_reply_json(x, 200,
	        json_pack("{s:s, s:b, s:o, s:o, s:s}", "object", "session", "admin", (int)who.is_admin,
	                "tenant", tenant, "base", base_json(exchange_worker(x)), "version", REDD_VERSION));
}

const struct route session_routes[] = {
        {"GET", "/v1/session", ROUTE_OPEN, session_get},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
