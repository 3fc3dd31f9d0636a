/* Tokenizers from other files than a tokenizer.json, broken in every way, and memory that runs short. */
#include "core/buf.h"
#include "core/mem.h"
#include "worker/text/bpe_files.h"
#include "worker/text/sentencepiece.h"
#include "worker/text/tokenizer_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a sentencepiece model by hand ---- */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

static void put_bytes(struct buf *out, int number, const char *p, size_t n)
{
	char head[2] = {(char)(number << 3 | 2), (char)n};

	assert_true(number < 16 && n < 128);
	assert_int_equal(buf_append(out, head, 2), OK);
	assert_int_equal(buf_append(out, p, n), OK);
}

static void put_piece(struct buf *out, const char *text, size_t n, float score, int type)
{
	char tail[7] = {2 << 3 | 5, 0, 0, 0, 0, 3 << 3, (char)type};
	struct buf piece = {0};

	memcpy(tail + 1, &score, sizeof(score)); /* little-endian, as the format is */
	put_bytes(&piece, 1, text, n);
	assert_int_equal(buf_append(&piece, tail, sizeof(tail)), OK);
	put_bytes(out, 1, piece.data, piece.len);
	buf_fini(&piece);
}

static void put_text_piece(struct buf *out, const char *text, float score, int type)
{
	put_piece(out, text, strlen(text), score, type);
}

/* <unk> <s> </s> <u> a b ab; model_type as given. */
static void put_model(struct buf *out, int model_type)
{
	const char trainer[] = {3 << 3, (char)model_type};

	put_text_piece(out, "<unk>", 0, UNKNOWN);
	put_text_piece(out, "<s>", 0, CONTROL);
	put_text_piece(out, "</s>", 0, CONTROL);
	put_text_piece(out, "<u>", 0, USER_DEFINED);
	put_text_piece(out, "a", -1, NORMAL);
	put_text_piece(out, "b", -2, NORMAL);
	put_text_piece(out, "ab", -2.5F, NORMAL);
	put_bytes(out, 2, trainer, sizeof(trainer));
}

static enum err build_sentencepiece(
        const struct buf *model, const char *settings, struct tokenizer **out, struct why *why)
{
	struct tokenizer_config config = {.json = json_loads(settings, 0, NULL), .kind = ""};
	json_t *root = NULL;
	enum err e =
	        config.json ? sentencepiece_convert(model->data, model->len, &config, &root, why) : ERR_MEM;

	if (!e)
		e = tokenizer_build(root, out, why);
	json_decref(root);
	tokenizer_config_fini(&config);
	return e;
}

static void test_a_model_by_hand_works(void **state)
{
	(void)state;
	for (int type = 1; type <= 2; type++) {
		const int32_t expected[] = {1, 6, 3, 4, 2};
		struct tokenizer *t = NULL;
		struct buf model = {0};
		struct ids ids = {0};
		struct why why = {0};

		put_model(&model, type);
		if (build_sentencepiece(&model,
		            "{\"add_bos_token\":true,\"add_eos_token\":true,\"add_prefix_space\":false}", &t,
		            &why))
			fail_msg("%s", why.message);
		assert_int_equal(tokenizer_encode(t, "ab<u>a", 6, true, &ids), OK);
		assert_int_equal(ids.n, 5);
		assert_memory_equal(ids.ids, expected, sizeof(expected));
		assert_true(tokenizer_is_special(t, 1));
		assert_false(tokenizer_is_special(t, 3));
		ids_fini(&ids);
		buf_fini(&model);
		tokenizer_close(t);
	}
}

static void refused(const struct buf *model, const char *settings, enum err expected, const char *reason)
{
	struct tokenizer *t = NULL;
	struct why why = {0};

	assert_int_equal(build_sentencepiece(model, settings, &t, &why), expected);
	assert_null(t);
	if (!strstr(why.message, reason))
		fail_msg("\"%s\" does not say \"%s\"", why.message, reason);
}

