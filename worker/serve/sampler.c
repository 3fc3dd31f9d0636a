/*
 * Filters as prefixes: top-k, top-p and min-p all keep a prefix of the tokens ordered by weight, so a heap
 * over the vocabulary is built once and only as much of that order is taken out of it as the filters look at.
 */
#include "worker/serve/sampler.h"

#include "core/mem.h"
#include "worker/math/loss.h"

#include <math.h>
#include <string.h>

/* Further below the best than this a token weighs less than a double's last digit of the sum. */
#define SAMPLER_MIN_EXPONENT (-80.0)

struct choice {
	float weight; /* exp((logit - max) / temperature): the best has 1 */
	int32_t id;
};

struct sampler {
	size_t n_vocab;
	float *adjusted;        /* owned (n_vocab): logits with bias and penalties */
	uint32_t *counts;       /* owned (n_vocab): zero between calls */
	struct choice *choices; /* owned (n_vocab) */
};

struct sample_history sample_history_start(const struct serve_request *r, const struct model_info *info)
{
	if (info->kind == MODEL_SEQ2SEQ)
		return (struct sample_history){.prompt = &info->decoder_start_id, .n_prompt = 1};
	return (struct sample_history){.prompt = r->prompt, .n_prompt = r->n_prompt};
}

/* NaN is in no range. */
static enum err check_range(double x, double low, double high, const char *name, struct why *why)
{
	if (x >= low && x <= high)
		return OK;
	return why_param(why, ERR_INVALID, name, "%s must be between %g and %g", name, low, high);
}

enum err sample_params_check(const struct sample_params *p, size_t n_vocab, struct why *why)
{
	enum err e;

	if ((e = check_range(p->temperature, 0, 1000, "temperature", why)) ||
	        (e = check_range(p->top_p, 0, 1, "top_p", why)) ||
	        (e = check_range(p->min_p, 0, 1, "min_p", why)) ||
	        (e = check_range(p->presence_penalty, -100, 100, "presence_penalty", why)) ||
	        (e = check_range(p->frequency_penalty, -100, 100, "frequency_penalty", why)) ||
	        (e = check_range(p->repetition_penalty, 0.001, 1000, "repetition_penalty", why)))
		return e;
	if (p->n_bias > SERVE_MAX_BIAS)
		return why_param(why, ERR_INVALID, "logit_bias",
		        "logit_bias names %zu tokens; at most %d are possible", p->n_bias, SERVE_MAX_BIAS);
	for (size_t i = 0; i < p->n_bias; i++) {
		if (p->bias[i].id < 0 || (size_t)p->bias[i].id >= n_vocab)
			return why_param(why, ERR_INVALID, "logit_bias",
			        "logit_bias names token %d of a vocabulary of %zu", (int)p->bias[i].id,
			        n_vocab);
		if (!isfinite(p->bias[i].bias))
			return why_param(why, ERR_INVALID, "logit_bias",
			        "logit_bias of token %d is not a finite number", (int)p->bias[i].id);
	}
	return OK;
}

enum err sampler_new(size_t n_vocab, struct sampler **out)
{
	struct sampler *s = mem_calloc(1, sizeof(*s));

	if (!s)
		return ERR_MEM;
	s->n_vocab = n_vocab;
	s->adjusted = mem_aligned(n_vocab, sizeof(*s->adjusted));
	s->counts = mem_calloc(n_vocab, sizeof(*s->counts));
	s->choices = mem_calloc(n_vocab, sizeof(*s->choices));
	if (!s->adjusted || !s->counts || !s->choices)
		goto fail;
	*out = s;
	return OK;
fail:
	sampler_free(s);
	return ERR_MEM;
}

void sampler_free(struct sampler *s)
{
	if (!s)
		return;
	mem_free(s->adjusted);
	mem_free(s->counts);
	mem_free(s->choices);
	mem_free(s);
}

/* ---- bias, penalties, n-grams ---- */

static bool in_vocab(const struct sampler *s, int32_t id)
{
	return id >= 0 && (size_t)id < s->n_vocab;
}

static void count_tokens(struct sampler *s, const int32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (in_vocab(s, ids[i]))
			s->counts[ids[i]]++;
}

/* Each token that was seen, once: dividing a positive logit, multiplying a negative one. Clears the counts.
 */
static void penalise_repetition(struct sampler *s, float penalty, const int32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float *x = in_vocab(s, ids[i]) ? &s->adjusted[ids[i]] : NULL;

		if (!x || !s->counts[ids[i]])
			continue;
		*x = *x < 0 ? *x * penalty : *x / penalty;
		s->counts[ids[i]] = 0;
	}
}

static void penalise_frequency(struct sampler *s, const struct sample_params *p, const int32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t *count = in_vocab(s, ids[i]) ? &s->counts[ids[i]] : NULL;

		if (!count || !*count)
			continue;
		s->adjusted[ids[i]] -= (float)(p->frequency_penalty * *count + p->presence_penalty);
		*count = 0;
	}
}

static int32_t token_at(const struct sample_history *h, size_t i)
{
	return i < h->n_prompt ? h->prompt[i] : h->generated[i - h->n_prompt];
}

