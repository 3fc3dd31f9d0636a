/* multipart/form-data in pieces of every size, and what is no multipart at all. */
#include "api/multipart.h"

#include "core/buf.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TYPE "multipart/form-data; boundary=xyz"

/* Everything seen, as "<name|filename>content" one after the other. */
static enum err on_begin(void *arg, const char *name, const char *filename, struct why *why)
{
	(void)why;
	return buf_printf(arg, "<%s|%s>", name, filename ? filename : "");
}

static enum err on_data(void *arg, const char *p, size_t n, struct why *why)
{
	(void)why;
	return buf_append(arg, p, n);
}

/* Feed body in pieces of `step` bytes; what was seen goes to seen. */
static enum err parse(const char *type, const char *body, size_t n, size_t step, struct buf *seen)
{
	struct multipart_sink sink = {.begin = on_begin, .data = on_data, .arg = seen};
	struct multipart *m = NULL;
	struct why why = {0};
	enum err e = multipart_new(type, &sink, &m, &why);

	for (size_t at = 0; !e && at < n; at += step)
		e = multipart_feed(m, body + at, n - at < step ? n - at : step, &why);
	if (!e)
		e = multipart_end(m, &why);
	assert_true(e == OK || e == ERR_MEM || why.message[0]);
	multipart_free(m);
	return e;
}

static void expect_seen(const char *body, const char *expected)
{
	for (size_t step = 1; step <= strlen(body); step++) {
		struct buf seen = {0};

		assert_int_equal(parse(TYPE, body, strlen(body), step, &seen), OK);
		assert_string_equal(seen.data, expected);
		buf_fini(&seen);
	}
}

static void expect_refused(const char *body)
{
	for (size_t step = 1; step <= strlen(body); step += 3) {
		struct buf seen = {0};

		assert_int_equal(parse(TYPE, body, strlen(body), step, &seen), ERR_INVALID);
		buf_fini(&seen);
	}
}

static void test_fields_and_files_arrive_in_pieces_of_any_size(void **state)
{
	(void)state;
	expect_seen("--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
	            "--xyz\r\nContent-Type: text/plain\r\n"
	            "content-disposition: form-data; filename=\"a b.jsonl\"; name=file\r\n\r\n{\"a\":1}\n\r\n"
	            "--xyz--\r\n",
	        "<purpose|>fine-tune<file|a b.jsonl>{\"a\":1}\n");
}

static void test_content_that_looks_like_a_delimiter_is_content(void **state)
{
	(void)state;
	expect_seen("--xyz\r\nContent-Disposition: form-data; "
	            "name=\"f\"\r\n\r\n\r\n--xy\r\n\r\n--xyZ--xyz\r\n--xyz--",
	        "<f|>\r\n--xy\r\n\r\n--xyZ--xyz");
}

static void test_preamble_epilogue_and_padding_are_ignored(void **state)
{
	(void)state;
	expect_seen("hello\r\n--xyz \t\r\nContent-Disposition: form-data; "
	            "name=\"f\"\r\n\r\n1\r\n--xyz--bye\r\n--xyz",
	        "<f|>1");
}

static void test_empty_parts_and_quoted_names(void **state)
{
	(void)state;
	expect_seen("--xyz\r\nContent-Disposition: form-data; name=\"a\\\"b\\\\c;d\"; "
	            "filename=\"\"\r\n\r\n\r\n--xyz--",
	        "<a\"b\\c;d|>");
}

static void test_bytes_of_every_value_pass(void **state)
{
	static const char head[] = "--xyz\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n";
	static const char tail[] = "\r\n--xyz--\r\n";
	struct buf body = {0}, seen = {0};

	(void)state;
	assert_int_equal(buf_puts(&body, head), OK);
	for (int i = 0; i < 512; i++)
		assert_int_equal(buf_append(&body, &(char){(char)i}, 1), OK);
	assert_int_equal(buf_puts(&body, tail), OK);
	assert_int_equal(parse(TYPE, body.data, body.len, 7, &seen), OK);
	assert_int_equal(seen.len, 4 + 512);
	assert_memory_equal(seen.data + 4, body.data + strlen(head), 512);
	buf_fini(&body);
	buf_fini(&seen);
}

