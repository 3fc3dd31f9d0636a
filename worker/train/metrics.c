/* See metrics.h. */
#include "worker/train/metrics.h"

#include "core/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const char *const metric_names[METRIC_COUNT + 1] = {
        [METRIC_LOSS] = "loss",
        [METRIC_ACCURACY] = "accuracy",
        [METRIC_F1] = "f1",
        [METRIC_MATTHEWS] = "matthews",
        [METRIC_PEARSON] = "pearson",
        [METRIC_SPEARMAN] = "spearman",
};
static const struct {
	bool classes, numbers;
} kinds[METRIC_COUNT] = {
        [METRIC_LOSS] = {true, true},
        [METRIC_ACCURACY] = {true, false},
        [METRIC_F1] = {true, false},
        [METRIC_MATTHEWS] = {true, false},
        [METRIC_PEARSON] = {false, true},
        [METRIC_SPEARMAN] = {false, true},
};

const char *metric_name(enum metric m)
{
	return metric_names[m];
}

bool metric_of_classes(enum metric m)
{
	return kinds[m].classes;
}

bool metric_of_numbers(enum metric m)
{
	return kinds[m].numbers;
}

/* ---- classes ---- */

enum err tally_init(struct tally *t, size_t n_classes)
{
	size_t n;
	size_t *counts = mem_mul(n_classes, 3, &n) ? mem_calloc(n, sizeof(*counts)) : NULL;

	if (!counts)
		return ERR_MEM;
	*t = (struct tally){.n_classes = n_classes,
	        .right = counts,
	        .predicted = counts + n_classes,
	        .actual = counts + 2 * n_classes};
	return OK;
}

void tally_fini(struct tally *t)
{
	if (!t)
		return;
	mem_free(t->right);
	*t = (struct tally){0};
}

void tally_clear(struct tally *t)
{
	memset(t->right, 0, 3 * t->n_classes * sizeof(*t->right));
	t->n = 0;
}

void tally_add(struct tally *t, size_t predicted, size_t actual)
{
	assert(predicted < t->n_classes && actual < t->n_classes);
	t->right[actual] += predicted == actual;
	t->predicted[predicted]++;
	t->actual[actual]++;
	t->n++;
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

double tally_accuracy(const struct tally *t)
{
	size_t right = 0;

	for (size_t c = 0; c < t->n_classes; c++)
		right += t->right[c];
	return share((double)right, (double)t->n);
}

/* 2 PR / (P + R) of one class. */
static double f1_of(const struct tally *t, size_t c)
{
	return share(2 * (double)t->right[c], (double)(t->predicted[c] + t->actual[c]));
}

double tally_f1(const struct tally *t)
{
	size_t n_seen = 0;
	double sum = 0;

	if (t->n_classes == 2)
		return f1_of(t, 1);
	for (size_t c = 0; c < t->n_classes; c++) {
		n_seen += t->predicted[c] + t->actual[c] > 0;
		sum += f1_of(t, c);
	}
	return share(sum, (double)n_seen);
}

double tally_matthews(const struct tally *t)
{
	double n = (double)t->n, right = 0, both = 0, predicted = 0, actual = 0;

	for (size_t c = 0; c < t->n_classes; c++) {
		double p = (double)t->predicted[c], a = (double)t->actual[c];

		right += (double)t->right[c];
		both += p * a;
		predicted += p * p;
		actual += a * a;
	}
	predicted = n * n - predicted;
	actual = n * n - actual;
	return predicted > 0 && actual > 0 ? (right * n - both) / sqrt(predicted * actual) : 0;
}

/* ---- numbers ---- */

static double mean(size_t n, const double *x)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += x[i];
	return sum / (double)n;
}

double metric_pearson(size_t n, const double *x, const double *y)
{
	double mx = mean(n, x), my = mean(n, y), xx = 0, yy = 0, xy = 0, whole;

	for (size_t i = 0; i < n; i++) {
		xx += (x[i] - mx) * (x[i] - mx);
		yy += (y[i] - my) * (y[i] - my);
		xy += (x[i] - mx) * (y[i] - my);
	}
	whole = sqrt(xx) * sqrt(yy);
	return whole > 0 ? xy / whole : 0;
}

/* Let the number at `top` sink in a heap of n places in order, the greatest on top. */
static void sink(size_t n, const double *x, size_t *order, size_t top)
{
	size_t child;

	for (; (child = 2 * top + 1) < n; top = child) {
		size_t swap = order[top];

		if (child + 1 < n && x[order[child + 1]] > x[order[child]])
			child++;
		if (!(x[order[child]] > x[swap]))
			return;
		order[top] = order[child];
		order[child] = swap;
	}
}

void metric_ranks(size_t n, double *x, size_t *order)
{
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n / 2; i > 0; i--)
		sink(n, x, order, i - 1);
	for (size_t i = n; i > 1; i--) {
		size_t greatest = order[0];

		order[0] = order[i - 1];
		order[i - 1] = greatest;
		sink(i - 1, x, order, 0);
	}
	for (size_t i = 0, end; i < n; i = end) {
		double value = x[order[i]];

		for (end = i + 1; end < n && x[order[end]] == value; end++)
			;
		for (size_t k = i; k < end; k++)
			x[order[k]] = 0.5 * (double)(i + 1 + end);
	}
}
