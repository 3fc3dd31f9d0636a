/* The parts of tokenizer.json one by one: normalizers, pre-tokenizers, decoders, what is refused and how. */
#include "core/buf.h"
#include "worker/text/decoder.h"
#include "worker/text/normalizer.h"
#include "worker/text/post_processor.h"
#include "worker/text/pre_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

	if (!json)
		fail_msg("%s: %s", text, error.text);
	return json;
}

/* ---- normalizers ---- */

static void check_normalizer(const char *json, const char *text, const char *expected)
{
	struct normalizer n = {0};
	struct regex_scratch *s;
	struct buf b = {0}, spare = {0};
	struct why why = {0};
	json_t *root = parse(json);

	if (normalizer_parse(root, &n, &why))
		fail_msg("%s: %s", json, why.message);
	assert_int_equal(regex_scratch_new(&s), OK);
	assert_int_equal(buf_puts(&b, text), OK);
	assert_int_equal(normalizer_apply(&n, s, &b, &spare), OK);
	assert_string_equal(b.data, expected);
	buf_fini(&b);
	buf_fini(&spare);
	regex_scratch_free(s);
	normalizer_fini(&n);
	json_decref(root);
}

static void test_normalizers_rewrite_text(void **state)
{
	(void)state;
	check_normalizer("null", " A\xc3\x84 ", " A\xc3\x84 ");
	check_normalizer("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "ab", "_ab");
	check_normalizer("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "", "");
	check_normalizer(
	        "{\"type\":\"Replace\",\"pattern\":{\"String\":\".\"},\"content\":\"!\"}", "a.b.", "a!b!");
	check_normalizer("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}",
	        "a   b c  ", "a b c ");
	check_normalizer("{\"type\":\"Lowercase\"}", "\xc3\x84 B \xc4\xb0", "\xc3\xa4 b i\xcc\x87");
	check_normalizer("{\"type\":\"Strip\"}", "\xe3\x80\x80 a b\t\n", "a b");
	check_normalizer("{\"type\":\"Strip\",\"strip_left\":false}", " a ", " a");
	check_normalizer("{\"type\":\"NFC\"}", "e\xcc\x81 \xea\xb0\x80", "\xc3\xa9 \xea\xb0\x80");
	check_normalizer("{\"type\":\"NFD\"}", "\xc3\xa9", "e\xcc\x81");
	check_normalizer("{\"type\":\"NFKC\"}", "\xef\xac\x81\xe2\x91\xa0", "fi1");
	check_normalizer("{\"type\":\"NFKD\"}", "\xef\xac\x81\xc3\xa9", "fie\xcc\x81");
	check_normalizer("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"},"
	                 "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"x\"}]},"
	                 "{\"type\":\"Lowercase\"}]}",
	        "  AB ", "xab");
}

/* ---- pre-tokenizers ---- */

/* Pieces joined by '|'. */
static void check_pieces(const char *json, const char *text, const char *expected)
{
	struct pre_tokenizer t = {0};
	struct regex_scratch *s;
	struct pieces l = {0}, spare = {0};
	struct buf joined = {0};
	struct why why = {0};
	json_t *root = parse(json);

	if (pre_tokenizer_parse(root, &t, &why))
		fail_msg("%s: %s", json, why.message);
	assert_int_equal(regex_scratch_new(&s), OK);
	assert_int_equal(pieces_add_text(&l, text, strlen(text), true), OK);
	assert_int_equal(pre_tokenizer_apply(&t, s, &l, &spare), OK);
	for (size_t i = 0; i < l.n; i++) {
		assert_true(l.items[i].end > l.items[i].start);
		if (i)
			assert_int_equal(buf_puts(&joined, "|"), OK);
		assert_int_equal(buf_append(&joined, l.text.data + l.items[i].start,
		                         l.items[i].end - l.items[i].start),
		        OK);
	}
	assert_string_equal(joined.data, expected);
	buf_fini(&joined);
	pieces_fini(&l);
	pieces_fini(&spare);
	regex_scratch_free(s);
	pre_tokenizer_fini(&t);
	json_decref(root);
}

static void check_split(const char *pattern, const char *behavior, const char *invert, const char *expected)
{
	char json[300];

	snprintf(json, sizeof(json),
	        "{\"type\":\"Split\",\"pattern\":{%s},\"behavior\":\"%s\",\"invert\":%s}", pattern, behavior,
	        invert);
	check_pieces(json, "the-final--countdown", expected);
}

static void test_split_has_five_behaviors(void **state)
{
	(void)state;
	check_split("\"String\":\"-\"", "Removed", "false", "the|final|countdown");
	check_split("\"String\":\"-\"", "Isolated", "false", "the|-|final|-|-|countdown");
	check_split("\"String\":\"-\"", "MergedWithPrevious", "false", "the-|final-|-|countdown");
	check_split("\"String\":\"-\"", "MergedWithNext", "false", "the|-final|-|-countdown");
	check_split("\"String\":\"-\"", "Contiguous", "false", "the|-|final|--|countdown");
}

static void test_split_inverts_its_pattern(void **state)
{
	(void)state;
	check_split("\"Regex\":\"[a-z]+\"", "Removed", "true", "the|final|countdown");
	check_split("\"Regex\":\"-\"", "Removed", "true", "-|-|-");
	check_split("\"Regex\":\"[a-z]+\"", "MergedWithPrevious", "true", "the-|final--|countdown");
}

static void test_split_cuts_at_empty_matches(void **state)
{
	(void)state;
	check_split("\"Regex\":\"(?=-)\"", "Isolated", "false", "the|-final|-|-countdown");
}

static void test_pre_tokenizers_cut_text(void **state)
{
	(void)state;
	check_pieces("null", "a b", "a b");
	check_pieces("{\"type\":\"Digits\"}", "a12b3", "a|12|b|3");
	check_pieces("{\"type\":\"Digits\",\"individual_digits\":true}", "a12b3", "a|1|2|b|3");
	check_pieces("{\"type\":\"Punctuation\"}", "a,b$ \xe2\x80\x9c", "a|,|b|$| |\xe2\x80\x9c");
	check_pieces("{\"type\":\"Whitespace\"}", "Hey man!! \xc3\xa4_1\xc2\xa0x", "Hey|man|!!|\xc3\xa4_1|x");
	check_pieces("{\"type\":\"WhitespaceSplit\"}", " Hey man!\t\xe3\x80\x80x ", "Hey|man!|x");
	check_pieces("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"
	             "{\"type\":\"Digits\"}]}",
	        "ab 1c", "ab|1|c");
}

static void test_llama3_pattern_cuts_as_oniguruma_does(void **state)
{
	const char *json =
	        "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
	        "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
	        " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}";

	(void)state;
	check_pieces(json, "I'LL go 12345 (ok)\n\n  x", "I|'LL| go| |123|45| (|ok|)\n\n| | x");
	check_pieces(json, "caf\xc3\xa9\t\tx\r\n ", "caf\xc3\xa9|\t|\tx|\r\n| ");
	/* U+180E is white space to PCRE's \\s alone: here it goes with the punctuation. */
	check_pieces(json, ".\xe1\xa0\x8e.", ".\xe1\xa0\x8e.");
}

static void test_byte_level_writes_bytes_as_characters(void **state)
{
	(void)state;
	check_pieces("{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "I'm  \xc3\xa9",
	        "I|'m|\xc4\xa0|\xc4\xa0\xc3\x83\xc2\xa9");
	check_pieces("{\"type\":\"ByteLevel\"}", "a b",
	        "\xc4\xa0"
	        "a|\xc4\xa0"
	        "b");
	check_pieces("{\"type\":\"ByteLevel\"}", " a",
	        "\xc4\xa0"
	        "a");
	check_pieces("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "a b\n",
	        "a\xc4\xa0"
	        "b\xc4\x8a");
}

static void test_metaspace_marks_words(void **state)
{
	(void)state;
	check_pieces("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\"}", "a  b",
	        "_a|_|_b");
	check_pieces(
	        "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"}", "a b", "a|_b");
	check_pieces(
	        "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"split\":false}",
	        "a b", "_a_b");
	check_pieces("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}", "a", "a");
	/* Only what starts the text is "first". */
	check_pieces("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":"
	             "\",\"},"
	             "\"behavior\":\"Removed\"},{\"type\":\"Metaspace\",\"replacement\":\"_\","
	             "\"prepend_scheme\":\"first\"}]}",
	        "a,b", "_a|b");
}

/* ---- decoders ---- */

/* Tokens separated by '|'. */
static void check_decoder(const char *json, const char *tokens, bool lossy, const char *expected)
{
	struct decoder d = {0};
	struct decoder_run run;
	struct buf out = {0};
	struct why why = {0};
	json_t *root = parse(json);

	if (decoder_parse(root, &d, &why))
		fail_msg("%s: %s", json, why.message);
	assert_int_equal(decoder_run_init(&run, &d, lossy, false), OK);
	for (const char *end; *tokens; tokens = end + (*end == '|')) {
		end = tokens + strcspn(tokens, "|");
		assert_int_equal(decoder_run_push(&run, tokens, (size_t)(end - tokens), &out), OK);
	}
	assert_int_equal(decoder_run_finish(&run, &out), OK);
	assert_string_equal(out.data, expected);
	buf_fini(&out);
	decoder_run_fini(&run);
	decoder_fini(&d);
	json_decref(root);
}

static void test_decoders_restore_text(void **state)
{
	(void)state;
	check_decoder("null", "a|b", true, "a b");
	check_decoder("{\"type\":\"Fuse\"}", "a|b", true, "ab");
	check_decoder("{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":\" \"}", "a|_b", true,
	        "a b");
	check_decoder("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\"}",
	        "__a|_b", true, "a b");
	check_decoder("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"}", "_a|_b",
	        true, " a b");
	check_decoder(
	        "{\"type\":\"Strip\",\"content\":\"x\",\"start\":1,\"stop\":2}", "xxaxxx|b", true, "xaxb");
	check_decoder("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
	              "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}",
	        " | a", true, " a");
}

