/* Adapters that others wrote: the goldens as PyTorch saves them, in every way that comes about. See
 * tests/goldens/pth/make.py. */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/worker/adapter/sites.h"
#include "worker/adapter/adapter.h"
#include "worker/adapter/torch_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after what it needs */
#include <cmocka.h>

#define PTH_DIR "tests/goldens/pth/"
#define MAX_BYTES ((size_t)1 << 20)

enum { N_LAYERS = 3, WIDTH = 64 };

struct base {
	struct site *sites; /* owned: free() */
	size_t n;
};

static struct base base_of(const char *file)
{
	struct base b;

	if (strstr(file, "gpt2"))
		b = (struct base){gpt2_sites(N_LAYERS, WIDTH), 3 * N_LAYERS};
	else
		b = (struct base){llama_sites(N_LAYERS, WIDTH, WIDTH), 5 * N_LAYERS};
	assert_non_null(b.sites);
	return b;
}

static struct buf read_file(const char *path)
{
	struct buf b = {0};

	assert_int_equal(buf_read_file(&b, path, MAX_BYTES), OK);
	return b;
}

/* The numbers of `file` are those of the golden adapter, to within `tolerance` relative to 1. */
static void assert_same_numbers(const char *file, const char *golden, double tolerance)
{
	struct base base = base_of(file);
	struct buf a = read_file(file), b = read_file(golden);
	struct adapter_layout *got = NULL, *expected = NULL;
	float *x = NULL, *y = NULL;
	struct why why = {0};
	enum err e = adapter_import(a.data, a.len, base.sites, base.n, &got, &x, &why);

	if (e)
		fail_msg("%s: %s", file, why.message);
	assert_int_equal(adapter_import(b.data, b.len, base.sites, base.n, &expected, &y, NULL), OK);
	assert_int_equal(adapter_layout_n_params(got), 2 * N_LAYERS * WIDTH);
	assert_int_equal(adapter_layout_n_params(expected), 2 * N_LAYERS * WIDTH);
	for (size_t i = 0; i < adapter_layout_n_params(got); i++)
		assert_true(fabs((double)x[i] - (double)y[i]) <= tolerance * fmax(1, fabs((double)y[i])));
	mem_free(x);
	mem_free(y);
	adapter_layout_free(got);
	adapter_layout_free(expected);
	buf_fini(&a);
	buf_fini(&b);
	free(base.sites);
}

