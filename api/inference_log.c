/* See inference_log.h. */
#include "api/inference_log.h"

#include "core/mem.h"

#include <string.h>

#define LOG_MIN_CAP 16

void inference_log_fini(struct inference_log *l)
{
	if (!l)
		return;
	mem_free(l->entries);
	mem_free(l->tops);
	memset(l, 0, sizeof(*l));
}

/* Room for n more of the items in *p; NULL-safe growth by doubling. */
static enum err grow(void **p, size_t *cap, size_t used, size_t n, size_t size)
{
	size_t wanted = *cap ? *cap : LOG_MIN_CAP;
	void *bigger;

	if (*cap >= used + n)
		return OK;
	while (wanted < used + n)
		wanted *= 2;
	bigger = mem_realloc(*p, wanted, size);
	if (!bigger)
		return ERR_MEM;
	*p = bigger;
	*cap = wanted;
	return OK;
}

enum err inference_log_append(struct inference_log *l, const struct serve_token *token, size_t text_offset)
{
	enum err e = grow((void **)&l->entries, &l->cap, l->n, 1, sizeof(*l->entries));

	if (!e)
		e = grow((void **)&l->tops, &l->cap_tops, l->n_tops, token->n_top, sizeof(*l->tops));
	if (e)
		return e;
	l->entries[l->n++] = (struct inference_log_entry){.id = token->id,
	        .has_logprob = token->has_logprob,
	        .logprob = token->logprob,
	        .text_offset = text_offset,
	        .first_top = l->n_tops,
	        .n_top = token->n_top};
	if (token->n_top)
		memcpy(l->tops + l->n_tops, token->top, token->n_top * sizeof(*token->top));
	l->n_tops += token->n_top;
	return OK;
}

void inference_log_clear(struct inference_log *l)
{
	l->n = 0;
	l->n_tops = 0;
}

/* Bytes of the well-formed UTF-8 character at s (n > 0 bytes left), 0 when it is not one. */
static size_t utf8_char(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80   ? 1
	             : s[0] < 0xc2 ? 0
	             : s[0] < 0xe0 ? 2
	             : s[0] < 0xf0 ? 3
	             : s[0] < 0xf5 ? 4
	                           : 0;

	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* overlong forms, surrogates, and beyond U+10FFFF */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
		return 0;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static bool is_utf8(const char *text, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = utf8_char((const unsigned char *)text + i, n - i);

		if (!len)
			return false;
		i += len;
	}
	return true;
}

enum err inference_token_name(const struct tokenizer *t, int32_t id, const char *prefix, struct buf *out)
{
	struct buf bytes = {0};
	struct buf name = {0};
	enum err e = tokenizer_token_bytes(t, id, &bytes);

	if (!e && is_utf8(bytes.data, bytes.len)) {
		e = buf_append(out, bytes.data, bytes.len);
		buf_fini(&bytes);
		return e;
	}
	if (!e)
		e = buf_puts(&name, prefix);
	for (size_t i = 0; !e && i < bytes.len; i++)
		e = buf_printf(&name, "\\x%02x", (unsigned char)bytes.data[i]);
	if (!e)
		e = buf_append(out, name.data, name.len);
	buf_fini(&name);
	buf_fini(&bytes);
	return e;
}

size_t inference_text_chars(const char *text, size_t n)
{
	size_t chars = 0;

	for (size_t i = 0; i < n; i++)
		chars += ((unsigned char)text[i] & 0xc0) != 0x80;
	return chars;
}
