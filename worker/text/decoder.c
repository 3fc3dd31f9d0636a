/* See decoder.h. A new decoder is a row of `kinds` and what it does to a token. */
#include "worker/text/decoder.h"

#include "core/mem.h"
#include "worker/text/byte_level.h"
#include "worker/text/pattern.h"

#include <string.h>

#define DECODER_RESERVED 256

struct decoder_kind {
	const char *type;
	/* Fill the stage from its JSON; NULL = nothing to read. */
	enum err (*parse)(const json_t *json, struct decoder_stage *out, struct why *why);
	/* Stage i takes one whole token and hands on what it makes of it. */
	enum err (*token)(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out);
	/* Instead of token: takes a token as it comes, in parts; `end` closes it. */
	enum err (*part)(
	        struct decoder_run *run, size_t i, const char *p, size_t n, bool end, struct buf *out);
	/* No token will come any more; NULL = nothing is held. */
	enum err (*finish)(struct decoder_run *run, size_t i, struct buf *out);
};

/* Hand a part of a token to stage i, or to the text behind the last. */
static enum err feed(struct decoder_run *run, size_t i, const char *p, size_t n, bool end, struct buf *out)
{
	struct decoder_memory *m = &run->memory[i];
	const struct decoder_kind *kind;
	enum err e;

	if (i == run->decoder->n)
		return buf_append(out, p, n);
	kind = run->decoder->stages[i].kind;
	if (kind->part)
		return kind->part(run, i, p, n, end, out);
	if (end && !m->token.len)
		return kind->token(run, i, p, n, out);
	e = buf_append(&m->token, p, n);
	if (e || !end)
		return e;
	e = kind->token(run, i, m->token.data, m->token.len, out);
	m->token.len = 0;
	return e;
}

/* ---- one kind after the other ---- */

static enum err keep_content(struct json_text t, struct decoder_stage *out)
{
	out->content = pattern_copy(t);
	out->n_content = t.n;
	return out->content ? OK : ERR_MEM;
}

static enum err replace_parse(const json_t *json, struct decoder_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(json, "content", &t, why);

	if (!e)
		e = keep_content(t, out);
	return e ? e : pattern_parse(json, &out->regex, why);
}

static enum err replace_token(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	const struct decoder_stage *stage = &run->decoder->stages[i];
	struct json_text content = {stage->content, stage->n_content};
	struct buf *text = &run->memory[i].text;
	enum err e;

	/* Raw bytes that are no text are not searched. */
	if (utf8_valid(p, n) < n)
		return feed(run, i + 1, p, n, true, out);
	text->len = 0;
	e = pattern_replace(stage->regex, run->scratch, p, n, content, text);
	return e ? e : feed(run, i + 1, text->data, text->len, true, out);
}

/* The bytes of a token when all its characters are byte-level ones; else the token as it is. */
static enum err byte_level_bytes(const char *p, size_t n, struct buf *out)
{
	enum err e = buf_reserve(out, n);

	out->len = 0;
	if (e)
		return e;
	for (size_t i = 0; i < n; i += utf8_len(p[i])) {
		int byte = byte_level_byte(utf8_get(p + i));

		if (byte < 0) {
			out->len = 0;
			return buf_append(out, p, n);
		}
		out->data[out->len++] = (char)byte;
	}
	out->data[out->len] = '\0';
	return OK;
}

static enum err byte_level_token(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	struct decoder_memory *m = &run->memory[i];
	enum err e = byte_level_bytes(p, n, &m->held);

	if (e)
		return e;
	if (!run->lossy)
		return feed(run, i + 1, m->held.data, m->held.len, false, out);
	m->text.len = 0;
	e = utf8_stream_push(&m->utf8, m->held.data, m->held.len, &m->text);
	return e ? e : feed(run, i + 1, m->text.data, m->text.len, false, out);
}

