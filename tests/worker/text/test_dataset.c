/* Training files: rows, weights, and every kind of bad line by its number. */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/worker/text/tiny.h"
#include "worker/text/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define EOS 9
#define BOS 10
#define LEADING                                                                                              \
	"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"A\"}}," \
	"{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"A\":{\"ids\":[10]}}},"

struct reading {
	struct tokenizer *t;
	struct dataset set;
	struct dataset_report report;
	struct why why;
	enum err e;
};

static void read_text(
        struct reading *r, const char *json, const char *text, size_t n, size_t context, size_t max_length)
{
	struct dataset_options options = {.context = context, .max_length = max_length, .eos_id = EOS};
	int fd = memfd_create("rows", 0);

	memset(r, 0, sizeof(*r));
	if (tokenizer_parse(json, strlen(json), &r->t, &r->why))
		fail_msg("%s", r->why.message);
	assert_int_equal(chat_format_detect("tests/goldens/gpt2", &options.chat, &r->why), OK);
	options.tokenizer = r->t;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), (ssize_t)n);
	r->e = dataset_read(fd, &options, &r->set, &r->report, &r->why);
	close(fd);
}

static void reading_fini(struct reading *r)
{
	dataset_fini(&r->set);
	dataset_report_fini(&r->report);
	tokenizer_close(r->t);
}

#define READ(r, text) read_text(r, TINY("", LEADING), text, strlen(text), 64, 0)

static void check_row(const struct reading *r, size_t row, size_t n, const int32_t *ids, const float *weights)
{
	const struct dataset_row *got = &r->set.rows[row];

	assert_true(row < r->set.n_rows);
	assert_int_equal(got->n_tokens, n);
	assert_memory_equal(r->set.ids + got->offset, ids, n * sizeof(*ids));
	assert_memory_equal(r->set.weights + got->offset, weights, n * sizeof(*weights));
}

static void test_pairs_are_learnt_in_the_completion(void **state)
{
	struct reading r;

	(void)state;
	READ(&r, "{\"prompt\":\"ab\",\"completion\":\"cd\"}\n\n  "
	         "\r\n{\"prompt\":\"a\",\"completion\":\"\",\"id\":7}");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.n_rows, 2);
	check_row(&r, 0, 5, (int32_t[]){BOS, 4, 2, 3, EOS}, (float[]){0, 0, 1, 1, 1});
	check_row(&r, 1, 3, (int32_t[]){BOS, 0, EOS}, (float[]){0, 0, 1});
	assert_int_equal(r.set.rows[0].line, 1);
	assert_int_equal(r.set.rows[1].line, 4);
	assert_int_equal(r.set.rows[0].n_trained, 3);
	assert_int_equal(r.set.n_tokens, 8);
	assert_int_equal(r.set.n_trained, 4);
	assert_int_equal(r.set.longest, 5);
	assert_int_equal(r.report.n_faults, 0);
	reading_fini(&r);
}

static void test_prompt_and_completion_never_merge(void **state)
{
	struct reading r;

	(void)state;
	READ(&r, "{\"prompt\":\"a\",\"completion\":\"b\"}");
	assert_int_equal(r.e, OK);
	check_row(&r, 0, 4, (int32_t[]){BOS, 0, 1, EOS}, (float[]){0, 0, 1, 1});
	reading_fini(&r);
}

static void test_messages_are_learnt_where_weighed(void **state)
{
	struct reading r;

	(void)state;
	/* Of the plain form's own letters this vocabulary knows a and A; "Human: b" is "ab" to it. */
	READ(&r, "{\"messages\":[{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\",\"content\":"
	         "\"c\","
	         "\"weight\":0},{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\",\"content\":"
	         "\"d\"}]}");
	assert_int_equal(r.e, OK);
	check_row(&r, 0, 10, (int32_t[]){BOS, 4, 10, 0, 2, 4, 10, 0, 3, EOS},
	        (float[]){0, 0, 0, 0, 0, 0, 0, 0, 1, 1});
	reading_fini(&r);
}