static void test_byte_level_decoder_replaces_broken_characters(void **state)
{
	const char *json = "{\"type\":\"ByteLevel\"}";

	(void)state;
	check_decoder(json, "\xc3\x83|\xc2\xa9", true, "\xc3\xa9");
	/* F0 9F 41: a cut character is one U+FFFD, what follows is kept. */
	check_decoder(json, "\xc3\xb0\xc5\x81|A", true,
	        "\xef\xbf\xbd"
	        "A");
	check_decoder(json, "\xc3\xb0\xc5\x81", true, "\xef\xbf\xbd");
	check_decoder(json, "\xc3\x83", false, "\xc3");
	/* A token with a character that stands for no byte is text itself. */
	check_decoder(json, "\xe2\x96\x81\xc4\xa0", true, "\xe2\x96\x81\xc4\xa0");
}

static void test_byte_fallback_decoder_judges_whole_runs(void **state)
{
	const char *json = "{\"type\":\"ByteFallback\"}";

	(void)state;
	check_decoder(json, "<0xC3>|<0xA9>|a", true,
	        "\xc3\xa9"
	        "a");
	check_decoder(json, "<0x61>|<0xC3>|b|<0x62>", true,
	        "\xef\xbf\xbd\xef\xbf\xbd"
	        "bb");
	check_decoder(json, "<0x61>|<0xC3>|b", false,
	        "a\xc3"
	        "b");
	check_decoder(json, "<0xZZ>", true, "<0xZZ>");
}

