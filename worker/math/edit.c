/* See edit.h; the kernels for one row are in simd_rows.h. */
#include "worker/math/edit.h"

#include "worker/math/simd.h"

#include <math.h>

void edit_forward(size_t T, size_t C, float *h, size_t ldh, const float *scale, const float *bias)
{
	for (size_t t = 0; t < T; t++)
		simd()->edit(C, h + t * ldh, scale, bias);
}

void edit_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh, const float *scale,
        float *dscale, float *dbias)
{
	for (size_t t = 0; t < T; t++)
		simd()->edit_backward(C, dh + t * lddh, h + t * ldh, scale, dscale, dbias);
}

/* What the norm sees. */
static inline float edited(const struct edit_norm *e, const float *h, size_t c)
{
	float y = e->scale ? h[c] * e->scale[c] : h[c];

	return e->bias ? y + e->bias[c] : y;
}

static void row_moments(size_t C, const float *h, const struct edit_norm *e, float *mean, float *rstd)
{
	double sum = 0, squares = 0;

	for (size_t c = 0; c < C; c++)
		sum += (double)edited(e, h, c);
	sum /= (double)C;
	for (size_t c = 0; c < C; c++) {
		double d = (double)edited(e, h, c) - sum;

		squares += d * d;
	}
	*mean = (float)sum;
	*rstd = (float)(1 / sqrt(squares / (double)C + EDIT_NORM_EPS));
}

void edit_norm_forward(size_t T, size_t C, float *h, size_t ldh, const struct edit_norm *e, float strength)
{
	for (size_t t = 0; t < T; t++, h += ldh) {
		float mean, rstd;

		row_moments(C, h, e, &mean, &rstd);
		for (size_t c = 0; c < C; c++) {
			float y = (edited(e, h, c) - mean) * rstd * e->weight[c] + e->shift[c];

			h[c] = strength == 1 ? y : h[c] + strength * (y - h[c]);
		}
	}
}

void edit_norm_backward(size_t T, size_t C, float *dh, size_t lddh, const float *h, size_t ldh,
        const struct edit_norm *e, const struct edit_norm_grads *grads)
{
	for (size_t t = 0; t < T; t++, dh += lddh, h += ldh) {
		double g_mean = 0, gx_mean = 0;
		float mean, rstd;

		row_moments(C, h, e, &mean, &rstd);
		for (size_t c = 0; c < C; c++) {
			double g = (double)dh[c] * (double)e->weight[c];

			g_mean += g;
			gx_mean += g * (double)((edited(e, h, c) - mean) * rstd);
		}
		g_mean /= (double)C;
		gx_mean /= (double)C;
		for (size_t c = 0; c < C; c++) {
			float xhat = (edited(e, h, c) - mean) * rstd;
			float dy = (dh[c] * e->weight[c] - (float)g_mean - xhat * (float)gx_mean) * rstd;

			if (grads->weight)
				grads->weight[c] += dh[c] * xhat;
			if (grads->shift)
				grads->shift[c] += dh[c];
			if (grads->scale)
				grads->scale[c] += dy * h[c];
			if (grads->bias)
				grads->bias[c] += dy;
			dh[c] = e->scale ? dy * e->scale[c] : dy;
		}
	}
}
