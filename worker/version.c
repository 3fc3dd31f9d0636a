/* See version.h. */
#include "worker/version.h"

#include "core/mem.h"

#include <string.h>

enum err shape_take(struct shapes *shapes, struct adapter_layout *layout, struct shape **out)
{
	size_t bucket = adapter_layout_n_params(layout) % SHAPE_BUCKETS;
	struct shape *s;

	LIST_FOREACH(s, &shapes->buckets[bucket], in_bucket)
	if (adapter_layout_same(s->layout, layout))
		break;
	if (s) {
		adapter_layout_free(layout);
	} else {
		s = mem_calloc(1, sizeof(*s));
		if (!s) {
			adapter_layout_free(layout);
			return ERR_MEM;
		}
		s->layout = layout;
		LIST_INSERT_HEAD(&shapes->buckets[bucket], s, in_bucket);
	}
	s->n_versions++;
	*out = s;
	return OK;
}

void shape_give(struct shape *s)
{
	if (!s || --s->n_versions > 0)
		return;
	LIST_REMOVE(s, in_bucket);
	adapter_layout_free(s->layout);
	mem_free(s);
}

/* ---- versions ---- */

enum err version_new(struct registry *r, const char *tenant_id, const char *name, struct version **out)
{
	size_t n_tenant = strlen(tenant_id) + 1, n_name = strlen(name) + 1;
	struct version *v = mem_calloc(1, sizeof(*v) + n_tenant + n_name);

	if (!v)
		return ERR_MEM;
	atomic_init(&v->n_holders, 1);
	v->registry = r;
	v->name = v->key + n_tenant;
	memcpy(v->key, tenant_id, n_tenant);
	memcpy(v->key + n_tenant, name, n_name);
	v->bytes = sizeof(*v) + n_tenant + n_name;
	*out = v;
	return OK;
}

void version_free(struct version *v)
{
	if (!v)
		return;
	mem_free(v->params);
	if (v->labels)
		labels_fini(v->labels);
	mem_free(v->labels);
	mem_free(v);
}

static enum err check_manifest(
        const struct model *m, const struct adapter_record *a, const json_t *manifest, struct why *why)
{
	const char *hash = json_string_value(json_object_get(manifest, "base_hash"));
	bool fits = hash && strcmp(hash, model_info(m)->hash) == 0;

	if (fits)
		return OK;
	return why_param(why, ERR_MISMATCH, "model",
	        "%s was trained on another base (%.12s) than this one (%.12s)", a->name,
	        hash ? hash : "unknown", model_info(m)->hash);
}

static enum err read_labels(const struct adapter_record *a, const json_t *manifest,
        const struct adapter_layout *layout, struct version *v, struct why *why)
{
	size_t n_labels = adapter_layout_head_labels(layout);
	enum err e;

	if (n_labels == 0)
		return OK;
	v->labels = mem_calloc(1, sizeof(*v->labels));
	if (!v->labels)
		return ERR_MEM;
	e = labels_read(json_object_get(manifest, "labels"), n_labels, v->labels);
	if (e == ERR_FORMAT)
		why_param(why, e, "model", "%s: its labels do not fit its head of %zu outputs", a->name,
		        n_labels);
	return e;
}

enum err version_read(struct version *v, const struct model *m, const struct adapter_record *a,
        struct adapter_layout **layout, struct why *why)
{
	json_t *manifest = a->manifest ? json_loads(a->manifest, 0, NULL) : NULL;
	struct adapter_layout *found = NULL;
	size_t n_sites;
	const struct site *sites = model_sites(m, &n_sites);
	enum err e = check_manifest(m, a, manifest, why);

	if (!e)
		e = adapter_read(a->content, (size_t)a->bytes, sites, n_sites, &found, &v->params, NULL, why);
	if (!e)
		e = read_labels(a, manifest, found, v, why);
	json_decref(manifest);
	if (e) {
		adapter_layout_free(found);
		return e;
	}
	v->bytes += adapter_layout_n_params(found) * sizeof(float);
	*layout = found;
	return OK;
}