static void test_both_forms_may_share_a_file(void **state)
{
	struct reading r;

	(void)state;
	READ(&r, "\xef\xbb\xbf{\"prompt\":\"a\",\"completion\":\"b\"}\n"
	         "{\"messages\":[{\"role\":\"assistant\",\"content\":\"c\"}]}\n");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.n_rows, 2);
	reading_fini(&r);
}

static void test_a_first_token_is_never_learnt(void **state)
{
	struct reading r;
	const char *text = "{\"prompt\":\"\",\"completion\":\"ab\"}";

	(void)state;
	read_text(&r, TINY("", ""), text, strlen(text), 64, 0);
	assert_int_equal(r.e, OK);
	check_row(&r, 0, 2, (int32_t[]){4, EOS}, (float[]){0, 1});
	assert_int_equal(r.set.n_trained, 1);
	reading_fini(&r);
}

static void test_bad_lines_are_named_with_reason(void **state)
{
	static const struct {
		const char *line, *reason;
	} cases[] = {
	        {"{\"prompt\":\"a\"", "not JSON"},
	        {"nonsense", "not JSON"},
	        {"[]", "not a JSON object"},
	        {"7", "not JSON"},
	        {"{}", "neither \"messages\" nor"},
	        {"{\"text\":\"a\"}", "neither \"messages\" nor"},
	        {"{\"prompt\":\"a\"}", "\"completion\" is missing"},
	        {"{\"completion\":\"a\"}", "\"prompt\" is missing"},
	        {"{\"prompt\":3,\"completion\":\"a\"}", "\"prompt\" must be a string"},
	        {"{\"prompt\":\"a\",\"completion\":[\"a\"]}", "\"completion\" must be a string"},
	        {"{\"prompt\":\"a\",\"completion\":\"b\",\"messages\":[]}", "one form a line"},
	        {"{\"prompt\":\"a\",\"prompt\":\"b\",\"completion\":\"b\"}", "duplicate"},
	        {"{\"prompt\":\"\xff\",\"completion\":\"b\"}", "not UTF-8"},
	        {"{\"prompt\":\"\\u0000\",\"completion\":\"b\"}", "not JSON"},
	        {"{\"messages\":{}}", "\"messages\" must be an array"},
	        {"{\"messages\":[]}", "\"messages\" is empty"},
	        {"{\"messages\":[7]}", "messages[0]: not a JSON object"},
	        {"{\"messages\":[{\"content\":\"a\"}]}", "messages[0]: \"role\" is missing"},
	        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", "\"content\" is missing"},
	        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0.5}]}",
	                "\"weight\" must be 0 or 1"},
	        {"{\"messages\":[{\"role\":\"robot\",\"content\":\"a\"}]}", "role \"robot\" is not known"},
	        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
	                "last message must be the assistant's"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[400];
		struct reading r;

		snprintf(
		        text, sizeof(text), "{\"prompt\":\"a\",\"completion\":\"b\"}\n\n%s\n", cases[i].line);
		READ(&r, text);
		assert_int_equal(r.e, ERR_INVALID);
		assert_int_equal(r.report.n_faults, 1);
		assert_int_equal(r.report.faults[0].line, 3);
		if (!strstr(r.report.faults[0].reason, cases[i].reason))
			fail_msg("%s: \"%s\"", cases[i].line, r.report.faults[0].reason);
		assert_int_equal(strncmp(r.why.message, "line 3: ", 8), 0);
		assert_null(r.set.rows);
		reading_fini(&r);
	}
}

static void test_a_raw_nul_is_a_bad_line(void **state)
{
	static const char text[] =
	        "{\"prompt\":\"a\0\",\"completion\":\"b\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}\n";
	struct reading r;

	(void)state;
	read_text(&r, TINY("", LEADING), text, sizeof(text) - 1, 64, 0);
	assert_int_equal(r.e, ERR_INVALID);
	assert_int_equal(r.report.n_faults, 1);
	assert_int_equal(r.report.faults[0].line, 1);
	reading_fini(&r);
}

