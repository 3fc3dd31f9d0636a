/*
 * A model and a detokenizer that are functions of the sequence alone, in place of the real ones: the program
 * that includes this (once) is linked against it, but for keys and values, which are the real ones' pages
 * with a mark a token in them. Logits are a hash of adapter, strength, tokens and where the prompt's chunks
 * began, so that an answer shows when anything of that differs; or an adapter spells out what follows. It
 * counts, it fails on demand, and it can be held still.
 */
#ifndef REDD_TESTS_FAKE_MODEL_H
#define REDD_TESTS_FAKE_MODEL_H

#include "core/mem.h"
#include "worker/model/kv.h"
#include "worker/text/tokenizer.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define FAKE_VOCAB 48
#define FAKE_CONTEXT 96
#define FAKE_EOS 0
#define FAKE_KV_BYTES 16 /* a position */
#define FAKE_PAGE 4      /* positions */

/* Token texts: 1..26 are letters. */
enum { FAKE_SPACE = 27, FAKE_C3, FAKE_A9, FAKE_E_ACUTE, FAKE_END, FAKE_STOP, FAKE_NEWLINE, FAKE_NO_TEXT };

struct model {
	struct model_info info;
	pthread_mutex_t gate;                  /* held by a test: the model stands still */
	atomic_long fail_prefill, fail_decode; /* the n-th from now fails with ERR_MEM; 0 = none */
	atomic_bool not_finite;
	atomic_size_t kv_peak;  /* pages that were in use at once, seen when a token came */
	atomic_size_t max_rows; /* of a decode step */
	atomic_size_t chunks;
	atomic_size_t classified; /* runs of model_classify(), and the most sequences in one */
	atomic_size_t max_classified;
};

/* With a script, what follows a prompt of n_prompt tokens; then the end-of-text token. */
struct adapter_layout {
	uint64_t seed;
	size_t n_prompt, n_script;
	const int32_t *script;
	size_t n_labels; /* of its head */
};

struct serve_workspace {
	size_t max_rows, max_seqs;
};

static struct model fake = {
        .info =
                {
                        .family = "fake",
                        .vocab_size = FAKE_VOCAB,
                        .max_positions = FAKE_CONTEXT,
                        .eos_ids = {FAKE_EOS},
                        .n_eos = 1,
                },
        .gate = PTHREAD_MUTEX_INITIALIZER,
};

static inline uint64_t fake_mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

static inline bool fake_fails(atomic_long *countdown)
{
	return atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1;
}

const struct model_info *model_info(const struct model *m)
{
	return &m->info;
}

struct kv_shape kv_shape_of(const struct model *m)
{
	(void)m;
	return (struct kv_shape){.n_layers = 1, .width = 2, .page_tokens = FAKE_PAGE};
}

enum err serve_workspace_new(
        const struct model *m, size_t max_rows, size_t max_seqs, struct serve_workspace **out)
{
	struct serve_workspace *w = mem_calloc(1, sizeof(*w));

	(void)m;
	if (!w)
		return ERR_MEM;
	w->max_rows = max_rows;
	w->max_seqs = max_seqs;
	*out = w;
	return OK;
}

enum err serve_workspace_set_threads(struct serve_workspace *w, size_t n_threads)
{
	(void)w;
	(void)n_threads;
	return OK;
}

void serve_workspace_free(struct serve_workspace *w)
{
	mem_free(w);
}

static inline uint64_t fake_hash(const struct kv *kv)
{
	struct paged_rows source = kv_keys(kv, 0, true), own = kv_values(kv, 0, false);
	uint64_t h = kv->n_source;

	for (size_t i = 0; i < kv->n_source; i++)
		h = fake_mix(h, (uint64_t)kv_row(&source, i)[1]);
	for (size_t i = 0; i < kv->length; i++)
		h = fake_mix(h, (uint64_t)kv_row(&own, i)[1]);
	return h;
}

static inline void fake_logits(const struct kv *kv, const struct edit_run *run, float *logits)
{
	const struct adapter_layout *l = run->layout;
	uint64_t h = fake_mix(fake_hash(kv), l ? l->seed : 0);

	h = fake_mix(h, (uint64_t)(run->strength * 1024));
	for (size_t j = 0; j < FAKE_VOCAB; j++)
		logits[j] = (float)(fake_mix(h, j) >> 40) * 0x1p-21f - 4;
	if (l && l->script) {
		size_t at = kv->length - l->n_prompt;

		logits[kv->length >= l->n_prompt && at < l->n_script ? l->script[at] : FAKE_EOS] = 20;
	}
	for (size_t j = 0; j < FAKE_VOCAB && atomic_load(&fake.not_finite); j++)
		logits[j] = NAN;
}

static inline void fake_append(struct kv *kv, int32_t token, bool begins_chunk)
{
	struct paged_rows own = kv_values(kv, 0, false);
	size_t used = kv->pool->n_pages - kv->pool->n_free;

	kv_row(&own, kv->length++)[1] = (float)(token + 1 + (begins_chunk ? 1000 : 0));
	if (used > atomic_load(&fake.kv_peak))
		atomic_store(&fake.kv_peak, used);
}

static inline void fake_pass_gate(void)
{
	pthread_mutex_lock(&fake.gate);
	pthread_mutex_unlock(&fake.gate);
}

size_t adapter_layout_head_labels(const struct adapter_layout *l)
{
	return l->n_labels;
}

static inline uint64_t fake_tokens(const int32_t *tokens, size_t n)
{
	uint64_t h = n;

	for (size_t i = 0; i < n; i++)
		h = fake_mix(h, (uint64_t)tokens[i]);
	return h;
}

