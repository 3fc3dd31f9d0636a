/* Reading a BPE model from tokenizer.json: vocabulary, merges in both spellings, flags. See bpe.h. */
#include "worker/text/bpe.h"

#include "core/mem.h"
#include "worker/text/pattern.h"
#include "worker/text/utf8.h"

#include <string.h>

#define CUT_CHARACTER "\xe2\x96\x81" /* U+2581, sentencepiece's space */

/* The two sides of a merge, as ["a", "b"] or "a b". */
static bool merge_sides(const json_t *merge, struct json_text *left, struct json_text *right)
{
	const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
	const char *space;

	if (json_is_array(merge)) {
		if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b))
			return false;
		*left = (struct json_text){json_string_value(a), json_string_length(a)};
		*right = (struct json_text){json_string_value(b), json_string_length(b)};
		return true;
	}
	if (!json_is_string(merge))
		return false;
	*left = (struct json_text){json_string_value(merge), json_string_length(merge)};
	space = memchr(left->p, ' ', left->n);
	if (!space)
		return false;
	right->p = space + 1;
	right->n = left->n - (size_t)(right->p - left->p);
	left->n = (size_t)(space - left->p);
	return !memchr(right->p, ' ', right->n);
}

static void put_merge(struct bpe *b, struct bpe_merge merge)
{
	uint64_t mask = (UINT64_C(1) << (64 - b->slots_shift)) - 1;
	uint64_t i = merge.pair * 0x9e3779b97f4a7c15u >> b->slots_shift;

	while (b->slots[i].pair != BPE_NO_PAIR && b->slots[i].pair != merge.pair)
		i = (i + 1) & mask;
	b->slots[i] = merge;
}

static enum err make_slots(struct bpe *b, size_t n_merges)
{
	unsigned bits = 4;

	while (((size_t)1 << bits) < 2 * n_merges)
		bits++;
	b->slots_shift = 64 - bits;
	b->slots = mem_calloc((size_t)1 << bits, sizeof(*b->slots));
	if (!b->slots)
		return ERR_MEM;
	for (size_t i = 0; i < (size_t)1 << bits; i++)
		b->slots[i].pair = BPE_NO_PAIR;
	return OK;
}

static enum err parse_merge(const json_t *json, size_t i, uint32_t rank, struct token_model *m,
        struct buf *joined, struct why *why)
{
	struct bpe *b = m->state;
	struct json_text left, right;
	size_t n_prefix = b->prefix ? strlen(b->prefix) : 0;
	int32_t left_id, right_id, id;
	enum err e;

	if (!merge_sides(json, &left, &right))
		return why_set(
		        why, ERR_FORMAT, "\"merges\"[%zu] is neither a pair of strings nor \"a b\"", i);
	left_id = vocab_find(&m->vocab, left.p, left.n);
	right_id = vocab_find(&m->vocab, right.p, right.n);
	if (left_id < 0 || right_id < 0)
		return why_set(why, ERR_FORMAT, "\"merges\"[%zu]: \"%.60s\" is not in the vocabulary", i,
		        left_id < 0 ? left.p : right.p);
	if (right.n < n_prefix)
		return why_set(why, ERR_FORMAT, "\"merges\"[%zu] has no continuing_subword_prefix", i);
	joined->len = 0;
	e = buf_append(joined, left.p, left.n);
	if (!e)
		e = buf_append(joined, right.p + n_prefix, right.n - n_prefix);
	if (e)
		return e;
	id = vocab_find(&m->vocab, joined->data, joined->len);
	if (id < 0)
		return why_set(why, ERR_FORMAT,
		        "\"merges\"[%zu] makes \"%.60s\", which is not in the vocabulary", i, joined->data);
	put_merge(b, (struct bpe_merge){bpe_pair(left_id, right_id), rank, id});
	return OK;
}

static enum err parse_merges(const json_t *json, struct token_model *m, struct why *why)
{
	struct buf joined = {0};
	json_t *merges, *merge;
	uint32_t rank = 0;
	size_t i;
	enum err e = json_get_array(json, "merges", &merges, why);

	if (e)
		return e;
	if (json_array_size(merges) > TOKENIZER_MAX_ID)
		return why_set(why, ERR_FORMAT, "\"merges\" has %zu entries", json_array_size(merges));
	e = make_slots(m->state, json_array_size(merges));
	json_array_foreach (merges, i, merge) {
		const char *text = json_string_value(merge);

		/* merges.txt's first line, which older files kept. */
		if (text && strncmp(text, "#version", 8) == 0)
			continue;
		if (e)
			break;
		e = parse_merge(merge, i, rank++, m, &joined, why);
	}
	buf_fini(&joined);
	return e;
}

