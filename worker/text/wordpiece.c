/*
 * BERT's model: a word is its longest known beginning, then the longest known continuation, and so on; a word
 * that this does not cover, or that is too long, is unknown as a whole.
 */
#include "core/mem.h"
#include "worker/text/token_model.h"
#include "worker/text/trie.h"

struct wordpiece {
	struct trie trie;
	uint32_t inside; /* the node behind continuing_subword_prefix; 0 with `no_inside` = no such pieces */
	bool no_inside;
	size_t max_chars; /* of a word */
	int32_t unk_id;
};

static enum err build_trie(const struct vocab *v, struct trie *out)
{
	struct trie_key *keys = mem_calloc(v->n_tokens, sizeof(*keys));
	size_t n = 0;
	enum err e;

	if (!keys)
		return ERR_MEM;
	for (int32_t id = 0; (size_t)id < v->n_ids; id++) {
		keys[n].p = vocab_text(v, id, &keys[n].n);
		keys[n].value = id;
		n += keys[n].p != NULL;
	}
	e = trie_build(out, keys, n);
	mem_free(keys);
	return e;
}

/* Walk the prefix once, for all words. */
static void find_inside(struct wordpiece *w, struct json_text prefix)
{
	for (size_t i = 0; i < prefix.n && !w->no_inside; i++) {
		w->inside = trie_child(&w->trie, w->inside, (unsigned char)prefix.p[i]);
		w->no_inside = !w->inside;
	}
}

static enum err wordpiece_parse(const json_t *json, struct token_model *out, struct why *why)
{
	struct wordpiece *w = mem_calloc(1, sizeof(*w));
	struct json_text unk = {"[UNK]", 5}, prefix = {"##", 2};
	enum err e;

	if (!w)
		return ERR_MEM;
	out->state = w;
	w->max_chars = 100;
	e = token_model_parse_vocab(json, &out->vocab, why);
	if (!e)
		e = json_get_text_optional(json, "unk_token", &unk, why);
	if (!e)
		e = json_get_text_optional(json, "continuing_subword_prefix", &prefix, why);
	if (!e)
		e = json_get_size(json, "max_input_chars_per_word", &w->max_chars, why);
	if (e)
		return e;
	w->unk_id = vocab_find(&out->vocab, unk.p, unk.n);
	if (w->unk_id < 0)
		return why_set(why, ERR_FORMAT, "\"unk_token\" \"%.60s\" is not in the vocabulary", unk.p);
	e = build_trie(&out->vocab, &w->trie);
	if (e)
		return e;
	if (!w->trie.n)
		return why_set(why, ERR_FORMAT, "\"vocab\" has no piece with a character");
	find_inside(w, prefix);
	return OK;
}

static void wordpiece_free(void *state)
{
	struct wordpiece *w = state;

	if (!w)
		return;
	trie_fini(&w->trie);
	mem_free(w);
}

static bool wordpiece_recognise(const json_t *json)
{
	return json_object_get(json, "continuing_subword_prefix") && !json_object_get(json, "merges");
}

static size_t count_chars(const char *p, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += ((unsigned char)p[i] & 0xc0) != 0x80;
	return count;
}

static enum err wordpiece_encode(
        const struct token_model *m, struct token_scratch *s, const char *p, size_t n, struct ids *out)
{
	const struct wordpiece *w = m->state;
	size_t n_before = out->n, len;
	bool known = n <= w->max_chars || count_chars(p, n) <= w->max_chars;
	enum err e = OK;

	(void)s;
	for (size_t i = 0; known && !e && i < n; i += len) {
		int32_t id = -1;

		len = 0;
		if (!i)
			id = trie_longest(&w->trie, 0, p, n, &len);
		else if (!w->no_inside)
			id = trie_longest(&w->trie, w->inside, p + i, n - i, &len);
		known = id >= 0;
		if (known)
			e = ids_append(out, &id, 1);
	}
	if (known || e)
		return e;
	out->n = n_before;
	return ids_append(out, &w->unk_id, 1);
}

const struct token_model_kind wordpiece_kind = {
        "WordPiece", wordpiece_recognise, wordpiece_parse, wordpiece_encode, wordpiece_free};
