/* The safetensors reader: what is well-formed is found, what lies is refused with the tensor's name. */
#include "worker/adapter/safetensors.h"

#include "core/buf.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

/* A file: the header's length, the header, n_data bytes counting up. */
static void make_file(struct buf *b, const char *header, size_t n_data)
{
	size_t n = strlen(header);
	unsigned char byte;

	b->len = 0;
	for (size_t i = 0; i < 8; i++) {
		byte = (unsigned char)(n >> (8 * i));
		assert_int_equal(buf_append(b, &byte, 1), OK);
	}
	assert_int_equal(buf_puts(b, header), OK);
	for (size_t i = 0; i < n_data; i++) {
		byte = (unsigned char)i;
		assert_int_equal(buf_append(b, &byte, 1), OK);
	}
}

/* Read from a copy of exactly the file's size, so that a read beyond it is a finding. */
static enum err read_exact(
        const struct buf *b, size_t n, void **copy, struct safetensors **s, struct why *why)
{
	*copy = malloc(n ? n : 1);
	assert_non_null(*copy);
	memcpy(*copy, b->data, n);
	return safetensors_new(*copy, n, s, why);
}

static void assert_refused(const char *header, size_t n_data, enum err want, const char *word)
{
	struct safetensors *s = NULL;
	struct why why = {{0}, {0}, {0}};
	struct buf b = {0};
	void *copy;

	make_file(&b, header, n_data);
	assert_int_equal(read_exact(&b, b.len, &copy, &s, &why), want);
	assert_null(s);
	if (!strstr(why.message, word))
		fail_msg("\"%s\" does not say \"%s\"", why.message, word);
	buf_fini(&b);
	free(copy);
}

static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                           "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                           "\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[20,20]},"
                           "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}   ";

static void test_finds_tensors_with_type_shape_and_place(void **state)
{
	struct safetensors *s = NULL;
	struct buf b = {0};
	const struct tensor *t;
	void *copy;

	(void)state;
	make_file(&b, good, 28);
	assert_int_equal(read_exact(&b, b.len, &copy, &s, NULL), OK);
	assert_int_equal(safetensors_count(s), 4);
	assert_string_equal(safetensors_at(s, 0)->name, "a");
	assert_string_equal(safetensors_at(s, 3)->name, "one");
	t = safetensors_find(s, "b");
	assert_non_null(t);
	assert_int_equal(t->type, TENSOR_BF16);
	assert_string_equal(tensor_type_name(t->type), "BF16");
	assert_int_equal(t->n_dims, 2);
	assert_true(t->shape[0] == 2 && t->shape[1] == 3 && t->n_elements == 6 && t->n_bytes == 12);
	assert_int_equal(*(const unsigned char *)t->data, 8);
	t = safetensors_find(s, "one");
	assert_true(t->n_dims == 0 && t->n_elements == 1 && t->n_bytes == 8 && t->type == TENSOR_I64);
	assert_int_equal(safetensors_find(s, "none")->n_bytes, 0);
	assert_null(safetensors_find(s, "c"));
	assert_null(safetensors_find(s, "__metadata__"));
	assert_string_equal(safetensors_metadata(s, "format"), "pt");
	assert_null(safetensors_metadata(s, "other"));
	safetensors_free(s);
	buf_fini(&b);
	free(copy);
}

static void test_reads_floats_of_three_formats(void **state)
{
	static const char header[] = "{\"s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	                             "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
	                             "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[12,16]},"
	                             "\"i\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[16,17]}}";
	static const unsigned char data[] = {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1, 0, 0x3c, 0, 0xc9, 0x80, 0x3f,
	        0x20, 0xc1, 5}; /* 1 and -10 in each */
	static const char *const names[] = {"s", "h", "b"};
	struct safetensors *s = NULL;
	struct buf b = {0};
	float x[2];

	(void)state;
	make_file(&b, header, 0);
	assert_int_equal(buf_append(&b, data, sizeof(data)), OK);
	assert_int_equal(safetensors_new(b.data, b.len, &s, NULL), OK);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(tensor_read_f32(safetensors_find(s, names[i]), 0, 2, x), OK);
		assert_true(x[0] == 1 && x[1] == -10);
		assert_int_equal(tensor_read_f32(safetensors_find(s, names[i]), 1, 1, x), OK);
		assert_true(x[0] == -10);
	}
	assert_int_equal(tensor_read_f32(safetensors_find(s, "i"), 0, 1, x), ERR_UNSUPPORTED);
	safetensors_free(s);
	buf_fini(&b);
}

