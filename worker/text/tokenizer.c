/*
 * The whole way: added tokens, normalizer, pre-tokenizer, model, post-processor; and back through the
 * decoder. See tokenizer.h; each step is a file of its own. "truncation" and "padding" are left alone: what a
 * caller asked for is what is encoded.
 */
#include "worker/text/tokenizer.h"

#include "core/mem.h"
#include "worker/text/added_tokens.h"
#include "worker/text/decoder.h"
#include "worker/text/post_processor.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/token_model.h"
#include "worker/text/tokenizer_build.h"

#include <string.h>

struct tokenizer {
	struct token_model model;
	struct normalizer normalizer;
	struct added_tokens added;
	struct pre_tokenizer pre_tokenizer;
	struct post_processor post_processor;
	struct decoder decoder;
};

/* ---- ids ---- */

enum err ids_append(struct ids *l, const int32_t *ids, size_t n)
{
	if (l->cap - l->n < n) {
		size_t cap = l->cap ? l->cap : 32;
		int32_t *grown;

		while (cap - l->n < n)
			cap *= 2;
		grown = mem_realloc(l->ids, cap, sizeof(*grown));
		if (!grown)
			return ERR_MEM;
		l->ids = grown;
		l->cap = cap;
	}
	if (n)
		memcpy(l->ids + l->n, ids, n * sizeof(*ids));
	l->n += n;
	return OK;
}

void ids_fini(struct ids *l)
{
	if (!l)
		return;
	mem_free(l->ids);
	*l = (struct ids){0};
}

/* ---- loading ---- */

/* What goes around text must be tokens that there are. */
static enum err check_ids(const struct tokenizer *t, const struct ids *l, struct why *why)
{
	for (size_t i = 0; i < l->n; i++)
		if ((size_t)l->ids[i] >= tokenizer_vocab_size(t))
			return why_set(why, ERR_FORMAT, "id %d is not in the vocabulary", (int)l->ids[i]);
	return OK;
}

static enum err parse_parts(const json_t *root, struct tokenizer *t, struct why *why)
{
	const char *part = "model";
	enum err e = token_model_parse(json_object_get(root, part), &t->model, why);

	if (!e) {
		part = "normalizer";
		e = normalizer_parse(json_object_get(root, part), &t->normalizer, why);
	}
	if (!e) {
		part = "added_tokens";
		e = added_tokens_parse(
		        json_object_get(root, part), &t->model.vocab, &t->normalizer, &t->added, why);
	}
	if (!e) {
		part = "pre_tokenizer";
		e = pre_tokenizer_parse(json_object_get(root, part), &t->pre_tokenizer, why);
	}
	if (!e) {
		part = "post_processor";
		e = post_processor_parse(json_object_get(root, part), &t->post_processor, why);
		if (!e)
			e = check_ids(t, &t->post_processor.before, why);
		if (!e)
			e = check_ids(t, &t->post_processor.after, why);
	}
	if (!e) {
		part = "decoder";
		e = decoder_parse(json_object_get(root, part), &t->decoder, why);
	}
	if (e && e != ERR_MEM)
		why_prefix(why, "%s: ", part);
	return e;
}

enum err tokenizer_build(const json_t *root, struct tokenizer **out, struct why *why)
{
	struct tokenizer *t = mem_calloc(1, sizeof(*t));
	enum err e = ERR_MEM;

	if (t)
		e = json_is_object(root) ? parse_parts(root, t, why)
		                         : why_set(why, ERR_FORMAT, "not a JSON object");
	if (e) {
		tokenizer_close(t);
		return e;
	}
	*out = t;
	return OK;
}

enum err tokenizer_parse(const char *json, size_t n, struct tokenizer **out, struct why *why)
{
	json_error_t error = {0};
	json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	enum err e;

	if (root)
		e = tokenizer_build(root, out, why);
	else if (json_out_of_memory(&error))
		e = ERR_MEM;
	else
		e = why_set(why, ERR_FORMAT, "not JSON: %s (line %d, column %d)", error.text, error.line,
		        error.column);
	if (e == ERR_MEM)
		why_set(why, e, "%s", err_text(e));
	json_decref(root);
	return e;
}

void tokenizer_close(struct tokenizer *t)
{
	if (!t)
		return;
	token_model_fini(&t->model);
	normalizer_fini(&t->normalizer);
	added_tokens_fini(&t->added);
	pre_tokenizer_fini(&t->pre_tokenizer);
	post_processor_fini(&t->post_processor);
	decoder_fini(&t->decoder);
	mem_free(t);
}

