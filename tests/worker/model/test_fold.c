/* Folding over a narrow base: the golden GPT-2 in half precision and in bfloat16, every folded number rounded
 * to the nearest, ties to even, as exact arithmetic gives it. That the answers stay is shown over HTTP, in
 * tests/api/test_adapters_files.c. */
#include "core/buf.h"
#include "core/mem.h"
#include "core/rng.h"
#include "worker/adapter/safetensors.h"
#include "worker/model/fold.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN "tests/goldens/gpt2"
#define MAX_BYTES ((size_t)8 << 20)
#define BLOCK 512

struct base {
	char dir[64];
	struct model *model;
	struct adapter_layout *layout;
	float *params;
	enum tensor_type type;
};

/* The upper half of each number of the golden's model.safetensors is a bfloat16; or its bits are taken for
 * halves below 2 in size. Either way the header only changes its type and offsets. */
static void write_narrow(const char *path, enum tensor_type type)
{
	struct buf in = {0}, header = {0}, data = {0};
	struct safetensors *s;
	unsigned char prefix[8];
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(buf_read_file(&in, GOLDEN "/model.safetensors", MAX_BYTES), OK);
	assert_int_equal(safetensors_new(in.data, in.len, &s, NULL), OK);
	for (size_t i = 0; i < safetensors_count(s); i++) {
		const struct tensor *t = safetensors_at(s, i);

		assert_int_equal(buf_printf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{",
		                         t->name, tensor_type_name(type)),
		        OK);
		for (size_t d = 0; d < t->n_dims; d++)
			assert_int_equal(buf_printf(&header, d ? ",%zu" : "%zu", t->shape[d]), OK);
		assert_int_equal(buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", data.len,
		                         data.len + 2 * t->n_elements),
		        OK);
		for (size_t k = 0; k < t->n_elements; k++) {
			unsigned char bits[4];

			memcpy(bits, (const char *)t->data + 4 * k, 4);
			if (type == TENSOR_F16) {
				bits[2] = bits[1];
				bits[3] &= 0xbf;
			}
			assert_int_equal(buf_append(&data, bits + 2, 2), OK);
		}
	}
	assert_int_equal(buf_puts(&header, "}"), OK);
	for (size_t i = 0; i < 8; i++)
		prefix[i] = (unsigned char)(header.len >> (8 * i));
	assert_int_equal(fwrite(prefix, 1, 8, f), 8);
	assert_int_equal(fwrite(header.data, 1, header.len, f), header.len);
	assert_int_equal(fwrite(data.data, 1, data.len, f), data.len);
	assert_int_equal(fclose(f), 0);
	safetensors_free(s);
	buf_fini(&in);
	buf_fini(&header);
	buf_fini(&data);
}

static void base_open(struct base *b, enum tensor_type type, float spread)
{
	char path[128], command[256];
	struct adapter_spec spec;
	const struct site *sites;
	struct rng rng;
	size_t n;

	memset(b, 0, sizeof(*b));
	b->type = type;
	snprintf(b->dir, sizeof(b->dir), "/tmp/redd-model-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(
	        command, sizeof(command), "cp " GOLDEN "/config.json " GOLDEN "/tokenizer.json '%s'", b->dir);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/model.safetensors", b->dir);
	write_narrow(path, type);
	assert_int_equal(model_open(b->dir, &b->model, NULL), OK);
	sites = model_sites(b->model, &n);
	adapter_spec_default(&spec);
	spec.positions = POSITION_FFN | POSITION_QKV;
	assert_int_equal(adapter_layout_new(&spec, sites, n, &b->layout, NULL), OK);
	b->params = mem_calloc(adapter_layout_n_params(b->layout), sizeof(float));
	assert_non_null(b->params);
	rng_seed(&rng, 3);
	for (size_t i = 0; i < adapter_layout_n_params(b->layout); i++)
		b->params[i] = spread * ((float)rng_uniform(&rng) - 0.5f);
}

static void base_close(struct base *b)
{
	char command[128];

	model_close(b->model);
	adapter_layout_free(b->layout);
	mem_free(b->params);
	snprintf(command, sizeof(command), "rm -rf '%s'", b->dir);
	assert_int_equal(system(command), 0);
}

/* The archive in memory. */
static struct buf fold(const struct base *b)
{
	int fd = memfd_create("fold", 0);
	struct why why = {0};
	struct buf out = {0};
	struct stat st;

	if (model_fold(b->model, b->layout, b->params, fd, &why))
		fail_msg("%s", why.message);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(buf_reserve(&out, (size_t)st.st_size), OK);
	assert_int_equal(pread(fd, out.data, (size_t)st.st_size, 0), st.st_size);
	out.len = (size_t)st.st_size;
	close(fd);
	return out;
}

/* A file of the archive; NULL when there is none. */
static const char *tar_find(const struct buf *tar, const char *name, size_t *n)
{
	size_t at = 0;

	assert_int_equal(tar->len % BLOCK, 0);
	while (tar->data[at]) {
		const char *header = tar->data + at;

		*n = strtoul(header + 124, NULL, 8);
		assert_memory_equal(header + 257, "ustar", 6);
		if (strcmp(header, name) == 0)
			return header + BLOCK;
		at += BLOCK + (*n + BLOCK - 1) / BLOCK * BLOCK;
		assert_true(at < tar->len);
	}
	return NULL;
}

