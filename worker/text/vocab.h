/*
 * Token strings and their ids, both ways. Built once, then immutable; any thread may look things up.
 */
#ifndef REDD_TEXT_VOCAB_H
#define REDD_TEXT_VOCAB_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vocab_entry {
	size_t offset; /* in `text` */
	uint32_t n;
	bool used;
};

struct vocab {
	struct buf text;             /* owned; all token strings */
	struct vocab_entry *entries; /* owned; by id */
	size_t n_ids;                /* one more than the highest id */
	size_t cap_ids;
	int32_t *slots; /* owned; open addressing, -1 = free */
	size_t n_slots; /* a power of two */
	size_t n_tokens;
};

/* ERR_EXISTS when the string or the id is there already; ERR_MEM. */
enum err vocab_add(struct vocab *v, const char *p, size_t n, int32_t id);
/* The id of a token string, or -1. */
int32_t vocab_find(const struct vocab *v, const char *p, size_t n);
/* The string of an id, or NULL for an id without one; not NUL-terminated. */
const char *vocab_text(const struct vocab *v, int32_t id, size_t *n);
/* The ids of the byte tokens "<0x00>" to "<0xFF>", -1 where there is none. */
void vocab_find_bytes(const struct vocab *v, int32_t out[256]);
void vocab_fini(struct vocab *v);

#endif
