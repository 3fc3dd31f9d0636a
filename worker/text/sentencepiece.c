/*
 * See sentencepiece.h. The message is read field by field into a struct; the numbers below are those of
 * sentencepiece_model.proto. What a field does not say has the default written there.
 */
#include "worker/text/sentencepiece.h"

#include "core/buf.h"
#include "core/mem.h"
#include "worker/text/protobuf.h"
#include "worker/text/utf8.h"

#include <math.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <string.h>

#define PIECE_MAX_BYTES 1024 /* every place to cut a piece is looked up */
#define MARK "\xe2\x96\x81"  /* U+2581, a space */

enum model_type { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
enum piece_type {
	PIECE_NORMAL = 1,
	PIECE_UNKNOWN,
	PIECE_CONTROL,
	PIECE_USER_DEFINED,
	PIECE_UNUSED,
	PIECE_BYTE
};

struct bytes {
	const char *p; /* borrowed from the file */
	size_t n;
};

struct spm {
	struct vocab vocab;   /* owned; the pieces by id */
	json_t *scores;       /* owned; [piece, score] by id */
	unsigned char *types; /* owned; by id */
	size_t n_pieces, cap;
	struct bytes charsmap, unk, bos, eos;
	uint64_t model_type, unk_id;
	bool byte_fallback, dummy_prefix, squeeze;
};

/* ---- reading the message ---- */

static enum err bad_message(struct why *why, const char *part)
{
	return why_set(why, ERR_FORMAT, "%s is not well-formed protobuf", part);
}

static enum err add_piece(struct spm *m, struct bytes piece, float score, uint64_t type, struct why *why)
{
	size_t i = m->n_pieces;
	json_t *pair;
	enum err e;

	if (i > TOKENIZER_MAX_ID)
		return why_set(why, ERR_FORMAT, "more than %d pieces", TOKENIZER_MAX_ID);
	if (piece.n > PIECE_MAX_BYTES)
		return why_set(why, ERR_UNSUPPORTED, "piece %zu has %zu bytes", i, piece.n);
	if (utf8_valid(piece.p, piece.n) < piece.n || memchr(piece.p, 0, piece.n))
		return why_set(why, ERR_FORMAT, "piece %zu is not text", i);
	if (!isfinite(score) || type < PIECE_NORMAL || type > PIECE_BYTE)
		return why_set(why, ERR_FORMAT, "piece %zu has no valid score or type", i);
	if (i == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 1024;
		unsigned char *types = mem_realloc(m->types, cap, sizeof(*types));

		if (!types)
			return ERR_MEM;
		m->types = types;
		m->cap = cap;
	}
	e = vocab_add(&m->vocab, piece.p, piece.n, (int32_t)i);
	if (e == ERR_EXISTS)
		return why_set(
		        why, ERR_FORMAT, "piece %zu \"%.*s\" is there twice", i, (int)piece.n, piece.p);
	if (e)
		return e;
	m->types[m->n_pieces++] = (unsigned char)type;
	pair = json_pack("[s%, f]", piece.p, piece.n, (double)score);
	return pair && !json_array_append_new(m->scores, pair) ? OK : ERR_MEM;
}

static enum err read_piece(struct bytes message, struct spm *m, struct why *why)
{
	struct protobuf r = {message.p, message.n, false};
	struct bytes piece = {"", 0};
	uint64_t type = PIECE_NORMAL;
	struct protobuf_field f;
	float score = 0;

	while (protobuf_next(&r, &f)) {
		if (f.number == 1 && f.type == PROTOBUF_BYTES)
			piece = (struct bytes){f.p, f.n};
		else if (f.number == 2 && f.type == PROTOBUF_FIXED32)
			score = protobuf_float(&f);
		else if (f.number == 3 && f.type == PROTOBUF_VARINT)
			type = f.value;
	}
	return r.failed ? bad_message(why, "a piece") : add_piece(m, piece, score, type, why);
}

static enum err read_trainer(struct bytes message, struct spm *m, struct why *why)
{
	struct protobuf r = {message.p, message.n, false};
	struct protobuf_field f;

