/* Small tokenizers of every kind, and single components, against what Hugging Face's libraries make of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mem.h"
#include "tests/worker/text/expected.h"
#include "worker/text/decoder.h"
#include "worker/text/normalizer.h"
#include "worker/text/pre_tokenizer.h"

#include <stdlib.h>

#define FOLDER "tests/goldens/tokenizers"

static void check_folder(const char *name)
{
	char *dir = mem_printf("%s/%s", FOLDER, name);
	char *path = mem_printf("%s/expected.json", dir);
	json_t *expected = expected_load(path);
	struct tokenizer *t = NULL;
	struct why why = {0};

	if (tokenizer_open(dir, &t, &why))
		fail_msg("%s", why.message);
	expect_cases(name, t, json_object_get(expected, "cases"));
	expect_cases(name, t, json_object_get(expected, "decode"));
	tokenizer_close(t);
	json_decref(expected);
	mem_free(path);
	mem_free(dir);
}

static void test_unigram_is_exact(void **state)
{
	(void)state;
	check_folder("unigram");
	check_folder("unigram_bytes");
}

static void test_wordpiece_is_exact(void **state)
{
	(void)state;
	check_folder("wordpiece_cased");
	check_folder("wordpiece_uncased");
}

static void test_bpe_is_exact(void **state)
{
	(void)state;
	check_folder("bpe_llama3");
	check_folder("bpe_qwen2");
	check_folder("bpe_old");
}

static void test_sentencepiece_bpe_is_exact(void **state)
{
	(void)state;
	check_folder("spm_llama");
	check_folder("spm_llama_new");
	check_folder("spm_llama_bare");
}

static void test_sentencepiece_unigram_is_exact(void **state)
{
	(void)state;
	check_folder("spm_t5");
}

static void test_vocab_and_merges_are_exact(void **state)
{
	(void)state;
	check_folder("bpe_gpt2");
	check_folder("bpe_roberta");
	check_folder("bpe_qwen2_files");
}

static void test_flags_of_added_tokens_are_exact(void **state)
{
	json_t *all = expected_load(FOLDER "/added_tokens.json"), *one;
	size_t i;

	(void)state;
	json_array_foreach (all, i, one) {
		char *text = json_dumps(json_object_get(one, "tokenizer"), JSON_COMPACT);
		char *name = mem_printf("added_tokens.json[%zu]", i);
		struct tokenizer *t = NULL;
		struct why why = {0};

		if (tokenizer_parse(text, strlen(text), &t, &why))
			fail_msg("%s: %s", name, why.message);
		expect_cases(name, t, json_object_get(one, "cases"));
		expect_cases(name, t, json_object_get(one, "decode"));
		tokenizer_close(t);
		mem_free(name);
		free(text);
	}
	json_decref(all);
}

/* ---- single components ---- */

/* Its JSON, for messages; free() it. */
static char *name_of(const json_t *component)
{
	return json_dumps(json_object_get(component, "json"), JSON_COMPACT);
}

static void check_normalizer(const json_t *component, const json_t *texts, struct regex_scratch *s)
{
	const json_t *expected = json_object_get(component, "texts"), *text;
	char *name = name_of(component);
	struct normalizer n = {0};
	struct why why = {0};
	size_t i;

	if (normalizer_parse(json_object_get(component, "json"), &n, &why))
		fail_msg("%s: %s", name, why.message);
	json_array_foreach (texts, i, text) {
		struct buf out = {0}, spare = {0};

		assert_int_equal(buf_append(&out, json_string_value(text), json_string_length(text)), OK);
		assert_int_equal(normalizer_apply(&n, s, &out, &spare), OK);
		expect_text(name, json_array_get(expected, i), &out);
		buf_fini(&out);
		buf_fini(&spare);
	}
	normalizer_fini(&n);
	free(name);
}

static void test_normalizers_are_exact(void **state)
{
	json_t *all = expected_load(FOLDER "/components.json"), *one;
	struct regex_scratch *s;
	size_t i;

	(void)state;
	assert_int_equal(regex_scratch_new(&s), OK);
	json_array_foreach (json_object_get(all, "normalizers"), i, one)
		check_normalizer(one, json_object_get(all, "texts"), s);
	regex_scratch_free(s);
	json_decref(all);
}

