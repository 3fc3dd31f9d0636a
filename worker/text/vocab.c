/* See vocab.h. FNV-1a over the bytes, linear probing, at most half full. */
#include "worker/text/vocab.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define VOCAB_MIN_SLOTS 1024

static size_t hash_text(const char *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 29);
}

/* The slot that holds the string, or the free one where it belongs. */
static size_t find_slot(const struct vocab *v, const char *p, size_t n)
{
	size_t i = hash_text(p, n) & (v->n_slots - 1);

	while (v->slots[i] >= 0) {
		const struct vocab_entry *entry = &v->entries[v->slots[i]];

		if (entry->n == n && memcmp(v->text.data + entry->offset, p, n) == 0)
			break;
		i = (i + 1) & (v->n_slots - 1);
	}
	return i;
}

static enum err grow_slots(struct vocab *v)
{
	struct vocab bigger = *v;

	if (v->n_slots >= 2 * (v->n_tokens + 1))
		return OK;
	bigger.n_slots = v->n_slots ? v->n_slots * 2 : VOCAB_MIN_SLOTS;
	bigger.slots = mem_calloc(bigger.n_slots, sizeof(*bigger.slots));
	if (!bigger.slots)
		return ERR_MEM;
	memset(bigger.slots, 0xff, bigger.n_slots * sizeof(*bigger.slots));
	for (size_t i = 0; i < v->n_slots; i++) {
		if (v->slots[i] >= 0) {
			const struct vocab_entry *entry = &v->entries[v->slots[i]];

			bigger.slots[find_slot(&bigger, v->text.data + entry->offset, entry->n)] =
			        v->slots[i];
		}
	}
	mem_free(v->slots);
	*v = bigger;
	return OK;
}

static enum err grow_ids(struct vocab *v, size_t n_ids)
{
	size_t cap = v->cap_ids ? v->cap_ids : VOCAB_MIN_SLOTS;
	struct vocab_entry *entries;

	if (n_ids <= v->cap_ids)
		return OK;
	while (cap < n_ids)
		cap *= 2;
	entries = mem_realloc(v->entries, cap, sizeof(*entries));
	if (!entries)
		return ERR_MEM;
	memset(entries + v->cap_ids, 0, (cap - v->cap_ids) * sizeof(*entries));
	v->entries = entries;
	v->cap_ids = cap;
	return OK;
}

enum err vocab_add(struct vocab *v, const char *p, size_t n, int32_t id)
{
	size_t offset = v->text.len, slot;
	enum err e = grow_slots(v);

	if (e)
		return e;
	e = grow_ids(v, (size_t)id + 1);
	if (e)
		return e;
	slot = find_slot(v, p, n);
	if (v->slots[slot] >= 0 || v->entries[id].used)
		return ERR_EXISTS;
	e = buf_append(&v->text, p, n);
	if (e)
		return e;
	v->entries[id] = (struct vocab_entry){offset, (uint32_t)n, true};
	v->slots[slot] = id;
	v->n_tokens++;
	if ((size_t)id >= v->n_ids)
		v->n_ids = (size_t)id + 1;
	return OK;
}

int32_t vocab_find(const struct vocab *v, const char *p, size_t n)
{
	return v->n_slots ? v->slots[find_slot(v, p, n)] : -1;
}

const char *vocab_text(const struct vocab *v, int32_t id, size_t *n)
{
	if (id < 0 || (size_t)id >= v->n_ids || !v->entries[id].used)
		return NULL;
	*n = v->entries[id].n;
	return v->text.data + v->entries[id].offset;
}

void vocab_find_bytes(const struct vocab *v, int32_t out[256])
{
	char text[8];

	for (unsigned i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), "<0x%02X>", i);
		out[i] = vocab_find(v, text, strlen(text));
	}
}

void vocab_fini(struct vocab *v)
{
	if (!v)
		return;
	buf_fini(&v->text);
	mem_free(v->entries);
	mem_free(v->slots);
	*v = (struct vocab){0};
}
