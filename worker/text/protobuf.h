/*
 * Reading protobuf's wire format, field by field, without a schema. Everything is checked against the bytes
 * that are there. Thread: any; a reader has one owner.
 */
#ifndef REDD_TEXT_PROTOBUF_H
#define REDD_TEXT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct protobuf {
	const char *p; /* borrowed; what is left */
	size_t n;
	bool failed; /* the bytes are no message */
};

enum protobuf_type { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_FIXED32 = 5 };

struct protobuf_field {
	uint32_t number;
	enum protobuf_type type;
	uint64_t value; /* of the three numeric types */
	const char *p;  /* PROTOBUF_BYTES; borrowed */
	size_t n;
};

/* The next field; false at the end, or with `failed` set when what follows is none. */
bool protobuf_next(struct protobuf *r, struct protobuf_field *out);

/* A PROTOBUF_FIXED32 as the float it is. */
float protobuf_float(const struct protobuf_field *f);

#endif