static void test_every_file_of_pytorch_gives_the_numbers_it_was_given(void **state)
{
	static const struct {
		const char *file, *golden;
		double tolerance;
	} cases[] = {
	        {PTH_DIR "gpt2-f32.pth", "tests/goldens/gpt2/adapter_expected.safetensors", 0},
	        {PTH_DIR "gpt2-f32-module.pth", "tests/goldens/gpt2/adapter_expected.safetensors", 0},
	        {PTH_DIR "gpt2-f32-protocol4.pth", "tests/goldens/gpt2/adapter_expected.safetensors", 0},
	        {PTH_DIR "gpt2-f32-protocol5.pth", "tests/goldens/gpt2/adapter_expected.safetensors", 0},
	        {PTH_DIR "gpt2-f32-legacy.pth", "tests/goldens/gpt2/adapter_expected.safetensors", 0},
	        {PTH_DIR "llama2-f64-views.pth", "tests/goldens/llama2/adapter_expected.safetensors", 0},
	        {PTH_DIR "llama2-f64-views-legacy.pth", "tests/goldens/llama2/adapter_expected.safetensors",
	                0},
	        {PTH_DIR "llama2-f16.pth", "tests/goldens/llama2/adapter_expected.safetensors", 0x1p-11},
	        {PTH_DIR "llama3-bf16-parameters.pth", "tests/goldens/llama3/adapter_expected.safetensors",
	                0x1p-8},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_same_numbers(cases[i].file, cases[i].golden, cases[i].tolerance);
}

static void assert_refused(
        const char *file, const struct site *sites, size_t n_sites, enum err expected, const char *words)
{
	struct buf b = read_file(file);
	struct adapter_layout *l = NULL;
	float *x = NULL;
	struct why why = {0};

	assert_int_equal(adapter_import(b.data, b.len, sites, n_sites, &l, &x, &why), expected);
	assert_true(!l && !x);
	assert_non_null(strstr(why.message, words));
	buf_fini(&b);
}

static void test_an_adapter_of_another_base_is_refused_with_the_reason(void **state)
{
	struct site *gpt2 = gpt2_sites(N_LAYERS, WIDTH), *wide = gpt2_sites(N_LAYERS, 2 * WIDTH),
	            *flat = gpt2_sites(2, WIDTH);

	(void)state;
	assert_refused(PTH_DIR "llama2-f16.pth", gpt2, 3 * N_LAYERS, ERR_MISMATCH, "belongs to no module");
	assert_refused(PTH_DIR "gpt2-f32.pth", wide, 3 * N_LAYERS, ERR_MISMATCH, "module is 128 wide");
	assert_refused(PTH_DIR "gpt2-f32.pth", flat, 3 * 2, ERR_MISMATCH, "h.2.mlp.c_proj");
	assert_refused(PTH_DIR "roberta-f32-classifier.pth", wide, 3 * N_LAYERS, ERR_MISMATCH,
	        "does not fit 3 labels on a base 128 wide");
	assert_refused("tests/goldens/gpt2/config.json", gpt2, 3 * N_LAYERS, ERR_FORMAT, "header");
	free(gpt2);
	free(wide);
	free(flat);
}

/* What wraps a model's name is looked through, as long as one module is meant. */
static void test_wrapped_names_find_their_module(void **state)
{
	static const char *const names[] = {"transformer.h.1.mlp.c_proj", "h.1.mlp.c_proj",
	        "module.transformer.h.1.mlp.c_proj", "base_model.model.transformer.h.1.mlp.c_proj"};
	struct site *sites = gpt2_sites(2, 2);
	const float numbers[2] = {3, -0.0f};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct adapter_layout *l = NULL;
		unsigned char length[8] = {0};
		struct buf header = {0}, file = {0};
		float *x = NULL;

		assert_int_equal(buf_printf(&header,
		                         "{\"%s.delta_vector.activation_bias\":{\"dtype\":\"F32\",\"shape\":"
		                         "[1,2],\"data_offsets\":[0,8]}}",
		                         names[i]),
		        OK);
		length[0] = (unsigned char)header.len;
		assert_true(header.len < 256);
		assert_int_equal(buf_append(&file, length, 8), OK);
		assert_int_equal(buf_append(&file, header.data, header.len), OK);
		assert_int_equal(buf_append(&file, numbers, sizeof(numbers)), OK);
		assert_int_equal(adapter_import(file.data, file.len, sites, 6, &l, &x, NULL), OK);
		assert_true(adapter_layout_edits(l, 5));
		assert_int_equal(adapter_layout_first_site(l), 5);
		assert_memory_equal(x, numbers, sizeof(numbers));
		adapter_layout_free(l);
		mem_free(x);
		buf_fini(&header);
		buf_fini(&file);
	}
	free(sites);
}

static const char *const sorts[] = {PTH_DIR "gpt2-f32-module.pth", PTH_DIR "gpt2-f32-protocol4.pth",
        PTH_DIR "gpt2-f32-legacy.pth", PTH_DIR "llama2-f64-views.pth"};

static void test_out_of_memory_at_any_point_is_reported(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]); i++) {
		struct base base = base_of(sorts[i]);
		struct buf b = read_file(sorts[i]);
		size_t n_failures = 0;
		enum err e = ERR_MEM;

		for (long n = 1; e != OK; n++) {
			struct adapter_layout *l = NULL;
			float *x = NULL;

			mem_fail_at(n);
			e = adapter_import(b.data, b.len, base.sites, base.n, &l, &x, NULL);
			mem_fail_at(0);
			if (e) {
				assert_int_equal(e, ERR_MEM);
				assert_true(!l && !x);
				n_failures++;
			}
			adapter_layout_free(l);
			mem_free(x);
		}
		assert_true(n_failures >= 30);
		buf_fini(&b);
		free(base.sites);
	}
}