enum err model_classify(const struct model *m, struct serve_workspace *w, size_t n_seqs,
        const int32_t *tokens, const size_t *lengths, const struct edit_run *runs, size_t n_labels,
        float *outputs)
{
	size_t at = 0;

	(void)m;
	fake_pass_gate();
	if (fake_fails(&fake.fail_decode))
		return ERR_MEM;
	for (size_t i = 0; i < n_seqs; at += lengths[i++]) {
		uint64_t h = fake_mix(fake_tokens(tokens + at, lengths[i]), runs[i].layout->seed);

		if (runs[i].layout->n_labels != n_labels || runs[i].n_rows != lengths[i])
			return ERR_INVALID;
		for (size_t k = 0; k < n_labels; k++)
			outputs[i * n_labels + k] = (float)(fake_mix(h, k) >> 40);
	}
	atomic_fetch_add(&fake.classified, 1);
	if (n_seqs > atomic_load(&fake.max_classified))
		atomic_store(&fake.max_classified, n_seqs);
	return at <= w->max_rows ? OK : ERR_TOO_LARGE;
}

static inline enum err fake_read_source(struct kv *kv, const int32_t *tokens, size_t n)
{
	enum err e = kv_begin_source(kv, n);
	struct paged_rows source;

	if (e)
		return e;
	source = kv_keys(kv, 0, true);
	for (size_t i = 0; i < n; i++)
		kv_row(&source, i)[1] = (float)tokens[i];
	return OK;
}

enum err model_encode_source(const struct model *m, struct serve_workspace *w, struct kv *kv,
        const int32_t *tokens, size_t n_rows, const struct edit_run *run)
{
	(void)m;
	fake_pass_gate();
	if (fake_fails(&fake.fail_prefill))
		return ERR_MEM;
	if (n_rows > w->max_rows || run->n_rows != n_rows)
		return ERR_TOO_LARGE;
	return fake_read_source(kv, tokens, n_rows);
}

enum err model_prefill(const struct model *m, struct serve_workspace *w, struct kv *kv, const int32_t *tokens,
        size_t n_rows, const struct edit_run *run, const size_t *logit_rows, size_t n_logits, float *logits)
{
	size_t k = 0;
	enum err e;

	(void)m;
	fake_pass_gate();
	if (fake_fails(&fake.fail_prefill))
		return ERR_MEM;
	if (n_rows > w->max_rows)
		return ERR_TOO_LARGE;
	e = kv_extend(kv, n_rows);
	if (e)
		return e;
	atomic_fetch_add(&fake.chunks, 1);
	for (size_t i = 0; i < n_rows; i++) {
		fake_append(kv, tokens[i], i == 0);
		if (k < n_logits && logit_rows[k] == i)
			fake_logits(kv, run, logits + k++ * FAKE_VOCAB);
	}
	return k == n_logits ? OK : ERR_INVALID;
}

enum err model_decode(const struct model *m, struct serve_workspace *w, size_t n, struct kv *const *kvs,
        const int32_t *tokens, const struct edit_run *runs, float *logits)
{
	(void)m;
	fake_pass_gate();
	if (fake_fails(&fake.fail_decode))
		return ERR_MEM;
	if (n > w->max_seqs)
		return ERR_TOO_LARGE;
	if (n > atomic_load(&fake.max_rows))
		atomic_store(&fake.max_rows, n);
	for (size_t i = 0; i < n; i++) {
		enum err e = runs[i].n_rows != 1 ? ERR_INVALID : kv_extend(kvs[i], 1);

		if (e)
			return e;
	}
	for (size_t i = 0; i < n; i++) {
		fake_append(kvs[i], tokens[i], false);
		fake_logits(kvs[i], &runs[i], logits + i * FAKE_VOCAB);
	}
	return OK;
}

/* ---- text ---- */

struct detok {
	bool half; /* 0xC3 was seen */
};

enum err detok_new(const struct tokenizer *t, const int32_t *before, size_t n_before, struct detok **out)
{
	struct detok *d = mem_calloc(1, sizeof(*d));

	(void)t;
	(void)before;
	(void)n_before;
	if (!d)
		return ERR_MEM;
	*out = d;
	return OK;
}

void detok_free(struct detok *d)
{
	mem_free(d);
}

enum err detok_finish(struct detok *d, struct buf *out)
{
	bool half = d->half;

	d->half = false;
	return half ? buf_puts(out, "\xEF\xBF\xBD") : OK;
}

enum err detok_push(struct detok *d, int32_t id, struct buf *out)
{
	static const char *const words[] = {
	        [FAKE_SPACE] = " ",
	        [FAKE_E_ACUTE] = "\xC3\xA9",
	        [FAKE_END] = "END",
	        [FAKE_STOP] = "stop",
	        [FAKE_NEWLINE] = "\n",
	        [FAKE_NO_TEXT] = "",
	};
	bool half = d->half;

	if (id == FAKE_A9 && half) {
		d->half = false;
		return buf_puts(out, "\xC3\xA9");
	}
	if (detok_finish(d, out))
		return ERR_MEM;
	d->half = id == FAKE_C3;
	if (id == FAKE_C3 || id == FAKE_EOS)
		return OK;
	if (id >= 1 && id <= 26)
		return buf_append(out, &(char){(char)('a' + id - 1)}, 1);
	if (id >= 0 && (size_t)id < sizeof(words) / sizeof(words[0]) && words[id])
		return buf_puts(out, words[id]);
	return buf_puts(out, id == FAKE_A9 ? "\xEF\xBF\xBD" : "?");
}

#endif
