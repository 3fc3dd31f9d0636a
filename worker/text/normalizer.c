/* See normalizer.h. A new normalizer is a row of `kinds` and its two functions. */
#include "worker/text/normalizer.h"

#include "core/mem.h"
#include "worker/text/bert_text.h"
#include "worker/text/byte_level.h"
#include "worker/text/charsmap.h"
#include "worker/text/pattern.h"
#include "worker/text/utf8.h"

#include <string.h>
#include <utf8proc.h>

struct normalizer_kind {
	const char *type;
	/* Fill the stage from its JSON; NULL = nothing to read. */
	enum err (*parse)(const json_t *json, struct normalizer_stage *out, struct why *why);
	/* Append the normalised text to out. */
	enum err (*apply)(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
	        size_t n, struct buf *out);
	int form;
};

static enum err keep_content(struct json_text t, struct normalizer_stage *out)
{
	out->content = pattern_copy(t);
	out->n_content = t.n;
	return out->content ? OK : ERR_MEM;
}

static enum err prepend_parse(const json_t *json, struct normalizer_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(json, "prepend", &t, why);

	return e ? e : keep_content(t, out);
}

static enum err prepend_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	enum err e = n ? buf_append(out, stage->content, stage->n_content) : OK;

	(void)s;
	return e ? e : buf_append(out, p, n);
}

static enum err replace_parse(const json_t *json, struct normalizer_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(json, "content", &t, why);

	if (e)
		return e;
	e = keep_content(t, out);
	return e ? e : pattern_parse(json, &out->regex, why);
}

static enum err replace_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	struct json_text content = {stage->content, stage->n_content};

	return pattern_replace(stage->regex, s, p, n, content, out);
}

static enum err strip_parse(const json_t *json, struct normalizer_stage *out, struct why *why)
{
	enum err e;

	out->left = out->right = true;
	e = json_get_bool(json, "strip_left", &out->left, why);
	return e ? e : json_get_bool(json, "strip_right", &out->right, why);
}

static enum err strip_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	size_t left = stage->left ? utf8_leading_space(p, n) : 0;
	size_t right = stage->right ? utf8_trailing_space(p + left, n - left) : 0;

	(void)s;
	return buf_append(out, p + left, n - left - right);
}

/* Bytes of ASCII that p starts with. */
static size_t ascii_len(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && !((unsigned char)p[i] & 0x80))
		i++;
	return i;
}

static enum err append_lower_ascii(const char *p, size_t n, struct buf *out)
{
	size_t len = out->len;
	enum err e = buf_append(out, p, n);

	for (; !e && len < out->len; len++) {
		char c = out->data[len];

		out->data[len] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	return e;
}

static enum err lowercase_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	char lower[4];
	enum err e = OK;

	(void)stage;
	(void)s;
	for (size_t i = 0, len; i < n && !e; i += len) {
		uint32_t c = utf8_get(p + i);

		len = ascii_len(p + i, n - i);
		if (len) {
			e = append_lower_ascii(p + i, len, out);
			continue;
		}
		len = utf8_len(p[i]);
		/* The one letter whose lower case is two characters. */
		if (c == 0x130)
			e = buf_append(out, "i\xcc\x87", 3);
		else
			e = buf_append(
			        out, lower, utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), lower));
	}
	return e;
}

static enum err form_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	const utf8proc_uint8_t *text = (const utf8proc_uint8_t *)p;
	utf8proc_option_t options = (utf8proc_option_t)stage->form;
	utf8proc_ssize_t len;
	utf8proc_int32_t *points;
	enum err e = ERR_MEM;

	(void)s;
	if (ascii_len(p, n) == n)
		return buf_append(out, p, n);
	len = utf8proc_decompose(text, (utf8proc_ssize_t)n, NULL, 0, options);
	if (len < 0)
		return ERR_MEM;
	points = mem_calloc((size_t)len + 1, sizeof(*points)); /* one more: it also takes a NUL */
	if (!points)
		return ERR_MEM;
	len = utf8proc_decompose(text, (utf8proc_ssize_t)n, points, len, options);
	if (len >= 0)
		len = utf8proc_reencode(points, len, options);
	if (len >= 0)
		e = buf_append(out, points, (size_t)len);
	mem_free(points);
	return e;
}

/* Append p without the characters that drop() names. */
static enum err append_without(const char *p, size_t n, bool (*drop)(uint32_t c), struct buf *out)
{
	size_t start = 0;
	enum err e;

	for (size_t i = 0, len; i < n; i += len) {
		len = utf8_len(p[i]);
		if (len == 1 || !drop(utf8_get(p + i)))
			continue;
		e = buf_append(out, p + start, i - start);
		if (e)
			return e;
		start = i + len;
	}
	return buf_append(out, p + start, n - start);
}

static bool is_mark(uint32_t c)
{
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

	return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
	       category == UTF8PROC_CATEGORY_ME;
}

static bool is_accent(uint32_t c)
{
	return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN;
}

static enum err strip_accents_apply(const struct normalizer_stage *stage, struct regex_scratch *s,
        const char *p, size_t n, struct buf *out)
{
	(void)stage;
	(void)s;
	return append_without(p, n, is_mark, out);
}

