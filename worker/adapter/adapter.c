/* Edits of a batch whose rows belong to different adapters. See adapter.h. */
#include "worker/adapter/adapter.h"
#include "worker/adapter/layout.h"

void adapter_forward(const struct edit_run *runs, size_t n_runs, size_t site, size_t begin, size_t end,
        float *h, size_t ldh)
{
	size_t row = 0, next;

	for (size_t i = 0; i < n_runs && row < end; i++, row = next) {
		const struct edit_run *run = &runs[i];
		const struct adapter_layout *l = run->layout;
		size_t first = row > begin ? row : begin, last;

		next = row + run->n_rows;
		last = next < end ? next : end;
		if (l && l->slots[site].parts && first < last)
			l->method->forward(&l->slots[site], run->params, run->strength, last - first,
			        h + first * ldh, ldh);
	}
}

void adapter_backward(const struct edit_run *run, size_t site, float *dh, size_t lddh, const float *h,
        size_t ldh, float *grads)
{
	const struct adapter_layout *l = run->layout;

	if (l && l->slots[site].parts)
		l->method->backward(&l->slots[site], run->params, run->n_rows, dh, lddh, h, ldh, grads);
}

float *adapter_shift_grads(const struct adapter_layout *l, size_t site, float *grads)
{
	const struct slot *slot = &l->slots[site];
	unsigned shift = l->method->shift(slot);

	return shift ? grads + slot_part_offset(slot, shift) : NULL;
}

bool adapter_affine(
        const struct adapter_layout *l, const float *params, size_t site, float *scale, float *shift)
{
	return l->method->affine(&l->slots[site], params, scale, shift);
}

const float *adapter_vector(const struct adapter_layout *l, const float *params, size_t site, enum part part)
{
	const struct slot *slot = &l->slots[site];

	return slot->parts & part ? params + slot_part_offset(slot, part) : NULL;
}
