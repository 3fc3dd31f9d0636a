/*
 * See regex.h. Where the dialects differ in what tokenizers use, the pattern is rewritten: \s and \w are
 * Unicode's White_Space and word characters there, ^ and $ match at every line, \uHHHH is a code point, \h a
 * hexadecimal digit. Nested classes and intersections are refused.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/text/regex.h"

#include "core/buf.h"
#include "core/mem.h"
#include "worker/text/utf8.h"

#include <ctype.h>
#include <pcre2.h>
#include <string.h>

#define WORD_CLASS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
#define HEX_CLASS "0-9A-Fa-f"
#define LIMITS "(*LIMIT_HEAP=65536)" /* KiB */
#define REGEX_MAX_BYTES 65536

struct regex {
	pcre2_general_context *memory; /* owned */
	pcre2_code *code;              /* owned */
};

struct regex_scratch {
	pcre2_general_context *memory; /* owned */
	pcre2_match_data *match;       /* owned */
};

static void *memory_get(PCRE2_SIZE n, void *arg)
{
	(void)arg;
	return mem_calloc(n, 1);
}

static void memory_put(void *p, void *arg)
{
	(void)arg;
	mem_free(p);
}

/* Append what `\c` stands for; *used is the bytes of p (from the backslash) that it took. */
static enum err translate_escape(
        const char *p, size_t n, bool in_class, struct buf *out, size_t *used, struct why *why)
{
	static const struct {
		char c;
		const char *outside, *inside;
	} table[] = {
	        {'s', "\\p{White_Space}", "\\p{White_Space}"},
	        {'S', "\\P{White_Space}", "\\P{White_Space}"},
	        {'w', "[" WORD_CLASS "]", WORD_CLASS},
	        {'W', "[^" WORD_CLASS "]", NULL},
	        {'h', "[" HEX_CLASS "]", HEX_CLASS},
	        {'H', "[^" HEX_CLASS "]", NULL},
	};

	if (n < 2)
		return why_set(why, ERR_FORMAT, "regular expression ends in a backslash");
	*used = 2;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *text = in_class ? table[i].inside : table[i].outside;

		if (table[i].c != p[1])
			continue;
		if (!text)
			return why_set(
			        why, ERR_UNSUPPORTED, "\\%c within [...] in a regular expression", p[1]);
		return buf_puts(out, text);
	}
	if (p[1] == 'u' && n >= 6 && isxdigit((unsigned char)p[2]) && isxdigit((unsigned char)p[3]) &&
	        isxdigit((unsigned char)p[4]) && isxdigit((unsigned char)p[5])) {
		*used = 6;
		return buf_printf(out, "\\x{%.4s}", p + 2);
	}
	return buf_append(out, p, 2);
}

static enum err translate(const char *p, size_t n, struct buf *out, struct why *why)
{
	size_t i = 0, used, class_start = 0;
	bool in_class = false;
	enum err e = buf_puts(out, LIMITS);

	while (!e && i < n) {
		used = 1;
		if (p[i] == '\\') {
			e = translate_escape(p + i, n - i, in_class, out, &used, why);
		} else if (in_class && p[i] == '[' && (i + 1 == n || p[i + 1] != ':')) {
			return why_set(
			        why, ERR_UNSUPPORTED, "a class within a class in a regular expression");
		} else if (in_class && p[i] == '&' && i + 1 < n && p[i + 1] == '&') {
			return why_set(why, ERR_UNSUPPORTED, "an intersection (&&) in a regular expression");
		} else if (in_class && p[i] == '[') {
			const char *close = memmem(p + i, n - i, ":]", 2);

			used = close ? (size_t)(close - (p + i)) + 2 : 1;
			e = buf_append(out, p + i, used);
		} else {
			if (!in_class && p[i] == '[') {
				in_class = true;
				class_start = i + 1 < n && p[i + 1] == '^' ? i + 2 : i + 1;
			} else if (in_class && p[i] == ']' && i != class_start) {
				in_class = false;
			}
			e = buf_append(out, p + i, 1);
		}
		i += used;
	}
	return e;
}

