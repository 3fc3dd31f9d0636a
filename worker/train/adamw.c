/* See adamw.h. The order of operations is that of PyTorch's single-tensor update. */
#include "worker/train/adamw.h"

#include <math.h>

void adamw_update(const struct adamw *o, size_t t, double learning_rate, size_t n,
        const float *restrict grads, float *restrict params, float *restrict m, float *restrict v)
{
	double decay = 1.0 - learning_rate * o->weight_decay;
	double step_size = learning_rate / (1.0 - pow(o->beta1, (double)t));
	double root_correction2 = sqrt(1.0 - pow(o->beta2, (double)t));

	for (size_t i = 0; i < n; i++) {
		double g = grads[i];
		double mi = (double)m[i] + (g - (double)m[i]) * (1.0 - o->beta1);
		double pull = o->anchor ? (double)o->anchor[i] * (1.0 - decay) : 0.0;
		double vi = (double)v[i] * o->beta2 + g * g * (1.0 - o->beta2);

		m[i] = (float)mi;
		v[i] = (float)vi;
		params[i] = (float)((double)params[i] * decay + pull -
		                    step_size * mi / (sqrt(vi) / root_correction2 + o->eps));
	}
}

double grad_norm(size_t n, const float *grads)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)grads[i] * (double)grads[i];
	return sqrt(sum);
}

void grad_clip(size_t n, float *grads, double norm, double max_norm)
{
	double factor = max_norm / (norm + 1e-6);

	if (factor >= 1.0)
		return;
	for (size_t i = 0; i < n; i++)
		grads[i] = (float)((double)grads[i] * factor);
}
