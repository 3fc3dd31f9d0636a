/* Data sets of encoders and encoder-decoders: pairs of texts, labels and what they come to mean, sources. */
#include "core/mem.h"
#include "tests/worker/text/tiny.h"
#include "worker/text/dataset.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* <s> is 10, </s> is 9. */
#define ROBERTA                                                                                              \
	"\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"<unk>\",9],\"cls\":[\"A\",10]},"
#define BERT "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"<unk>\",9],\"cls\":[\"A\",10]},"
#define SPECIAL "{\"SpecialToken\":{\"id\":\"x\"}}"
#define SEQUENCE(id) "{\"Sequence\":{\"id\":\"" id "\"}}"
#define TEMPLATE(pair)                                                                                       \
	"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[" SEQUENCE(                         \
	        "A") "," SPECIAL "],"                                                                        \
	             "\"pair\":[" pair "],\"special_tokens\":{\"x\":{\"ids\":[9]}}},"

struct reading {
	struct tokenizer *t;
	struct dataset set;
	struct dataset_report report;
	struct why why;
	enum err e;
};

static void read_with(struct reading *r, const char *json, const char *text, struct dataset_options o)
{
	int fd = memfd_create("rows", 0);

	memset(r, 0, sizeof(*r));
	assert_int_equal(tokenizer_parse(json, strlen(json), &r->t, &r->why), OK);
	o.tokenizer = r->t;
	o.context = 64;
	o.eos_id = 9;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	r->e = dataset_read(fd, &o, &r->set, &r->report, &r->why);
	close(fd);
}

static void read_labelled(
        struct reading *r, const char *text, enum labels_kind problem, const struct labels *known)
{
	read_with(r, TINY("", ROBERTA), text,
	        (struct dataset_options){.form = DATASET_LABELLED, .problem = problem, .labels = known});
}

static void reading_fini(struct reading *r)
{
	dataset_fini(&r->set);
	dataset_report_fini(&r->report);
	tokenizer_close(r->t);
}

#define ROW(label) "{\"text\":\"a\",\"label\":" label "}\n"

/* ---- pairs of texts ---- */

static void check_pair(
        const char *json, const char *a, const char *b, size_t max, size_t n, const int32_t *ids)
{
	struct tokenizer *t;
	struct ids got = {0};
	bool cut = false;

	assert_int_equal(tokenizer_parse(json, strlen(json), &t, NULL), OK);
	assert_int_equal(tokenizer_encode_pair(t, a, strlen(a), b, b ? strlen(b) : 0, max, &got, &cut), OK);
	assert_int_equal(got.n, n);
	assert_memory_equal(got.ids, ids, n * sizeof(*ids));
	assert_int_equal(cut, max != 0);
	ids_fini(&got);
	tokenizer_close(t);
}

static void test_pairs_stand_as_their_processor_says(void **state)
{
	static const char template[] =
	        TINY("", TEMPLATE(SEQUENCE("A") "," SPECIAL "," SEQUENCE("B") "," SPECIAL));

	(void)state;
	check_pair(TINY("", ROBERTA), "ab", "cd", 0, 7, (int32_t[]){10, 4, 9, 9, 2, 3, 9});
	check_pair(TINY("", ROBERTA), "ab", NULL, 0, 3, (int32_t[]){10, 4, 9});
	check_pair(TINY("", BERT), "ab", "cd", 0, 6, (int32_t[]){10, 4, 9, 2, 3, 9});
	check_pair(template, "ab", "cd", 0, 5, (int32_t[]){4, 9, 2, 3, 9});
	check_pair(template, "ab", NULL, 0, 2, (int32_t[]){4, 9});
	check_pair(TINY("", ""), "ab", "cd", 0, 3, (int32_t[]){4, 2, 3});
}

static void test_the_longer_text_is_cut_first_and_special_tokens_stay(void **state)
{
	(void)state;
	check_pair(TINY("", ROBERTA), "dddddd", "c", 7, 7, (int32_t[]){10, 3, 3, 9, 9, 2, 9});
	check_pair(TINY("", ROBERTA), "c", "dddddd", 7, 7, (int32_t[]){10, 2, 9, 9, 3, 3, 9});
	check_pair(TINY("", ROBERTA), "cccc", "dddd", 7, 7, (int32_t[]){10, 2, 2, 9, 9, 3, 9});
	check_pair(TINY("", ROBERTA), "cccc", NULL, 4, 4, (int32_t[]){10, 2, 2, 9});
	check_pair(TINY("", ROBERTA), "cccc", NULL, 2, 2, (int32_t[]){10, 9});
}