/* What "nmt", a set of sentencepiece's rules, makes of c: a space, nothing (0), or c itself. */
static uint32_t nmt_char(uint32_t c)
{
	if (c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
	        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
		return ' ';
	if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
		return 0;
	return c;
}

static enum err nmt_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	size_t start = 0;
	enum err e = OK;

	(void)stage;
	(void)s;
	for (size_t i = 0, len; !e && i < n; i += len) {
		uint32_t c = utf8_get(p + i), to = nmt_char(c);

		len = utf8_len(p[i]);
		if (to == c)
			continue;
		e = buf_append(out, p + start, i - start);
		if (!e && to)
			e = buf_puts(out, " ");
		start = i + len;
	}
	return e ? e : buf_append(out, p + start, n - start);
}

static enum err byte_level_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	(void)stage;
	(void)s;
	return byte_level_encode(p, n, out);
}

static enum err precompiled_parse(const json_t *json, struct normalizer_stage *out, struct why *why)
{
	struct json_text t;
	enum err e = json_get_text(json, "precompiled_charsmap", &t, why);

	return e ? e : charsmap_new(t.p, t.n, &out->charsmap, why);
}

static enum err precompiled_apply(const struct normalizer_stage *stage, struct regex_scratch *s,
        const char *p, size_t n, struct buf *out)
{
	(void)s;
	return charsmap_apply(stage->charsmap, p, n, out);
}

static enum err bert_parse(const json_t *json, struct normalizer_stage *out, struct why *why)
{
	enum err e;

	out->clean = out->chinese = out->lowercase = true;
	e = json_get_bool(json, "clean_text", &out->clean, why);
	if (!e)
		e = json_get_bool(json, "handle_chinese_chars", &out->chinese, why);
	if (!e)
		e = json_get_bool(json, "lowercase", &out->lowercase, why);
	out->strip_accents = out->lowercase;
	return e ? e : json_get_bool(json, "strip_accents", &out->strip_accents, why);
}

/* Decomposed, then without the marks. */
static enum err bert_strip_accents(
        const struct normalizer_stage *stage, struct regex_scratch *s, struct buf *text)
{
	struct buf parts = {0};
	enum err e = form_apply(stage, s, text->data, text->len, &parts);

	text->len = 0;
	if (!e)
		e = append_without(parts.data, parts.len, is_accent, text);
	buf_fini(&parts);
	return e;
}

static enum err bert_apply(const struct normalizer_stage *stage, struct regex_scratch *s, const char *p,
        size_t n, struct buf *out)
{
	struct buf text = {0};
	enum err e = bert_text_clean(p, n, stage->clean, stage->chinese, &text);

	if (!e && stage->strip_accents && ascii_len(text.data, text.len) < text.len)
		e = bert_strip_accents(stage, s, &text);
	if (!e)
		e = stage->lowercase ? lowercase_apply(stage, s, text.data, text.len, out)
		                     : buf_append(out, text.data, text.len);
	buf_fini(&text);
	return e;
}

static const struct normalizer_kind kinds[] = {
        {"Prepend", prepend_parse, prepend_apply, 0},
        {"Replace", replace_parse, replace_apply, 0},
        {"Strip", strip_parse, strip_apply, 0},
        {"Lowercase", NULL, lowercase_apply, 0},
        {"StripAccents", NULL, strip_accents_apply, 0},
        {"Nmt", NULL, nmt_apply, 0},
        {"ByteLevel", NULL, byte_level_apply, 0},
        {"Precompiled", precompiled_parse, precompiled_apply, 0},
        {"BertNormalizer", bert_parse, bert_apply, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFC", NULL, form_apply, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", NULL, form_apply, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", NULL, form_apply, UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE},
        {"NFKD", NULL, form_apply, UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE},
};

static enum err add_stage(void *arg, const json_t *json, const char *type, struct why *why)
{
	struct normalizer *n = arg;
	struct normalizer_stage *stage = &n->stages[n->n];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) == 0) {
			*stage = (struct normalizer_stage){.kind = &kinds[i], .form = kinds[i].form};
			n->n++;
			return kinds[i].parse ? kinds[i].parse(json, stage, why) : OK;
		}
	}
	return component_unknown(why);
}

enum err normalizer_parse(const json_t *json, struct normalizer *out, struct why *why)
{
	return component_each(json, "normalizers", add_stage, out, why);
}

void normalizer_fini(struct normalizer *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n; i++) {
		regex_free(n->stages[i].regex);
		mem_free(n->stages[i].content);
		charsmap_free(n->stages[i].charsmap);
	}
	n->n = 0;
}

enum err normalizer_apply(
        const struct normalizer *n, struct regex_scratch *s, struct buf *text, struct buf *spare)
{
	for (size_t i = 0; i < n->n; i++) {
		struct buf done = *text;
		enum err e;

		spare->len = 0;
		e = n->stages[i].kind->apply(&n->stages[i], s, text->data, text->len, spare);
		if (e)
			return e;
		*text = *spare;
		*spare = done;
	}
	return OK;
}
