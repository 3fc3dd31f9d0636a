/* Which modules an adapter edits and where their numbers lie. See adapter.h. */
#include "worker/adapter/layout.h"

#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <string.h>

#define HEAD_DEVIATION 0.02

size_t head_tensors(size_t width, size_t n_labels, struct head_tensor out[HEAD_TENSORS])
{
	size_t total = 0;

	out[0] = (struct head_tensor){"classifier.dense.weight", width, width, 0};
	out[1] = (struct head_tensor){"classifier.dense.bias", width, 0, 0};
	out[2] = (struct head_tensor){"classifier.out_proj.weight", n_labels, width, 0};
	out[3] = (struct head_tensor){"classifier.out_proj.bias", n_labels, 0, 0};
	for (size_t i = 0; i < HEAD_TENSORS; i++) {
		size_t n;

		out[i].offset = total;
		if (!mem_mul(out[i].rows, out[i].cols ? out[i].cols : 1, &n) ||
		        __builtin_add_overflow(total, n, &total))
			return 0;
	}
	return total;
}

/* Put a head behind what is laid out. */
static enum err add_head(struct adapter_layout *l, size_t width, size_t n_labels)
{
	struct head_tensor tensors[HEAD_TENSORS];
	size_t n = head_tensors(width, n_labels, tensors);

	l->head_width = width;
	l->n_labels = n_labels;
	l->head_offset = l->n_params;
	return !n || __builtin_add_overflow(l->n_params, n, &l->n_params) ? ERR_TOO_LARGE : OK;
}

enum err layout_build(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        const unsigned *parts, size_t head_width, size_t n_labels, struct adapter_layout **out)
{
	struct adapter_layout *l = mem_calloc(1, sizeof(*l));
	enum err e = ERR_MEM;
	size_t size;

	if (!l)
		goto fail;
	l->spec = *spec;
	l->method = method_get(spec->method);
	l->n_sites = n_sites;
	l->first_site = n_sites;
	l->sites = mem_calloc(n_sites, sizeof(*l->sites));
	l->slots = mem_calloc(n_sites, sizeof(*l->slots));
	if (!l->sites || !l->slots)
		goto fail;
	if (n_sites)
		memcpy(l->sites, sites, n_sites * sizeof(*sites));
	e = ERR_TOO_LARGE;
	for (size_t i = 0; i < n_sites; i++) {
		struct slot *slot = &l->slots[i];

		slot->parts = parts[i];
		slot->width = sites[i].width;
		slot->offset = l->n_params;
		if (!mem_mul(slot->width, (size_t)__builtin_popcount(parts[i]), &size) ||
		        __builtin_add_overflow(l->n_params, size, &l->n_params))
			goto fail;
		if (parts[i] && l->first_site == n_sites)
			l->first_site = i;
	}
	e = n_labels ? add_head(l, head_width, n_labels) : OK;
	if (e)
		goto fail;
	*out = l;
	return OK;
fail:
	adapter_layout_free(l);
	return e;
}

static bool layer_selected(const struct adapter_spec *spec, size_t layer)
{
	return spec->all_layers || (layer < ADAPTER_MAX_LAYERS && spec->layers[layer]);
}

/* Each layer asked for must be a layer of the base. */
static enum err check_layers(
        const struct adapter_spec *spec, const struct site *sites, size_t n_sites, struct why *why)
{
	size_t n_layers = 0;

	for (size_t i = 0; i < n_sites; i++)
		if (sites[i].layer >= n_layers)
			n_layers = sites[i].layer + 1;
	for (size_t i = n_layers; !spec->all_layers && i < ADAPTER_MAX_LAYERS; i++)
		if (spec->layers[i])
			return why_param(why, ERR_INVALID, "adapter.layers",
			        "adapter.layers names layer %zu, but the base has %zu layers, counted from 0",
			        i, n_layers);
	return OK;
}

static enum err layout_new(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        size_t head_width, size_t n_labels, struct adapter_layout **out, struct why *why)
{
	enum err e = check_layers(spec, sites, n_sites, why);
	bool any = false;
	unsigned *parts;

