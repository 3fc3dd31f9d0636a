/* Tokenizer files that are wrong, and memory that runs short: refused with reason, nothing lost. */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/worker/text/tiny.h"
#include "worker/text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct tokenizer *open_golden(const char *name)
{
	struct tokenizer *t = NULL;
	struct why why = {0};
	char dir[100];

	snprintf(dir, sizeof(dir), "tests/goldens/%s", name);
	if (tokenizer_open(dir, &t, &why))
		fail_msg("%s", why.message);
	return t;
}

/* ---- malformed files ---- */

static void test_malformed_files_are_refused_with_reason(void **state)
{
	static const struct {
		const char *json;
		enum err e;
		const char *reason;
	} cases[] = {
	        {"", ERR_FORMAT, "not JSON"},
	        {"[]", ERR_FORMAT, "not a JSON object"},
	        {"{}", ERR_FORMAT, "model: "},
	        {"{\"model\":{}}", ERR_FORMAT, "\"type\" is missing"},
	        {"{\"model\":[]}", ERR_FORMAT, "model: "},
	        {"{\"model\":{\"type\":\"Quantum\"}}", ERR_UNSUPPORTED, "model: the type \"Quantum\""},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", ERR_FORMAT, "\"vocab\" is missing"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{}}}", ERR_FORMAT,
	                "\"vocab\" is empty"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":[]}}", ERR_FORMAT,
	                "must be an object"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":-1}}}", ERR_FORMAT,
	                "from 0 to"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":99999999}}}", ERR_FORMAT,
	                "from 0 to"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":1.5}}}", ERR_FORMAT,
	                "from 0 to"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":1,\"b\":1}}}", ERR_FORMAT,
	                "twice"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":1,\"a\":2}}}", ERR_FORMAT,
	                "duplicate"},
	        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1}}}", ERR_FORMAT, "\"merges\" is missing"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[7],\"vocab\":{\"a\":1}}}", ERR_FORMAT,
	                "\"merges\"[0]"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[\"a b c\"],\"vocab\":{\"a\":1}}}", ERR_FORMAT,
	                "\"merges\"[0]"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[[\"a\"]],\"vocab\":{\"a\":1}}}", ERR_FORMAT,
	                "\"merges\"[0]"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[\"a q\"],\"vocab\":{\"a\":1}}}", ERR_FORMAT,
	                "\"q\" is not in the vocabulary"},
	        {"{\"model\":{\"type\":\"BPE\",\"merges\":[\"a a\"],\"vocab\":{\"a\":1}}}", ERR_FORMAT,
	                "makes \"aa\", which is not in the vocabulary"},
	        {TINY("\"dropout\":0.1,", ""), ERR_UNSUPPORTED, "dropout"},
	        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", ERR_FORMAT, "must be an array"},
	        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", ERR_FORMAT, "has 0 entries"},
	        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"\",0]]}}", ERR_FORMAT,
	                "no piece with a character"},
	        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"b\"]]}}", ERR_FORMAT,
	                "\"vocab\"[1]"},
	        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",0]]}}", ERR_FORMAT, "twice"},
	        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]}}", ERR_FORMAT,
	                "\"unk_id\" 1 is not in the vocabulary"},
	        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", ERR_FORMAT,
	                "\"unk_token\" \"[UNK]\" is not"},
	        {"{\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":-1,\"vocab\":{\"[UNK]\":0}}"
	         "}",
	                ERR_FORMAT, "must be a non-negative integer"},
	        {TINY("", "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"},"),
	                ERR_FORMAT, "normalizer: Precompiled: \"precompiled_charsmap\" is not base64"},
	        {TINY("", "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////"
	                  "wAAAAA=\"},"),
	                ERR_FORMAT, "a trie of 4294967295 bytes in 4"},
	        {TINY("\"unk_token\":\"?\",", ""), ERR_FORMAT, "\"unk_token\" \"?\""},
	        {TINY("\"fuse_unk\":\"yes\",", ""), ERR_FORMAT, "must be true or false"},
	        {TINY("", "\"added_tokens\":{},"), ERR_FORMAT, "added_tokens: must be an array"},
	        {TINY("", "\"added_tokens\":[3],"), ERR_FORMAT, "not a JSON object"},
	        {TINY("", "\"added_tokens\":[{\"id\":20}],"), ERR_FORMAT, "\"content\" is missing"},
	        {TINY("", "\"added_tokens\":[{\"id\":\"x\",\"content\":\"y\"}],"), ERR_FORMAT,
	                "\"id\" must be an id"},
	        {TINY("", "\"added_tokens\":[" ADDED(3, "a", "") "],"), ERR_FORMAT, "has id 3 here and 0"},
	        {TINY("", "\"added_tokens\":[" ADDED(3, "y", "") "],"), ERR_FORMAT, "another token's"},
	        {TINY("", "\"added_tokens\":[" ADDED(20, "y", "") "," ADDED(20, "z", "") "],"), ERR_FORMAT,
	                "twice"},
	        {TINY("", "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"A\",10],\"sep\":[\"b\","
	                  "11]},"),
	                ERR_FORMAT, "post_processor: id 11 is not in the vocabulary"},
	        {TINY("", "\"pre_tokenizer\":{\"type\":\"Mystery\"},"), ERR_UNSUPPORTED,
	                "pre_tokenizer: Mystery: this type is not known"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tokenizer *t = NULL;
		struct why why = {0};

		assert_int_equal(tokenizer_parse(cases[i].json, strlen(cases[i].json), &t, &why), cases[i].e);
		assert_null(t);
		if (!strstr(why.message, cases[i].reason))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why.message, cases[i].reason);
	}
}

