/* Which modules an adapter edits and where their numbers lie. See adapter.h. */
#include "worker/adapter/layout.h"

#include "core/mem.h"

#include <string.h>

enum err layout_build(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        const unsigned *parts, struct adapter_layout **out)
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

enum err adapter_layout_new(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        struct adapter_layout **out, struct why *why)
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
	e = any ? layout_build(spec, sites, n_sites, parts, out)
	        : why_param(why, ERR_INVALID, "adapter.positions",
	                  "the adapter would edit no module of this base");
	mem_free(parts);
	return e;
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

const struct adapter_spec *adapter_layout_spec(const struct adapter_layout *l)
{
	return &l->spec;
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
}
