/*
 * Text on its way to ids: a list of pieces, each either text still to be cut or an added token found in it.
 * Internal to the tokenizer; one owner.
 */
#ifndef REDD_TEXT_PIECES_H
#define REDD_TEXT_PIECES_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct piece {
	size_t start, end; /* in the list's text */
	int32_t id;        /* an added token, or -1 */
	bool first;        /* the text it came from starts here */
};

struct pieces {
	struct buf text;     /* owned */
	struct piece *items; /* owned */
	size_t n;
	size_t cap;
};

enum err pieces_add(struct pieces *l, struct piece piece);
/* Add n bytes of text as one piece. */
enum err pieces_add_text(struct pieces *l, const char *p, size_t n, bool first);
enum err pieces_add_id(struct pieces *l, int32_t id);
/* Forget the content, keep the memory. */
void pieces_clear(struct pieces *l);
void pieces_fini(struct pieces *l);

#endif