static void expect_pieces(
        const char *name, const json_t *text, const json_t *expected, const struct pieces *l)
{
	size_t k = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct buf piece = {0};

		if (l->items[i].end == l->items[i].start)
			continue;
		if (k == json_array_size(expected))
			fail_msg("%s: \"%s\" has more than %zu pieces", name, json_string_value(text), k);
		assert_int_equal(buf_append(&piece, l->text.data + l->items[i].start,
		                         l->items[i].end - l->items[i].start),
		        OK);
		expect_text(name, json_array_get(expected, k++), &piece);
		buf_fini(&piece);
	}
	if (k != json_array_size(expected))
		fail_msg("%s: \"%s\" has %zu pieces, not %zu", name, json_string_value(text), k,
		        json_array_size(expected));
}

static void check_pre_tokenizer(const json_t *component, const json_t *texts, struct regex_scratch *s)
{
	const json_t *expected = json_object_get(component, "pieces"), *text;
	char *name = name_of(component);
	struct pre_tokenizer t = {0};
	struct why why = {0};
	size_t i;

	if (pre_tokenizer_parse(json_object_get(component, "json"), &t, &why))
		fail_msg("%s: %s", name, why.message);
	json_array_foreach (texts, i, text) {
		struct pieces l = {0}, spare = {0};

		assert_int_equal(
		        pieces_add_text(&l, json_string_value(text), json_string_length(text), true), OK);
		assert_int_equal(pre_tokenizer_apply(&t, s, &l, &spare), OK);
		expect_pieces(name, text, json_array_get(expected, i), &l);
		pieces_fini(&l);
		pieces_fini(&spare);
	}
	pre_tokenizer_fini(&t);
	free(name);
}

static void test_pre_tokenizers_are_exact(void **state)
{
	json_t *all = expected_load(FOLDER "/components.json"), *one;
	struct regex_scratch *s;
	size_t i;

	(void)state;
	assert_int_equal(regex_scratch_new(&s), OK);
	json_array_foreach (json_object_get(all, "pre_tokenizers"), i, one)
		check_pre_tokenizer(one, json_object_get(all, "texts"), s);
	regex_scratch_free(s);
	json_decref(all);
}

static void check_decoder(const json_t *component, const json_t *texts)
{
	const json_t *expected = json_object_get(component, "texts"), *tokens, *token;
	char *name = name_of(component);
	struct decoder d = {0};
	struct why why = {0};
	size_t i, k;

	if (decoder_parse(json_object_get(component, "json"), &d, &why))
		fail_msg("%s: %s", name, why.message);
	json_array_foreach (texts, i, tokens) {
		struct decoder_run run;
		struct buf out = {0};

		assert_int_equal(decoder_run_init(&run, &d, true, false), OK);
		json_array_foreach (tokens, k, token)
			assert_int_equal(decoder_run_push(&run, json_string_value(token),
			                         json_string_length(token), &out),
			        OK);
		assert_int_equal(decoder_run_finish(&run, &out), OK);
		expect_text(name, json_array_get(expected, i), &out);
		decoder_run_fini(&run);
		buf_fini(&out);
	}
	decoder_fini(&d);
	free(name);
}

static void test_decoders_are_exact(void **state)
{
	json_t *all = expected_load(FOLDER "/components.json"), *one;
	size_t i;

	(void)state;
	json_array_foreach (json_object_get(all, "decoders"), i, one)
		check_decoder(one, json_object_get(all, "decoder_tokens"));
	json_decref(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_normalizers_are_exact),
	        cmocka_unit_test(test_pre_tokenizers_are_exact),
	        cmocka_unit_test(test_decoders_are_exact),
	        cmocka_unit_test(test_flags_of_added_tokens_are_exact),
	        cmocka_unit_test(test_bpe_is_exact),
	        cmocka_unit_test(test_unigram_is_exact),
	        cmocka_unit_test(test_wordpiece_is_exact),
	        cmocka_unit_test(test_sentencepiece_bpe_is_exact),
	        cmocka_unit_test(test_sentencepiece_unigram_is_exact),
	        cmocka_unit_test(test_vocab_and_merges_are_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