	while (protobuf_next(&r, &f)) {
		if (f.type == PROTOBUF_VARINT && f.number == 3)
			m->model_type = f.value;
		else if (f.type == PROTOBUF_VARINT && f.number == 35)
			m->byte_fallback = f.value != 0;
		else if (f.type == PROTOBUF_VARINT && f.number == 40)
			m->unk_id = f.value;
		else if (f.type == PROTOBUF_BYTES && f.number == 45)
			m->unk = (struct bytes){f.p, f.n};
		else if (f.type == PROTOBUF_BYTES && f.number == 46)
			m->bos = (struct bytes){f.p, f.n};
		else if (f.type == PROTOBUF_BYTES && f.number == 47)
			m->eos = (struct bytes){f.p, f.n};
	}
	return r.failed ? bad_message(why, "the trainer's part") : OK;
}

static enum err read_normalizer(struct bytes message, struct spm *m, struct why *why)
{
	struct protobuf r = {message.p, message.n, false};
	struct protobuf_field f;

	while (protobuf_next(&r, &f)) {
		if (f.type == PROTOBUF_BYTES && f.number == 2)
			m->charsmap = (struct bytes){f.p, f.n};
		else if (f.type == PROTOBUF_VARINT && f.number == 3)
			m->dummy_prefix = f.value != 0;
		else if (f.type == PROTOBUF_VARINT && f.number == 4)
			m->squeeze = f.value != 0;
	}
	return r.failed ? bad_message(why, "the normalizer's part") : OK;
}

static enum err read_model(const char *p, size_t n, struct spm *m, struct why *why)
{
	struct protobuf r = {p, n, false};
	struct protobuf_field f;
	enum err e = OK;

	while (!e && protobuf_next(&r, &f)) {
		struct bytes message = {f.p, f.n};

		if (f.type != PROTOBUF_BYTES)
			continue;
		if (f.number == 1)
			e = read_piece(message, m, why);
		else if (f.number == 2)
			e = read_trainer(message, m, why);
		else if (f.number == 3)
			e = read_normalizer(message, m, why);
	}
	if (e)
		return e;
	if (r.failed)
		return bad_message(why, "the file");
	if (!m->n_pieces)
		return why_set(why, ERR_FORMAT, "there are no pieces");
	if (m->unk_id >= m->n_pieces)
		return why_set(why, ERR_FORMAT, "the unknown piece has no valid id");
	return OK;
}

static enum err spm_init(struct spm *m, const char *p, size_t n, struct why *why)
{
	*m = (struct spm){.model_type = MODEL_UNIGRAM, .dummy_prefix = true, .squeeze = true};
	m->unk = (struct bytes){"<unk>", 5};
	m->bos = (struct bytes){"<s>", 3};
	m->eos = (struct bytes){"</s>", 4};
	m->scores = json_array();
	return m->scores ? read_model(p, n, m, why) : ERR_MEM;
}

static void spm_fini(struct spm *m)
{
	vocab_fini(&m->vocab);
	json_decref(m->scores);
	mem_free(m->types);
}

/* ---- the model ---- */

/* Every way to cut piece id in two pieces: its merges, shorter beginnings first. */
static enum err add_merges(const struct vocab *v, int32_t id, json_t *merges)
{
	size_t n;
	const char *p = vocab_text(v, id, &n);

	for (size_t i = utf8_len(p[0]); i < n; i += utf8_len(p[i])) {
		json_t *pair;

		if (vocab_find(v, p, i) < 0 || vocab_find(v, p + i, n - i) < 0)
			continue;
		pair = json_pack("[s%, s%]", p, i, p + i, n - i);
		if (!pair || json_array_append_new(merges, pair))
			return ERR_MEM;
	}
	return OK;
}

/* Pieces come in the order in which they were joined, so their ids rank the merges. */
static enum err bpe_json(const struct spm *m, json_t **out)
{
	json_t *vocab = json_object(), *merges = json_array();
	enum err e = vocab && merges ? OK : ERR_MEM;
	const char *p;
	size_t n;