static void test_an_empty_file_of_tensors_is_well_formed(void **state)
{
	struct safetensors *s = NULL;
	struct buf b = {0};

	(void)state;
	make_file(&b, "{}", 0);
	assert_int_equal(safetensors_new(b.data, b.len, &s, NULL), OK);
	assert_int_equal(safetensors_count(s), 0);
	assert_null(safetensors_find(s, "a"));
	assert_null(safetensors_metadata(s, "a"));
	safetensors_free(s);
	buf_fini(&b);
}

static void test_every_truncation_is_refused(void **state)
{
	struct buf b = {0};

	(void)state;
	make_file(&b, good, 28);
	for (size_t n = 0; n < b.len; n++) {
		struct safetensors *s = NULL;
		struct why why = {{0}, {0}, {0}};
		void *copy;

		assert_int_equal(read_exact(&b, n, &copy, &s, &why), ERR_FORMAT);
		assert_null(s);
		assert_true(why.message[0] != '\0');
		free(copy);
	}
	buf_fini(&b);
}

static void test_lying_header_lengths_are_refused(void **state)
{
	static const unsigned char lengths[][8] = {
	        {255, 255, 255, 255, 255, 255, 255, 255},
	        {248, 255, 255, 255, 255, 255, 255, 255},
	        {1, 225, 245, 5, 0, 0, 0, 0}, /* the limit and one */
	        {0, 225, 245, 5, 0, 0, 0, 0}, /* the limit, but not there */
	        {0, 0, 0, 0, 0, 0, 0, 0},
	        {1, 0, 0, 0, 0, 0, 0, 0},
	};
	struct buf b = {0};

	(void)state;
	make_file(&b, good, 28);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct safetensors *s = NULL;

		memcpy(b.data, lengths[i], 8);
		assert_int_equal(safetensors_new(b.data, b.len, &s, NULL), ERR_FORMAT);
		assert_null(s);
	}
	buf_fini(&b);
}

#define ENTRY(dtype, shape, offsets)                                                                         \
	"{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_lying_entries_are_refused(void **state)
{
	(void)state;
	assert_refused("", 0, ERR_FORMAT, "header");
	assert_refused("[]", 0, ERR_FORMAT, "not a JSON object");
	assert_refused("{\"t\":", 0, ERR_FORMAT, "header");
	assert_refused("{\"t\":1}", 0, ERR_FORMAT, "t: not an object");
	assert_refused("{\"t\":{}}", 0, ERR_FORMAT, "dtype");
	assert_refused(ENTRY("7", "[1]", "[0,4]"), 4, ERR_FORMAT, "dtype");
	assert_refused(ENTRY("\"F33\"", "[1]", "[0,4]"), 4, ERR_UNSUPPORTED, "F33");
	assert_refused(ENTRY("\"F32\"", "1", "[0,4]"), 4, ERR_FORMAT, "shape");
	assert_refused(ENTRY("\"F32\"", "[-1]", "[0,4]"), 4, ERR_FORMAT, "shape[0]");
	assert_refused(ENTRY("\"F32\"", "[1.0]", "[0,4]"), 4, ERR_FORMAT, "shape[0]");
	assert_refused(ENTRY("\"F32\"", "[\"1\"]", "[0,4]"), 4, ERR_FORMAT, "shape[0]");
	assert_refused(ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, ERR_UNSUPPORTED, "9 dimensions");
	assert_refused(
	        ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, ERR_FORMAT, "product overflows");
	assert_refused(ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, ERR_FORMAT, "bytes overflows");
	assert_refused(ENTRY("\"F32\"", "[99999999999999999999]", "[0,0]"), 0, ERR_FORMAT, "header");
	assert_refused(ENTRY("\"F32\"", "[1]", "[0]"), 4, ERR_FORMAT, "data_offsets");
	assert_refused(ENTRY("\"F32\"", "[1]", "[0,4,8]"), 4, ERR_FORMAT, "data_offsets");
	assert_refused(ENTRY("\"F32\"", "[1]", "[-4,0]"), 4, ERR_FORMAT, "data_offsets");
	assert_refused(ENTRY("\"F32\"", "[1]", "[4,0]"), 4, ERR_FORMAT, "data_offsets");
	assert_refused(ENTRY("\"F32\"", "[1]", "{}"), 4, ERR_FORMAT, "data_offsets");
	assert_refused(ENTRY("\"F32\"", "[1]", "[0,8]"), 8, ERR_FORMAT, "8 bytes for a shape and dtype of 4");
	assert_refused(ENTRY("\"F32\"", "[2]", "[0,8]"), 4, ERR_FORMAT, "ends at byte 8 of 4");
	assert_refused(ENTRY("\"F32\"", "[1]", "[9223372036854775803,9223372036854775807]"), 4, ERR_FORMAT,
	        "ends at byte");
}