static enum err byte_level_finish(struct decoder_run *run, size_t i, struct buf *out)
{
	struct decoder_memory *m = &run->memory[i];
	enum err e;

	m->text.len = 0;
	e = utf8_stream_finish(&m->utf8, &m->text);
	return e ? e : feed(run, i + 1, m->text.data, m->text.len, true, out);
}

/* The value of "<0xE2>", or -1. */
static int fallback_byte(const char *p, size_t n)
{
	int value = 0;

	if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>')
		return -1;
	for (size_t i = 3; i < 5; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value * 16 + (c | 0x20) - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* A run of byte tokens is text when all of it is; otherwise each byte is a U+FFFD. */
static enum err byte_fallback_finish(struct decoder_run *run, size_t i, struct buf *out)
{
	struct buf *held = &run->memory[i].held;
	size_t n = held->len;
	enum err e = OK;

	held->len = 0;
	if (!n)
		return OK;
	if (!run->lossy || utf8_valid(held->data, n) == n)
		return feed(run, i + 1, held->data, n, true, out);
	while (n-- && !e)
		e = feed(run, i + 1, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT), true, out);
	return e;
}

static enum err byte_fallback_token(
        struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	int byte = fallback_byte(p, n);
	enum err e;

	if (byte >= 0) {
		char c = (char)byte;

		return buf_append(&run->memory[i].held, &c, 1);
	}
	e = byte_fallback_finish(run, i, out);
	return e ? e : feed(run, i + 1, p, n, true, out);
}

static enum err fuse_part(
        struct decoder_run *run, size_t i, const char *p, size_t n, bool end, struct buf *out)
{
	(void)end;
	return feed(run, i + 1, p, n, false, out);
}

static enum err fuse_finish(struct decoder_run *run, size_t i, struct buf *out)
{
	return feed(run, i + 1, "", 0, true, out);
}

static enum err strip_parse(const json_t *json, struct decoder_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_char(json, "content", &t, why);

	if (!e)
		e = json_get_size(json, "start", &out->start, why);
	if (!e)
		e = json_get_size(json, "stop", &out->stop, why);
	return e ? e : keep_content(t, out);
}

/* A token's end is known only when it has come, so with something to take there all of it is held. */
static enum err strip_part(
        struct decoder_run *run, size_t i, const char *p, size_t n, bool end, struct buf *out)
{
	const struct decoder_stage *stage = &run->decoder->stages[i];
	struct decoder_memory *m = &run->memory[i];
	enum err e;

	while (n >= stage->n_content && !m->started && m->n_cut < stage->start &&
	        memcmp(p, stage->content, stage->n_content) == 0) {
		p += stage->n_content;
		n -= stage->n_content;
		m->n_cut++;
	}
	if (n)
		m->started = true;
	if (stage->stop) {
		e = buf_append(&m->held, p, n);
		if (e || !end)
			return e;
		p = m->held.data;
		n = m->held.len;
		m->held.len = 0;
		for (size_t k = 0; k < stage->stop && n >= stage->n_content; k++) {
			if (memcmp(p + n - stage->n_content, stage->content, stage->n_content) != 0)
				break;
			n -= stage->n_content;
		}
	}
	if (end) {
		m->started = false;
		m->n_cut = 0;
	}
	return feed(run, i + 1, p, n, end, out);
}

static enum err metaspace_stage_parse(const json_t *json, struct decoder_stage *out, struct why *why)
{
	bool split;

	return metaspace_parse(json, &out->prepend, out->replacement, &split, why);
}

/* Spaces again; at the start of the text, nothing. */
static enum err metaspace_token(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	const struct decoder_stage *stage = &run->decoder->stages[i];
	struct decoder_memory *m = &run->memory[i];
	size_t len = strlen(stage->replacement);
	bool drop = !m->started && stage->prepend != PREPEND_NEVER;
	enum err e = OK;

	m->started = true;
	m->text.len = 0;
	for (size_t k = 0; k < n && !e;) {
		if (n - k < len || memcmp(p + k, stage->replacement, len) != 0) {
			e = buf_append(&m->text, p + k++, 1);
			continue;
		}
		if (!drop)
			e = buf_puts(&m->text, " ");
		k += len;
	}
	return e ? e : feed(run, i + 1, m->text.data, m->text.len, true, out);
}

static enum err affix_parse(
        const json_t *json, const char *key, const char *usual, struct decoder_stage *out, struct why *why)
{
	struct json_text t = {usual, strlen(usual)};
	enum err e = json_get_text_optional(json, key, &t, why);

	return e ? e : keep_content(t, out);
}

static enum err wordpiece_parse(const json_t *json, struct decoder_stage *out, struct why *why)
{
	enum err e = affix_parse(json, "prefix", "##", out, why);

	out->cleanup = true;
	return e ? e : json_get_bool(json, "cleanup", &out->cleanup, why);
}

/* Put `to` for every `from` in text. */
static enum err replace_all(struct buf *text, const char *from, const char *to, struct buf *spare)
{
	struct buf done = *text;
	size_t i = 0, n_from = strlen(from);
	const char *found;
	enum err e = OK;

	if (!text->len || !memmem(text->data, text->len, from, n_from))
		return OK;
	spare->len = 0;
	while (!e && (found = memmem(text->data + i, text->len - i, from, n_from))) {
		e = buf_append(spare, text->data + i, (size_t)(found - text->data) - i);
		if (!e)
			e = buf_puts(spare, to);
		i = (size_t)(found - text->data) + n_from;
	}
	if (!e)
		e = buf_append(spare, text->data + i, text->len - i);
	if (e)
		return e;
	*text = *spare;
	*spare = done;
	return OK;
}

/* English as it is written: no space before what ends or shortens a word. */
static enum err clean_up(struct buf *text, struct buf *spare)
{
	static const char *const pairs[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","},
	        {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"},
	        {" 've", "'ve"}, {" 're", "'re"}};
	enum err e = OK;

	for (size_t i = 0; !e && i < sizeof(pairs) / sizeof(pairs[0]); i++)
		e = replace_all(text, pairs[i][0], pairs[i][1], spare);
	return e;
}

static enum err wordpiece_token(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	const struct decoder_stage *stage = &run->decoder->stages[i];
	struct decoder_memory *m = &run->memory[i];
	bool inside = n >= stage->n_content && memcmp(p, stage->content, stage->n_content) == 0;
	size_t skip = m->started && inside ? stage->n_content : 0;
	enum err e = OK;

	m->text.len = 0;
	if (m->started && !inside)
		e = buf_puts(&m->text, " ");
	m->started = true;
	if (!e)
		e = buf_append(&m->text, p + skip, n - skip);
	if (!e && stage->cleanup)
		e = clean_up(&m->text, &m->held);
	return e ? e : feed(run, i + 1, m->text.data, m->text.len, true, out);
}

static enum err bpe_parse_suffix(const json_t *json, struct decoder_stage *out, struct why *why)
{
	return affix_parse(json, "suffix", "</w>", out, why);
}

/* Hand on the token that is held, with `to` for the suffix. */
static enum err bpe_release(struct decoder_run *run, size_t i, const char *to, struct buf *out)
{
	const struct decoder_stage *stage = &run->decoder->stages[i];
	struct decoder_memory *m = &run->memory[i];
	enum err e = OK;

	if (stage->n_content)
		e = replace_all(&m->held, stage->content, to, &m->text);
	return e ? e : feed(run, i + 1, m->held.data, m->held.len, true, out);
}

/* The last suffix is no space, so a token waits for the next. */
static enum err bpe_token(struct decoder_run *run, size_t i, const char *p, size_t n, struct buf *out)
{
	struct decoder_memory *m = &run->memory[i];
	enum err e = m->started ? bpe_release(run, i, " ", out) : OK;

	m->held.len = 0;
	m->started = true;
	return e ? e : buf_append(&m->held, p, n);
}

static enum err bpe_finish(struct decoder_run *run, size_t i, struct buf *out)
{
	return run->memory[i].started ? bpe_release(run, i, "", out) : OK;
}

static const struct decoder_kind kinds[] = {
        {"ByteLevel", NULL, byte_level_token, NULL, byte_level_finish},
        {"Replace", replace_parse, replace_token, NULL, NULL},
        {"ByteFallback", NULL, byte_fallback_token, NULL, byte_fallback_finish},
        {"Fuse", NULL, NULL, fuse_part, fuse_finish},
        {"Strip", strip_parse, NULL, strip_part, NULL},
        {"Metaspace", metaspace_stage_parse, metaspace_token, NULL, NULL},
        {"WordPiece", wordpiece_parse, wordpiece_token, NULL, NULL},
        {"BPEDecoder", bpe_parse_suffix, bpe_token, NULL, bpe_finish},
};

/* ---- the chain ---- */

static enum err add_stage(void *arg, const json_t *json, const char *type, struct why *why)
{
	struct decoder *d = arg;
	struct decoder_stage *stage = &d->stages[d->n];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) == 0) {
			*stage = (struct decoder_stage){.kind = &kinds[i]};
			d->n++;
			return kinds[i].parse ? kinds[i].parse(json, stage, why) : OK;
		}
	}
	return component_unknown(why);
}

