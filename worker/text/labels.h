/*
 * What the outputs of a classification head stand for: classes by name, or one number. Kept with the adapter
 * that has the head. Knows nothing of models or of files. One owner while written, then any thread.
 */
#ifndef REDD_TEXT_LABELS_H
#define REDD_TEXT_LABELS_H

#include "core/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define LABELS_MAX 1024
#define LABEL_MAX_BYTES 256

enum labels_kind {
	LABELS_NONE,    /* text is predicted, or nothing is known */
	LABELS_CLASSES, /* one of n classes */
	LABELS_NUMBER,  /* regression: one output, the number itself */
};

struct labels {
	enum labels_kind kind;
	size_t n;     /* outputs of the head */
	char **names; /* owned (n); NULL = classes that have numbers only */
};
void labels_fini(struct labels *l);
enum err labels_copy(const struct labels *from, struct labels *out);

/* The class of that name, or -1. A class without a name goes by its number in decimal. */
int32_t labels_find(const struct labels *l, const char *name);
/* The name of a class, or "LABEL_i" as transformers calls those without; borrowed, or written to room. */
const char *labels_name(const struct labels *l, size_t i, char room[32]);

/* What a manifest holds: ["negative", "positive"], or null where there are no names. New reference, NULL when
 * memory is short. */
json_t *labels_json(const struct labels *l);
/* What a head of n outputs stands for, whose manifest holds json (may be NULL). ERR_FORMAT when the two
 * disagree, ERR_MEM. */
enum err labels_read(const json_t *json, size_t n, struct labels *out);

#endif
