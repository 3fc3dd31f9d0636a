/* Any bytes as tokenizer.model, under settings that ask for everything: what is refused is refused with a
 * reason, and what is not encodes and decodes. */
#include "tests/fuzz/fuzz.h"
#include "worker/text/sentencepiece.h"
#include "worker/text/tokenizer_build.h"

#include <string.h>

static void check_text(const struct tokenizer *t)
{
	static const char text[] = "Hello  wor\xc3\xa4ld 123, it's\n\n<s> \xf0\x9f\x98\x80 abcd";
	struct ids ids = {0};
	struct buf b = {0};

	if (tokenizer_encode(t, text, sizeof(text) - 1, true, &ids) == OK) {
		for (size_t i = 0; i < ids.n; i++)
			FUZZ_MUST(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_vocab_size(t));
		(void)tokenizer_decode(t, ids.ids, ids.n, true, true, &b);
	}
	buf_fini(&b);
	ids_fini(&ids);
}

int fuzz_sentencepiece(const uint8_t *data, size_t n)
{
	struct tokenizer_config config = {0};
	struct tokenizer *t = NULL;
	json_t *root = NULL;
	struct why why = {0};
	enum err e;

	config.kind = n % 2 ? "T5Tokenizer" : "LlamaTokenizer";
	config.json = json_pack("{s:b, s:b, s:s, s:i}", "add_bos_token", 1, "add_eos_token", 1, "pad_token",
	        "<pad>", "extra_ids", 3);
	if (!config.json)
		return 0;
	e = sentencepiece_convert((const char *)data, n, &config, &root, &why);
	FUZZ_MUST(e ? !root && (e == ERR_MEM || why.message[0]) : root != NULL);
	if (!e)
		e = tokenizer_build(root, &t, &why);
	FUZZ_MUST(e ? !t && (e == ERR_MEM || why.message[0]) : t != NULL);
	if (!e)
		check_text(t);
	tokenizer_close(t);
	json_decref(root);
	tokenizer_config_fini(&config);
	return 0;
}

FUZZ_TARGET(sentencepiece)