enum err decoder_parse(const json_t *json, struct decoder *out, struct why *why)
{
	out->none = !json || json_is_null(json);
	return component_each(json, "decoders", add_stage, out, why);
}

void decoder_fini(struct decoder *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->n; i++) {
		regex_free(d->stages[i].regex);
		mem_free(d->stages[i].content);
	}
	d->n = 0;
}

/* Room for any ordinary token at once, so that decoding step by step allocates nothing. */
static enum err decoder_memory_reserve(struct decoder_memory *m)
{
	enum err e = buf_reserve(&m->token, DECODER_RESERVED);

	if (!e)
		e = buf_reserve(&m->held, DECODER_RESERVED);
	return e ? e : buf_reserve(&m->text, DECODER_RESERVED);
}

enum err decoder_run_init(struct decoder_run *run, const struct decoder *d, bool lossy, bool middle)
{
	bool search = false;
	enum err e = OK;

	memset(run, 0, sizeof(*run));
	run->decoder = d;
	run->lossy = lossy;
	run->started = middle;
	for (size_t i = 0; i < d->n; i++) {
		search |= d->stages[i].regex != NULL;
		run->memory[i].started = middle;
		e = e ? e : decoder_memory_reserve(&run->memory[i]);
	}
	if (e)
		return e;
	return search ? regex_scratch_new(&run->scratch) : OK;
}

void decoder_run_fini(struct decoder_run *run)
{
	if (!run || !run->decoder)
		return;
	for (size_t i = 0; i < run->decoder->n; i++) {
		buf_fini(&run->memory[i].token);
		buf_fini(&run->memory[i].held);
		buf_fini(&run->memory[i].text);
	}
	regex_scratch_free(run->scratch);
	memset(run, 0, sizeof(*run));
}

enum err decoder_run_push(struct decoder_run *run, const char *p, size_t n, struct buf *out)
{
	enum err e = OK;

	if (run->decoder->none && run->started)
		e = buf_puts(out, " ");
	run->started = true;
	return e ? e : feed(run, 0, p, n, true, out);
}

enum err decoder_run_finish(struct decoder_run *run, struct buf *out)
{
	enum err e = OK;

	for (size_t i = 0; i < run->decoder->n && !e; i++) {
		const struct decoder_kind *kind = run->decoder->stages[i].kind;

		if (kind->finish)
			e = kind->finish(run, i, out);
	}
	return e;
}