/* ---- looking up ---- */

size_t tokenizer_vocab_size(const struct tokenizer *t)
{
	size_t model = t->model.vocab.n_ids, added = t->added.names.n_ids;

	return model > added ? model : added;
}

int32_t tokenizer_token_id(const struct tokenizer *t, const char *token)
{
	int32_t id = vocab_find(&t->added.names, token, strlen(token));

	return id >= 0 ? id : vocab_find(&t->model.vocab, token, strlen(token));
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
	const struct added_token *token = added_tokens_get(&t->added, id);

	return token && token->special;
}

const int32_t *tokenizer_leading(const struct tokenizer *t, size_t *n)
{
	*n = t->post_processor.before.n;
	return t->post_processor.before.ids;
}

static const char *token_text(const struct tokenizer *t, int32_t id, size_t *n)
{
	const struct added_token *token = added_tokens_get(&t->added, id);

	if (!token)
		return vocab_text(&t->model.vocab, id, n);
	*n = token->n_text;
	return t->added.texts.data + token->text;
}

/* ---- encoding ---- */

/* What one call of tokenizer_encode() works with. */
struct encoding {
	const struct tokenizer *t;     /* borrowed */
	struct regex_scratch *regex;   /* owned */
	struct token_scratch model;    /* owned */
	struct buf valid, text, spare; /* owned */
	struct pieces pieces, other;   /* owned */
	const char *p;                 /* the stretch being split; borrowed */
	bool first;                    /* it starts the text */
};

static enum err add_piece(void *arg, const struct added_token *token, size_t start, size_t end)
{
	struct encoding *c = arg;

	if (token)
		return pieces_add_id(&c->pieces, token->id);
	return pieces_add_text(&c->pieces, c->p + start, end - start, c->first && start == 0);
}

/* A stretch between raw added tokens: normalise it, then look for those that are found afterwards. */
static enum err add_stretch(void *arg, const struct added_token *token, size_t start, size_t end)
{
	struct encoding *c = arg, inner;
	enum err e;

	if (token)
		return pieces_add_id(&c->pieces, token->id);
	c->text.len = 0;
	e = buf_append(&c->text, c->p + start, end - start);
	if (!e)
		e = normalizer_apply(&c->t->normalizer, c->regex, &c->text, &c->spare);
	if (e)
		return e;
	inner = *c;
	inner.p = c->text.data;
	inner.first = start == 0;
	e = added_tokens_split(
	        &c->t->added, &c->t->added.normalized, inner.p, c->text.len, add_piece, &inner);
	c->pieces = inner.pieces;
	return e;
}

static enum err encode_text(struct encoding *c, const char *p, size_t n, struct ids *out)
{
	const struct tokenizer *t = c->t;
	enum err e;

	c->p = p;
	e = added_tokens_split(&t->added, &t->added.raw, p, n, add_stretch, c);
	if (!e)
		e = pre_tokenizer_apply(&t->pre_tokenizer, c->regex, &c->pieces, &c->other);
	for (size_t i = 0; i < c->pieces.n && !e; i++) {
		const struct piece *piece = &c->pieces.items[i];

		if (piece->id >= 0)
			e = ids_append(out, &piece->id, 1);
		else if (piece->end > piece->start)
			e = t->model.kind->encode(&t->model, &c->model, c->pieces.text.data + piece->start,
			        piece->end - piece->start, out);
	}
	return e;
}

enum err tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t n, bool add_special, struct ids *out)
{
	struct encoding c = {.t = t};
	size_t n_before = out->n;
	enum err e = regex_scratch_new(&c.regex);

	if (!e && utf8_valid(text, n) < n) {
		e = utf8_append_lossy(&c.valid, text, n);
		text = c.valid.data;
		n = c.valid.len;
	}
	if (!e && add_special)
		e = ids_append(out, t->post_processor.before.ids, t->post_processor.before.n);
	if (!e)
		e = encode_text(&c, text, n, out);
	if (!e && add_special)
		e = ids_append(out, t->post_processor.after.ids, t->post_processor.after.n);
	if (e)
		out->n = n_before;
	regex_scratch_free(c.regex);
	token_scratch_fini(&c.model);
	buf_fini(&c.valid);
	buf_fini(&c.text);
	buf_fini(&c.spare);
	pieces_fini(&c.pieces);
	pieces_fini(&c.other);
	return e;
}

