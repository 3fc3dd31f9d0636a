/* See pickle_tree.h, and the end of pickle.h: values, and looking at them. */
#include "worker/adapter/pickle_tree.h"

#include "core/mem.h"

#include <string.h>

#define VALUES_PER_BLOCK 512

struct pickle_block {
	struct pickle_block *next;
	size_t n;
	struct pickle_value values[VALUES_PER_BLOCK];
};

static bool is_text(enum pickle_kind kind)
{
	return kind == PICKLE_STRING || kind == PICKLE_BYTES || kind == PICKLE_GLOBAL;
}

static bool has_items(enum pickle_kind kind)
{
	return kind == PICKLE_TUPLE || kind == PICKLE_LIST || kind == PICKLE_DICT || kind == PICKLE_CALL ||
	       kind == PICKLE_PERSISTENT;
}

void pickle_free(struct pickle *p)
{
	struct pickle_block *next;

	if (!p)
		return;
	for (struct pickle_block *b = p->blocks; b; b = next) {
		next = b->next;
		for (size_t i = 0; i < b->n; i++) {
			if (is_text(b->values[i].kind))
				mem_free(b->values[i].bytes);
			if (has_items(b->values[i].kind))
				mem_free(b->values[i].items);
		}
		mem_free(b);
	}
	mem_free(p);
}

enum err pickle_value_new(struct pickle *p, enum pickle_kind kind, struct pickle_value **out)
{
	struct pickle_block *b = p->blocks;

	if (!b || b->n == VALUES_PER_BLOCK) {
		b = mem_calloc(1, sizeof(*b));
		if (!b)
			return ERR_MEM;
		b->next = p->blocks;
		p->blocks = b;
	}
	*out = &b->values[b->n++];
	(*out)->kind = kind;
	return OK;
}

enum err pickle_list_grow(struct pickle_value ***list, size_t n, size_t *cap)
{
	size_t more = *cap ? 2 * *cap : 4;
	struct pickle_value **p;

	if (n < *cap)
		return OK;
	p = mem_realloc(*list, more, sizeof(struct pickle_value *));
	if (!p)
		return ERR_MEM;
	*list = p;
	*cap = more;
	return OK;
}

enum err pickle_value_add(struct pickle_value *v, struct pickle_value *item)
{
	enum err e = pickle_list_grow(&v->items, v->n_items, &v->cap_items);

	if (!e)
		v->items[v->n_items++] = item;
	return e;
}

enum err pickle_value_set(struct pickle_value *v, const void *p, size_t n)
{
	v->bytes = mem_calloc(n + 1, 1);
	if (!v->bytes)
		return ERR_MEM;
	if (n)
		memcpy(v->bytes, p, n);
	v->n_bytes = n;
	return OK;
}

/* ---- looking at what was read ---- */

const struct pickle_value *pickle_root(const struct pickle *p)
{
	return p->root;
}

const struct pickle_value *pickle_at(const struct pickle_value *v, size_t i)
{
	if (!v || (v->kind != PICKLE_TUPLE && v->kind != PICKLE_LIST) || i >= v->n_items)
		return NULL;
	return v->items[i];
}

const char *pickle_text(const struct pickle_value *v)
{
	return v && v->kind == PICKLE_STRING && strlen(v->bytes) == v->n_bytes ? v->bytes : NULL;
}

bool pickle_is_global(const struct pickle_value *v, const char *name)
{
	return v && v->kind == PICKLE_GLOBAL && strcmp(v->bytes, name) == 0;
}

bool pickle_size(const struct pickle_value *v, size_t *out)
{
	if (!v || v->kind != PICKLE_INT || v->integer < 0)
		return false;
	*out = (size_t)v->integer;
	return true;
}