static void test_pairs_that_cannot_be_are_refused(void **state)
{
	static const char odd[] = TINY("", TEMPLATE(SEQUENCE("B") "," SEQUENCE("A")));
	struct tokenizer *t;
	struct ids got = {0};
	bool cut;

	(void)state;
	assert_int_equal(tokenizer_parse(odd, strlen(odd), &t, NULL), OK);
	assert_int_equal(tokenizer_encode_pair(t, "a", 1, "b", 1, 0, &got, &cut), ERR_UNSUPPORTED);
	assert_int_equal(tokenizer_encode_pair(t, "a", 1, NULL, 0, 0, &got, &cut), OK);
	tokenizer_close(t);
	assert_int_equal(tokenizer_parse(TINY("", ROBERTA), strlen(TINY("", ROBERTA)), &t, NULL), OK);
	assert_int_equal(tokenizer_encode_pair(t, "a", 1, NULL, 0, 1, &got, &cut), ERR_TOO_LONG);
	assert_int_equal(got.n, 2);
	tokenizer_close(t);
	ids_fini(&got);
}

/* ---- labels ---- */

static void check_classes(const struct reading *r, size_t n, const char *const *names, const int32_t *classes)
{
	if (r->e)
		fail_msg("%s", r->why.message);
	assert_int_equal(r->set.labels.kind, LABELS_CLASSES);
	assert_int_equal(r->set.labels.n, n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(r->set.labels.names[i], names[i]);
	for (size_t i = 0; i < r->set.n_rows; i++)
		assert_int_equal(r->set.rows[i].class, classes[i]);
	assert_int_equal(r->set.n_trained, r->set.n_rows);
}

static void test_strings_are_classes_in_the_order_of_their_bytes(void **state)
{
	struct reading r;

	(void)state;
	read_labelled(&r, ROW("\"positive\"") ROW("\"negative\"") ROW("\"Zero\"") ROW("\"positive\""),
	        LABELS_NONE, NULL);
	check_classes(&r, 3, (const char *[]){"Zero", "negative", "positive"}, (int32_t[]){2, 1, 0, 2});
	reading_fini(&r);
}

static void test_integers_are_classes_in_their_own_order(void **state)
{
	struct reading r;

	(void)state;
	read_labelled(&r, ROW("10") ROW("2") ROW("-1") ROW("2.0"), LABELS_NONE, NULL);
	check_classes(&r, 3, (const char *[]){"-1", "2", "10"}, (int32_t[]){2, 1, 0, 1});
	reading_fini(&r);
	read_labelled(&r, ROW("1") ROW("0") ROW("2"), LABELS_CLASSES, NULL);
	check_classes(&r, 3, (const char *[]){"0", "1", "2"}, (int32_t[]){1, 0, 2});
	reading_fini(&r);
}

static void test_numbers_that_are_not_all_integers_mean_regression(void **state)
{
	struct reading r;

	(void)state;
	read_labelled(&r, ROW("1") ROW("2.5"), LABELS_NONE, NULL);
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.labels.kind, LABELS_NUMBER);
	assert_int_equal(r.set.labels.n, 1);
	assert_true(r.set.rows[0].target == 1.0f && r.set.rows[1].target == 2.5f);
	assert_int_equal(r.set.rows[0].class, -1);
	reading_fini(&r);
	read_labelled(&r, ROW("1") ROW("2"), LABELS_NUMBER, NULL);
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.labels.kind, LABELS_NUMBER);
	reading_fini(&r);
}

