/*
 * Adapters from elsewhere. See adapter.h. Every format ends as a list of named tensors, which are matched
 * against the base's modules in file.c.
 */
#include "core/mem.h"
#include "worker/adapter/adapter.h"
#include "worker/adapter/layout.h"
#include "worker/adapter/torch_file.h"

#include <string.h>

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

/* That a file holds a head and nothing else. */
static enum err check_head(const struct source *s, struct why *why)
{
	for (size_t i = 0; i < s->n; i++)
		if (!head_tensor_is(s->tensors[i]->name))
			return why_set(
			        why, ERR_MISMATCH, "tensor %.200s is no part of a head", s->tensors[i]->name);
	return s->n ? OK : why_set(why, ERR_FORMAT, "the file holds no tensor");
}

static enum err read_head(struct source *s, const void *data, size_t n, struct why *why)
{
	struct why own = {0};
	enum err e = source_read(s, data, n, &own);

	if (!e)
		e = check_head(s, &own);
	return e && e != ERR_MEM ? why_param(why, e, "classifier", "%s", own.message) : e;
}

enum err adapter_import_with_head(const void *data, size_t n, const void *head, size_t n_head,
        const struct site *sites, size_t n_sites, struct adapter_layout **layout, float **params,
        struct why *why)
{
	struct source edits = {0}, last = {0};
	const struct tensor **all = NULL;
	enum err e = source_read(&edits, data, n, why);

	if (!e)
		e = read_head(&last, head, n_head, why);
	if (e)
		goto fail;
	e = ERR_MEM;
	all = mem_calloc(edits.n + last.n, sizeof(struct tensor *));
	if (!all)
		goto fail;
	memcpy(all, edits.tensors, edits.n * sizeof(struct tensor *));
	memcpy(all + edits.n, last.tensors, last.n * sizeof(struct tensor *));
	e = layout_from_tensors(all, edits.n + last.n, sites, n_sites, layout, params, why);
fail: /* and success */
	mem_free(all);
	source_fini(&edits);
	source_fini(&last);
	return e;
}