static enum err compile(struct regex *r, const char *p, size_t n, bool literal, struct why *why)
{
	uint32_t options =
	        PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
	pcre2_compile_context *context = pcre2_compile_context_create(r->memory);
	PCRE2_UCHAR message[120];
	PCRE2_SIZE at;
	int code;

	if (!context)
		return ERR_MEM;
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	r->code = pcre2_compile((PCRE2_SPTR)p, n, options, &code, &at, context);
	pcre2_compile_context_free(context);
	if (!r->code && (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED))
		return ERR_MEM;
	if (!r->code) {
		pcre2_get_error_message(code, message, sizeof(message));
		return why_set(why, ERR_FORMAT, "regular expression \"%.*s\": %s", (int)(n < 120 ? n : 120),
		        p, (const char *)message);
	}
	/* Without executable memory the interpreter does the same, slower. */
	(void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
	return OK;
}

enum err regex_new(const char *pattern, size_t n, bool literal, struct regex **out, struct why *why)
{
	struct regex *r = mem_calloc(1, sizeof(*r));
	struct buf text = {0};
	enum err e = ERR_MEM;

	if (!r)
		return ERR_MEM;
	r->memory = pcre2_general_context_create(memory_get, memory_put, NULL);
	if (!r->memory)
		goto fail;
	if (n > REGEX_MAX_BYTES) {
		e = why_set(why, ERR_FORMAT, "a pattern of %zu bytes", n);
		goto fail;
	}
	e = literal ? buf_append(&text, pattern, n) : translate(pattern, n, &text, why);
	if (e)
		goto fail;
	e = compile(r, text.data, text.len, literal, why);
	if (e)
		goto fail;
	buf_fini(&text);
	*out = r;
	return OK;
fail:
	buf_fini(&text);
	regex_free(r);
	return e;
}

void regex_free(struct regex *r)
{
	if (!r)
		return;
	pcre2_code_free(r->code);
	pcre2_general_context_free(r->memory);
	mem_free(r);
}

enum err regex_scratch_new(struct regex_scratch **out)
{
	struct regex_scratch *s = mem_calloc(1, sizeof(*s));

	if (!s)
		return ERR_MEM;
	s->memory = pcre2_general_context_create(memory_get, memory_put, NULL);
	s->match = s->memory ? pcre2_match_data_create(1, s->memory) : NULL;
	if (!s->match) {
		regex_scratch_free(s);
		return ERR_MEM;
	}
	*out = s;
	return OK;
}

void regex_scratch_free(struct regex_scratch *s)
{
	if (!s)
		return;
	pcre2_match_data_free(s->match);
	pcre2_general_context_free(s->memory);
	mem_free(s);
}

struct regex_iter regex_iter(const struct regex *r, struct regex_scratch *s, const char *p, size_t n)
{
	return (struct regex_iter){.regex = r, .scratch = s, .p = p, .n = n};
}

bool regex_iter_next(struct regex_iter *it)
{
	const PCRE2_SIZE *found;
	int rc;

	while (it->pos <= it->n) {
		rc = pcre2_match(it->regex->code, (PCRE2_SPTR)it->p, it->n, it->pos, PCRE2_NO_UTF_CHECK,
		        it->scratch->match, NULL);
		if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
			rc = pcre2_match(it->regex->code, (PCRE2_SPTR)it->p, it->n, it->pos,
			        PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, it->scratch->match, NULL);
		if (rc < 0) {
			if (rc != PCRE2_ERROR_NOMATCH)
				it->error = rc == PCRE2_ERROR_NOMEMORY ? ERR_MEM : ERR_LIMIT;
			return false;
		}
		found = pcre2_get_ovector_pointer(it->scratch->match);
		if (found[0] == found[1] && it->matched && found[1] == it->end) {
			it->pos = found[1] + (found[1] < it->n ? utf8_len(it->p[found[1]]) : 1);
			continue;
		}
		/* \K may put the start behind the end. */
		it->start = found[0] < found[1] ? found[0] : found[1];
		it->end = found[1];
		it->pos = it->end;
		it->matched = true;
		return true;
	}
	return false;
}
