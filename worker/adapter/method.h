/*
 * What an adapter method is: the vectors it trains at an edited module, and its arithmetic. One row per
 * method; spec, layout, file and batch code know nothing else of it. Internal to adapter/.
 */
#ifndef REDD_ADAPTER_METHOD_H
#define REDD_ADAPTER_METHOD_H

#include "worker/adapter/adapter.h"

/* One trained vector, as wide as the module's output. Parts of one name are there together or not at all. */
struct method_part {
	unsigned bit;       /* of enum part */
	const char *name;   /* in specs */
	const char *tensor; /* in files, after the module's name */
	float start;        /* the identity */
	bool option;        /* not of the default; in specs a boolean of its own */
	bool vector;        /* in files (width) rather than (1,width) */
};

/* The place of one edited module in the parameter vector: the vectors of `parts`, lowest bit first. */
struct slot {
	unsigned parts; /* 0 = not edited */
	size_t width;
	size_t offset;
};

struct method {
	const char *type;                /* in specs */
	const struct method_part *parts; /* lowest bit first */
	size_t n_parts;
	/* Edit n_rows rows of h in place; params and grads point at the layout's start, not at the slot's. */
	void (*forward)(const struct slot *slot, const float *params, float strength, size_t n_rows, float *h,
	        size_t ldh);
	/* The part that is a constant shift of the edited output; 0 = there is none. */
	unsigned (*shift)(const struct slot *slot);
	/* As adapter_affine(); the slot is edited. */
	bool (*affine)(const struct slot *slot, const float *params, float *scale, float *shift);
	/* As adapter_backward(). */
	void (*backward)(const struct slot *slot, const float *params, size_t n_rows, float *dh, size_t lddh,
	        const float *h, size_t ldh, float *grads);
};

const struct method *method_get(enum adapter_method m);
/* By its name in specs; false when there is none. */
bool method_find(const char *type, enum adapter_method *out);

/* The bits of all parts of that name; 0 = there is none. */
unsigned method_parts_named(const struct method *m, const char *name);

/* Where a part's vector begins in the parameter vector; the slot has that part. */
size_t slot_part_offset(const struct slot *slot, unsigned bit);

extern const struct method method_red;

#endif
