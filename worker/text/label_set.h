/*
 * The labels of a data set as they come, row by row, and what they turn out to mean once all are seen: class
 * numbers that do not depend on the rows' order, or numbers. Internal to text/. One owner.
 */
#ifndef REDD_TEXT_LABEL_SET_H
#define REDD_TEXT_LABEL_SET_H

#include "worker/text/labels.h"

#include <stdbool.h>

/* A row's label as its line has it. */
struct training_label {
	const char *text; /* borrowed; NULL = a number */
	double number;
};

/* Zero-initialise; the first two are set by the owner. */
struct label_set {
	enum labels_kind wanted;    /* LABELS_NONE = by what they are */
	const struct labels *known; /* borrowed; what the head stands for already, NULL = nothing */

	size_t first_line;
	bool text;           /* strings, by the first row */
	bool fraction, many; /* numbers: not all integers; more of them than classes may be */
	struct label_seen {
		char *name; /* owned */
		double number;
		int32_t place; /* order of arrival; the class, once decided */
	} * seen;              /* owned (cap); each different one once */
	size_t n, cap;
};
void label_set_fini(struct label_set *s);

/* Take in the label of a row. *place is what label_set_class() wants to know later. ERR_INVALID with why: it
 * is of another type than the others, or not one the head knows. ERR_MEM. */
enum err label_set_add(struct label_set *s, const struct training_label *label, size_t line, int32_t *place,
        struct why *why);
/* All have been seen: what they mean, *out to be finished by the caller. Strings become classes in the order
 * of their bytes, integers in their own. ERR_INVALID when that is no task: one class, or other ones than the
 * head has. ERR_MEM. */
enum err label_set_decide(struct label_set *s, struct labels *out, struct why *why);
/* The class of a row, once decided. */
int32_t label_set_class(const struct label_set *s, int32_t place);

#endif
