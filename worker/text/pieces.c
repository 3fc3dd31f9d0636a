/* See pieces.h. */
#include "worker/text/pieces.h"

#include "core/mem.h"

enum err pieces_add(struct pieces *l, struct piece piece)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct piece *items = mem_realloc(l->items, cap, sizeof(*items));

		if (!items)
			return ERR_MEM;
		l->items = items;
		l->cap = cap;
	}
	l->items[l->n++] = piece;
	return OK;
}

enum err pieces_add_text(struct pieces *l, const char *p, size_t n, bool first)
{
	size_t start = l->text.len;
	enum err e = buf_append(&l->text, p, n);

	return e ? e : pieces_add(l, (struct piece){start, start + n, -1, first});
}

enum err pieces_add_id(struct pieces *l, int32_t id)
{
	return pieces_add(l, (struct piece){l->text.len, l->text.len, id, false});
}

void pieces_clear(struct pieces *l)
{
	l->text.len = 0;
	l->n = 0;
}

void pieces_fini(struct pieces *l)
{
	if (!l)
		return;
	buf_fini(&l->text);
	mem_free(l->items);
	*l = (struct pieces){0};
}