/* Ban each token that followed earlier what the last n - 1 tokens are. */
static void ban_ngrams(struct sampler *s, size_t n, const struct sample_history *h)
{
	size_t n_tokens = h->n_prompt + h->n_generated, suffix = n_tokens - (n - 1);

	for (size_t first = 0; n <= n_tokens && first <= n_tokens - n; first++) {
		size_t i = 0;
		int32_t next = token_at(h, first + n - 1);

		while (i < n - 1 && token_at(h, first + i) == token_at(h, suffix + i))
			i++;
		if (i == n - 1 && in_vocab(s, next))
			s->adjusted[next] = -INFINITY;
	}
}

const float *sampler_adjust(
        struct sampler *s, const struct sample_params *p, const struct sample_history *h, const float *x)
{
	bool repetition = p->repetition_penalty != 1;
	bool frequency = p->frequency_penalty != 0 || p->presence_penalty != 0;

	if (!p->n_bias && !repetition && !frequency && !p->no_repeat_ngram_size)
		return x;
	memcpy(s->adjusted, x, s->n_vocab * sizeof(*x));
	for (size_t i = 0; i < p->n_bias; i++)
		if (in_vocab(s, p->bias[i].id))
			s->adjusted[p->bias[i].id] += p->bias[i].bias;
	if (repetition) {
		count_tokens(s, h->prompt, h->n_prompt);
		count_tokens(s, h->generated, h->n_generated);
		penalise_repetition(s, (float)p->repetition_penalty, h->prompt, h->n_prompt);
		penalise_repetition(s, (float)p->repetition_penalty, h->generated, h->n_generated);
	}
	if (frequency) {
		count_tokens(s, h->generated, h->n_generated);
		penalise_frequency(s, p, h->generated, h->n_generated);
	}
	if (p->no_repeat_ngram_size)
		ban_ngrams(s, p->no_repeat_ngram_size, h);
	return s->adjusted;
}

/* ---- the order of tokens, taken lazily ---- */

/* Whether a comes before b: the heavier first, the lower id among equals. */
static bool before(const struct choice *a, const struct choice *b)
{
	return a->weight > b->weight || (a->weight == b->weight && a->id < b->id);
}

static void sift_down(struct choice *heap, size_t i, size_t n)
{
	struct choice x = heap[i];

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &x))
			break;
		heap[i] = heap[child];
	}
	heap[i] = x;
}

/* heap (n + 1) loses its first to heap[n]: what was taken out lies behind the heap, last first. */
static const struct choice *take_first(struct choice *heap, size_t n)
{
	struct choice first = heap[0];

	heap[0] = heap[n];
	sift_down(heap, 0, n);
	heap[n] = first;
	return &heap[n];
}

/* ---- filters and the draw ---- */

static double weigh(struct sampler *s, double temperature, const float *x, float max)
{
	double total = 0;

	for (size_t i = 0; i < s->n_vocab; i++) {
		double z = ((double)x[i] - (double)max) / temperature;
		float weight = z > SAMPLER_MIN_EXPONENT ? expf((float)z) : 0;

		s->choices[i] = (struct choice){.weight = weight, .id = (int32_t)i};
		total += weight;
	}
	return total;
}

/* Take as many tokens out of the order as pass top-k and top-p: at least one. They end up at the end of
 * choices, the best last. total is the weight of all. */
static size_t keep_best(struct sampler *s, const struct sample_params *p, double total)
{
	struct choice *heap = s->choices;
	size_t n = s->n_vocab, n_taken = 0, n_kept = 0, limit = n;
	double sum = 0;

	for (size_t i = n / 2; i-- > 0;)
		sift_down(heap, i, n);
	if (p->top_k && p->top_k < n) {
		total = 0;
		while (n_taken < n && heap[0].weight > 0 &&
		        (n_taken < p->top_k || heap[0].weight == heap[n - n_taken].weight))
			total += take_first(heap, n - ++n_taken)->weight;
		limit = n_taken;
	}
	for (; n_kept < limit && (n_kept == 0 || sum < p->top_p * total); n_kept++) {
		if (n_kept == n_taken)
			take_first(heap, n - ++n_taken);
		sum += heap[n - 1 - n_kept].weight;
	}
	return n_kept;
}

/* One of choices (n), in their order from the last to the first, those lighter than min_p excepted. */
static int32_t draw(const struct choice *choices, size_t n, double min_p, double u)
{
	double total = 0, sum = 0;
	int32_t last = choices[n - 1].id;

	for (size_t i = n; i-- > 0;)
		if (choices[i].weight >= min_p)
			total += choices[i].weight;
	for (size_t i = n; i-- > 0;) {
		if (!(choices[i].weight >= min_p) || !(choices[i].weight > 0))
			continue;
		last = choices[i].id;
		sum += choices[i].weight;
		if (sum > u * total)
			break;
	}
	return last;
}

enum err sampler_pick(struct sampler *s, const struct sample_params *p, const struct sample_history *history,
        const float *logits, double u, int32_t *token)
{
	const float *x = sampler_adjust(s, p, history, logits);
	size_t best = argmax(s->n_vocab, x), n = s->n_vocab;
	double total;

	if (!isfinite(x[best]))
		return ERR_STATE;
	if (!(p->temperature > 0)) {
		*token = (int32_t)best;
		return OK;
	}
	total = weigh(s, p->temperature, x, x[best]);
	if ((p->top_k && p->top_k < n) || p->top_p < 1)
		n = keep_best(s, p, total);
	*token = draw(s->choices + (s->n_vocab - n), n, p->min_p, u);
	return OK;
}