static void test_labels_known_already_keep_their_places(void **state)
{
	char *names[] = {"z", "a", "7"};
	const struct labels known = {LABELS_CLASSES, 3, names}, three = {LABELS_CLASSES, 3, NULL};
	struct reading r;

	(void)state;
	read_labelled(&r, ROW("\"a\"") ROW("\"z\""), LABELS_NONE, &known);
	check_classes(&r, 3, (const char *const *)names, (int32_t[]){1, 0});
	reading_fini(&r);
	read_labelled(&r, ROW("7") ROW("7"), LABELS_NONE, &known);
	check_classes(&r, 3, (const char *const *)names, (int32_t[]){2, 2});
	reading_fini(&r);
	/* A head without names: integers are its outputs, strings name all of them. */
	read_labelled(&r, ROW("2") ROW("0"), LABELS_NONE, &three);
	check_classes(&r, 3, (const char *[]){"0", "1", "2"}, (int32_t[]){2, 0});
	reading_fini(&r);
	read_labelled(&r, ROW("\"y\"") ROW("\"x\"") ROW("\"w\""), LABELS_NONE, &three);
	check_classes(&r, 3, (const char *[]){"w", "x", "y"}, (int32_t[]){2, 1, 0});
	reading_fini(&r);
}

static void test_labels_that_are_no_task_are_named(void **state)
{
	static char *names[] = {"negative", "positive"};
	static const struct labels known = {LABELS_CLASSES, 2, names}, number = {LABELS_NUMBER, 1, NULL},
	                           three = {LABELS_CLASSES, 3, NULL};
	static const struct {
		const char *text;
		enum labels_kind problem;
		const struct labels *known;
		const char *reason;
	} cases[] = {
	        {ROW("\"a\"") ROW("1"), LABELS_NONE, NULL,
	                "line 2: \"label\" is a number, that of line 1 a string"},
	        {ROW("\"a\"") ROW("\"a\""), LABELS_NONE, NULL, "every row has the same label"},
	        {ROW("\"a\""), LABELS_NUMBER, NULL, "line 1: \"label\" must be a number"},
	        {ROW("1.5"), LABELS_CLASSES, NULL, "line 1: \"label\" must be a string or an integer"},
	        {ROW("null"), LABELS_NONE, NULL, "line 1: \"label\" must be a string or a number"},
	        {ROW("\"\""), LABELS_NONE, NULL, "1 to 256 bytes"},
	        {ROW("1e300"), LABELS_NONE, NULL, "beyond"},
	        {ROW("\"neutral\""), LABELS_NONE, &known,
	                "line 1: label \"neutral\" is not one of the 2 known: negative, positive"},
	        {ROW("\"a\""), LABELS_NONE, &number, "must be a number"},
	        {ROW("3"), LABELS_NONE, &three, "label \"3\" is not one of the 3 known: 0, 1, 2"},
	        {ROW("\"a\"") ROW("\"b\""), LABELS_NONE, &three,
	                "2 different labels for a head of 3 outputs"},
	        {"{\"label\":1}\n", LABELS_NONE, NULL, "\"text\" is missing"},
	        {"{\"text\":\"a\",\"text_pair\":1,\"label\":1}\n", LABELS_NONE, NULL, "\"text_pair\""},
	        {"{\"prompt\":\"a\",\"completion\":\"b\"}\n", LABELS_NONE, NULL, "no \"text\" and \"label\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reading r;

		read_labelled(&r, cases[i].text, cases[i].problem, cases[i].known);
		assert_int_equal(r.e, ERR_INVALID);
		if (!strstr(r.why.message, cases[i].reason))
			fail_msg("case %zu: \"%s\"", i, r.why.message);
		assert_null(r.set.labels.names);
		reading_fini(&r);
	}
}

static void test_rows_are_texts_and_pairs(void **state)
{
	struct reading r;

	(void)state;
	read_labelled(&r,
	        "{\"text\":\"ab\",\"text_pair\":\"c\",\"label\":1}\n{\"text\":\"\",\"label\":0,\"id\":3}\n",
	        LABELS_NONE, NULL);
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.rows[0].n_tokens, 6);
	assert_memory_equal(r.set.ids, ((int32_t[]){10, 4, 9, 9, 2, 9, 10, 9}), 8 * sizeof(int32_t));
	assert_int_equal(r.report.n_no_loss, 0);
	reading_fini(&r);
}

