/* See places.h. */
#include "daemon/places.h"

#include "core/mem.h"
#include "daemon/paths.h"

#include <string.h>

enum err places_find_state(const struct config *c, struct places *out, struct why *why)
{
	struct paths_surroundings where;
	char *exe_dir = NULL;
	enum err e;

	if (c->state_dir) {
		out->state_dir = mem_strdup(c->state_dir);
		return out->state_dir ? OK : ERR_MEM;
	}
	paths_surroundings_get(&where, &exe_dir);
	e = paths_state_dir(&where, &out->state_dir, why);
	mem_free(exe_dir);
	return e;
}

enum err places_find_base(const struct config *c, struct places *out, struct why *why)
{
	struct paths_surroundings where;
	char *exe_dir = NULL;
	enum err e;

	out->model_name = c->model_name;
	if (c->model_dir) {
		out->model_dir = mem_strdup(c->model_dir);
		return out->model_dir ? OK : ERR_MEM;
	}
	/* The bundled base lies in a directory called "base", which is no name. */
	if (!out->model_name)
		out->model_name = "redd-base";
	paths_surroundings_get(&where, &exe_dir);
	e = paths_base_dir(&where, &out->model_dir, why);
	mem_free(exe_dir);
	return e;
}

void places_fini(struct places *p)
{
	if (!p)
		return;
	mem_free(p->state_dir);
	mem_free(p->model_dir);
	memset(p, 0, sizeof(*p));
}
