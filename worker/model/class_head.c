/* See class_head.h. */
#include "worker/model/class_head.h"

#include "core/rng.h"
#include "worker/math/activation.h"
#include "worker/math/gemm.h"
#include "worker/math/vec.h"
#include "worker/model/transformer.h"

enum place { BEFORE_DENSE, BEFORE_OUT };

/* Drop some of x (n,C) and scale the rest; again, on gradients, the same. */
static void drop(const struct class_head *h, const struct class_rows *r, enum place place, float *x)
{
	float keep = 1 - h->dropout;

	for (size_t i = 0; h->dropout > 0 && i < r->n; i++) {
		struct rng start = {h->seed ^ (2 * (r->first + i) + place)};
		struct rng rng = {rng_next(&start)};

		for (size_t c = 0; c < h->width; c++) {
			float *v = &x[i * h->width + c];

			*v = rng_uniform(&rng) < (double)h->dropout ? 0 : *v / keep;
		}
	}
}

static struct adapter_head weights_of(const struct class_head *h)
{
	return adapter_layout_head(h->layout, (float *)h->params); /* to be read alone */
}

/* y (n,n_out) = x (n,n_in) w^T + b. */
static void dense(
        size_t n, size_t n_out, size_t n_in, const float *x, const float *w, const float *b, float *y)
{
	gemm_nt(n, n_out, n_in, x, n_in, w, n_in, 0, y, n_out);
	vec_add_rows(n, n_out, y, n_out, b);
}

void class_head_forward(const struct class_head *h, const struct class_rows *r)
{
	struct adapter_head w = weights_of(h);
	size_t C = h->width, L = adapter_layout_head_labels(h->layout);

	drop(h, r, BEFORE_DENSE, r->x);
	dense(r->n, C, C, r->x, w.dense_w, w.dense_b, r->pre);
	activation_forward(ACT_TANH, r->n * C, r->pre, r->hidden);
	drop(h, r, BEFORE_OUT, r->hidden);
	dense(r->n, L, C, r->hidden, w.out_w, w.out_b, r->outputs);
}

/* dw (n_out,n_in) += dy^T x, db (n_out) += the sum of dy's rows. */
static void weights_backward(
        size_t n, size_t n_out, size_t n_in, const float *dy, const float *x, float *dw, float *db)
{
	gemm_tn(n_out, n_in, n, dy, n_out, x, n_in, 1, dw, n_in);
	for (size_t i = 0; i < n; i++)
		vec_add(n_out, db, dy + i * n_out);
}

void class_head_backward(const struct class_head *h, const struct class_rows *r, float *grads, float *dx)
{
	struct adapter_head w = weights_of(h), g = adapter_layout_head(h->layout, grads);
	size_t n = r->n, C = h->width, L = adapter_layout_head_labels(h->layout);

	weights_backward(n, L, C, r->outputs, r->hidden, g.out_w, g.out_b);
	gemm_nn(n, C, L, r->outputs, L, w.out_w, C, 0, r->hidden, C);
	drop(h, r, BEFORE_OUT, r->hidden);
	activation_backward(ACT_TANH, n * C, r->pre, r->hidden, r->pre);
	weights_backward(n, C, C, r->pre, r->x, g.dense_w, g.dense_b);
	if (!dx)
		return;
	gemm_nn(n, C, C, r->pre, C, w.dense_w, C, 0, dx, C);
	drop(h, r, BEFORE_DENSE, dx);
}
