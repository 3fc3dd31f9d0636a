/*
 * Kernels over one row, compiled once per level; included only by simd_body.h: reductions, softmax, norms,
 * rotation, the edit. Internal to math/.
 */

/* Vectors added up in float before their sum goes on in double. */
#define EXP_CHUNK 16

static float max_of(size_t n, const float *x)
{
	vf m = vf_set(-INFINITY);
	float best = -INFINITY;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		m = vf_max(vf_load(x + i), m);
	for (; i < n; i++)
		best = x[i] > best ? x[i] : best;
	for (size_t j = 0; j < LANES; j++)
		best = m[j] > best ? m[j] : best;
	return best;
}

static inline __attribute__((always_inline)) double exp_sum_loop(
        size_t n, const float *x, float shift, float *y, bool store)
{
	double total = 0;
	size_t i = 0;

	while (i + LANES <= n) {
		vf sum = vf_set(0);

		for (size_t j = 0; j < EXP_CHUNK && i + LANES <= n; j++, i += LANES) {
			vf e = vf_exp(vf_load(x + i) - vf_set(shift));

			if (store)
				vf_store(y + i, e);
			sum += e;
		}
		total += (double)vf_sum(sum);
	}
	if (i < n) {
		vf e = vf_exp(vf_load_part(x + i, n - i) - vf_set(shift));

		if (store)
			vf_store_part(y + i, e, n - i);
		for (size_t j = 0; j < n - i; j++)
			total += (double)e[j];
	}
	return total;
}

static double exp_sum(size_t n, const float *x, float shift, float *y)
{
	return y ? exp_sum_loop(n, x, shift, y, true) : exp_sum_loop(n, x, shift, y, false);
}

static inline float dot_inline(size_t n, const float *a, const float *b)
{
	vf sum = vf_set(0);
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		sum = vf_madd(vf_load(a + i), vf_load(b + i), sum);
	if (i < n)
		sum = vf_madd(vf_load_part(a + i, n - i), vf_load_part(b + i, n - i), sum);
	return vf_sum(sum);
}

static float dot(size_t n, const float *a, const float *b)
{
	return dot_inline(n, a, b);
}

/* Four rows at a time, so that their chains of additions overlap. */
static void dot_rows(size_t rows, size_t n, const float *a, const float *b, size_t ldb, float *out)
{
	size_t j = 0;

	for (; j + 4 <= rows; j += 4) {
		vf sum[4] = {0};
		size_t i = 0;

		for (; i + LANES <= n; i += LANES)
#pragma GCC unroll 4
			for (size_t r = 0; r < 4; r++)
				sum[r] = vf_madd(vf_load(a + i), vf_load(b + (j + r) * ldb + i), sum[r]);
		if (i < n)
#pragma GCC unroll 4
			for (size_t r = 0; r < 4; r++)
				sum[r] = vf_madd(vf_load_part(a + i, n - i),
				        vf_load_part(b + (j + r) * ldb + i, n - i), sum[r]);
#pragma GCC unroll 4
		for (size_t r = 0; r < 4; r++)
			out[j + r] = vf_sum(sum[r]);
	}
	for (; j < rows; j++)
		out[j] = dot_inline(n, a, b + j * ldb);
}

static void axpy(size_t n, float a, const float *x, float *y)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(y + i, vf_madd(vf_set(a), vf_load(x + i), vf_load(y + i)));
	if (i < n)
		vf_store_part(y + i,
		        vf_madd(vf_set(a), vf_load_part(x + i, n - i), vf_load_part(y + i, n - i)), n - i);
}

static void add(size_t n, const float *x, float *y)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(y + i, vf_load(y + i) + vf_load(x + i));
	for (; i < n; i++)
		y[i] += x[i];
}

static void scale_by(size_t n, float a, float *y)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(y + i, vf_load(y + i) * vf_set(a));
	for (; i < n; i++)
		y[i] *= a;
}

static void scale_add(size_t n, float a, const float *b, float *s)
{
	size_t i = 0;

	scale_by(n, a, s);
	if (!b)
		return;
	for (; i + LANES <= n; i += LANES)
		vf_store(s + i, vf_load(s + i) + vf_load(b + i));
	for (; i < n; i++)
		s[i] += b[i];
}

static void softmax_backward(size_t n, const float *p, float delta, float scale, float *ds)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		vf_store(ds + i, vf_load(p + i) * (vf_load(ds + i) - vf_set(delta)) * vf_set(scale));
	for (; i < n; i++)
		ds[i] = p[i] * (ds[i] - delta) * scale;
}

static inline float row_sum(size_t n, const float *x)
{
	vf sum = vf_set(0);
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		sum += vf_load(x + i);
	if (i < n)
		sum += vf_load_part(x + i, n - i);
	return vf_sum(sum);
}

static inline float row_square_sum(size_t n, const float *x, float centre)
{
	vf sum = vf_set(0);
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		vf d = vf_load(x + i) - vf_set(centre);

		sum = vf_madd(d, d, sum);
	}
	if (i < n) {
		vf d = vf_set(0);

		for (size_t j = 0; j < n - i; j++)
			d[j] = x[i + j] - centre;
		sum = vf_madd(d, d, sum);
	}
	return vf_sum(sum);
}

