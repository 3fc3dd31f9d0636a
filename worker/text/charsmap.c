/* See charsmap.h. The double array's units are Darts-clone's: 32 bits, little-endian. */
#include "worker/text/charsmap.h"

#include "core/mem.h"
#include "worker/text/utf8.h"

#include <nettle/base64.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#define CLUSTER_MAX 6 /* bytes; clusters from here on are looked up by character */

struct charsmap {
	struct buf bytes;          /* owned; the decoded table */
	const unsigned char *trie; /* borrowed from bytes, like text */
	size_t n_units;
	const char *text; /* the replacements, with a NUL behind the last */
	size_t n_text;
	bool moves[128]; /* whether an ASCII character becomes something else */
};

/* ---- looking up ---- */

static uint32_t unit_at(const struct charsmap *m, size_t i)
{
	const unsigned char *u = m->trie + 4 * i;

	return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static size_t unit_offset(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* What the shortest known beginning of p becomes, or NULL. */
static const char *find(const struct charsmap *m, const char *p, size_t n)
{
	size_t at = unit_offset(unit_at(m, 0));
	uint32_t unit, value;

	for (size_t i = 0; i < n && p[i]; i++) {
		unsigned char byte = (unsigned char)p[i];

		at ^= byte;
		if (at >= m->n_units)
			return NULL;
		unit = unit_at(m, at);
		if ((unit & (1u << 31 | 0xff)) != byte)
			return NULL;
		at ^= unit_offset(unit);
		if (unit >> 8 & 1) {
			value = at < m->n_units ? unit_at(m, at) & ~(1u << 31) : UINT32_MAX;
			return value < m->n_text ? m->text + value : NULL;
		}
	}
	return NULL;
}

/* ---- reading ---- */

static enum err decode(const char *base64, size_t n, struct buf *out, struct why *why)
{
	struct base64_decode_ctx ctx;
	size_t len = BASE64_DECODE_LENGTH(n);
	enum err e = buf_reserve(out, len + 1);

	if (e)
		return e;
	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &len, (uint8_t *)out->data, n, base64) || !base64_decode_final(&ctx))
		return why_set(why, ERR_FORMAT, "\"precompiled_charsmap\" is not base64");
	out->len = len;
	out->data[len] = '\0';
	return OK;
}

static enum err lay_out(struct charsmap *m, struct why *why)
{
	const unsigned char *u = (const unsigned char *)m->bytes.data;
	size_t n = m->bytes.len, n_trie;

	if (n < 8)
		return why_set(why, ERR_FORMAT, "\"precompiled_charsmap\" has %zu bytes", n);
	n_trie = u[0] | (size_t)u[1] << 8 | (size_t)u[2] << 16 | (size_t)u[3] << 24;
	if (n_trie < 4 || n_trie % 4 || n_trie > n - 4)
		return why_set(why, ERR_FORMAT, "\"precompiled_charsmap\": a trie of %zu bytes in %zu",
		        n_trie, n - 4);
	m->trie = u + 4;
	m->n_units = n_trie / 4;
	m->text = m->bytes.data + 4 + n_trie;
	m->n_text = n - 4 - n_trie;
	if (utf8_valid(m->text, m->n_text) < m->n_text)
		return why_set(why, ERR_FORMAT, "\"precompiled_charsmap\": the replacements are not UTF-8");
	return OK;
}

enum err charsmap_new(const char *base64, size_t n, struct charsmap **out, struct why *why)
{
	struct charsmap *m = mem_calloc(1, sizeof(*m));
	enum err e;

	if (!m)
		return ERR_MEM;
	e = decode(base64, n, &m->bytes, why);
	if (!e)
		e = lay_out(m, why);
	if (e) {
		charsmap_free(m);
		return e;
	}
	for (int c = 1; c < 128; c++)
		m->moves[c] = find(m, (const char[]){(char)c}, 1) != NULL;
	*out = m;
	return OK;
}

void charsmap_free(struct charsmap *m)
{
	if (!m)
		return;
	buf_fini(&m->bytes);
	mem_free(m);
}

/* ---- replacing ---- */

/* Bytes of the grapheme cluster that p starts with. */
static size_t cluster_len(const char *p, size_t n)
{
	size_t len = utf8_len(p[0]);
	utf8proc_int32_t state = 0, c = (utf8proc_int32_t)utf8_get(p);

	while (len < n) {
		utf8proc_int32_t next = (utf8proc_int32_t)utf8_get(p + len);

		if (utf8proc_grapheme_break_stateful(c, next, &state))
			break;
		len += utf8_len(p[len]);
		c = next;
	}
	return len;
}

/* Bytes at the start of p that stay and that no cluster joins to what follows: ASCII before ASCII. */
static size_t plain_len(const struct charsmap *m, const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && !((unsigned char)p[i] & 0x80) && !m->moves[(unsigned char)p[i]] && p[i] != '\r')
		i++;
	return i && i < n && (unsigned char)p[i] & 0x80 ? i - 1 : i;
}

static enum err put_cluster(const struct charsmap *m, const char *p, size_t n, struct buf *out)
{
	const char *found = n < CLUSTER_MAX ? find(m, p, n) : NULL;
	enum err e = OK;

	if (found)
		return buf_puts(out, found);
	for (size_t i = 0, len; !e && i < n; i += len) {
		len = utf8_len(p[i]);
		found = find(m, p + i, len);
		e = found ? buf_puts(out, found) : buf_append(out, p + i, len);
	}
	return e;
}

enum err charsmap_apply(const struct charsmap *m, const char *p, size_t n, struct buf *out)
{
	enum err e = OK;

	for (size_t i = 0, len; !e && i < n; i += len) {
		len = plain_len(m, p + i, n - i);
		if (len) {
			e = buf_append(out, p + i, len);
			continue;
		}
		len = cluster_len(p + i, n - i);
		e = put_cluster(m, p + i, len, out);
	}
	return e;
}