/* ---- refusals ---- */

static enum err parse_as(const char *part, const char *json, struct why *why)
{
	struct normalizer n = {0};
	struct pre_tokenizer t = {0};
	struct post_processor p = {0};
	struct decoder d = {0};
	json_t *root = parse(json);
	enum err e;

	if (strcmp(part, "normalizer") == 0)
		e = normalizer_parse(root, &n, why);
	else if (strcmp(part, "pre_tokenizer") == 0)
		e = pre_tokenizer_parse(root, &t, why);
	else if (strcmp(part, "post_processor") == 0)
		e = post_processor_parse(root, &p, why);
	else
		e = decoder_parse(root, &d, why);
	normalizer_fini(&n);
	pre_tokenizer_fini(&t);
	post_processor_fini(&p);
	decoder_fini(&d);
	json_decref(root);
	return e;
}

static void test_wrong_components_are_refused_with_reason(void **state)
{
	static const struct {
		const char *part, *json;
		enum err e;
		const char *reason;
	} cases[] = {
	        {"normalizer", "7", ERR_FORMAT, "not a JSON object"},
	        {"normalizer", "{}", ERR_FORMAT, "\"type\" is missing"},
	        {"normalizer", "{\"type\":\"Frobnicate\"}", ERR_UNSUPPORTED,
	                "Frobnicate: this type is not known"},
	        {"normalizer", "{\"type\":\"Prepend\",\"prepend\":3}", ERR_FORMAT,
	                "Prepend: \"prepend\" must be a string"},
	        {"normalizer", "{\"type\":\"Sequence\"}", ERR_FORMAT, "\"normalizers\" is missing"},
	        {"normalizer", "{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":\"(\"}}",
	                ERR_FORMAT, "Replace: regular expression"},
	        {"pre_tokenizer",
	                "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Sideways\"}",
	                ERR_UNSUPPORTED, "\"Sideways\" is not known"},
	        {"pre_tokenizer",
	                "{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"[a[b]]\"}}",
	                ERR_UNSUPPORTED, "a class within a class"},
	        {"pre_tokenizer", "{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{}}", ERR_FORMAT,
	                "\"Regex\" is missing"},
	        {"pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", ERR_FORMAT,
	                "one character"},
	        {"pre_tokenizer", "{\"type\":\"ByteLevel\",\"use_regex\":1}", ERR_FORMAT,
	                "must be true or false"},
	        {"post_processor", "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",0]}", ERR_FORMAT,
	                "\"sep\" is missing"},
	        {"post_processor", "{\"type\":\"TemplateProcessing\",\"single\":[]}", ERR_UNSUPPORTED,
	                "sequence A"},
	        {"post_processor",
	                "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
	                "\"special_tokens\":{}}",
	                ERR_FORMAT, "\"x\" is missing"},
	        {"decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1}", ERR_FORMAT,
	                "non-negative"},
	        {"decoder", "{\"type\":\"CTC\"}", ERR_UNSUPPORTED, "CTC: this type is not known"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct why why = {0};

		assert_int_equal(parse_as(cases[i].part, cases[i].json, &why), cases[i].e);
		if (!strstr(why.message, cases[i].reason))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].json, why.message,
			        cases[i].reason);
	}
}