	for (int32_t id = 0; !e && (size_t)id < m->n_pieces; id++) {
		p = vocab_text(&m->vocab, id, &n);
		e = json_object_setn_new(vocab, p, n, json_integer(id)) ? ERR_MEM : OK;
		if (!e && n)
			e = add_merges(&m->vocab, id, merges);
	}
	p = vocab_text(&m->vocab, (int32_t)m->unk_id, &n);
	if (!e)
		*out = json_pack("{s:s, s:O, s:O, s:s%, s:b, s:b}", "type", "BPE", "vocab", vocab, "merges",
		        merges, "unk_token", p, n, "fuse_unk", 1, "byte_fallback", (int)m->byte_fallback);
	json_decref(vocab);
	json_decref(merges);
	return e || !*out ? ERR_MEM : OK;
}

static enum err unigram_json(const struct spm *m, json_t **out)
{
	*out = json_pack("{s:s, s:O, s:I, s:b}", "type", "Unigram", "vocab", m->scores, "unk_id",
	        (json_int_t)m->unk_id, "byte_fallback", (int)m->byte_fallback);
	return *out ? OK : ERR_MEM;
}

/* T5's sentinels follow the pieces, the last one first. */
static enum err add_sentinels(
        const struct tokenizer_config *c, struct spm *m, struct token_list *l, struct why *why)
{
	size_t n = 100;
	enum err e = json_get_size(c->json, "extra_ids", &n, why);

	if (!e && n > TOKENIZER_MAX_ID - m->n_pieces)
		e = why_set(why, ERR_FORMAT, "\"extra_ids\" is %zu", n);
	while (!e && n--) {
		char name[40];
		int len = snprintf(name, sizeof(name), "<extra_id_%zu>", n);

		if (vocab_find(&m->vocab, name, (size_t)len) < 0)
			e = add_piece(m, (struct bytes){name, (size_t)len}, 0, PIECE_CONTROL, why);
		if (!e)
			e = token_list_add(l, name, true);
	}
	return e;
}

/* ---- the other parts ---- */

/* NULL when memory is short. */
static json_t *charsmap_json(struct bytes charsmap)
{
	size_t n = BASE64_ENCODE_RAW_LENGTH(charsmap.n);
	char *text = mem_calloc(n + 1, 1);
	json_t *json = NULL;

	if (text) {
		base64_encode_raw(text, charsmap.n, (const uint8_t *)charsmap.p);
		json = json_pack("{s:s, s:s%}", "type", "Precompiled", "precompiled_charsmap", text, n);
	}
	mem_free(text);
	return json;
}

/* Joined pieces see a text whole, chosen ones word by word. */
static json_t *pre_tokenizer_json(const struct spm *m, bool prefix, bool legacy)
{
	bool whole = m->model_type == MODEL_BPE;
	const char *scheme = !prefix ? "never" : whole && !legacy ? "first" : "always";

	if (whole || !m->squeeze)
		return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK,
		        "prepend_scheme", scheme, "split", !whole);
	return json_pack("{s:s, s:[{s:s}, {s:s, s:s, s:s, s:b}]}", "type", "Sequence", "pretokenizers",
	        "type", "WhitespaceSplit", "type", "Metaspace", "replacement", MARK, "prepend_scheme", scheme,
	        "split", 1);
}

static json_t *decoder_json(const struct spm *m, bool prefix)
{
	if (m->model_type != MODEL_BPE && !m->byte_fallback)
		return json_pack("{s:s, s:s, s:s}", "type", "Metaspace", "replacement", MARK,
		        "prepend_scheme", prefix ? "always" : "never");
	return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}, {s:s, s:s, s:i, s:i}]}", "type",
	        "Sequence", "decoders", "type", "Replace", "pattern", "String", MARK, "content", " ", "type",
	        "ByteFallback", "type", "Fuse", "type", "Strip", "content", " ", "start", (int)prefix, "stop",
	        0);
}