/* Cut a good file anywhere, or damage any one byte of it: refused or read, never a crash. */
static void test_damaged_files_do_no_harm(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(sorts) / sizeof(sorts[0]); k++) {
		struct base base = base_of(sorts[k]);
		struct buf b = read_file(sorts[k]);

		for (size_t i = 0; i < 2 * b.len; i++) {
			size_t n = i < b.len ? i : b.len;
			unsigned char *copy = mem_dup(b.data, n);
			struct adapter_layout *l = NULL;
			float *x = NULL;
			enum err e;

			assert_non_null(copy);
			if (i >= b.len)
				copy[i - b.len] ^= 0x15;
			e = adapter_import(copy, n, base.sites, base.n, &l, &x, NULL);
			assert_true(i >= b.len || e != OK);
			assert_int_equal(e == OK, l && x);
			adapter_layout_free(l);
			mem_free(x);
			mem_free(copy);
		}
		buf_fini(&b);
		free(base.sites);
	}
}

static void test_a_head_is_read_as_it_was_written(void **state)
{
	static const struct {
		const char *name;
		size_t n_dims, shape[2];
	} expected[] = {{"dense.bias", 1, {64}}, {"dense.weight", 2, {64, 64}}, {"out_proj.bias", 1, {3}},
	        {"out_proj.weight", 2, {3, 64}}};
	struct buf b = read_file(PTH_DIR "roberta-f32-classifier.pth");
	struct torch_file *f = NULL;

	(void)state;
	assert_int_equal(torch_file_new(b.data, b.len, &f, NULL), OK);
	assert_int_equal(torch_file_count(f), 4);
	for (size_t i = 0; i < 4; i++) {
		const struct tensor *t = torch_file_at(f, i);

		assert_string_equal(t->name, expected[i].name);
		assert_int_equal(t->type, TENSOR_F32);
		assert_int_equal(t->n_dims, expected[i].n_dims);
		for (size_t d = 0; d < t->n_dims; d++)
			assert_int_equal(t->shape[d], expected[i].shape[d]);
		assert_int_equal(t->n_bytes, 4 * t->n_elements);
	}
	torch_file_free(f);
	buf_fini(&b);
}

static void test_edits_and_head_come_from_two_files(void **state)
{
	struct site *sites = gpt2_sites(N_LAYERS, WIDTH);
	struct buf edits = read_file(PTH_DIR "gpt2-f32.pth"),
	           head = read_file(PTH_DIR "roberta-f32-classifier.pth");
	struct adapter_layout *l = NULL;
	size_t n_failures = 0;
	struct why why = {0};
	float *x = NULL;
	enum err e = ERR_MEM;

	(void)state;
	for (long n = 1; e != OK; n++) {
		mem_fail_at(n);
		e = adapter_import_with_head(
		        edits.data, edits.len, head.data, head.len, sites, 3 * N_LAYERS, &l, &x, &why);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
		n_failures += e != OK;
	}
	assert_true(n_failures > 10);
	assert_int_equal(adapter_layout_head_labels(l), 3);
	assert_int_equal(
	        adapter_layout_n_params(l), 2 * N_LAYERS * WIDTH + WIDTH * WIDTH + WIDTH + 3 * WIDTH + 3);
	adapter_layout_free(l);
	mem_free(x);
	l = NULL;
	assert_int_equal(adapter_import_with_head(edits.data, edits.len, edits.data, edits.len, sites,
	                         3 * N_LAYERS, &l, &x, &why),
	        ERR_MISMATCH);
	assert_null(l);
	assert_string_equal(why.param, "classifier");
	assert_non_null(strstr(why.message, "no part of a head"));
	buf_fini(&edits);
	buf_fini(&head);
	free(sites);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_file_of_pytorch_gives_the_numbers_it_was_given),
	        cmocka_unit_test(test_an_adapter_of_another_base_is_refused_with_the_reason),
	        cmocka_unit_test(test_wrapped_names_find_their_module),
	        cmocka_unit_test(test_a_head_is_read_as_it_was_written),
	        cmocka_unit_test(test_edits_and_head_come_from_two_files),
	        cmocka_unit_test(test_damaged_files_do_no_harm),
	        cmocka_unit_test(test_out_of_memory_at_any_point_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
