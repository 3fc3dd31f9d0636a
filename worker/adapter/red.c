/*
 * RED: h' = h * scale + bias at a module's output, perhaps with a layer norm behind it. The method's row; see
 * method.h.
 */
#include "worker/adapter/method.h"
#include "worker/math/edit.h"

/* Columns whose weakened edit is worked out on the stack at a time. */
#define CHUNK 256

static const float *part(const struct slot *slot, const float *params, unsigned bit)
{
	return slot->parts & bit ? params + slot_part_offset(slot, bit) : NULL;
}

static float *part_grads(const struct slot *slot, float *grads, unsigned bit)
{
	return slot->parts & bit ? grads + slot_part_offset(slot, bit) : NULL;
}

static struct edit_norm norm_of(const struct slot *slot, const float *params)
{
	return (struct edit_norm){.scale = part(slot, params, PART_SCALE),
	        .bias = part(slot, params, PART_BIAS),
	        .weight = part(slot, params, PART_LN_WEIGHT),
	        .shift = part(slot, params, PART_LN_BIAS)};
}

/* h * (1 + s * (scale - 1)) + s * bias, some columns at a time. */
static void forward_weakened(
        const struct slot *slot, const float *params, float strength, size_t n_rows, float *h, size_t ldh)
{
	const float *scale = part(slot, params, PART_SCALE), *bias = part(slot, params, PART_BIAS);
	float weak_scale[CHUNK], weak_bias[CHUNK];

	for (size_t c0 = 0; c0 < slot->width; c0 += CHUNK) {
		size_t n = slot->width - c0 < CHUNK ? slot->width - c0 : CHUNK;

		for (size_t c = 0; scale && c < n; c++)
			weak_scale[c] = 1 + strength * (scale[c0 + c] - 1);
		for (size_t c = 0; bias && c < n; c++)
			weak_bias[c] = strength * bias[c0 + c];
		edit_forward(n_rows, n, h + c0, ldh, scale ? weak_scale : NULL, bias ? weak_bias : NULL);
	}
}

/* The ends are exact: 1 is the edit as trained, 0 leaves the base's bits alone. */
static void red_forward(
        const struct slot *slot, const float *params, float strength, size_t n_rows, float *h, size_t ldh)
{
	struct edit_norm norm = norm_of(slot, params);

	if (strength == 0)
		return;
	if (norm.weight)
		edit_norm_forward(n_rows, slot->width, h, ldh, &norm, strength);
	else if (strength != 1)
		forward_weakened(slot, params, strength, n_rows, h, ldh);
	else
		edit_forward(n_rows, slot->width, h, ldh, norm.scale, norm.bias);
}

static void red_backward(const struct slot *slot, const float *params, size_t n_rows, float *dh, size_t lddh,
        const float *h, size_t ldh, float *grads)
{
	const struct edit_norm norm = norm_of(slot, params);
	const struct edit_norm_grads to = {.scale = part_grads(slot, grads, PART_SCALE),
	        .bias = part_grads(slot, grads, PART_BIAS),
	        .weight = part_grads(slot, grads, PART_LN_WEIGHT),
	        .shift = part_grads(slot, grads, PART_LN_BIAS)};

	if (norm.weight)
		edit_norm_backward(n_rows, slot->width, dh, lddh, h, ldh, &norm, &to);
	else
		edit_backward(n_rows, slot->width, dh, lddh, h, ldh, norm.scale, to.scale, to.bias);
}

static unsigned red_shift(const struct slot *slot)
{
	return slot->parts & (slot->parts & PART_LN ? PART_LN_BIAS : PART_BIAS);
}

static bool red_affine(const struct slot *slot, const float *params, float *scale, float *shift)
{
	const float *s = part(slot, params, PART_SCALE), *b = part(slot, params, PART_BIAS);

	if (slot->parts & PART_LN)
		return false;
	for (size_t c = 0; c < slot->width; c++) {
		scale[c] = s ? s[c] : 1;
		shift[c] = b ? b[c] : 0;
	}
	return true;
}

static const struct method_part red_parts[] = {
        {PART_SCALE, "scale", ".delta_vector.activation_scaling", 1, false, false},
        {PART_BIAS, "bias", ".delta_vector.activation_bias", 0, false, false},
        {PART_LN_WEIGHT, "ln", ".delta_vector.activation_ln.weight", 1, true, true},
        {PART_LN_BIAS, "ln", ".delta_vector.activation_ln.bias", 0, true, true},
};

const struct method method_red = {
        .type = "red",
        .parts = red_parts,
        .n_parts = sizeof(red_parts) / sizeof(red_parts[0]),
        .forward = red_forward,
        .backward = red_backward,
        .shift = red_shift,
        .affine = red_affine,
};
