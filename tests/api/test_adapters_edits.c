/* How far an adapter edits each module, as the API says it, against the adapter's own numbers. */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FORM_TYPE "multipart/form-data; boundary=a-line-that-no-file-here-holds"
#define FORM_HEAD                                                                                            \
	"--a-line-that-no-file-here-holds\r\nContent-Disposition: form-data; name=\"file\"; "                \
	"filename=\"a.safetensors\"\r\n\r\n"
#define FORM_END "\r\n--a-line-that-no-file-here-holds--\r\n"
#define TOLERANCE 1e-9

struct place {
	struct daemon daemon;
	char ann[128], bob[128];
	char path[320]; /* of the edits of ann's adapter */
	struct buf content;
};

static int setup(void **state)
{
	static const char *const args[] = {"--model", GOLDEN_DIR "gpt2", "--model-name", "base", NULL};
	struct place *p = mem_calloc(1, sizeof(*p));
	struct buf form = {0};
	struct answer a;

	daemon_init(&p->daemon);
	daemon_start(&p->daemon, args);
	must_tenant(&p->daemon, "ann", p->ann);
	must_tenant(&p->daemon, "bob", p->bob);
	assert_int_equal(
	        buf_read_file(&p->content, GOLDEN_DIR "gpt2/adapter_expected.safetensors", 1 << 20), OK);
	assert_int_equal(buf_puts(&form, FORM_HEAD), OK);
	assert_int_equal(buf_append(&form, p->content.data, p->content.len), OK);
	assert_int_equal(buf_puts(&form, FORM_END), OK);
	a = http_raw(&p->daemon, p->ann, "POST", "/v1/adapters", FORM_TYPE, form.data, form.len);
	assert_int_equal(a.status, 200);
	snprintf(p->path, sizeof(p->path), "/v1/adapters/%s/edits",
	        json_string_value(json_object_get(a.json, "id")));
	answer_fini(&a);
	buf_fini(&form);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	daemon_stop(&p->daemon);
	daemon_fini(&p->daemon);
	buf_fini(&p->content);
	mem_free(p);
	return 0;
}

/* Hold the numbers said of a tensor against the tensor in the file. */
static void check_sizes(
        const struct place *p, const json_t *said, const char *site, const char *part, double identity)
{
	char *name = mem_printf("%s.delta_vector.%s", site, part);
	uint64_t head;
	double squares = 0, sum = 0, max = 0;
	json_t *header, *offsets;
	size_t from, n;

	memcpy(&head, p->content.data, sizeof(head));
	header = json_loadb(p->content.data + sizeof(head), (size_t)head, 0, NULL);
	offsets = json_object_get(json_object_get(header, name), "data_offsets");
	assert_int_equal(json_array_size(offsets), 2);
	from = (size_t)json_integer_value(json_array_get(offsets, 0));
	n = ((size_t)json_integer_value(json_array_get(offsets, 1)) - from) / sizeof(float);
	for (size_t i = 0; i < n; i++) {
		float v;

		memcpy(&v, p->content.data + sizeof(head) + head + from + i * sizeof(v), sizeof(v));
		squares += ((double)v - identity) * ((double)v - identity);
		sum += (double)v - identity;
		max = fmax(max, fabs((double)v - identity));
	}
	assert_true(squares > 0);
	assert_true(
	        fabs(json_real_value(json_object_get(said, "rms")) - sqrt(squares / (double)n)) < TOLERANCE);
	assert_true(fabs(json_real_value(json_object_get(said, "max")) - max) < TOLERANCE);
	assert_true(fabs(json_real_value(json_object_get(said, "mean")) - sum / (double)n) < TOLERANCE);
	json_decref(header);
	mem_free(name);
}

static void test_sizes_are_those_of_the_tensors(void **state)
{
	struct place *p = *state;
	json_t *answer = must_call(&p->daemon, p->ann, "GET", p->path, NULL);
	json_t *data = json_object_get(answer, "data"), *edit;
	size_t i;

	assert_string_equal(json_string_value(json_object_get(answer, "object")), "list");
	assert_true(json_array_size(data) >= 2);
	json_array_foreach (data, i, edit) {
		const char *site = json_string_value(json_object_get(edit, "site"));

		assert_int_equal(json_integer_value(json_object_get(edit, "layer")), i);
		assert_string_equal(json_string_value(json_object_get(edit, "position")), "ffn");
		check_sizes(p, json_object_get(edit, "scale"), site, "activation_scaling", 1);
		check_sizes(p, json_object_get(edit, "bias"), site, "activation_bias", 0);
	}
	json_decref(answer);
}

static void test_base_and_foreign_adapters_have_no_edits(void **state)
{
	struct place *p = *state;
	struct answer a = http_call(&p->daemon, p->ann, "GET", "/v1/adapters/base/edits", NULL);

	assert_int_equal(a.status, 400);
	answer_fini(&a);
	a = http_call(&p->daemon, p->bob, "GET", p->path, NULL);
	assert_int_equal(a.status, 404);
	answer_fini(&a);
	a = http_call(&p->daemon, p->ann, "GET", "/v1/adapters/nope/edits", NULL);
	assert_int_equal(a.status, 404);
	answer_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_sizes_are_those_of_the_tensors),
	        cmocka_unit_test(test_base_and_foreign_adapters_have_no_edits),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