static void test_all_bad_lines_are_counted_and_the_first_kept(void **state)
{
	struct buf text = {0};
	struct reading r;

	(void)state;
	for (int i = 0; i < 250; i++)
		assert_int_equal(buf_puts(&text, "{\"prompt\":\"a\",\"completion\":\"b\"}\nbad\n"), OK);
	READ(&r, text.data);
	assert_int_equal(r.e, ERR_INVALID);
	assert_int_equal(r.report.n_faults, 250);
	assert_int_equal(r.report.faults[0].line, 2);
	assert_int_equal(r.report.faults[DATASET_MAX_FAULTS - 1].line, 2 * DATASET_MAX_FAULTS);
	assert_non_null(strstr(r.why.message, "250 bad lines"));
	buf_fini(&text);
	reading_fini(&r);
}

static void test_files_without_rows_are_refused(void **state)
{
	struct reading r;

	(void)state;
	READ(&r, "");
	assert_int_equal(r.e, ERR_INVALID);
	assert_string_equal(r.why.message, "the file has no rows");
	reading_fini(&r);
	READ(&r, "\n \n\r\n");
	assert_int_equal(r.e, ERR_INVALID);
	assert_string_equal(r.why.message, "the file has no rows");
	reading_fini(&r);
	READ(&r, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"c\",\"weight\":0}]}");
	assert_int_equal(r.e, ERR_INVALID);
	assert_non_null(strstr(r.why.message, "no row has a token to learn"));
	assert_int_equal(r.report.n_no_loss, 1);
	assert_int_equal(r.report.no_loss_lines[0], 1);
	reading_fini(&r);
}

static void test_rows_longer_than_the_context_are_faults(void **state)
{
	struct reading r;
	const char *text =
	        "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"aaaa\",\"completion\":\"b\"}\n";

	(void)state;
	read_text(&r, TINY("", LEADING), text, strlen(text), 5, 0);
	assert_int_equal(r.e, ERR_INVALID);
	assert_string_equal(
	        r.why.message, "line 2: 7 tokens, the context holds 5: shorten it or set max_length");
	reading_fini(&r);
	/* A max_length beyond the context does not help. */
	read_text(&r, TINY("", LEADING), text, strlen(text), 5, 6);
	assert_int_equal(r.e, ERR_INVALID);
	reading_fini(&r);
}

static void test_max_length_cuts_rows_and_says_so(void **state)
{
	struct reading r;
	const char *text =
	        "{\"prompt\":\"a\",\"completion\":\"bbbb\"}\n{\"prompt\":\"aaaa\",\"completion\":\"b\"}\n";

	(void)state;
	read_text(&r, TINY("", LEADING), text, strlen(text), 64, 4);
	assert_int_equal(r.e, OK);
	check_row(&r, 0, 4, (int32_t[]){BOS, 0, 1, 1}, (float[]){0, 0, 1, 1});
	assert_true(r.set.rows[0].truncated);
	assert_int_equal(r.report.n_truncated, 2);
	assert_int_equal(r.report.truncated_lines[1], 2);
	assert_int_equal(r.report.n_no_loss, 1);
	assert_int_equal(r.report.no_loss_lines[0], 2);
	assert_int_equal(r.set.n_trained, 2);
	reading_fini(&r);
}

static void test_lines_of_any_length_are_read(void **state)
{
	struct buf text = {0};
	struct reading r;

	(void)state;
	assert_int_equal(buf_puts(&text, "{\"prompt\":\""), OK);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_puts(&text, "abcdabcd"), OK);
	assert_int_equal(
	        buf_puts(&text, "\",\"completion\":\"b\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}"), OK);
	read_text(&r, TINY("", LEADING), text.data, text.len, 1000000, 0);
	assert_int_equal(r.e, OK);
	assert_int_equal(r.set.n_rows, 2);
	assert_int_equal(r.set.rows[0].n_tokens, 200003);
	assert_int_equal(r.set.longest, 200003);
	buf_fini(&text);
	reading_fini(&r);
}

