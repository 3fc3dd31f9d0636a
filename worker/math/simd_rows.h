/*
 * Kernels over one row, compiled once per level; included only by simd_body.h: reductions, softmax, norms,
 * rotation, the edit. Internal to math/.
 */

/* Terms added up in float before their sum goes on in double. */
#define EXP_CHUNK ((size_t)256)

static inline size_t left_of(size_t n, size_t at)
{
	return at < n ? n - at : 0;
}

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

static inline __attribute__((always_inline)) vf exp_store(vf x, float shift, float *y, bool store)
{
	vf e = vf_exp(x - vf_set(shift));

	if (store)
		vf_store(y, e);
	return e;
}

static inline __attribute__((always_inline)) double exp_sum_loop(
        size_t n, const float *x, float shift, float *y, bool store)
{
	double total = 0;

	for (size_t i = 0; i < n; i += EXP_CHUNK) {
		size_t end = n - i < EXP_CHUNK ? n : i + EXP_CHUNK, at = i;
		struct lanes16 sum = {0};

		for (; at + 16 <= end; at += 16)
#pragma GCC unroll 4
			for (size_t l = 0; l < 16; l += LANES)
				sum.v[l / LANES] += exp_store(vf_load(x + at + l), shift, y + at + l, store);
		for (size_t l = 0; at < end; at += LANES, l++) {
			size_t left = end - at < LANES ? end - at : LANES;
			vf e = vf_exp(vf_load_part(x + at, left) - vf_set(shift));

			if (store)
				vf_store_part(y + at, e, left);
			sum.v[l] += vf_first(e, left);
		}
		total += (double)lanes16_sum(sum);
	}
	return total;
}

static double exp_sum(size_t n, const float *x, float shift, float *y)
{
	return y ? exp_sum_loop(n, x, shift, y, true) : exp_sum_loop(n, x, shift, y, false);
}

static float dot(size_t n, const float *a, const float *b)
{
	struct lanes16 sum = {0};
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
		for (size_t l = 0; l < 16; l += LANES)
			sum.v[l / LANES] = vf_madd(vf_load(a + i + l), vf_load(b + i + l), sum.v[l / LANES]);
	for (size_t l = 0; i + l < n; l += LANES)
		sum.v[l / LANES] = vf_madd(vf_load_some(a + i + l, n - i - l),
		        vf_load_some(b + i + l, n - i - l), sum.v[l / LANES]);
	return lanes16_sum(sum);
}

/* Rows of b whose chains of additions overlap. */
#define DOT_ROWS 4

static void dot_rows(size_t rows, size_t n, const float *a, const float *b, size_t ldb, float *out)
{
	size_t j = 0, whole = n / 16 * 16;

	for (; j + DOT_ROWS <= rows; j += DOT_ROWS, b += DOT_ROWS * ldb) {
		struct lanes16 sum[DOT_ROWS] = {0};
		v4 four;

		for (size_t i = 0; i < whole; i += 16)
#pragma GCC unroll 4
			for (size_t l = 0; l < 16; l += LANES)
#pragma GCC unroll 4
				for (size_t r = 0; r < DOT_ROWS; r++)
					sum[r].v[l / LANES] = vf_madd(vf_load(a + i + l),
					        vf_load(b + r * ldb + i + l), sum[r].v[l / LANES]);
		for (size_t l = 0; whole + l < n; l += LANES)
			for (size_t r = 0; r < DOT_ROWS; r++)
				sum[r].v[l / LANES] = vf_madd(vf_load_some(a + whole + l, n - whole - l),
				        vf_load_some(b + r * ldb + whole + l, n - whole - l),
				        sum[r].v[l / LANES]);
		four = lanes16_sums(sum);
		memcpy(out + j, &four, sizeof(four));
	}
	for (; j < rows; j++, b += ldb)
		out[j] = dot(n, a, b);
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

/* Vectors of y that stay in registers while rows pass by. */
#define AXPY_VECTORS 8

static void axpy_rows(size_t rows, size_t n, const float *a, const float *x, size_t ldx, float *y)
{
	size_t i = 0;

	for (; i + AXPY_VECTORS * LANES <= n; i += AXPY_VECTORS * LANES) {
		vf sum[AXPY_VECTORS];

#pragma GCC unroll 8
		for (size_t v = 0; v < AXPY_VECTORS; v++)
			sum[v] = vf_load(y + i + v * LANES);
		for (size_t j = 0; j < rows; j++)
#pragma GCC unroll 8
			for (size_t v = 0; v < AXPY_VECTORS; v++)
				sum[v] = vf_madd(vf_set(a[j]), vf_load(x + j * ldx + i + v * LANES), sum[v]);
#pragma GCC unroll 8
		for (size_t v = 0; v < AXPY_VECTORS; v++)
			vf_store(y + i + v * LANES, sum[v]);
	}
	for (size_t j = 0; i < n && j < rows; j++)
		axpy(n - i, a[j], x + j * ldx + i, y + i);
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

static float row_sum(size_t n, const float *x)
{
	struct lanes16 sum = {0};

	for (size_t i = 0; i < n; i += 16)
#pragma GCC unroll 4
		for (size_t l = 0; l < 16; l += LANES)
			sum.v[l / LANES] += vf_load_some(x + i + l, left_of(n, i + l));
	return lanes16_sum(sum);
}

static float row_square_sum(size_t n, const float *x, float centre)
{
	struct lanes16 sum = {0};

	for (size_t i = 0; i < n; i += 16)
#pragma GCC unroll 4
		for (size_t l = 0; l < 16; l += LANES) {
			size_t left = left_of(n, i + l);
			vf d = vf_load_some(x + i + l, left) - vf_set(centre);

			d = left < LANES ? vf_first(d, left) : d;
			sum.v[l / LANES] = vf_madd(d, d, sum.v[l / LANES]);
		}
	return lanes16_sum(sum);
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
	struct lanes16 sum = {0}, product = {0};
	float g_mean, gx_mean;
	size_t i = 0;
	vf g;

	for (; i < C; i += 16)
#pragma GCC unroll 4
		for (size_t l = 0; l < 16; l += LANES) {
			size_t at = i + l, left = left_of(C, at);

			g = vf_load_some(dy + at, left) * vf_load_some(weight + at, left);
			sum.v[l / LANES] += g;
			product.v[l / LANES] =
			        vf_madd(g, (vf_load_some(x + at, left) - vf_set(mean)) * vf_set(rstd),
			                product.v[l / LANES]);
		}
	g_mean = lanes16_sum(sum) / (float)C;
	gx_mean = lanes16_sum(product) / (float)C;
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
	struct lanes16 product = {0};
	float gx_mean;
	size_t i = 0;

	for (; i < C; i += 16)
#pragma GCC unroll 4
		for (size_t l = 0; l < 16; l += LANES) {
			size_t at = i + l, left = left_of(C, at);

			product.v[l / LANES] =
			        vf_madd(vf_load_some(dy + at, left) * vf_load_some(weight + at, left),
			                vf_load_some(x + at, left) * vf_set(rstd), product.v[l / LANES]);
		}
	gx_mean = lanes16_sum(product) / (float)C;
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
