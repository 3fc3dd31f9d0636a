/*
 * Activations on vectors, compiled once per level; included only by simd_body.h. Each loop is specialised for
 * one function by inlining it with a constant. Internal to math/.
 */

/* f(x), and f'(x) in *slope; what the caller does not use is not computed. */
static inline __attribute__((always_inline)) vf activation_value(enum activation f, vf x, vf *slope)
{
	vf s, c, near, inner, density;

	switch (f) {
	case ACT_GELU:
		s = vf_phi(x, &density);
		*slope = vf_madd(x, density, s);
		return x * s;
	case ACT_GELU_TANH: /* (1 + tanh(u)) / 2 is the logistic function of 2u, u = sqrt(2/pi) (x + 0.044715
	                       x^3) */
		near = vf_clamp(x, -12, 12); /* beyond, both tails are 0; x^3 would overflow */
		inner = vf_madd(near * near, vf_set(0.0713548163f), vf_set(1.59576912f));
		s = vf_sigmoid(near * inner, &c);
		inner = vf_madd(near * near, vf_set(0.2140644488f), vf_set(1.59576912f));
		*slope = vf_madd(near * inner, s * c, s);
		return x * s;
	case ACT_SILU:
		s = vf_sigmoid(x, &c);
		*slope = vf_madd(x * c, s, s);
		return x * s;
	case ACT_RELU:
		*slope = vf_select(x > vf_set(0), vf_set(1), vf_set(0));
		return vf_select(x < vf_set(0), vf_set(0), x);
	case ACT_TANH:
		s = vf_tanh(x);
		*slope = (vf_set(1) - s) * (vf_set(1) + s);
		return s;
	}
	__builtin_unreachable();
}

/* Run the loop with f as a constant. */
#define FOR_EACH_ACTIVATION(loop, ...)                                                                       \
	switch (f) {                                                                                         \
	case ACT_GELU:                                                                                       \
		loop(ACT_GELU, __VA_ARGS__);                                                                 \
		break;                                                                                       \
	case ACT_GELU_TANH:                                                                                  \
		loop(ACT_GELU_TANH, __VA_ARGS__);                                                            \
		break;                                                                                       \
	case ACT_SILU:                                                                                       \
		loop(ACT_SILU, __VA_ARGS__);                                                                 \
		break;                                                                                       \
	case ACT_RELU:                                                                                       \
		loop(ACT_RELU, __VA_ARGS__);                                                                 \
		break;                                                                                       \
	case ACT_TANH:                                                                                       \
		loop(ACT_TANH, __VA_ARGS__);                                                                 \
		break;                                                                                       \
	}

static inline __attribute__((always_inline)) void forward_loop(
        enum activation f, size_t n, const float *x, float *y)
{
	vf slope;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(y + i, activation_value(f, vf_load(x + i), &slope));
	if (i < n)
		vf_store_part(y + i, activation_value(f, vf_load_part(x + i, n - i), &slope), n - i);
}

static void activation_forward_any(enum activation f, size_t n, const float *x, float *y)
{
	FOR_EACH_ACTIVATION(forward_loop, n, x, y)
}

static inline __attribute__((always_inline)) void backward_loop(
        enum activation f, size_t n, const float *x, const float *dy, float *dx)
{
	vf slope;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		activation_value(f, vf_load(x + i), &slope);
		vf_store(dx + i, vf_load(dy + i) * slope);
	}
	if (i < n) {
		activation_value(f, vf_load_part(x + i, n - i), &slope);
		vf_store_part(dx + i, vf_load_part(dy + i, n - i) * slope, n - i);
	}
}

static void activation_backward_any(enum activation f, size_t n, const float *x, const float *dy, float *dx)
{
	FOR_EACH_ACTIVATION(backward_loop, n, x, dy, dx)
}

static inline __attribute__((always_inline)) void gated_forward_loop(
        enum activation f, size_t n, const float *gate, const float *up, float *y)
{
	vf slope;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(y + i, activation_value(f, vf_load(gate + i), &slope) * vf_load(up + i));
	if (i < n)
		vf_store_part(y + i,
		        activation_value(f, vf_load_part(gate + i, n - i), &slope) *
		                vf_load_part(up + i, n - i),
		        n - i);
}

static void gated_forward_any(enum activation f, size_t n, const float *gate, const float *up, float *y)
{
	FOR_EACH_ACTIVATION(gated_forward_loop, n, gate, up, y)
}

static inline __attribute__((always_inline)) void gated_backward_loop(enum activation f, size_t n,
        const float *gate, const float *up, const float *dy, float *dgate, float *dup)
{
	vf value, slope, u, d;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		value = activation_value(f, vf_load(gate + i), &slope);
		u = vf_load(up + i);
		d = vf_load(dy + i);
		vf_store(dgate + i, d * u * slope);
		vf_store(dup + i, d * value);
	}
	if (i < n) {
		value = activation_value(f, vf_load_part(gate + i, n - i), &slope);
		u = vf_load_part(up + i, n - i);
		d = vf_load_part(dy + i, n - i);
		vf_store_part(dgate + i, d * u * slope, n - i);
		vf_store_part(dup + i, d * value, n - i);
	}
}

static void gated_backward_any(enum activation f, size_t n, const float *gate, const float *up,
        const float *dy, float *dgate, float *dup)
{
	FOR_EACH_ACTIVATION(gated_backward_loop, n, gate, up, dy, dgate, dup)
}
