/*
 * A reader of Python pickles that builds a tree and executes nothing. A name such as
 * `collections.OrderedDict` stays a name, a call stays a call with its arguments, and what either means is
 * for the caller to know: only names the caller lists are let in, every other is refused by name. Depth does
 * not matter, for nothing here recurses; the number of values is bounded. The values of a pickle may share
 * parts and even hold themselves: who walks them walks to a depth of his own choosing.
 *
 * Read are the opcodes of protocols 2 to 5 that pickles of plain data and of torch.save consist of.
 * Thread: any; a tree is immutable once read.
 */
#ifndef REDD_ADAPTER_PICKLE_H
#define REDD_ADAPTER_PICKLE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values in one pickle, counted each time they are mentioned; and places of its memo. */
#define PICKLE_MAX_VALUES ((size_t)1 << 19)

enum pickle_kind {
	PICKLE_NONE,
	PICKLE_BOOL,
	PICKLE_INT,
	PICKLE_FLOAT,
	PICKLE_STRING,
	PICKLE_BYTES,
	PICKLE_TUPLE,
	PICKLE_LIST,
	PICKLE_DICT,       /* keys and values by turns; an OrderedDict too */
	PICKLE_GLOBAL,     /* a name that was let in; bytes is "module name" */
	PICKLE_CALL,       /* items[0], a global, called with the tuple items[1] */
	PICKLE_PERSISTENT, /* items[0]: a reference to something outside the pickle */
};

struct pickle_value {
	enum pickle_kind kind;
	union {
		int64_t integer; /* BOOL, INT */
		double real;     /* FLOAT */
		struct { /* STRING (UTF-8 unchecked), BYTES, GLOBAL; owned by the pickle, a NUL follows */
			char *bytes;
			size_t n_bytes;
		};
		struct { /* TUPLE, LIST, DICT, CALL, PERSISTENT */
			struct pickle_value **items;
			size_t n_items, cap_items;
		};
	};
};

struct pickle;

/* Read one pickle from the front of data (n bytes); *used is its length. globals, ended by NULL: the names
 * let in, "torch FloatStorage" style; "collections OrderedDict" is always known and its values become dicts.
 * Nothing of data is kept. ERR_FORMAT, ERR_UNSUPPORTED for other opcodes and names, ERR_TOO_LARGE, ERR_MEM.
 */
enum err pickle_read(const void *data, size_t n, const char *const *globals, struct pickle **out,
        size_t *used, struct why *why);
void pickle_free(struct pickle *p);
/* It lives as long as p. */
const struct pickle_value *pickle_root(const struct pickle *p);

/* The i-th item of a tuple or list, or NULL when v is none (NULL too) or shorter. */
const struct pickle_value *pickle_at(const struct pickle_value *v, size_t i);
/* v's text when it is a string without NUL inside, else NULL. NULL is allowed. */
const char *pickle_text(const struct pickle_value *v);
/* Whether v is the global of that name. NULL is allowed. */
bool pickle_is_global(const struct pickle_value *v, const char *name);
/* An integer from 0 to SIZE_MAX into *out, or false. NULL is allowed. */
bool pickle_size(const struct pickle_value *v, size_t *out);

#endif
