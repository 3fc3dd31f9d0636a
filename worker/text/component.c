/* See component.h. */
#include "worker/text/component.h"

#include <string.h>

struct walk {
	const char *members;
	enum err (*each)(void *arg, const json_t *component, const char *type, struct why *why);
	void *arg;
	size_t n;
};

static enum err visit(struct walk *w, const json_t *json, size_t depth, struct why *why)
{
	struct json_text type;
	json_t *members, *member;
	size_t i;
	enum err e = json_get_text(json, "type", &type, why);

	if (e)
		return e;
	if (strcmp(type.p, "Sequence") != 0) {
		if (w->n++ == COMPONENT_MAX)
			return why_set(why, ERR_UNSUPPORTED, "more than %d components", COMPONENT_MAX);
		e = w->each(w->arg, json, type.p, why);
		if (e && e != ERR_MEM)
			why_prefix(why, "%.60s: ", type.p);
		return e;
	}
	if (depth == COMPONENT_MAX)
		return why_set(why, ERR_UNSUPPORTED, "Sequences nested more than %d deep", COMPONENT_MAX);
	e = json_get_array(json, w->members, &members, why);
	if (e)
		return e;
	json_array_foreach (members, i, member) {
		e = visit(w, member, depth + 1, why);
		if (e)
			return e;
	}
	return OK;
}

enum err component_each(const json_t *json, const char *members,
        enum err (*each)(void *arg, const json_t *component, const char *type, struct why *why), void *arg,
        struct why *why)
{
	struct walk w = {members, each, arg, 0};

	return !json || json_is_null(json) ? OK : visit(&w, json, 0, why);
}

enum err component_unknown(struct why *why)
{
	return why_set(why, ERR_UNSUPPORTED, "this type is not known");
}
