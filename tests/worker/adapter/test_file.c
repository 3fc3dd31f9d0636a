/* Adapter files: written to the byte, read back, read from others' spellings, refused when they do not fit.
 */
#include "core/mem.h"
#include "tests/worker/adapter/sites.h"
#include "worker/adapter/adapter.h"
#include "worker/adapter/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after what it needs */
#include <cmocka.h>

enum { N_LAYERS = 2, WIDTH = 2, N_SITES = 3 * N_LAYERS };

#define SCALE ".delta_vector.activation_scaling"
#define BIAS ".delta_vector.activation_bias"

static int make_sites(void **state)
{
	*state = gpt2_sites(N_LAYERS, WIDTH);
	return *state == NULL;
}

static int free_sites(void **state)
{
	free(*state);
	return 0;
}

/* The FFN of both layers, numbers 0, 1, 2... */
static struct adapter_layout *counting_layout(const struct site *sites, float params[8])
{
	struct adapter_layout *l = NULL;
	struct adapter_spec spec;

	adapter_spec_default(&spec);
	assert_int_equal(adapter_layout_new(&spec, sites, N_SITES, &l, NULL), OK);
	assert_int_equal(adapter_layout_n_params(l), 8);
	for (size_t i = 0; i < 8; i++)
		params[i] = (float)i;
	return l;
}

static void test_bytes_are_the_formats(void **state)
{
	static const char header[] =
	        "{\"__metadata__\":{\"manifest\":\"{\\\"base\\\":\\\"x\\\",\\\"seed\\\":7}\"},"
	        "\"transformer.h.0.mlp.c_proj" SCALE
	        "\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
	        "\"transformer.h.0.mlp.c_proj" BIAS
	        "\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
	        "\"transformer.h.1.mlp.c_proj" SCALE
	        "\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[16,24]},"
	        "\"transformer.h.1.mlp.c_proj" BIAS
	        "\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[24,32]}}";
	size_t n_header = (strlen(header) + 7) / 8 * 8;
	float params[8];
	struct adapter_layout *l = counting_layout(*state, params);
	json_t *manifest = json_pack("{s:i, s:s}", "seed", 7, "base", "x");
	struct buf b = {0};

	assert_int_equal(buf_puts(&b, "kept"), OK);
	assert_int_equal(adapter_write(l, params, manifest, &b), OK);
	assert_memory_equal(b.data, "kept", 4);
	assert_int_equal(b.len, 4 + 8 + n_header + sizeof(params));
	assert_int_equal((unsigned char)b.data[4] + 256 * (unsigned char)b.data[5], n_header);
	assert_memory_equal(b.data + 12, header, strlen(header));
	for (size_t i = strlen(header); i < n_header; i++)
		assert_int_equal(b.data[12 + i], ' ');
	assert_memory_equal(b.data + 12 + n_header, params, sizeof(params));
	json_decref(manifest);
	adapter_layout_free(l);
	buf_fini(&b);
}

static void test_written_again_the_bytes_are_the_same(void **state)
{
	float params[8], *again = NULL;
	struct adapter_layout *l = counting_layout(*state, params), *l2 = NULL;
	json_t *forth = json_pack("{s:i, s:[i,i], s:f}", "b", 1, "a", 2, 3, "c", 0.1);
	json_t *back = json_pack("{s:f, s:[i,i], s:i}", "c", 0.1, "a", 2, 3, "b", 1);
	json_t *read = NULL;
	struct buf first = {0}, second = {0}, third = {0};

	assert_int_equal(adapter_write(l, params, forth, &first), OK);
	assert_int_equal(adapter_write(l, params, back, &second), OK);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	assert_int_equal(adapter_read(first.data, first.len, *state, N_SITES, &l2, &again, &read, NULL), OK);
	assert_true(json_equal(read, forth));
	assert_memory_equal(again, params, sizeof(params));
	assert_memory_equal(adapter_layout_spec(l2), adapter_layout_spec(l), sizeof(struct adapter_spec));
	assert_int_equal(adapter_write(l2, again, read, &third), OK);
	assert_int_equal(first.len, third.len);
	assert_memory_equal(first.data, third.data, first.len);
	json_decref(forth), json_decref(back), json_decref(read);
	buf_fini(&first), buf_fini(&second), buf_fini(&third);
	adapter_layout_free(l), adapter_layout_free(l2);
	mem_free(again);
}

static void test_writing_fails_whole(void **state)
{
	float params[8];
	struct adapter_layout *l = counting_layout(*state, params);
	struct buf b = {0};

	assert_int_equal(buf_puts(&b, "kept"), OK);
	mem_fail_at(1);
	assert_int_equal(adapter_write(l, params, NULL, &b), ERR_MEM);
	mem_fail_at(0);
	assert_int_equal(b.len, 4);
	assert_string_equal(b.data, "kept");
	adapter_layout_free(l);
	buf_fini(&b);
}