static void test_malformed_models_are_refused_with_reason(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		float score;
		int type;
		const char *reason;
	} pieces[] = {
	        {"a", 1, -1, NORMAL, "is there twice"},
	        {"\xff", 1, -1, NORMAL, "is not text"},
	        {"x\0y", 3, -1, NORMAL, "is not text"},
	        {"x", 1, (float)(1e38 * 10), NORMAL, "no valid score"},
	        {"x", 1, -1, 9, "no valid score or type"},
	};
	struct buf model = {0};

	(void)state;
	assert_int_equal(buf_append(&model, "", 0), OK);
	refused(&model, "{}", ERR_FORMAT, "there are no pieces");
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		model.len = 0;
		put_model(&model, 2);
		put_piece(&model, pieces[i].text, pieces[i].n, pieces[i].score, pieces[i].type);
		refused(&model, "{}", ERR_FORMAT, pieces[i].reason);
	}
	model.len = 0;
	put_model(&model, 4);
	refused(&model, "{}", ERR_UNSUPPORTED, "neither unigram nor BPE");
	model.len = 0;
	put_model(&model, 1);
	put_bytes(&model, 2, "\xc0\x02\x7f", 3); /* unk_id 127 */
	refused(&model, "{}", ERR_FORMAT, "the unknown piece");
	model.len = 0;
	put_model(&model, 1);
	put_bytes(&model, 3, "\x12\x03xyz", 5);
	refused(&model, "{}", ERR_FORMAT, "Precompiled: \"precompiled_charsmap\" has 3 bytes");
	model.len = 0;
	put_model(&model, 1);
	assert_int_equal(buf_append(&model, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), OK);
	refused(&model, "{}", ERR_FORMAT, "not well-formed protobuf");
	buf_fini(&model);
}

static void test_malformed_settings_are_refused_with_reason(void **state)
{
	struct buf model = {0};

	(void)state;
	put_model(&model, 2);
	refused(&model, "{\"add_bos_token\":1}", ERR_FORMAT, "\"add_bos_token\" must be true or false");
	refused(&model, "{\"eos_token\":[]}", ERR_FORMAT, "\"eos_token\" names no token");
	refused(&model, "{\"added_tokens_decoder\":{\"4\":{\"content\":\"x\"}}}", ERR_FORMAT, "is another's");
	refused(&model, "{\"added_tokens_decoder\":{\"-4\":{\"content\":\"x\"}}}", ERR_FORMAT,
	        "cannot have id");
	refused(&model, "{\"added_tokens_encoder\":{\"a\":77}}", ERR_FORMAT, "cannot have id 77");
	refused(&model, "{\"added_tokens_encoder\":{\"x\":99999999999}}", ERR_FORMAT, "cannot have id");
	buf_fini(&model);
}

static void test_a_truncated_model_never_reads_past_its_end(void **state)
{
	struct buf model = {0};

	(void)state;
	put_model(&model, 2);
	for (size_t n = 0; n < model.len; n++) {
		struct buf part = {mem_dup(model.data, n + !n), n, n}; /* exactly n bytes, for sanitizers */
		struct tokenizer *t = NULL;
		struct why why = {0};

		assert_non_null(part.data);
		if (build_sentencepiece(&part, "{}", &t, &why))
			assert_true(strlen(why.message) > 0);
		tokenizer_close(t);
		mem_free(part.data);
	}
	buf_fini(&model);
}

static void *json_malloc(size_t n)
{
	return mem_calloc(n, 1);
}

static void test_conversion_survives_every_failed_allocation(void **state)
{
	struct buf model = {0};
	long n = 0;
	bool failed;

	(void)state;
	put_model(&model, 2);
	json_set_alloc_funcs(json_malloc, mem_free); /* so that jansson's fail too */
	do {
		struct tokenizer *t = NULL;
		struct why why = {0};
		enum err e;

		mem_fail_at(++n);
		e = build_sentencepiece(&model, "{\"eos_token\":\"<new>\",\"add_eos_token\":true}", &t, &why);
		failed = mem_failed();
		if (e) {
			assert_true(failed);
			assert_int_equal(e, ERR_MEM);
			assert_null(t);
		}
		mem_fail_at(0);
		tokenizer_close(t);
	} while (failed);
	json_set_alloc_funcs(malloc, free);
	assert_true(n > 100);
	buf_fini(&model);
}