/* *out = a copy of the member, or NULL when it is absent or empty. */
static enum err parse_affix(const json_t *json, const char *key, char **out, struct why *why)
{
	struct json_text t = {0};
	enum err e = json_get_text_optional(json, key, &t, why);

	if (e || !t.n)
		return e;
	*out = pattern_copy(t);
	return *out ? OK : ERR_MEM;
}

static enum err parse_settings(const json_t *json, struct token_model *m, struct why *why)
{
	struct bpe *b = m->state;
	const json_t *dropout = json_get_any(json, "dropout");
	struct json_text unk = {0};
	enum err e = parse_affix(json, "continuing_subword_prefix", &b->prefix, why);

	if (!e)
		e = parse_affix(json, "end_of_word_suffix", &b->suffix, why);
	if (!e)
		e = json_get_bool(json, "fuse_unk", &b->fuse_unk, why);
	if (!e)
		e = json_get_bool(json, "byte_fallback", &b->byte_fallback, why);
	if (!e)
		e = json_get_bool(json, "ignore_merges", &b->ignore_merges, why);
	if (!e)
		e = json_get_text_optional(json, "unk_token", &unk, why);
	if (e)
		return e;
	if (dropout && (!json_is_number(dropout) || json_number_value(dropout) != 0.0))
		return why_set(why, ERR_UNSUPPORTED, "\"dropout\" makes encoding random");
	b->unk_id = unk.p ? vocab_find(&m->vocab, unk.p, unk.n) : -1;
	if (unk.p && b->unk_id < 0)
		return why_set(why, ERR_FORMAT, "\"unk_token\" \"%.60s\" is not in the vocabulary", unk.p);
	return OK;
}

static void fill_tables(const struct vocab *v, struct bpe *b)
{
	char text[4];

	for (uint32_t c = 0; c < BPE_N_DIRECT; c++)
		b->direct[c] = vocab_find(v, text, utf8_put(c, text));
	vocab_find_bytes(v, b->bytes);
}

static bool starts_with_cut(const struct vocab *v, int32_t id)
{
	size_t n, n_cut = strlen(CUT_CHARACTER);
	const char *p = vocab_text(v, id, &n);

	return n >= n_cut && memcmp(p, CUT_CHARACTER, n_cut) == 0;
}

static bool ends_with_cut(const struct vocab *v, int32_t id)
{
	size_t n, n_cut = strlen(CUT_CHARACTER);
	const char *p = vocab_text(v, id, &n);

	return n >= n_cut && memcmp(p + n - n_cut, CUT_CHARACTER, n_cut) == 0;
}

/* LLaMA's file cuts text nowhere, which makes one piece of a whole document. When no merge joins anything but
 * spaces to a space on its right, the words before and after never meet, and may as well be cut. */
static void find_cut(const struct vocab *v, struct bpe *b)
{
	size_t n_slots = (size_t)1 << (64 - b->slots_shift);

	if (b->prefix || b->suffix || vocab_find(v, CUT_CHARACTER, strlen(CUT_CHARACTER)) < 0)
		return;
	if (b->unk_id >= 0 && ends_with_cut(v, b->unk_id))
		return;
	for (size_t i = 0; i < n_slots; i++) {
		uint64_t pair = b->slots[i].pair;

		if (pair != BPE_NO_PAIR && starts_with_cut(v, (int32_t)(pair & UINT32_MAX)) &&
		        !ends_with_cut(v, (int32_t)(pair >> 32)))
			return;
	}
	memcpy(b->cut, CUT_CHARACTER, sizeof(CUT_CHARACTER));
}

enum err bpe_parse(const json_t *json, struct token_model *out, struct why *why)
{
	struct bpe *b = mem_calloc(1, sizeof(*b));
	enum err e;

	if (!b)
		return ERR_MEM;
	out->state = b;
	e = token_model_parse_vocab(json, &out->vocab, why);
	if (!e)
		e = parse_settings(json, out, why);
	if (!e)
		e = parse_merges(json, out, why);
	if (e)
		return e;
	fill_tables(&out->vocab, b);
	find_cut(&out->vocab, b);
	return OK;
}

void bpe_free(void *state)
{
	struct bpe *b = state;

	if (!b)
		return;
	mem_free(b->slots);
	mem_free(b->prefix);
	mem_free(b->suffix);
	mem_free(b);
}