/* Cut two texts to max ids together, the longer one first; the second gives up the odd one of equals. */
static void cut_longest_first(size_t max, size_t *n_a, size_t *n_b)
{
	size_t half = max / 2;

	if (*n_a + *n_b <= max)
		return;
	if (*n_a <= half)
		*n_b = max - *n_a;
	else if (*n_b <= half)
		*n_a = max - *n_b;
	else {
		*n_a = max - half;
		*n_b = half;
	}
}

enum err tokenizer_encode_pair(const struct tokenizer *t, const char *a, size_t n_a, const char *b,
        size_t n_b, size_t max, struct ids *out, bool *cut)
{
	const struct post_processor *p = &t->post_processor;
	const struct ids *before = b ? &p->pair_before : &p->before, *after = b ? &p->pair_after : &p->after;
	size_t n_before = out->n, n_special = before->n + after->n + (b ? p->pair_between.n : 0);
	struct ids first = {0}, second = {0};
	size_t n_first, n_second;
	enum err e;

	if (b && p->no_pair)
		return ERR_UNSUPPORTED;
	if (max && max < n_special)
		return ERR_TOO_LONG;
	e = tokenizer_encode(t, a, n_a, false, &first);
	if (!e && b)
		e = tokenizer_encode(t, b, n_b, false, &second);
	n_first = first.n;
	n_second = second.n;
	if (max)
		cut_longest_first(max - n_special, &n_first, &n_second);
	if (!e)
		e = ids_append(out, before->ids, before->n);
	if (!e)
		e = ids_append(out, first.ids, n_first);
	if (!e && b)
		e = ids_append(out, p->pair_between.ids, p->pair_between.n);
	if (!e && b)
		e = ids_append(out, second.ids, n_second);
	if (!e)
		e = ids_append(out, after->ids, after->n);
	if (e)
		out->n = n_before;
	else
		*cut = n_first < first.n || n_second < second.n;
	ids_fini(&first);
	ids_fini(&second);
	return e;
}

/* ---- decoding ---- */

static void cut_back(struct buf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

static enum err push_id(
        const struct tokenizer *t, struct decoder_run *run, int32_t id, bool skip_special, struct buf *out)
{
	size_t n;
	const char *p = token_text(t, id, &n);

	if (!p || (skip_special && tokenizer_is_special(t, id)))
		return OK;
	return decoder_run_push(run, p, n, out);
}

enum err tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
        bool lossy, struct buf *out)
{
	struct decoder_run run;
	size_t len = out->len;
	enum err e = decoder_run_init(&run, &t->decoder, lossy, false);

	for (size_t i = 0; i < n && !e; i++)
		e = push_id(t, &run, ids[i], skip_special, out);
	if (!e)
		e = decoder_run_finish(&run, out);
	if (e)
		cut_back(out, len);
	decoder_run_fini(&run);
	return e;
}

enum err tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct buf *out)
{
	struct decoder_run run;
	size_t len = out->len;
	enum err e = decoder_run_init(&run, &t->decoder, false, true);

	if (!e)
		e = push_id(t, &run, id, false, out);
	if (!e)
		e = decoder_run_finish(&run, out);
	if (e)
		cut_back(out, len);
	decoder_run_fini(&run);
	return e;
}

/* ---- decoding a stream ---- */

struct detok {
	const struct tokenizer *t; /* borrowed */
	struct decoder_run run;
};

/* Whether ids make any text: special tokens are left out. */
static bool has_text(const struct tokenizer *t, const int32_t *ids, size_t n)
{
	size_t i = 0, len;

	while (i < n && (tokenizer_is_special(t, ids[i]) || !token_text(t, ids[i], &len)))
		i++;
	return i < n;
}

enum err detok_new(const struct tokenizer *t, const int32_t *before, size_t n_before, struct detok **out)
{
	struct detok *d = mem_calloc(1, sizeof(*d));

	if (!d)
		return ERR_MEM;
	d->t = t;
	if (decoder_run_init(&d->run, &t->decoder, true, has_text(t, before, n_before))) {
		detok_free(d);
		return ERR_MEM;
	}
	*out = d;
	return OK;
}

void detok_free(struct detok *d)
{
	if (!d)
		return;
	decoder_run_fini(&d->run);
	mem_free(d);
}

enum err detok_push(struct detok *d, int32_t id, struct buf *out)
{
	return push_id(d->t, &d->run, id, true, out);
}

enum err detok_finish(struct detok *d, struct buf *out)
{
	return decoder_run_finish(&d->run, out);
}
