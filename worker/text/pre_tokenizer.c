/*
 * See pre_tokenizer.h. Most pre-tokenizers are a regular expression and what becomes of its matches; a new
 * one is a row of `kinds`.
 */
#include "worker/text/pre_tokenizer.h"

#include "worker/text/bert_text.h"
#include "worker/text/byte_level.h"
#include "worker/text/pattern.h"
#include "worker/text/utf8.h"

#include <string.h>

struct pre_tokenizer_kind {
	const char *type;
	/* Fill the stage from its JSON; NULL = nothing to read. */
	enum err (*parse)(const json_t *json, struct pre_tokenizer_stage *out, struct why *why);
	/* Cut one piece of text (n > 0 bytes), adding to out. */
	enum err (*apply)(const struct pre_tokenizer_stage *stage, struct regex_scratch *s, const char *p,
	        size_t n, bool first, struct pieces *out);
};

/* ---- cutting at matches ---- */

/* Collects spans of p and hands them to out, joined as the behavior says. */
struct cutter {
	enum split_behavior behavior;
	bool invert;
	enum err (*add)(struct pieces *out, const char *p, size_t n, bool first);
	const char *p;
	bool first;
	struct pieces *out;
	size_t start, end; /* the span not yet handed over */
	bool open;         /* there is one */
	bool was_match;
};

static enum err cutter_flush(struct cutter *c)
{
	if (!c->open || c->start == c->end)
		return OK;
	return c->add(c->out, c->p + c->start, c->end - c->start, c->first && c->start == 0);
}

static enum err cutter_span(struct cutter *c, size_t start, size_t end, bool match)
{
	bool join = false;
	enum err e;

	match = match != c->invert;
	switch (c->behavior) {
	case SPLIT_REMOVED:
		if (match)
			return OK;
		break;
	case SPLIT_ISOLATED:
		break;
	case SPLIT_WITH_PREVIOUS:
		join = match && !c->was_match;
		break;
	case SPLIT_WITH_NEXT:
		/* Of several matches in a row, the last goes with what follows. */
		join = !match && c->was_match;
		break;
	case SPLIT_CONTIGUOUS:
		join = match == c->was_match;
		break;
	}
	c->was_match = match;
	if (join && c->open) {
		c->end = end;
		return OK;
	}
	e = cutter_flush(c);
	c->start = start;
	c->end = end;
	c->open = true;
	return e;
}

static enum err cut(const struct pre_tokenizer_stage *stage, struct regex_scratch *s, const char *p, size_t n,
        bool first, enum err (*add)(struct pieces *, const char *, size_t, bool), struct pieces *out)
{
	struct cutter c = {stage->behavior, stage->invert, add, p, first, out, 0, 0, false, false};
	struct regex_iter it;
	size_t done = 0;
	enum err e;

	for (it = regex_iter(stage->regex, s, p, n); regex_iter_next(&it);) {
		if (it.start > done) {
			e = cutter_span(&c, done, it.start, false);
			if (e)
				return e;
		}
		e = cutter_span(&c, it.start, it.end, true);
		if (e)
			return e;
		done = it.end;
	}
	if (it.error)
		return it.error;
	if (done < n) {
		e = cutter_span(&c, done, n, false);
		if (e)
			return e;
	}
	return cutter_flush(&c);
}

static enum err split_apply(const struct pre_tokenizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, bool first, struct pieces *out)
{
	return cut(stage, s, p, n, first, pieces_add_text, out);
}

/* ---- one kind after the other ---- */

static enum err behavior_parse(const json_t *json, enum split_behavior *out, struct why *why)
{
	static const char *const names[] = {
	        "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", NULL};
	int i = (int)*out;
	enum err e = json_get_choice(json, "behavior", names, &i, why);

	*out = (enum split_behavior)i;
	return e;
}

static enum err split_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(json, "behavior", &t, why);

	if (e)
		return e;
	e = behavior_parse(json, &out->behavior, why);
	if (e)
		return e;
	e = json_get_bool(json, "invert", &out->invert, why);
	return e ? e : pattern_parse(json, &out->regex, why);
}

static enum err fixed_pattern(const char *pattern, struct pre_tokenizer_stage *out, struct why *why)
{
	return regex_new(pattern, strlen(pattern), false, &out->regex, why);
}