static void test_cut_rows_are_reported_and_end_as_they_should(void **state)
{
	struct reading r;

	(void)state;
	read_with(&r, TINY("", ROBERTA), ROW("0") "{\"text\":\"dddd\",\"label\":1}\n",
	        (struct dataset_options){.form = DATASET_LABELLED, .max_length = 4});
	assert_int_equal(r.e, OK);
	assert_int_equal(r.report.n_truncated, 1);
	assert_int_equal(r.report.truncated_lines[0], 2);
	assert_memory_equal(
	        r.set.ids + r.set.rows[1].offset, ((int32_t[]){10, 3, 3, 9}), 4 * sizeof(int32_t));
	reading_fini(&r);
	read_with(&r, TINY("", ROBERTA), ROW("0"),
	        (struct dataset_options){.form = DATASET_LABELLED, .max_length = 1});
	assert_non_null(strstr(r.why.message, "special tokens"));
	reading_fini(&r);
}

/* ---- sources ---- */

static void test_a_prompt_is_the_source_of_its_completion(void **state)
{
	static const char rows[] = "{\"prompt\":\"ab\",\"completion\":\"cd\"}\n"
	                           "{\"prompt\":\"d\",\"completion\":\"\"}\n";
	struct reading r;

	(void)state;
	read_with(&r, TINY("", ROBERTA), rows,
	        (struct dataset_options){.form = DATASET_SOURCED, .start_id = 7});
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.n_rows, 2);
	assert_int_equal(r.set.n_sources, 6);
	assert_int_equal(r.set.longest_source, 3);
	assert_memory_equal(r.set.sources, ((int32_t[]){10, 4, 9, 10, 3, 9}), 6 * sizeof(int32_t));
	assert_int_equal(r.set.rows[1].source_offset, 3);
	assert_int_equal(r.set.rows[0].n_tokens, 4);
	assert_memory_equal(r.set.ids, ((int32_t[]){7, 2, 3, 9, 7, 9}), 6 * sizeof(int32_t));
	assert_memory_equal(r.set.weights, ((float[]){0, 1, 1, 1, 0, 1}), 6 * sizeof(float));
	assert_int_equal(r.set.n_trained, 4);
	reading_fini(&r);
	read_with(&r, TINY("", ROBERTA), "{\"messages\":[]}",
	        (struct dataset_options){.form = DATASET_SOURCED});
	assert_non_null(strstr(r.why.message, "no \"prompt\" and \"completion\""));
	reading_fini(&r);
}

static void test_reading_survives_every_failed_allocation(void **state)
{
	static const char *const texts[] = {
	        ROW("\"b\"") ROW("\"a\"") ROW("\"c\""), "{\"prompt\":\"ab\",\"completion\":\"cd\"}\n"};

	(void)state;
	for (size_t form = 0; form < 2; form++) {
		enum err e = ERR_MEM;

		for (long at = 1; e == ERR_MEM; at++) {
			struct dataset_options o = {.form = form ? DATASET_SOURCED : DATASET_LABELLED,
			        .context = 64,
			        .eos_id = 9};
			struct reading r = {0};
			int fd = memfd_create("rows", 0);
			struct tokenizer *t;

			assert_int_equal(
			        tokenizer_parse(TINY("", ROBERTA), strlen(TINY("", ROBERTA)), &t, NULL), OK);
			o.tokenizer = t;
			assert_int_equal(
			        write(fd, texts[form], strlen(texts[form])), (ssize_t)strlen(texts[form]));
			mem_fail_at(at);
			e = r.e = dataset_read(fd, &o, &r.set, &r.report, &r.why);
			mem_fail_at(0);
			r.t = t;
			close(fd);
			if (e)
				assert_null(r.set.rows);
			reading_fini(&r);
		}
		assert_int_equal(e, OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pairs_stand_as_their_processor_says),
	        cmocka_unit_test(test_the_longer_text_is_cut_first_and_special_tokens_stay),
	        cmocka_unit_test(test_pairs_that_cannot_be_are_refused),
	        cmocka_unit_test(test_strings_are_classes_in_the_order_of_their_bytes),
	        cmocka_unit_test(test_integers_are_classes_in_their_own_order),
	        cmocka_unit_test(test_numbers_that_are_not_all_integers_mean_regression),
	        cmocka_unit_test(test_labels_known_already_keep_their_places),
	        cmocka_unit_test(test_labels_that_are_no_task_are_named),
	        cmocka_unit_test(test_rows_are_texts_and_pairs),
	        cmocka_unit_test(test_cut_rows_are_reported_and_end_as_they_should),
	        cmocka_unit_test(test_a_prompt_is_the_source_of_its_completion),
	        cmocka_unit_test(test_reading_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