/* A file of a header and raw data. */
static void make_file(struct buf *b, const char *header, const void *data, size_t n_data)
{
	uint64_t n = strlen(header);

	b->len = 0;
	for (size_t i = 0; i < 8; i++) {
		unsigned char byte = (unsigned char)(n >> (8 * i));

		assert_int_equal(buf_append(b, &byte, 1), OK);
	}
	assert_int_equal(buf_puts(b, header), OK);
	assert_int_equal(buf_append(b, data, n_data), OK);
}

#define TENSOR(name, dtype, shape, begin, end)                                                               \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_other_spellings_are_read_and_missing_parts_are_identity(void **state)
{
	static const char header[] = "{" TENSOR("h.1.mlp.c_proj" BIAS, "F16", "[2]", "0", "4") "," TENSOR(
	        "transformer.h.0.attn.c_proj" SCALE, "BF16", "[1,2]", "4", "8") "}";
	static const unsigned char data[] = {0, 0x3c, 0, 0xc0, 0x80, 0xbf, 0, 0x40}; /* 1, -2; -1, 2 */
	struct adapter_layout *l = NULL;
	json_t *manifest = (json_t *)&l; /* must be overwritten */
	float *params = NULL;
	struct buf b = {0};
	float h[4] = {10, 20, 30, 40};

	make_file(&b, header, data, sizeof(data));
	assert_int_equal(adapter_read(b.data, b.len, *state, N_SITES, &l, &params, &manifest, NULL), OK);
	assert_null(manifest);
	assert_int_equal(adapter_layout_n_params(l), 4);
	for (size_t i = 0; i < N_SITES; i++)
		assert_int_equal(adapter_layout_edits(l, i), i == 1 || i == 5);
	assert_int_equal(adapter_layout_spec(l)->positions, POSITION_ATTN | POSITION_FFN);
	assert_int_equal(adapter_layout_spec(l)->parts, PART_SCALE | PART_BIAS);
	assert_false(adapter_layout_spec(l)->all_layers);
	{
		const struct edit_run run = {1, l, params, 1};

		adapter_forward(&run, 1, 1, 0, SIZE_MAX, h, 2);
		adapter_forward(&run, 1, 5, 0, SIZE_MAX, h + 2, 2);
	}
	assert_true(h[0] == -10 && h[1] == 40 && h[2] == 31 && h[3] == 38);
	adapter_layout_free(l);
	mem_free(params);
	buf_fini(&b);
}

/* Named and shaped as PyTorch's layer norm is; what is missing of it is the identity. */
static void test_a_norm_is_written_and_read(void **state)
{
	static const char header[] =
	        "{" TENSOR("h.1.mlp.c_proj.delta_vector.activation_ln.weight", "F32", "[2]", "0", "8") "}";
	static const char written[] = "\"transformer.h.1.mlp.c_proj.delta_vector.activation_ln.bias\":"
	                              "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}";
	static const float data[] = {3, 5};
	struct adapter_layout *l = NULL;
	float *params = NULL;
	struct buf b = {0}, out = {0};

	make_file(&b, header, data, sizeof(data));
	assert_int_equal(adapter_read(b.data, b.len, *state, N_SITES, &l, &params, NULL, NULL), OK);
	assert_int_equal(adapter_layout_spec(l)->parts, PART_LN);
	assert_int_equal(adapter_layout_n_params(l), 4);
	assert_true(params[0] == 3 && params[1] == 5 && params[2] == 0 && params[3] == 0);
	assert_int_equal(adapter_write(l, params, NULL, &out), OK);
	assert_non_null(memmem(out.data, out.len, written, strlen(written)));
	adapter_layout_free(l);
	mem_free(params);
	buf_fini(&b);
	buf_fini(&out);
}

static void assert_refused(
        void **state, const char *header, const void *data, size_t n, enum err want, const char *word)
{
	struct adapter_layout *l = NULL;
	struct why why = {{0}, {0}, {0}};
	json_t *manifest = NULL;
	float *params = NULL;
	struct buf b = {0};

	make_file(&b, header, data, n);
	assert_int_equal(adapter_read(b.data, b.len, *state, N_SITES, &l, &params, &manifest, &why), want);
	assert_true(!l && !params && !manifest);
	if (!strstr(why.message, word))
		fail_msg("\"%s\" does not say \"%s\"", why.message, word);
	buf_fini(&b);
}

#define ONE(name, dtype, shape) "{" TENSOR(name, dtype, shape, "0", "8") "}"