static enum err digits_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	bool individual = false;
	enum err e = json_get_bool(json, "individual_digits", &individual, why);

	if (e)
		return e;
	out->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
	return fixed_pattern("\\p{N}", out, why);
}

static enum err punctuation_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	enum err e;

	out->behavior = SPLIT_ISOLATED;
	e = behavior_parse(json, &out->behavior, why);
	return e ? e : fixed_pattern("[!-/:-@\\[-`{-~\\p{P}]", out, why);
}

static enum err whitespace_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	(void)json;
	out->behavior = SPLIT_REMOVED;
	out->invert = true;
	return fixed_pattern("\\w+|[^\\w\\s]+", out, why);
}

static enum err whitespace_split_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	(void)json;
	out->behavior = SPLIT_REMOVED;
	return fixed_pattern("\\s", out, why);
}

static enum err byte_level_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	bool use_regex = true;
	enum err e;

	out->behavior = SPLIT_ISOLATED;
	out->add_prefix_space = true;
	e = json_get_bool(json, "add_prefix_space", &out->add_prefix_space, why);
	if (e)
		return e;
	e = json_get_bool(json, "use_regex", &use_regex, why);
	return e || !use_regex ? e : fixed_pattern(BYTE_LEVEL_PATTERN, out, why);
}

static enum err add_byte_level(struct pieces *out, const char *p, size_t n, bool first)
{
	size_t start = out->text.len;
	enum err e = byte_level_encode(p, n, &out->text);

	return e ? e : pieces_add(out, (struct piece){start, out->text.len, -1, first});
}

static enum err byte_level_cut(const struct pre_tokenizer_stage *stage, struct regex_scratch *s,
        const char *p, size_t n, bool first, struct pieces *out)
{
	return stage->regex ? cut(stage, s, p, n, first, add_byte_level, out)
	                    : add_byte_level(out, p, n, first);
}

static enum err byte_level_apply(const struct pre_tokenizer_stage *stage, struct regex_scratch *s,
        const char *p, size_t n, bool first, struct pieces *out)
{
	struct buf prefixed = {0};
	enum err e;

	if (!stage->add_prefix_space || p[0] == ' ')
		return byte_level_cut(stage, s, p, n, first, out);
	e = buf_puts(&prefixed, " ");
	if (!e)
		e = buf_append(&prefixed, p, n);
	if (!e)
		e = byte_level_cut(stage, s, prefixed.data, prefixed.len, first, out);
	buf_fini(&prefixed);
	return e;
}

enum err metaspace_parse(
        const json_t *json, enum prepend_scheme *prepend, char replacement[5], bool *split, struct why *why)
{
	static const char *const names[] = {"always", "first", "never", NULL};
	struct json_text t;
	bool add_prefix_space = true;
	int scheme = PREPEND_ALWAYS;
	enum err e = json_get_char(json, "replacement", &t, why);

	if (e)
		return e;
	/* The older spelling of "never". */
	e = json_get_bool(json, "add_prefix_space", &add_prefix_space, why);
	if (e)
		return e;
	if (!add_prefix_space)
		scheme = PREPEND_NEVER;
	e = json_get_choice(json, "prepend_scheme", names, &scheme, why);
	if (e)
		return e;
	*split = true;
	e = json_get_bool(json, "split", split, why);
	if (e)
		return e;
	*prepend = (enum prepend_scheme)scheme;
	memset(replacement, 0, 5);
	memcpy(replacement, t.p, t.n);
	return OK;
}

static enum err metaspace_stage_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	enum err e = metaspace_parse(json, &out->prepend, out->replacement, &out->split, why);

	if (e)
		return e;
	out->behavior = SPLIT_WITH_NEXT;
	return regex_new(out->replacement, strlen(out->replacement), true, &out->regex, why);
}

