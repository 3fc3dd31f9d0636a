/*
 * Adapters from elsewhere. See adapter.h. Every format ends as a list of named tensors, which are matched
 * against the base's modules in file.c.
 */
#include "core/mem.h"
#include "worker/adapter/adapter.h"
#include "worker/adapter/layout.h"
#include "worker/adapter/torch_file.h"

/* A file of either format, read. */
struct source {
	struct torch_file *torch;        /* owned */
	struct safetensors *safetensors; /* owned */
	const struct tensor **tensors;   /* owned list of what one of the two holds */
	size_t n;
};

static void source_fini(struct source *s)
{
	mem_free(s->tensors);
	torch_file_free(s->torch);
	safetensors_free(s->safetensors);
}

static enum err source_read(struct source *s, const void *data, size_t n, struct why *why)
{
	enum err e;

	if (torch_file_is(data, n)) {
		e = torch_file_new(data, n, &s->torch, why);
		if (e)
			return e;
		s->n = torch_file_count(s->torch);
		return torch_file_list(s->torch, &s->tensors);
	}
	e = safetensors_new(data, n, &s->safetensors, why);
	if (e)
		return e;
	s->n = safetensors_count(s->safetensors);
	return safetensors_list(s->safetensors, &s->tensors);
}

enum err adapter_import(const void *data, size_t n, const struct site *sites, size_t n_sites,
        struct adapter_layout **layout, float **params, struct why *why)
{
	struct source s = {0};
	enum err e = source_read(&s, data, n, why);

	if (!e)
		e = layout_from_tensors(s.tensors, s.n, sites, n_sites, layout, params, why);
	source_fini(&s);
	return e;
}
