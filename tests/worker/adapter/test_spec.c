/* Adapter specs: the wire form both ways, and what is refused with the field's name. */
#include "worker/adapter/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

static enum err parse(const char *text, struct adapter_spec *spec, struct why *why)
{
	json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
	enum err e;

	assert_non_null(j);
	e = adapter_spec_parse(j, spec, why);
	json_decref(j);
	return e;
}

static void assert_default(const struct adapter_spec *spec)
{
	assert_int_equal(spec->method, METHOD_RED);
	assert_int_equal(spec->positions, POSITION_FFN);
	assert_int_equal(spec->parts, PART_SCALE | PART_BIAS);
	assert_true(spec->all_layers);
}

static void test_nothing_said_is_red_as_in_the_paper(void **state)
{
	struct adapter_spec spec;

	(void)state;
	adapter_spec_default(&spec);
	assert_default(&spec);
	memset(&spec, 0xff, sizeof(spec));
	assert_int_equal(adapter_spec_parse(NULL, &spec, NULL), OK);
	assert_default(&spec);
	assert_int_equal(parse("null", &spec, NULL), OK);
	assert_default(&spec);
	assert_int_equal(parse("{}", &spec, NULL), OK);
	assert_default(&spec);
	assert_int_equal(parse("{\"type\":\"red\",\"layers\":\"all\"}", &spec, NULL), OK);
	assert_default(&spec);
}

static void test_positions_parts_and_layers_are_read(void **state)
{
	struct adapter_spec spec;

	(void)state;
	assert_int_equal(
	        parse("{\"positions\":[\"qkv\",\"attn\",\"qkv\"],\"parts\":[\"bias\"],\"layers\":[3,0,255]}",
	                &spec, NULL),
	        OK);
	assert_int_equal(spec.positions, POSITION_QKV | POSITION_ATTN);
	assert_int_equal(spec.parts, PART_BIAS);
	assert_false(spec.all_layers);
	for (size_t i = 0; i < ADAPTER_MAX_LAYERS; i++)
		assert_int_equal(spec.layers[i], i == 0 || i == 3 || i == 255);
}

static void test_norm_and_residual_are_options(void **state)
{
	static const struct {
		const char *text;
		unsigned positions, parts;
	} cases[] = {
	        {"{\"ln\":true}", POSITION_FFN, PART_SCALE | PART_BIAS | PART_LN},
	        {"{\"parts\":[\"bias\",\"ln\"]}", POSITION_FFN, PART_BIAS | PART_LN},
	        {"{\"parts\":[\"scale\"],\"ln\":true}", POSITION_FFN, PART_SCALE | PART_LN},
	        {"{\"parts\":[],\"ln\":true}", POSITION_FFN, PART_LN},
	        {"{\"ln\":false,\"res\":false}", POSITION_FFN, PART_SCALE | PART_BIAS},
	        {"{\"res\":true}", POSITION_FFN_RES, PART_SCALE | PART_BIAS},
	        {"{\"res\":true,\"positions\":[\"qkv\",\"attn\"]}", POSITION_ATTN_RES | POSITION_QKV,
	                PART_SCALE | PART_BIAS},
	        {"{\"positions\":[\"res\",\"ffn\",\"attn_res\"]}",
	                POSITION_FFN | POSITION_FFN_RES | POSITION_ATTN_RES, PART_SCALE | PART_BIAS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct adapter_spec spec;

		assert_int_equal(parse(cases[i].text, &spec, NULL), OK);
		assert_int_equal(spec.positions, cases[i].positions);
		assert_int_equal(spec.parts, cases[i].parts);
	}
}

static void test_what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *text, *param;
	} cases[] = {
	        {"[]", "adapter"},
	        {"\"red\"", "adapter"},
	        {"{\"type\":\"lora\"}", "adapter.type"},
	        {"{\"type\":1}", "adapter.type"},
	        {"{\"positions\":[]}", "adapter.positions"},
	        {"{\"positions\":\"ffn\"}", "adapter.positions"},
	        {"{\"positions\":[\"mlp\"]}", "adapter.positions"},
	        {"{\"positions\":[1]}", "adapter.positions"},
	        {"{\"positions\":null}", "adapter.positions"},
	        {"{\"parts\":[]}", "adapter.parts"},
	        {"{\"parts\":[\"gain\"]}", "adapter.parts"},
	        {"{\"parts\":{\"scale\":true}}", "adapter.parts"},
	        {"{\"layers\":\"some\"}", "adapter.layers"},
	        {"{\"layers\":[]}", "adapter.layers"},
	        {"{\"layers\":3}", "adapter.layers"},
	        {"{\"layers\":[-1]}", "adapter.layers"},
	        {"{\"layers\":[256]}", "adapter.layers"},
	        {"{\"layers\":[1.5]}", "adapter.layers"},
	        {"{\"layers\":[\"1\"]}", "adapter.layers"},
	        {"{\"position\":[\"ffn\"]}", "adapter"},
	        {"{\"ln\":1}", "adapter.ln"},
	        {"{\"ln\":null}", "adapter.ln"},
	        {"{\"res\":\"yes\"}", "adapter.res"},
	        {"{\"res\":true,\"positions\":[\"qkv\"]}", "adapter.res"},
	        {"{\"parts\":[],\"ln\":false}", "adapter.parts"},
	        {"{\"scale\":true}", "adapter"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct adapter_spec spec, kept;
		struct why why = {{0}, {0}, {0}};

		memset(&spec, 0x5a, sizeof(spec));
		kept = spec;
		assert_int_equal(parse(cases[i].text, &spec, &why), ERR_INVALID);
		assert_string_equal(why.param, cases[i].param);
		assert_non_null(strstr(why.message, cases[i].param));
		assert_memory_equal(&spec, &kept, sizeof(spec));
	}
}

static void test_wire_form_is_written_and_read_back(void **state)
{
	static const char *const forms[] = {
	        "{\"type\":\"red\",\"positions\":[\"ffn\"],\"parts\":[\"scale\",\"bias\"],\"layers\":"
	        "\"all\"}",
	        "{\"type\":\"red\",\"positions\":[\"ffn\",\"attn\",\"qkv\"],\"parts\":[\"scale\"],\"layers\":"
	        "[0,7]}",
	        "{\"type\":\"red\",\"positions\":[\"attn\"],\"parts\":[\"bias\"],\"layers\":[255]}",
	        "{\"type\":\"red\",\"positions\":[\"ffn\"],\"parts\":[],\"layers\":\"all\",\"ln\":true}",
	        "{\"type\":\"red\",\"positions\":[\"ffn\",\"attn\",\"qkv\"],\"parts\":[\"scale\"],\"layers\":"
	        "\"all\",\"ln\":true,\"res\":true}",
	        "{\"type\":\"red\",\"positions\":[\"ffn\",\"attn_res\"],\"parts\":[\"scale\"],\"layers\":"
	        "\"all\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct adapter_spec spec;
		json_t *j;
		char *text;

		assert_int_equal(parse(forms[i], &spec, NULL), OK);
		j = adapter_spec_json(&spec);
		assert_non_null(j);
		text = json_dumps(j, JSON_COMPACT);
		assert_non_null(text);
		assert_string_equal(text, forms[i]);
		free(text);
		json_decref(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_nothing_said_is_red_as_in_the_paper),
	        cmocka_unit_test(test_positions_parts_and_layers_are_read),
	        cmocka_unit_test(test_norm_and_residual_are_options),
	        cmocka_unit_test(test_what_is_wrong_is_named),
	        cmocka_unit_test(test_wire_form_is_written_and_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