/* A piece's name as a string, "" when the model does without. */
static const char *piece_name(const struct spm *m, struct bytes name)
{
	int32_t id = vocab_find(&m->vocab, name.p, name.n);

	return id < 0 ? "" : json_string_value(json_array_get(json_array_get(m->scores, (size_t)id), 0));
}

static enum err add_tokens(
        const struct tokenizer_config *c, struct spm *m, struct token_list *l, struct why *why)
{
	enum err e = OK;

	for (size_t i = 0; !e && i < m->n_pieces; i++) {
		const char *name = json_string_value(json_array_get(json_array_get(m->scores, i), 0));

		if (m->types[i] == PIECE_CONTROL || m->types[i] == PIECE_UNKNOWN)
			e = token_list_add(l, name, true);
		else if (m->types[i] == PIECE_USER_DEFINED)
			e = token_list_add(l, name, false);
	}
	if (!e && tokenizer_config_is(c, "t5"))
		e = add_sentinels(c, m, l, why);
	return e ? e : token_list_add_configured(l, why);
}

static enum err post_processor_json(
        const struct tokenizer_config *c, const struct spm *m, json_t **out, struct why *why)
{
	bool bos, eos;
	enum err e = tokenizer_config_flag(c, "add_bos_token", false, &bos, why);

	if (!e)
		e = tokenizer_config_flag(c, "add_eos_token", tokenizer_config_is(c, "t5"), &eos, why);
	if (e)
		return e;
	return template_json(&m->vocab,
	        bos ? tokenizer_config_token(c, "bos_token", piece_name(m, m->bos)) : NULL,
	        eos ? tokenizer_config_token(c, "eos_token", piece_name(m, m->eos)) : NULL, out);
}

/* ---- all of it ---- */

static enum err convert(
        const struct tokenizer_config *c, struct spm *m, struct token_list *l, json_t *root, struct why *why)
{
	json_t *model = NULL, *post = NULL;
	bool prefix, legacy;
	int failed = 0;
	enum err e = tokenizer_config_flag(c, "add_prefix_space", m->dummy_prefix, &prefix, why);

	if (!e)
		e = tokenizer_config_flag(c, "legacy", false, &legacy, why);
	if (!e)
		e = add_tokens(c, m, l, why);
	if (!e)
		e = m->model_type == MODEL_BPE ? bpe_json(m, &model) : unigram_json(m, &model);
	if (!e)
		e = post_processor_json(c, m, &post, why);
	if (!e && m->charsmap.n)
		failed = json_object_set_new(root, "normalizer", charsmap_json(m->charsmap));
	if (!e)
		failed |= json_object_set(root, "model", model) |
		          json_object_set(root, "post_processor", post) |
		          json_object_set_new(root, "added_tokens", token_list_array(l)) |
		          json_object_set_new(root, "pre_tokenizer", pre_tokenizer_json(m, prefix, legacy)) |
		          json_object_set_new(root, "decoder", decoder_json(m, prefix));
	json_decref(model);
	json_decref(post);
	return e ? e : failed ? ERR_MEM : OK;
}

enum err sentencepiece_convert(
        const char *model, size_t n, const struct tokenizer_config *config, json_t **out, struct why *why)
{
	struct token_list list = {0};
	json_t *root = json_object();
	struct spm m;
	enum err e = spm_init(&m, model, n, why);

	if (!e && m.model_type != MODEL_UNIGRAM && m.model_type != MODEL_BPE)
		e = why_set(why, ERR_UNSUPPORTED, "its model is neither unigram nor BPE");
	if (!e)
		e = token_list_init(&list, config, &m.vocab);
	if (!e)
		e = root ? convert(config, &m, &list, root, why) : ERR_MEM;
	if (e)
		json_decref(root);
	else
		*out = root;
	token_list_fini(&list);
	spm_fini(&m);
	return e;
}