static enum err metaspace_apply(const struct pre_tokenizer_stage *stage, struct regex_scratch *s,
        const char *p, size_t n, bool first, struct pieces *out)
{
	size_t len = strlen(stage->replacement);
	bool starts = p[0] == ' ' || (n >= len && memcmp(p, stage->replacement, len) == 0);
	struct buf text = {0};
	enum err e = OK;

	if (!starts && (stage->prepend == PREPEND_ALWAYS || (stage->prepend == PREPEND_FIRST && first)))
		e = buf_append(&text, stage->replacement, len);
	for (size_t i = 0, run; i < n && !e; i += run) {
		const char *space = memchr(p + i, ' ', n - i);

		run = space ? (size_t)(space - (p + i)) : n - i;
		e = buf_append(&text, p + i, run);
		if (!e && space) {
			e = buf_append(&text, stage->replacement, len);
			run++;
		}
	}
	if (!e)
		e = stage->split ? split_apply(stage, s, text.data, text.len, first, out)
		                 : pieces_add_text(out, text.data, text.len, first);
	buf_fini(&text);
	return e;
}

static enum err delimiter_parse(const json_t *json, struct pre_tokenizer_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_char(json, "delimiter", &t, why);

	out->behavior = SPLIT_REMOVED;
	return e ? e : regex_new(t.p, t.n, true, &out->regex, why);
}

/* White space goes, punctuation stands alone. */
static enum err bert_cut(const struct pre_tokenizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, bool first, struct pieces *out)
{
	size_t start = 0;
	enum err e = OK;

	(void)stage;
	(void)s;
	for (size_t i = 0, len; !e && i < n; i += len) {
		uint32_t c = utf8_get(p + i);
		bool space = utf8_is_space(c);

		len = utf8_len(p[i]);
		if (!space && !bert_text_is_punctuation(c))
			continue;
		if (i > start)
			e = pieces_add_text(out, p + start, i - start, first && !start);
		if (!e && !space)
			e = pieces_add_text(out, p + i, len, first && !i);
		start = i + len;
	}
	return e || start == n ? e : pieces_add_text(out, p + start, n - start, first && !start);
}

static const struct pre_tokenizer_kind kinds[] = {
        {"Split", split_parse, split_apply},
        {"Digits", digits_parse, split_apply},
        {"Punctuation", punctuation_parse, split_apply},
        {"Whitespace", whitespace_parse, split_apply},
        {"WhitespaceSplit", whitespace_split_parse, split_apply},
        {"CharDelimiterSplit", delimiter_parse, split_apply},
        {"BertPreTokenizer", NULL, bert_cut},
        {"ByteLevel", byte_level_parse, byte_level_apply},
        {"Metaspace", metaspace_stage_parse, metaspace_apply},
};

/* ---- the chain ---- */

static enum err add_stage(void *arg, const json_t *json, const char *type, struct why *why)
{
	struct pre_tokenizer *t = arg;
	struct pre_tokenizer_stage *stage = &t->stages[t->n];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) == 0) {
			*stage = (struct pre_tokenizer_stage){.kind = &kinds[i]};
			t->n++;
			return kinds[i].parse ? kinds[i].parse(json, stage, why) : OK;
		}
	}
	return component_unknown(why);
}

enum err pre_tokenizer_parse(const json_t *json, struct pre_tokenizer *out, struct why *why)
{
	return component_each(json, "pretokenizers", add_stage, out, why);
}

void pre_tokenizer_fini(struct pre_tokenizer *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		regex_free(t->stages[i].regex);
	t->n = 0;
}

static enum err apply_stage(const struct pre_tokenizer_stage *stage, struct regex_scratch *s,
        const struct pieces *in, struct pieces *out)
{
	enum err e = OK;

	for (size_t i = 0; i < in->n && !e; i++) {
		const struct piece *piece = &in->items[i];

		if (piece->id >= 0)
			e = pieces_add_id(out, piece->id);
		else if (piece->end > piece->start)
			e = stage->kind->apply(stage, s, in->text.data + piece->start,
			        piece->end - piece->start, piece->first, out);
	}
	return e;
}

enum err pre_tokenizer_apply(
        const struct pre_tokenizer *t, struct regex_scratch *s, struct pieces *l, struct pieces *spare)
{
	for (size_t i = 0; i < t->n; i++) {
		struct pieces done = *l;
		enum err e;

		pieces_clear(spare);
		e = apply_stage(&t->stages[i], s, l, spare);
		if (e)
			return e;
		*l = *spare;
		*spare = done;
	}
	return OK;
}