	if (e)
		return e;
	if (!spec->parts)
		return why_param(why, ERR_INVALID, "adapter.parts", "adapter.parts is empty");
	parts = mem_calloc(n_sites, sizeof(*parts));
	if (!parts)
		return ERR_MEM;
	for (size_t i = 0; i < n_sites; i++)
		if ((sites[i].position & spec->positions) && layer_selected(spec, sites[i].layer)) {
			parts[i] = spec->parts;
			any = true;
		}
	e = any || n_labels ? layout_build(spec, sites, n_sites, parts, head_width, n_labels, out)
	                    : why_param(why, ERR_INVALID, "adapter.positions",
	                              "the adapter would edit no module of this base");
	mem_free(parts);
	return e;
}

enum err adapter_layout_new(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        struct adapter_layout **out, struct why *why)
{
	return layout_new(spec, sites, n_sites, 0, 0, out, why);
}

enum err adapter_layout_new_head(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        size_t width, size_t n_labels, struct adapter_layout **out, struct why *why)
{
	if (!n_labels || n_labels > ADAPTER_MAX_LABELS)
		return why_set(
		        why, ERR_INVALID, "a head has 1 to %d labels, not %zu", ADAPTER_MAX_LABELS, n_labels);
	return layout_new(spec, sites, n_sites, width, n_labels, out, why);
}

void adapter_layout_free(struct adapter_layout *l)
{
	if (!l)
		return;
	mem_free(l->sites);
	mem_free(l->slots);
	mem_free(l);
}

size_t adapter_layout_n_params(const struct adapter_layout *l)
{
	return l->n_params;
}

size_t adapter_layout_n_sites(const struct adapter_layout *l)
{
	return l->n_sites;
}

bool adapter_layout_edits(const struct adapter_layout *l, size_t site)
{
	return l->slots[site].parts != 0;
}

size_t adapter_layout_first_site(const struct adapter_layout *l)
{
	return l->first_site;
}

bool adapter_layout_same(const struct adapter_layout *a, const struct adapter_layout *b)
{
	const struct adapter_spec *s = &a->spec, *t = &b->spec;

	if (a->n_sites != b->n_sites || a->n_params != b->n_params || a->head_width != b->head_width ||
	        a->n_labels != b->n_labels)
		return false;
	if (s->method != t->method || s->positions != t->positions || s->parts != t->parts ||
	        s->all_layers != t->all_layers || memcmp(s->layers, t->layers, sizeof(s->layers)) != 0)
		return false;
	for (size_t i = 0; i < a->n_sites; i++)
		if (a->slots[i].parts != b->slots[i].parts || a->slots[i].width != b->slots[i].width)
			return false;
	return true;
}

const struct adapter_spec *adapter_layout_spec(const struct adapter_layout *l)
{
	return &l->spec;
}

size_t adapter_layout_head_labels(const struct adapter_layout *l)
{
	return l->n_labels;
}

struct adapter_head adapter_layout_head(const struct adapter_layout *l, float *params)
{
	struct head_tensor t[HEAD_TENSORS];
	float *head = params + l->head_offset;

	head_tensors(l->head_width, l->n_labels, t);
	return (struct adapter_head){
	        head + t[0].offset, head + t[1].offset, head + t[2].offset, head + t[3].offset};
}

void adapter_layout_start_head(const struct adapter_layout *l, float *params, uint64_t seed)
{
	struct head_tensor tensors[HEAD_TENSORS];
	struct rng rng = {seed};

	head_tensors(l->head_width, l->n_labels, tensors);
	for (size_t i = 0; l->n_labels && i < HEAD_TENSORS; i++) {
		const struct head_tensor *t = &tensors[i];
		float *v = params + l->head_offset + t->offset;

		for (size_t j = 0; j < t->rows * (t->cols ? t->cols : 1); j++) {
			/* Box and Muller's transform; 1 - u is above 0 */
			double radius = sqrt(-2 * log(1 - rng_uniform(&rng)));
			double angle = 2 * M_PI * rng_uniform(&rng);

			v[j] = t->cols ? (float)(HEAD_DEVIATION * radius * cos(angle)) : 0;
		}
	}
}

void adapter_layout_start(const struct adapter_layout *l, float *params)
{
	for (size_t i = 0; i < l->n_sites; i++) {
		const struct slot *slot = &l->slots[i];

		for (size_t p = 0; p < l->method->n_parts; p++) {
			const struct method_part *part = &l->method->parts[p];
			float *vector = params + slot_part_offset(slot, part->bit);

			for (size_t c = 0; (slot->parts & part->bit) && c < slot->width; c++)
				vector[c] = part->start;
		}
	}
	memset(params + l->head_offset, 0,
	        l->n_labels ? (l->n_params - l->head_offset) * sizeof(*params) : 0);
}
