/* One adapter of several. See adapter.h. */
#include "core/mem.h"
#include "worker/adapter/layout.h"

#include <string.h>

enum err adapter_layout_copy(const struct adapter_layout *l, struct adapter_layout **out)
{
	unsigned *parts = mem_calloc(l->n_sites, sizeof(*parts));
	enum err e = ERR_MEM;

	for (size_t i = 0; parts && i < l->n_sites; i++)
		parts[i] = l->slots[i].parts;
	if (parts)
		e = layout_build(&l->spec, l->sites, l->n_sites, parts, l->head_width, l->n_labels, out);
	mem_free(parts);
	return e;
}

/* An edit that is not affine is not linear in its numbers either. */
static enum err check_affine(const struct adapter_layout *l, const float *params)
{
	size_t width = 0;
	float *room;
	bool all = true;

	for (size_t i = 0; i < l->n_sites; i++)
		width = l->slots[i].width > width ? l->slots[i].width : width;
	room = mem_calloc(width, 2 * sizeof(*room));
	if (!room)
		return ERR_MEM;
	for (size_t i = 0; all && i < l->n_sites; i++)
		if (l->slots[i].parts)
			all = l->method->affine(&l->slots[i], params, room, room + width);
	mem_free(room);
	return all ? OK : ERR_UNSUPPORTED;
}

static void spec_join(struct adapter_spec *to, const struct adapter_spec *from)
{
	to->positions |= from->positions;
	to->parts |= from->parts;
	to->all_layers |= from->all_layers;
	for (size_t i = 0; i < ADAPTER_MAX_LAYERS; i++)
		to->layers[i] |= from->layers[i];
}

/* What any of them edits. */
static enum err lay_out(const struct adapter_share *shares, size_t n, const struct adapter_layout *first,
        struct adapter_layout **out)
{
	struct adapter_spec spec = first->spec;
	size_t head_width = 0, n_labels = 0;
	unsigned *parts = mem_calloc(first->n_sites, sizeof(*parts));
	enum err e = parts ? OK : ERR_MEM;

	for (size_t k = 0; !e && k < n; k++) {
		const struct adapter_layout *l = shares[k].layout;

		if (!l)
			continue;
		if (l->method != first->method || l->n_sites != first->n_sites ||
		        (n_labels && l->n_labels && l->n_labels != n_labels))
			e = ERR_MISMATCH;
		else
			e = check_affine(l, shares[k].params);
		spec_join(&spec, &l->spec);
		for (size_t i = 0; !e && i < l->n_sites; i++)
			parts[i] |= l->slots[i].parts;
		if (l->n_labels) {
			head_width = l->head_width;
			n_labels = l->n_labels;
		}
	}
	if (!e)
		e = layout_build(&spec, first->sites, first->n_sites, parts, head_width, n_labels, out);
	mem_free(parts);
	return e;
}

/* start * (1 - sum of weights) + sum of weight * value, where one that has no such vector has start. In this
 * order a single share of weight 1 gives its value's own bits. */
static void blend_vector(const struct adapter_share *shares, size_t n, size_t site, unsigned bit, float start,
        size_t width, float *out)
{
	for (size_t c = 0; c < width; c++) {
		double rest = 1, sum = 0;

		for (size_t k = 0; k < n; k++) {
			const struct adapter_layout *l = shares[k].layout;

			if (!l || !(l->slots[site].parts & bit))
				continue;
			rest -= shares[k].weight;
			sum += shares[k].weight *
			       (double)shares[k].params[slot_part_offset(&l->slots[site], bit) + c];
		}
		out[c] = (float)(rest * (double)start + sum);
	}
}

/* Heads have no identity to be measured from: they are averaged by their weights. */
static enum err blend_head(
        const struct adapter_share *shares, size_t n, const struct adapter_layout *to, float *params)
{
	double total = 0;

	for (size_t k = 0; k < n; k++)
		total += shares[k].layout && shares[k].layout->n_labels ? shares[k].weight : 0;
	if (to->n_labels && total == 0)
		return ERR_MISMATCH;
	for (size_t i = to->head_offset; to->n_labels && i < to->n_params; i++) {
		double sum = 0;

		for (size_t k = 0; k < n; k++) {
			const struct adapter_layout *l = shares[k].layout;

			if (l && l->n_labels)
				sum += shares[k].weight *
				       (double)shares[k].params[l->head_offset + i - to->head_offset];
		}
		params[i] = (float)(sum / total);
	}
	return OK;
}

enum err adapter_blend(
        const struct adapter_share *shares, size_t n, struct adapter_layout **layout, float **params)
{
	const struct adapter_layout *first = NULL;
	struct adapter_layout *l = NULL;
	float *p = NULL;
	enum err e;

	for (size_t k = 0; k < n && !first; k++)
		first = shares[k].layout;
	e = first ? lay_out(shares, n, first, &l) : ERR_EMPTY;
	if (!e) {
		p = mem_calloc(l->n_params, sizeof(*p));
		e = p ? blend_head(shares, n, l, p) : ERR_MEM;
	}
	for (size_t i = 0; !e && i < l->n_sites; i++)
		for (size_t k = 0; k < l->method->n_parts; k++) {
			const struct method_part *part = &l->method->parts[k];

			if (l->slots[i].parts & part->bit)
				blend_vector(shares, n, i, part->bit, part->start, l->slots[i].width,
				        p + slot_part_offset(&l->slots[i], part->bit));
		}
	if (e) {
		adapter_layout_free(l);
		mem_free(p);
		return e;
	}
	*layout = l;
	*params = p;
	return OK;
}
