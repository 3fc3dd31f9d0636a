/* See stems.h. */
#include "worker/train/stems.h"

#include "core/mem.h"

#include <string.h>

/* Rows have a stem for each token of what the first stack reads. */
static size_t n_tokens(const struct dataset *d)
{
	return d->form == DATASET_SOURCED ? d->n_sources : d->n_tokens;
}

size_t stems_bytes(const struct model *m, const struct adapter_layout *layout, const struct dataset *d)
{
	size_t n;

	return mem_mul(n_tokens(d), model_stem_floats(m, layout) * sizeof(float), &n) ? n : SIZE_MAX;
}

enum err stems_init(
        struct stems *s, const struct model *m, const struct adapter_layout *layout, const struct dataset *d)
{
	*s = (struct stems){
	        .rows = d, .n_floats = model_stem_floats(m, layout), .n_bytes = stems_bytes(m, layout, d)};
	s->known = mem_calloc(d->n_rows, 1);
	s->values = mem_reserve(s->n_bytes);
	if (s->known && s->values)
		return OK;
	stems_fini(s);
	return ERR_MEM;
}

void stems_fini(struct stems *s)
{
	mem_free(s->known);
	if (s->values)
		mem_unreserve(s->values, s->n_bytes);
	memset(s, 0, sizeof(*s));
}

float *stems_at(const struct stems *s, size_t row)
{
	const struct dataset_row *r = &s->rows->rows[row];

	return s->values + s->n_floats * (s->rows->form == DATASET_SOURCED ? r->source_offset : r->offset);
}