static void test_truncated_files_are_refused(void **state)
{
	const char *json = TINY("\"unk_token\":\"<unk>\",", "\"added_tokens\":[" ADDED(20, "<x>", "") "],");

	(void)state;
	for (size_t n = 0; n < strlen(json); n++) {
		struct tokenizer *t = NULL;
		struct why why = {0};

		assert_int_equal(tokenizer_parse(json, n, &t, &why), ERR_FORMAT);
		assert_non_null(strstr(why.message, "not JSON"));
	}
}

static void test_deep_nesting_is_refused(void **state)
{
	struct tokenizer *t = NULL;
	struct why why = {0};
	struct buf json = {0};

	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_puts(&json, "["), OK);
	assert_int_equal(tokenizer_parse(json.data, json.len, &t, &why), ERR_FORMAT);
	buf_fini(&json);
}

static void test_a_missing_file_is_named(void **state)
{
	struct tokenizer *t = NULL;
	struct why why = {0};

	(void)state;
	assert_int_equal(tokenizer_open("tests/goldens/nowhere", &t, &why), ERR_NOT_FOUND);
	assert_string_equal(why.message, "tests/goldens/nowhere: there is no tokenizer.json, "
	                                 "tokenizer.model, or vocab.json with merges.txt");
}

/* ---- short memory ---- */

static void test_parse_survives_every_failed_allocation(void **state)
{
	const char *json = TINY("\"unk_token\":\"<unk>\",",
	        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
	        "\"Replace\","
	        "\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]},"
	        "\"added_tokens\":[" ADDED(20, "<x>", "") "," ADDED(
	                21, "y z", ",\"normalized\":true") "],"
	                                                   "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
	                                                   "\"post_processor\":{\"type\":\"BertProcessing\","
	                                                   "\"cls\":[\"A\",10],\"sep\":[\"b\",1]},"
	                                                   "\"decoder\":{\"type\":\"Strip\",\"content\":\" "
	                                                   "\",\"start\":1},");
	long n = 0;
	bool failed;

	(void)state;
	do {
		struct tokenizer *t = NULL;
		struct why why = {0};
		enum err e;

		mem_fail_at(++n);
		e = tokenizer_parse(json, strlen(json), &t, &why);
		failed = mem_failed();
		/* Without memory for compiled code, expressions are interpreted. */
		if (e) {
			assert_true(failed);
			assert_int_equal(e, ERR_MEM);
			assert_null(t);
		}
		mem_fail_at(0);
		tokenizer_close(t);
	} while (failed);
	assert_true(n > 40);
}

static void check_encode_faults(const char *name, const char *text)
{
	struct tokenizer *t = open_golden(name);
	long n = 0;
	bool failed;

	do {
		struct ids ids = {0};
		struct buf back = {0};
		const int32_t one = 5;
		enum err e;

		assert_int_equal(ids_append(&ids, &one, 1), OK);
		mem_fail_at(++n);
		e = tokenizer_encode(t, text, strlen(text), true, &ids);
		if (e)
			assert_int_equal(ids.n, 1);
		else
			e = tokenizer_decode(t, ids.ids, ids.n, true, true, &back);
		failed = mem_failed();
		if (e) {
			assert_true(failed);
			assert_int_equal(e, ERR_MEM);
			assert_int_equal(back.len, 0);
		}
		mem_fail_at(0);
		ids_fini(&ids);
		buf_fini(&back);
	} while (failed);
	assert_true(n > 5);
	tokenizer_close(t);
}

static void test_encode_and_decode_survive_every_failed_allocation(void **state)
{
	const char *text = "some text \xff and a veryveryveryveryveryverylongwordthatgoesthroughtheheap "
	                   "\xf0\x9f\x99\x82";

	(void)state;
	check_encode_faults("gpt2", text);
	check_encode_faults("llama2", text);
	check_encode_faults("tokenizers/spm_t5", text);
	check_encode_faults("tokenizers/unigram_bytes", text);
	check_encode_faults("tokenizers/wordpiece_uncased", "Some t\xc3\xa9xt, \xff and a veryverylongword");
	check_encode_faults("tokenizers/bpe_old", text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_malformed_files_are_refused_with_reason),
	        cmocka_unit_test(test_truncated_files_are_refused),
	        cmocka_unit_test(test_deep_nesting_is_refused),
	        cmocka_unit_test(test_a_missing_file_is_named),
	        cmocka_unit_test(test_parse_survives_every_failed_allocation),
	        cmocka_unit_test(test_encode_and_decode_survive_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
