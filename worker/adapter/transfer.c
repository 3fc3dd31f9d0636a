/* From one layout's parameters to another's. See adapter.h. */
#include "worker/adapter/layout.h"

#include <string.h>

static enum err transfer_head(const struct adapter_layout *from, const float *from_params,
        const struct adapter_layout *to, float *to_params)
{
	if (from->n_labels == 0)
		return OK;
	if (from->n_labels != to->n_labels || from->head_width != to->head_width)
		return ERR_MISMATCH;
	memcpy(to_params + to->head_offset, from_params + from->head_offset,
	        (to->n_params - to->head_offset) * sizeof(*to_params));
	return OK;
}

enum err adapter_transfer(const struct adapter_layout *from, const float *from_params,
        const struct adapter_layout *to, float *to_params)
{
	if (from->method != to->method || from->n_sites != to->n_sites)
		return ERR_MISMATCH;
	for (size_t i = 0; i < from->n_sites; i++) {
		const struct slot *f = &from->slots[i], *t = &to->slots[i];

		if ((f->parts & ~t->parts) || (f->parts && f->width != t->width))
			return ERR_MISMATCH;
		for (size_t p = 0; p < from->method->n_parts; p++) {
			unsigned bit = from->method->parts[p].bit;

			if (f->parts & bit)
				memcpy(to_params + slot_part_offset(t, bit),
				        from_params + slot_part_offset(f, bit),
				        f->width * sizeof(*to_params));
		}
	}
	return transfer_head(from, from_params, to, to_params);
}