static void layernorm(size_t C, const float *x, const float *weight, const float *bias, float eps, float *y,
        float *mean, float *rstd)
{
	float m = row_sum(C, x) / (float)C;
	float r = 1 / sqrtf(row_square_sum(C, x, m) / (float)C + eps);
	size_t i = 0;

	for (; i + LANES <= C; i += LANES) {
		vf v = (vf_load(x + i) - vf_set(m)) * vf_set(r) * vf_load(weight + i);

		vf_store(y + i, bias ? v + vf_load(bias + i) : v);
	}
	for (; i < C; i++) {
		float v = (x[i] - m) * r * weight[i];

		y[i] = bias ? v + bias[i] : v;
	}
	if (mean)
		*mean = m;
	if (rstd)
		*rstd = r;
}

/* g = dy * weight; its mean and the mean of g * xhat are what normalising takes out of the gradient. */
static void layernorm_backward_row(
        size_t C, const float *dy, const float *x, const float *weight, float mean, float rstd, float *dx)
{
	vf sum = vf_set(0), product = vf_set(0), g;
	float g_mean, gx_mean;
	size_t i = 0;

	for (; i + LANES <= C; i += LANES) {
		g = vf_load(dy + i) * vf_load(weight + i);
		sum += g;
		product = vf_madd(g, (vf_load(x + i) - vf_set(mean)) * vf_set(rstd), product);
	}
	if (i < C) {
		g = vf_load_part(dy + i, C - i) * vf_load_part(weight + i, C - i);
		sum += g;
		product = vf_madd(g, (vf_load_part(x + i, C - i) - vf_set(mean)) * vf_set(rstd), product);
	}
	g_mean = vf_sum(sum) / (float)C;
	gx_mean = vf_sum(product) / (float)C;
	for (i = 0; i + LANES <= C; i += LANES) {
		vf xhat = (vf_load(x + i) - vf_set(mean)) * vf_set(rstd);

		g = vf_load(dy + i) * vf_load(weight + i) - vf_set(g_mean) - xhat * vf_set(gx_mean);
		vf_store(dx + i, vf_load(dx + i) + g * vf_set(rstd));
	}
	for (; i < C; i++)
		dx[i] += (dy[i] * weight[i] - g_mean - (x[i] - mean) * rstd * gx_mean) * rstd;
}

static void rmsnorm(size_t C, const float *x, const float *weight, float eps, float *y, float *rstd)
{
	float r = 1 / sqrtf(row_square_sum(C, x, 0) / (float)C + eps);
	size_t i = 0;

	for (; i + LANES <= C; i += LANES)
		vf_store(y + i, vf_load(x + i) * vf_set(r) * vf_load(weight + i));
	for (; i < C; i++)
		y[i] = x[i] * r * weight[i];
	if (rstd)
		*rstd = r;
}

static void rmsnorm_backward_row(
        size_t C, const float *dy, const float *x, const float *weight, float rstd, float *dx)
{
	vf product = vf_set(0);
	float gx_mean;
	size_t i = 0;

	for (; i + LANES <= C; i += LANES)
		product = vf_madd(
		        vf_load(dy + i) * vf_load(weight + i), vf_load(x + i) * vf_set(rstd), product);
	if (i < C)
		product = vf_madd(vf_load_part(dy + i, C - i) * vf_load_part(weight + i, C - i),
		        vf_load_part(x + i, C - i) * vf_set(rstd), product);
	gx_mean = vf_sum(product) / (float)C;
	for (i = 0; i + LANES <= C; i += LANES) {
		vf g = vf_load(dy + i) * vf_load(weight + i) -
		       vf_load(x + i) * vf_set(rstd) * vf_set(gx_mean);

		vf_store(dx + i, vf_load(dx + i) + g * vf_set(rstd));
	}
	for (; i < C; i++)
		dx[i] += (dy[i] * weight[i] - x[i] * rstd * gx_mean) * rstd;
}

static void rotate(size_t n, const float *cos_row, const float *sin_row, float sign, float *a, float *b)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		vf c = vf_load(cos_row + i), s = vf_load(sin_row + i) * vf_set(sign);
		vf x = vf_load(a + i), y = vf_load(b + i);

		vf_store(a + i, x * c - y * s);
		vf_store(b + i, y * c + x * s);
	}
	for (; i < n; i++) {
		float c = cos_row[i], s = sin_row[i] * sign, x = a[i], y = b[i];

		a[i] = x * c - y * s;
		b[i] = y * c + x * s;
	}
}

static void edit(size_t C, float *h, const float *scale, const float *bias)
{
	size_t i = 0;

	for (; i + LANES <= C; i += LANES) {
		vf v = vf_load(h + i);

		v = scale ? v * vf_load(scale + i) : v;
		vf_store(h + i, bias ? v + vf_load(bias + i) : v);
	}
	for (; i < C; i++) {
		float v = scale ? h[i] * scale[i] : h[i];

		h[i] = bias ? v + bias[i] : v;
	}
}

static void edit_backward_row(
        size_t C, float *dh, const float *h, const float *scale, float *dscale, float *dbias)
{
	size_t i = 0;

	for (; i + LANES <= C; i += LANES) {
		vf d = vf_load(dh + i);

		if (dscale)
			vf_store(dscale + i, vf_load(dscale + i) + d * vf_load(h + i));
		if (dbias)
			vf_store(dbias + i, vf_load(dbias + i) + d);
		if (scale)
			vf_store(dh + i, d * vf_load(scale + i));
	}
	for (; i < C; i++) {
		float d = dh[i];

		if (dscale)
			dscale[i] += d * h[i];
		if (dbias)
			dbias[i] += d;
		if (scale)
			dh[i] = d * scale[i];
	}
}