/* ---- vocab.json and merges.txt ---- */

static enum err build_bpe(const char *vocab, const char *merges, struct tokenizer **out, struct why *why)
{
	struct tokenizer_config config = {.json = json_object(), .kind = "RobertaTokenizer"};
	struct buf v = {0}, m = {0};
	json_t *root = NULL;
	enum err e = buf_puts(&v, vocab);

	if (!e)
		e = buf_puts(&m, merges);
	if (!e)
		e = bpe_files_convert(&v, &m, &config, &root, why);
	if (!e)
		e = tokenizer_build(root, out, why);
	json_decref(root);
	tokenizer_config_fini(&config);
	buf_fini(&v);
	buf_fini(&m);
	return e;
}

static void test_vocab_and_merges_by_hand_work(void **state)
{
	const int32_t expected[] = {1, 4, 2};
	struct tokenizer *t = NULL;
	struct ids ids = {0};
	struct why why = {0};

	(void)state;
	if (build_bpe("{\"a\":0,\"<s>\":1,\"</s>\":2,\"b\":3,\"ab\":4}", "#version: 0.2\r\na b\r\n\n", &t,
	            &why))
		fail_msg("%s", why.message);
	assert_int_equal(tokenizer_encode(t, "ab", 2, true, &ids), OK);
	assert_int_equal(ids.n, 3);
	assert_memory_equal(ids.ids, expected, sizeof(expected));
	assert_true(tokenizer_is_special(t, 2));
	ids_fini(&ids);
	tokenizer_close(t);
}

static void test_malformed_vocab_and_merges_are_refused_with_reason(void **state)
{
	static const struct {
		const char *vocab, *merges, *reason;
	} cases[] = {
	        {"{", "", "vocab.json: not JSON"},
	        {"[]", "", "vocab.json: \"vocab\" must be an object"},
	        {"{\"a\":\"b\"}", "", "the id of \"a\""},
	        {"{\"a\":0}", "a\n", "\"merges\"[0]"},
	        {"{\"a\":0}", "a b\n", "\"b\" is not in the vocabulary"},
	        {"{\"a\":0}", "\xff", "merges.txt: line 1 is not UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tokenizer *t = NULL;
		struct why why = {0};

		assert_int_equal(build_bpe(cases[i].vocab, cases[i].merges, &t, &why), ERR_FORMAT);
		assert_null(t);
		if (!strstr(why.message, cases[i].reason))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why.message, cases[i].reason);
	}
}

/* ---- directories ---- */

static void check_open_faults(const char *dir)
{
	long n = 0;
	bool failed;

	do {
		struct tokenizer *t = NULL;
		struct why why = {0};
		enum err e;

		n += n / 8 + 1; /* ever wider steps: the loops over pieces are all alike */
		mem_fail_at(n);
		e = tokenizer_open(dir, &t, &why);
		failed = mem_failed();
		if (e) {
			assert_true(failed);
			assert_int_equal(e, ERR_MEM);
			assert_null(t);
		}
		mem_fail_at(0);
		tokenizer_close(t);
	} while (failed);
}

static void test_opening_survives_failed_allocations(void **state)
{
	(void)state;
	check_open_faults("tests/goldens/tokenizers/spm_llama");
	check_open_faults("tests/goldens/tokenizers/spm_t5");
	check_open_faults("tests/goldens/tokenizers/bpe_roberta");
	check_open_faults("tests/goldens/tokenizers/wordpiece_uncased");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_model_by_hand_works),
	        cmocka_unit_test(test_malformed_models_are_refused_with_reason),
	        cmocka_unit_test(test_malformed_settings_are_refused_with_reason),
	        cmocka_unit_test(test_a_truncated_model_never_reads_past_its_end),
	        cmocka_unit_test(test_conversion_survives_every_failed_allocation),
	        cmocka_unit_test(test_vocab_and_merges_by_hand_work),
	        cmocka_unit_test(test_malformed_vocab_and_merges_are_refused_with_reason),
	        cmocka_unit_test(test_opening_survives_failed_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
