/* Any bytes as tokenizer.json, and what stands behind its first NUL as a text for it: encoding and decoding
 * end, and ids are of the vocabulary. */
#include "tests/fuzz/fuzz.h"
#include "worker/text/tokenizer.h"

#include <string.h>

static void check_text(const struct tokenizer *t, const char *text, size_t n)
{
	struct ids ids = {0};
	struct buf b = {0};
	struct detok *d = NULL;

	if (tokenizer_encode(t, text, n, true, &ids) == OK) {
		for (size_t i = 0; i < ids.n; i++)
			FUZZ_MUST(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_vocab_size(t));
		(void)tokenizer_decode(t, ids.ids, ids.n, false, true, &b);
		b.len = 0;
		FUZZ_MUST(detok_new(t, ids.ids, ids.n / 2, &d) == OK);
		for (size_t i = 0; i < ids.n; i++)
			(void)detok_push(d, ids.ids[i], &b);
		(void)detok_finish(d, &b);
		detok_free(d);
	}
	buf_fini(&b);
	ids_fini(&ids);
}

int fuzz_tokenizer(const uint8_t *data, size_t n)
{
	static const char words[] = "Hello  wor\xc3\xa4ld 123, it's\n\n<s> \xf0\x9f\x98\x80 abcd";
	const uint8_t *nul = n ? memchr(data, '\0', n) : NULL;
	size_t n_json = nul ? (size_t)(nul - data) : n;
	struct tokenizer *t = NULL;
	struct why why = {0};
	enum err e = tokenizer_parse((const char *)data, n_json, &t, &why);

	FUZZ_MUST(e ? !t && (e == ERR_MEM || why.message[0]) : t != NULL);
	if (!e)
		check_text(t, words, sizeof(words) - 1);
	if (!e && nul)
		check_text(t, (const char *)nul + 1, n - n_json - 1);
	tokenizer_close(t);
	return 0;
}

FUZZ_TARGET(tokenizer)