static void test_a_body_cut_short_is_refused_wherever_it_ends(void **state)
{
	static const char body[] = "--xyz\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n1\r\n--xyz--";

	(void)state;
	for (size_t n = 0; n < sizeof(body) - 1; n++) {
		struct buf seen = {0};

		assert_int_equal(parse(TYPE, body, n, 5, &seen), ERR_INVALID);
		buf_fini(&seen);
	}
}

static void test_parts_without_a_name_are_refused(void **state)
{
	(void)state;
	expect_refused("--xyz\r\n\r\n\r\n1\r\n--xyz--");
	expect_refused("--xyz\r\nContent-Type: text/plain\r\n\r\n1\r\n--xyz--");
	expect_refused("--xyz\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xyz--");
	expect_refused("--xyz\r\nContent-Disposition: form-data; filename=\"name\"\r\n\r\n1\r\n--xyz--");
	expect_refused("--xyzz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--xyz--");
}

static void test_an_endless_part_header_is_refused(void **state)
{
	struct buf body = {0}, seen = {0};

	(void)state;
	assert_int_equal(buf_puts(&body, "--xyz\r\nX: "), OK);
	for (int i = 0; i < 20000; i++)
		assert_int_equal(buf_puts(&body, "a"), OK);
	assert_int_equal(parse(TYPE, body.data, body.len, 100, &seen), ERR_INVALID);
	buf_fini(&body);
	buf_fini(&seen);
}

static void expect_type(const char *type, enum err expected)
{
	static const char body[] = "--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\n1\r\n--xyz--";
	struct buf seen = {0};

	assert_int_equal(parse(type, body, sizeof(body) - 1, 9, &seen), expected);
	buf_fini(&seen);
}

static void test_the_boundary_is_read_from_the_content_type(void **state)
{
	char endless[256];

	(void)state;
	expect_type("multipart/form-data; charset=utf-8; boundary=\"xyz\"", OK);
	expect_type("Multipart/Form-Data;BOUNDARY=xyz ; a=b", OK);
	expect_type(NULL, ERR_INVALID);
	expect_type("application/json", ERR_INVALID);
	expect_type("multipart/form-data", ERR_INVALID);
	expect_type("multipart/form-data; boundary=", ERR_INVALID);
	expect_type("multipart/form-data; xboundary=xyz", ERR_INVALID);
	snprintf(endless, sizeof(endless), "multipart/form-data; boundary=%0100d", 7);
	expect_type(endless, ERR_INVALID);
}

static void test_memory_may_run_out_anywhere(void **state)
{
	static const char body[] = "--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\n1\r\n--xyz--";
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		struct buf seen = {0};

		mem_fail_at(n);
		e = parse(TYPE, body, sizeof(body) - 1, 3, &seen);
		assert_true(e == OK || e == ERR_MEM);
		assert_true(e == OK || mem_failed());
		mem_fail_at(0);
		buf_fini(&seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_fields_and_files_arrive_in_pieces_of_any_size),
	        cmocka_unit_test(test_content_that_looks_like_a_delimiter_is_content),
	        cmocka_unit_test(test_preamble_epilogue_and_padding_are_ignored),
	        cmocka_unit_test(test_empty_parts_and_quoted_names),
	        cmocka_unit_test(test_bytes_of_every_value_pass),
	        cmocka_unit_test(test_a_body_cut_short_is_refused_wherever_it_ends),
	        cmocka_unit_test(test_parts_without_a_name_are_refused),
	        cmocka_unit_test(test_an_endless_part_header_is_refused),
	        cmocka_unit_test(test_the_boundary_is_read_from_the_content_type),
	        cmocka_unit_test(test_memory_may_run_out_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