static void test_what_does_not_fit_is_refused(void **state)
{
	static const float data[4] = {1, 2, 3, 4};
	float bad[2] = {1, NAN};

	assert_refused(state, ONE("transformer.h.2.mlp.c_proj" BIAS, "F32", "[2]"), data, 8, ERR_MISMATCH,
	        "no module");
	assert_refused(state, ONE("h.0.mlp" BIAS, "F32", "[2]"), data, 8, ERR_MISMATCH, "no module");
	assert_refused(state, ONE(BIAS, "F32", "[2]"), data, 8, ERR_MISMATCH, "no edit");
	assert_refused(state, ONE("transformer.h.0.mlp.c_proj.lora_A", "F32", "[2]"), data, 8, ERR_MISMATCH,
	        "no edit");
	assert_refused(state, ONE("transformer.h.0.mlp.c_proj" BIAS, "F32", "[2,1]"), data, 8, ERR_MISMATCH,
	        "2 wide");
	assert_refused(
	        state, ONE("transformer.h.0.mlp.c_proj" BIAS, "F16", "[4]"), data, 8, ERR_MISMATCH, "2 wide");
	assert_refused(
	        state, ONE("transformer.h.0.mlp.c_proj" BIAS, "I32", "[2]"), data, 8, ERR_FORMAT, "I32");
	assert_refused(state, ONE("transformer.h.0.mlp.c_proj" BIAS, "F32", "[2]"), bad, 8, ERR_FORMAT,
	        "not finite");
	assert_refused(state, "{}", data, 0, ERR_FORMAT, "no tensor");
	assert_refused(state,
	        "{" TENSOR("transformer.h.0.mlp.c_proj" BIAS, "F32", "[2]", "0", "8") "," TENSOR(
	                "h.0.mlp.c_proj" BIAS, "F32", "[2]", "8", "16") "}",
	        data, 16, ERR_FORMAT, "twice");
	assert_refused(state,
	        "{\"__metadata__\":{\"manifest\":\"[1]\"}," TENSOR(
	                "h.0.mlp.c_proj" BIAS, "F32", "[2]", "0", "8") "}",
	        data, 8, ERR_FORMAT, "manifest");
	assert_refused(state,
	        "{\"__metadata__\":{\"manifest\":\"{\"}," TENSOR(
	                "h.0.mlp.c_proj" BIAS, "F32", "[2]", "0", "8") "}",
	        data, 8, ERR_FORMAT, "manifest");
}

static void test_an_ambiguous_name_is_refused(void **state)
{
	static const float data[2] = {1, 2};
	struct site *sites = *state;

	site_set(&sites[0], "model.x", POSITION_FFN, 0, 2);
	site_set(&sites[1], "transformer.x", POSITION_FFN, 0, 2);
	assert_refused(state, ONE("x" BIAS, "F32", "[2]"), data, 8, ERR_MISMATCH, "no module");
}

/* Cut a good file anywhere, or damage any one byte of it: refused or read, never a crash. */
static void test_damaged_files_do_no_harm(void **state)
{
	float params[8];
	struct adapter_layout *l = counting_layout(*state, params);
	json_t *manifest = json_pack("{s:s}", "base", "x");
	struct buf b = {0};

	assert_int_equal(adapter_write(l, params, manifest, &b), OK);
	for (size_t i = 0; i < 2 * b.len; i++) {
		size_t n = i < b.len ? i : b.len;
		unsigned char *copy = mem_dup(b.data, n);
		struct adapter_layout *got = NULL;
		float *numbers = NULL;
		enum err e;

		assert_non_null(copy);
		if (i >= b.len)
			copy[i - b.len] ^= 0x15;
		e = adapter_read(copy, n, *state, N_SITES, &got, &numbers, NULL, NULL);
		if (i < b.len)
			assert_int_equal(e, ERR_FORMAT);
		assert_int_equal(e == OK, got != NULL && numbers != NULL);
		adapter_layout_free(got);
		mem_free(numbers);
		mem_free(copy);
	}
	json_decref(manifest);
	adapter_layout_free(l);
	buf_fini(&b);
}

static void test_out_of_memory_at_any_point_is_reported(void **state)
{
	float params[8];
	struct adapter_layout *l = counting_layout(*state, params);
	json_t *manifest = json_pack("{s:s}", "base", "x");
	size_t n_failures = 0;
	enum err e = ERR_MEM;
	struct buf b = {0};

	assert_int_equal(adapter_write(l, params, manifest, &b), OK);
	for (long n = 1; e != OK; n++) {
		struct adapter_layout *got = NULL;
		json_t *read = NULL;
		float *numbers = NULL;

		mem_fail_at(n);
		e = adapter_read(b.data, b.len, *state, N_SITES, &got, &numbers, &read, NULL);
		mem_fail_at(0);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_true(!got && !numbers && !read);
			n_failures++;
		}
		adapter_layout_free(got);
		mem_free(numbers);
		json_decref(read);
	}
	assert_true(n_failures >= 6);
	json_decref(manifest);
	adapter_layout_free(l);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_bytes_are_the_formats, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(
	                test_written_again_the_bytes_are_the_same, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(test_writing_fails_whole, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(
	                test_other_spellings_are_read_and_missing_parts_are_identity, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(test_a_norm_is_written_and_read, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_refused, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(test_an_ambiguous_name_is_refused, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(test_damaged_files_do_no_harm, make_sites, free_sites),
	        cmocka_unit_test_setup_teardown(
	                test_out_of_memory_at_any_point_is_reported, make_sites, free_sites),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
