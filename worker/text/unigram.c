/*
 * A model of pieces with log-probabilities: text is cut where their sum is greatest. The search is Hugging
 * Face's, sum for sum in double precision and the first found among equals, so that ties break the same way;
 * a character that no piece is costs the lowest score less 10.
 */
#include "core/mem.h"
#include "worker/text/token_model.h"
#include "worker/text/trie.h"
#include "worker/text/utf8.h"

#include <math.h>

#define UNKNOWN_PENALTY 10.0

struct unigram {
	struct trie trie;
	double *scores; /* owned; by id */
	double unk_score;
	int32_t unk_id; /* -1 = unknown characters vanish */
	bool byte_fallback;
	int32_t bytes[256]; /* the ids of <0x00> to <0xFF>, or -1 */
};

/* ---- reading ---- */

static enum err parse_piece(
        const json_t *json, size_t i, struct token_model *out, struct trie_key *key, struct why *why)
{
	struct unigram *u = out->state;
	const json_t *piece = json_array_get(json, 0), *score = json_array_get(json, 1);
	enum err e;

	if (!json_is_string(piece) || !json_is_number(score))
		return why_set(why, ERR_FORMAT, "\"vocab\"[%zu] is not a string and a score", i);
	key->p = json_string_value(piece);
	key->n = json_string_length(piece);
	key->value = (int32_t)i;
	u->scores[i] = json_number_value(score);
	e = vocab_add(&out->vocab, key->p, key->n, key->value);
	return e == ERR_EXISTS ? why_set(why, ERR_FORMAT, "\"vocab\": \"%.60s\" is there twice", key->p) : e;
}

static enum err parse_pieces(const json_t *json, struct token_model *out, struct why *why)
{
	struct unigram *u = out->state;
	double lowest = INFINITY;
	struct trie_key *keys;
	json_t *vocab, *piece;
	size_t i, n;
	enum err e = json_get_array(json, "vocab", &vocab, why);

	if (e)
		return e;
	n = json_array_size(vocab);
	if (!n || n > TOKENIZER_MAX_ID)
		return why_set(why, ERR_FORMAT, "\"vocab\" has %zu entries", n);
	u->scores = mem_calloc(n, sizeof(*u->scores));
	keys = mem_calloc(n, sizeof(*keys));
	if (!u->scores || !keys)
		e = ERR_MEM;
	for (i = 0; !e && i < n; i++) {
		piece = json_array_get(vocab, i);
		e = parse_piece(piece, i, out, &keys[i], why);
		lowest = u->scores[i] < lowest ? u->scores[i] : lowest;
	}
	if (!e)
		e = trie_build(&u->trie, keys, n);
	if (!e && !u->trie.n)
		e = why_set(why, ERR_FORMAT, "\"vocab\" has no piece with a character");
	u->unk_score = lowest - UNKNOWN_PENALTY;
	mem_free(keys);
	return e;
}

static enum err unigram_parse(const json_t *json, struct token_model *out, struct why *why)
{
	struct unigram *u = mem_calloc(1, sizeof(*u));
	enum err e;

	if (!u)
		return ERR_MEM;
	out->state = u;
	u->unk_id = -1;
	e = parse_pieces(json, out, why);
	if (!e)
		e = json_get_bool(json, "byte_fallback", &u->byte_fallback, why);
	if (!e && json_get_any(json, "unk_id"))
		e = json_get_id(json, "unk_id", &u->unk_id, why);
	if (e)
		return e;
	if (u->unk_id >= 0 && (size_t)u->unk_id >= out->vocab.n_ids)
		return why_set(why, ERR_FORMAT, "\"unk_id\" %d is not in the vocabulary", u->unk_id);
	vocab_find_bytes(&out->vocab, u->bytes);
	return OK;
}

static void unigram_free(void *state)
{
	struct unigram *u = state;

	if (!u)
		return;
	trie_fini(&u->trie);
	mem_free(u->scores);
	mem_free(u);
}

static bool unigram_recognise(const json_t *json)
{
	return json_is_array(json_object_get(json, "vocab"));
}

/* ---- cutting ---- */

/* The best way to get to a place in the text. */
struct arrival {
	double score;
	uint32_t link; /* where the last piece starts; then, on the way back, where the next one ends */
	int32_t id;
};
#define NO_LINK UINT32_MAX
#define UNKNOWN (-1)

static void arrive(struct arrival *to, double score, size_t from, int32_t id)
{
	if (to->link == NO_LINK || score > to->score)
		*to = (struct arrival){score, (uint32_t)from, id};
}

/* Fill best[0..n]: room for n + 1. */
static void search(const struct unigram *u, const char *p, size_t n, struct arrival *best)
{
	for (size_t i = 0; i <= n; i++)
		best[i] = (struct arrival){0.0, NO_LINK, UNKNOWN};
	for (size_t i = 0, len; i < n; i += len) {
		double here = best[i].score;
		uint32_t node = 0;
		bool whole = false;

		len = utf8_len(p[i]);
		for (size_t end = i; end < n;) {
			int32_t id;

			node = trie_child(&u->trie, node, (unsigned char)p[end]);
			if (!node)
				break;
			end++;
			id = u->trie.values[node];
			if (id < 0)
				continue;
			arrive(&best[end], u->scores[id] + here, i, id);
			whole |= end == i + len;
		}
		if (!whole)
			arrive(&best[i + len], u->unk_score + here, i, UNKNOWN);
	}
}

/* Turn the links around: best[0].link is then the end of the first piece, and 0 follows the last. */
static void turn(struct arrival *best, size_t n)
{
	uint32_t next = 0, at = (uint32_t)n;

	while (at) {
		uint32_t start = best[at].link;

		best[at].link = next;
		next = at;
		at = start;
	}
	best[0].link = next;
}

/* Unknown characters in a row are one piece, that may yet be known. */
static enum err add_unknown(const struct token_model *m, const char *p, size_t n, struct ids *out)
{
	const struct unigram *u = m->state;
	int32_t id = vocab_find(&m->vocab, p, n);
	bool spelt = id < 0 && u->byte_fallback;
	enum err e = OK;

	for (size_t i = 0; spelt && i < n; i++)
		spelt = u->bytes[(unsigned char)p[i]] >= 0;
	if (!spelt) {
		id = id < 0 ? u->unk_id : id;
		return id < 0 ? OK : ids_append(out, &id, 1);
	}
	for (size_t i = 0; !e && i < n; i++)
		e = ids_append(out, &u->bytes[(unsigned char)p[i]], 1);
	return e;
}

static enum err unigram_encode(
        const struct token_model *m, struct token_scratch *s, const char *p, size_t n, struct ids *out)
{
	const struct unigram *u = m->state;
	struct arrival *best;
	size_t start = 0;
	enum err e = OK;

	if (n >= NO_LINK)
		return ERR_LIMIT;
	best = token_scratch_get(s, (n + 1) * sizeof(*best));
	if (!best)
		return ERR_MEM;
	search(u, p, n, best);
	turn(best, n);
	for (size_t end = best[0].link; !e && end; end = best[end].link) {
		int32_t id = best[end].id;
		bool unknown = id == UNKNOWN || id == u->unk_id;

		if (unknown) {
			size_t next = best[end].link;

			if (next && (best[next].id == UNKNOWN || best[next].id == u->unk_id))
				continue;
			e = add_unknown(m, p + start, end - start, out);
		} else {
			e = ids_append(out, &id, 1);
		}
		start = end;
	}
	return e;
}

const struct token_model_kind unigram_kind = {
        "Unigram", unigram_recognise, unigram_parse, unigram_encode, unigram_free};
