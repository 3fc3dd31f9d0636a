/* The table of methods. See method.h. */
#include "worker/adapter/method.h"

#include <string.h>

static const struct method *const methods[] = {
        [METHOD_RED] = &method_red,
};

const struct method *method_get(enum adapter_method m)
{
	return methods[m];
}

bool method_find(const char *type, enum adapter_method *out)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i]->type, type) == 0) {
			*out = (enum adapter_method)i;
			return true;
		}
	return false;
}

unsigned method_parts_named(const struct method *m, const char *name)
{
	unsigned bits = 0;

	for (size_t i = 0; i < m->n_parts; i++)
		if (strcmp(m->parts[i].name, name) == 0)
			bits |= m->parts[i].bit;
	return bits;
}

size_t slot_part_offset(const struct slot *slot, unsigned bit)
{
	size_t n_before = (size_t)__builtin_popcount(slot->parts & (bit - 1));

	return slot->offset + n_before * slot->width;
}