/* x is the number of the tensor's type nearest to `exact`, and of two the even one. */
static void assert_nearest(const struct base *b, float x, double exact)
{
	int digits = b->type == TENSOR_F16 ? 11 : 8, exponent;
	double step, rounded;

	frexp(exact, &exponent);
	if (b->type == TENSOR_F16 && exponent < -13)
		exponent = -13;
	step = ldexp(1, exponent - digits);
	rounded = nearbyint(exact / step) * step;
	if ((double)x != rounded)
		fail_msg("%.9g instead of %.17g for %.17g", (double)x, rounded, exact);
}

static void check_module(const struct base *b, const struct safetensors *from, const struct safetensors *to,
        const struct site *site, const float *scale, const float *shift)
{
	char name[160];
	const struct tensor *w, *v;
	float x[256], y[256];

	snprintf(name, sizeof(name), "%s.weight", site->name);
	w = safetensors_find(from, name);
	v = safetensors_find(to, name);
	assert_true(w && v && v->type == b->type && v->shape[1] == site->width && site->width <= 256);
	for (size_t r = 0; r < v->shape[0]; r++) {
		assert_int_equal(tensor_read_f32(w, r * site->width, site->width, x), OK);
		assert_int_equal(tensor_read_f32(v, r * site->width, site->width, y), OK);
		for (size_t c = 0; c < site->width; c++)
			assert_nearest(b, y[c], (double)(x[c] * scale[c]));
	}
	snprintf(name, sizeof(name), "%s.bias", site->name);
	assert_int_equal(tensor_read_f32(safetensors_find(from, name), 0, site->width, x), OK);
	assert_int_equal(tensor_read_f32(safetensors_find(to, name), 0, site->width, y), OK);
	for (size_t c = 0; c < site->width; c++)
		assert_nearest(b, y[c], (double)(x[c] * scale[c] + shift[c]));
}

static void check_type(enum tensor_type type)
{
	struct base b;
	struct buf tar, in = {0};
	struct safetensors *from, *to;
	const struct site *sites;
	const char *folded;
	char path[128];
	size_t n_sites, n;

	base_open(&b, type, 3);
	tar = fold(&b);
	snprintf(path, sizeof(path), "%s/model.safetensors", b.dir);
	assert_int_equal(buf_read_file(&in, path, MAX_BYTES), OK);
	assert_int_equal(safetensors_new(in.data, in.len, &from, NULL), OK);
	folded = tar_find(&tar, "model.safetensors", &n);
	assert_non_null(folded);
	assert_int_equal(safetensors_new(folded, n, &to, NULL), OK);
	assert_string_equal(safetensors_metadata(to, "format"), "pt");
	assert_int_equal(safetensors_count(to), safetensors_count(from));
	sites = model_sites(b.model, &n_sites);
	for (size_t i = 0; i < n_sites; i++) {
		float scale[256], shift[256];

		if (!adapter_layout_edits(b.layout, i))
			continue;
		assert_true(adapter_affine(b.layout, b.params, i, scale, shift));
		check_module(&b, from, to, &sites[i], scale, shift);
	}
	assert_non_null(tar_find(&tar, "tokenizer.json", &n));
	assert_null(tar_find(&tar, "vocab.json", &n));
	safetensors_free(from);
	safetensors_free(to);
	buf_fini(&in);
	buf_fini(&tar);
	base_close(&b);
}

static void test_narrow_types_are_kept_and_rounded_to_nearest_even(void **state)
{
	(void)state;
	check_type(TENSOR_BF16);
	check_type(TENSOR_F16);
}

static void test_what_a_type_cannot_hold_is_refused(void **state)
{
	struct why why = {0};
	struct base b;
	int fd = memfd_create("fold", 0);

	(void)state;
	base_open(&b, TENSOR_F16, 1e7f);
	assert_int_equal(model_fold(b.model, b.layout, b.params, fd, &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why.message, "too large for F16"));
	close(fd);
	base_close(&b);
}

static void test_a_base_that_has_changed_is_refused(void **state)
{
	struct why why = {0};
	struct base b;
	char path[128];
	int fd = memfd_create("fold", 0);

	(void)state;
	base_open(&b, TENSOR_BF16, 1);
	snprintf(path, sizeof(path), "%s/model.safetensors", b.dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(model_fold(b.model, b.layout, b.params, fd, &why), ERR_NOT_FOUND);
	assert_true(why.message[0]);
	close(fd);
	base_close(&b);
}

static void test_out_of_memory_at_any_point_is_reported(void **state)
{
	size_t n_failures = 0;
	enum err e = ERR_MEM;
	struct base b;

	(void)state;
	base_open(&b, TENSOR_BF16, 1);
	for (long n = 1; e != OK; n++) {
		int fd = memfd_create("fold", 0);

		mem_fail_at(n);
		e = model_fold(b.model, b.layout, b.params, fd, NULL);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
		n_failures += e != OK;
		close(fd);
	}
	assert_true(n_failures >= 20);
	base_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_narrow_types_are_kept_and_rounded_to_nearest_even),
	        cmocka_unit_test(test_what_a_type_cannot_hold_is_refused),
	        cmocka_unit_test(test_a_base_that_has_changed_is_refused),
	        cmocka_unit_test(test_out_of_memory_at_any_point_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