static void test_a_monstrous_line_is_skipped(void **state)
{
	struct buf text = {0};
	struct reading r;

	(void)state;
	assert_int_equal(buf_reserve(&text, (size_t)17 << 20), OK);
	memset(text.data, 'x', (size_t)17 << 20);
	text.len = (size_t)17 << 20;
	assert_int_equal(buf_puts(&text, "\n{\"prompt\":\"a\",\"completion\":\"b\"}\nbad"), OK);
	read_text(&r, TINY("", LEADING), text.data, text.len, 64, 0);
	assert_int_equal(r.e, ERR_INVALID);
	assert_int_equal(r.report.n_faults, 2);
	assert_string_equal(r.report.faults[0].reason, "longer than 16 MiB");
	assert_int_equal(r.report.faults[1].line, 3);
	buf_fini(&text);
	reading_fini(&r);
}

static void test_an_unreadable_file_is_an_io_error(void **state)
{
	struct dataset_options options = {.context = 8};
	struct dataset set = {0};
	struct dataset_report report;
	struct why why = {0};

	(void)state;
	assert_int_equal(dataset_read(-1, &options, &set, &report, &why), ERR_IO);
	assert_non_null(strstr(why.message, "reading: "));
	dataset_report_fini(&report);
}

static void test_reading_survives_every_failed_allocation(void **state)
{
	static const char text[] = "{\"prompt\":\"a\",\"completion\":\"b\"}\nbad\n"
	                           "{\"messages\":[{\"role\":\"assistant\",\"content\":\"c\"}]}\n"
	                           "{\"prompt\":\"aaaaaaaaaaaa\",\"completion\":\"b\"}\n";
	struct dataset_options options = {.context = 64, .max_length = 6, .eos_id = EOS};
	struct tokenizer *t = NULL;
	struct why why = {0};
	int fd = memfd_create("rows", 0);
	long n = 0;
	bool failed;

	(void)state;
	assert_int_equal(tokenizer_parse(TINY("", LEADING), strlen(TINY("", LEADING)), &t, &why), OK);
	assert_int_equal(chat_format_detect("tests/goldens/gpt2", &options.chat, &why), OK);
	options.tokenizer = t;
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	do {
		struct dataset set = {0};
		struct dataset_report report;
		enum err e;

		mem_fail_at(++n);
		e = dataset_read(fd, &options, &set, &report, &why);
		failed = mem_failed();
		mem_fail_at(0);
		assert_int_equal(e, failed ? ERR_MEM : ERR_INVALID);
		assert_null(set.rows);
		dataset_report_fini(&report);
	} while (failed);
	assert_true(n > 20);
	close(fd);
	tokenizer_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pairs_are_learnt_in_the_completion),
	        cmocka_unit_test(test_prompt_and_completion_never_merge),
	        cmocka_unit_test(test_messages_are_learnt_where_weighed),
	        cmocka_unit_test(test_both_forms_may_share_a_file),
	        cmocka_unit_test(test_a_first_token_is_never_learnt),
	        cmocka_unit_test(test_bad_lines_are_named_with_reason),
	        cmocka_unit_test(test_a_raw_nul_is_a_bad_line),
	        cmocka_unit_test(test_all_bad_lines_are_counted_and_the_first_kept),
	        cmocka_unit_test(test_files_without_rows_are_refused),
	        cmocka_unit_test(test_rows_longer_than_the_context_are_faults),
	        cmocka_unit_test(test_max_length_cuts_rows_and_says_so),
	        cmocka_unit_test(test_lines_of_any_length_are_read),
	        cmocka_unit_test(test_a_monstrous_line_is_skipped),
	        cmocka_unit_test(test_an_unreadable_file_is_an_io_error),
	        cmocka_unit_test(test_reading_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