static void test_sequences_have_limits(void **state)
{
	struct buf json = {0};
	struct why why = {0};

	(void)state;
	for (int i = 0; i < 500; i++)
		assert_int_equal(buf_puts(&json, "{\"type\":\"Sequence\",\"decoders\":["), OK);
	for (int i = 0; i < 500; i++)
		assert_int_equal(buf_puts(&json, "]}"), OK);
	assert_int_equal(parse_as("decoder", json.data, &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why.message, "nested"));
	json.len = 0;
	assert_int_equal(buf_puts(&json, "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}"), OK);
	for (int i = 0; i < COMPONENT_MAX; i++)
		assert_int_equal(buf_puts(&json, ",{\"type\":\"Fuse\"}"), OK);
	assert_int_equal(buf_puts(&json, "]}"), OK);
	assert_int_equal(parse_as("decoder", json.data, &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why.message, "more than 64"));
	buf_fini(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_llama3_pattern_cuts_as_oniguruma_does),
	        cmocka_unit_test(test_normalizers_rewrite_text),
	        cmocka_unit_test(test_split_has_five_behaviors),
	        cmocka_unit_test(test_split_inverts_its_pattern),
	        cmocka_unit_test(test_split_cuts_at_empty_matches),
	        cmocka_unit_test(test_pre_tokenizers_cut_text),
	        cmocka_unit_test(test_byte_level_writes_bytes_as_characters),
	        cmocka_unit_test(test_metaspace_marks_words),
	        cmocka_unit_test(test_decoders_restore_text),
	        cmocka_unit_test(test_byte_level_decoder_replaces_broken_characters),
	        cmocka_unit_test(test_byte_fallback_decoder_judges_whole_runs),
	        cmocka_unit_test(test_wrong_components_are_refused_with_reason),
	        cmocka_unit_test(test_sequences_have_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
