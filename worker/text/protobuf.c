/* See protobuf.h. Groups, which no one writes any more, are refused. */
#include "worker/text/protobuf.h"

#include <string.h>

static bool take_varint(struct protobuf *r, uint64_t *out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && r->n; shift += 7) {
		unsigned char byte = (unsigned char)*r->p++;

		r->n--;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = value;
			return true;
		}
	}
	return false;
}

static bool take_fixed(struct protobuf *r, size_t n, uint64_t *out)
{
	if (r->n < n)
		return false;
	*out = 0;
	for (size_t i = n; i-- > 0;)
		*out = *out << 8 | (unsigned char)r->p[i];
	r->p += n;
	r->n -= n;
	return true;
}

static bool take_bytes(struct protobuf *r, struct protobuf_field *out)
{
	uint64_t n;

	if (!take_varint(r, &n) || n > r->n)
		return false;
	out->p = r->p;
	out->n = (size_t)n;
	r->p += out->n;
	r->n -= out->n;
	return true;
}

static bool take_value(struct protobuf *r, struct protobuf_field *out)
{
	switch (out->type) {
	case PROTOBUF_VARINT:
		return take_varint(r, &out->value);
	case PROTOBUF_FIXED64:
		return take_fixed(r, 8, &out->value);
	case PROTOBUF_FIXED32:
		return take_fixed(r, 4, &out->value);
	case PROTOBUF_BYTES:
		return take_bytes(r, out);
	}
	return false;
}

bool protobuf_next(struct protobuf *r, struct protobuf_field *out)
{
	uint64_t tag;

	*out = (struct protobuf_field){0};
	if (!r->n || r->failed)
		return false;
	r->failed = true;
	if (!take_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
		return false;
	out->number = (uint32_t)(tag >> 3);
	out->type = (enum protobuf_type)(tag & 7);
	r->failed = !take_value(r, out);
	return !r->failed;
}

float protobuf_float(const struct protobuf_field *f)
{
	uint32_t bits = (uint32_t)f->value;
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}
