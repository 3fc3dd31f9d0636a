/* See score.h. */
#include "worker/train/score.h"

#include "core/mem.h"

enum err scorer_init(struct scorer *s, const struct dataset *rows)
{
	size_t n;

	*s = (struct scorer){0};
	if (!rows || rows->form != DATASET_LABELLED)
		return OK;
	s->rows = rows;
	if (!mem_mul(rows->n_rows, rows->labels.n, &n))
		return ERR_MEM;
	s->outputs = mem_calloc(n, sizeof(*s->outputs));
	if (!s->outputs)
		return ERR_MEM;
	if (rows->labels.kind == LABELS_CLASSES)
		return tally_init(&s->tally, rows->labels.n);
	s->x = mem_calloc(rows->n_rows, sizeof(*s->x));
	s->y = mem_calloc(rows->n_rows, sizeof(*s->y));
	s->order = mem_calloc(rows->n_rows, sizeof(*s->order));
	return s->x && s->y && s->order ? OK : ERR_MEM;
}

void scorer_fini(struct scorer *s)
{
	if (!s)
		return;
	mem_free(s->outputs);
	tally_fini(&s->tally);
	mem_free(s->x);
	mem_free(s->y);
	mem_free(s->order);
	*s = (struct scorer){0};
}

/* The lowest of equals. */
static size_t argmax(size_t n, const float *x)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

static void measure_classes(struct scorer *s, double metrics[METRIC_COUNT])
{
	const struct dataset *d = s->rows;

	tally_clear(&s->tally);
	for (size_t i = 0; i < d->n_rows; i++)
		if (d->rows[i].class >= 0)
			tally_add(&s->tally, argmax(d->labels.n, s->outputs + i * d->labels.n),
			        (size_t)d->rows[i].class);
	metrics[METRIC_ACCURACY] = tally_accuracy(&s->tally);
	metrics[METRIC_F1] = tally_f1(&s->tally);
	metrics[METRIC_MATTHEWS] = tally_matthews(&s->tally);
}

static void measure_numbers(struct scorer *s, double metrics[METRIC_COUNT])
{
	size_t n = s->rows->n_rows;

	for (size_t i = 0; i < n; i++) {
		s->x[i] = (double)s->outputs[i];
		s->y[i] = (double)s->rows->rows[i].target;
	}
	metrics[METRIC_PEARSON] = metric_pearson(n, s->x, s->y);
	metric_ranks(n, s->x, s->order);
	metric_ranks(n, s->y, s->order);
	metrics[METRIC_SPEARMAN] = metric_pearson(n, s->x, s->y);
}

void scorer_measure(struct scorer *s, double metrics[METRIC_COUNT])
{
	if (!s->rows)
		return;
	if (s->rows->labels.kind == LABELS_CLASSES)
		measure_classes(s, metrics);
	else
		measure_numbers(s, metrics);
}