#define TWO(a, b)                                                                                            \
	"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a                                         \
	"},\"y\":{\"dtype\":\"U8\",\"shape\":[4],"                                                           \
	"\"data_offsets\":" b "}}"

static void test_overlaps_holes_and_leftovers_are_refused(void **state)
{
	(void)state;
	assert_refused(TWO("[0,4]", "[0,4]"), 4, ERR_FORMAT, "overlaps");
	assert_refused(TWO("[0,4]", "[2,6]"), 6, ERR_FORMAT, "overlaps");
	assert_refused(TWO("[0,4]", "[5,9]"), 9, ERR_FORMAT, "hole");
	assert_refused(TWO("[1,5]", "[5,9]"), 9, ERR_FORMAT, "hole");
	assert_refused(TWO("[4,8]", "[0,4]"), 9, ERR_FORMAT, "1 bytes of data belong to no tensor");
	assert_refused("{}", 1, ERR_FORMAT, "belong to no tensor");
}

static void test_duplicates_and_bad_metadata_are_refused(void **state)
{
	(void)state;
	assert_refused("{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
	               "\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
	        0, ERR_FORMAT, "uplicate");
	assert_refused("{\"__metadata__\":[]}", 0, ERR_FORMAT, "__metadata__");
	assert_refused("{\"__metadata__\":{\"k\":1}}", 0, ERR_FORMAT, "__metadata__.k");
	assert_refused("{\"a\\u0000b\":{}}", 0, ERR_FORMAT, "header");
}

static void test_out_of_memory_at_any_point_is_reported(void **state)
{
	struct buf b = {0};
	enum err e = ERR_MEM;
	size_t n_failures = 0;

	(void)state;
	make_file(&b, good, 28);
	for (long n = 1; e != OK; n++) {
		struct safetensors *s = NULL;

		mem_fail_at(n);
		e = safetensors_new(b.data, b.len, &s, NULL);
		mem_fail_at(0);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_null(s);
			n_failures++;
		}
		safetensors_free(s);
	}
	assert_true(n_failures >= 2);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_finds_tensors_with_type_shape_and_place),
	        cmocka_unit_test(test_reads_floats_of_three_formats),
	        cmocka_unit_test(test_an_empty_file_of_tensors_is_well_formed),
	        cmocka_unit_test(test_every_truncation_is_refused),
	        cmocka_unit_test(test_lying_header_lengths_are_refused),
	        cmocka_unit_test(test_lying_entries_are_refused),
	        cmocka_unit_test(test_overlaps_holes_and_leftovers_are_refused),
	        cmocka_unit_test(test_duplicates_and_bad_metadata_are_refused),
	        cmocka_unit_test(test_out_of_memory_at_any_point_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
