/* Chat: telling formats apart, rendering each, and prompts that are the beginnings of rows. */
#include "core/buf.h"
#include "core/mem.h"
#include "worker/text/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a model directory of our own ---- */

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void remove_dir(const char *dir)
{
	static const char *const names[] = {"tokenizer_config.json", "chat_template.jinja"};
	char path[200];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

/* Either text may be NULL: no such file. */
static enum err detect(const char *config, const char *jinja, const struct chat_format **f, struct why *why)
{
	char dir[] = "/tmp/redd-chat-XXXXXX";
	enum err e;

	assert_non_null(mkdtemp(dir));
	if (config)
		put_file(dir, "tokenizer_config.json", config);
	if (jinja)
		put_file(dir, "chat_template.jinja", jinja);
	e = chat_format_detect(dir, f, why);
	remove_dir(dir);
	return e;
}

static const struct chat_format *format_of(const char *template)
{
	const struct chat_format *f = NULL;
	struct why why = {0};

	if (detect(NULL, template, &f, &why))
		fail_msg("%s", why.message);
	return f;
}

#define CHATML                                                                                               \
	"{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + "       \
	"'\\n'}}"
#define LLAMA2 "{{ '<<SYS>>\\n' }}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
#define LLAMA3 "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>' }}{{ '<|eot_id|>' }}"
#define MISTRAL "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
#define ZEPHYR "{{ '<|user|>\\n' + message['content'] + eos_token }}{{ '<|assistant|>' }}"
#define GEMMA "{{ '<start_of_turn>' + role }}<end_of_turn>"

static void test_formats_are_told_apart(void **state)
{
	(void)state;
	assert_string_equal(chat_format_name(format_of(CHATML)), "chatml");
	assert_string_equal(chat_format_name(format_of(LLAMA2)), "llama2");
	assert_string_equal(chat_format_name(format_of(LLAMA3)), "llama3");
	assert_string_equal(chat_format_name(format_of(MISTRAL)), "mistral");
	assert_string_equal(chat_format_name(format_of(ZEPHYR)), "zephyr");
	assert_string_equal(chat_format_name(format_of(GEMMA)), "gemma");
	assert_string_equal(chat_format_name(format_of("<|user|><|end|><|assistant|>")), "phi3");
	assert_string_equal(chat_format_name(format_of("")), "plain");
}

static void check_config(const char *config, const char *expected)
{
	const struct chat_format *f = NULL;
	struct why why = {0};

	if (detect(config, NULL, &f, &why))
		fail_msg("%s", why.message);
	assert_string_equal(chat_format_name(f), expected);
}

static void test_templates_are_found_in_the_configuration(void **state)
{
	(void)state;
	check_config(NULL, "plain");
	check_config("{\"model_max_length\":1000000000000000019884624838656}", "plain");
	check_config("{\"chat_template\":null}", "plain");
	check_config("{\"chat_template\":\"<|im_start|>\"}", "chatml");
	check_config("{\"chat_template\":[{\"name\":\"rag\",\"template\":\"?\"},"
	             "{\"name\":\"default\",\"template\":\"[INST] [/INST]\"}]}",
	        "mistral");
}

static void test_a_template_file_comes_before_the_configuration(void **state)
{
	const struct chat_format *f = NULL;
	struct why why = {0};

	(void)state;
	assert_int_equal(detect("{\"chat_template\":\"<|im_start|>\"}", MISTRAL, &f, &why), OK);
	assert_string_equal(chat_format_name(f), "mistral");
}

static void test_strange_templates_are_refused_with_reason(void **state)
{
	static const struct {
		const char *config;
		enum err e;
		const char *reason;
	} cases[] = {
	        {"{\"chat_template\":\"{{ messages }}\"}", ERR_UNSUPPORTED, "unknown form"},
	        {"{\"chat_template\":7}", ERR_FORMAT, "neither a string nor a list"},
	        {"{\"chat_template\":[{\"name\":\"default\"}]}", ERR_FORMAT, "[0]: \"template\" is missing"},
	        {"[]", ERR_FORMAT, "not a JSON object"},
	        {"{", ERR_FORMAT, "tokenizer_config.json: not JSON"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct chat_format *f = NULL;
		struct why why = {0};

		assert_int_equal(detect(cases[i].config, NULL, &f, &why), cases[i].e);
		assert_null(f);
		if (!strstr(why.message, cases[i].reason))
			fail_msg("%s: \"%s\"", cases[i].config, why.message);
	}
}

/* ---- rendering ---- */

static struct tokenizer *open_golden(const char *name)
{
	struct tokenizer *t = NULL;
	struct why why = {0};
	char dir[100];

	snprintf(dir, sizeof(dir), "tests/goldens/%s", name);
	if (tokenizer_open(dir, &t, &why))
		fail_msg("%s", why.message);
	return t;
}

static const struct chat_message talk[] = {
        {"system", "Be brief.", 1},
        {"user", " Hi ", 1},
        {"assistant", "Hello.", 0},
        {"user", "And?", 1},
        {"assistant", "No more.", 1},
};

/* A byte-level tokenizer says again exactly what was rendered. */
static void check_prompt(const char *template, size_t from, size_t n, const char *expected)
{
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0};
	struct buf text = {0};
	struct why why = {0};

	if (chat_encode_prompt(format_of(template), t, talk + from, n, &ids, &why))
		fail_msg("%s", why.message);
	assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, false, true, &text), OK);
	assert_string_equal(text.data, expected);
	ids_fini(&ids);
	buf_fini(&text);
	tokenizer_close(t);
}

static void test_prompts_are_rendered_as_the_format_wants(void **state)
{
	(void)state;
	check_prompt("", 1, 1, "Human:  Hi \n\nAssistant: ");
	check_prompt("", 0, 4, "Be brief.\n\nHuman:  Hi \n\nAssistant: Hello.\n\nHuman: And?\n\nAssistant: ");
	check_prompt(CHATML, 0, 4,
	        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
	        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>"
	        "assistant\n");
	check_prompt(LLAMA3, 0, 2,
	        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
	        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
	        "<|start_header_id|>assistant<|end_header_id|>\n\n");
	check_prompt(LLAMA2, 0, 4,
	        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. <|endoftext|>[INST] And? [/INST]");
	check_prompt(MISTRAL, 1, 3, "[INST]  Hi  [/INST]Hello.<|endoftext|>[INST] And? [/INST]");
	check_prompt(ZEPHYR, 0, 2,
	        "<|system|>\nBe brief.<|endoftext|>\n<|user|>\n Hi <|endoftext|>\n<|assistant|>\n");
	check_prompt(GEMMA, 1, 3,
	        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n"
	        "<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n");
	check_prompt(CHATML "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>", 1, 1,
	        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n Hi "
	        "<|im_end|>\n"
	        "<|im_start|>assistant\n");
}

static void test_the_text_starts_with_bos_once(void **state)
{
	struct tokenizer *t = open_golden("llama3");
	struct ids ids = {0};
	struct why why = {0};
	int32_t bos = tokenizer_token_id(t, "<|begin_of_text|>");
	size_t n_bos = 0;

	(void)state;
	assert_int_equal(chat_encode_prompt(format_of(LLAMA3), t, talk, 4, &ids, &why), OK);
	for (size_t i = 0; i < ids.n; i++)
		n_bos += ids.ids[i] == bos;
	assert_int_equal(ids.ids[0], bos);
	assert_int_equal(n_bos, 1);
	ids_fini(&ids);
	tokenizer_close(t);
}

static void test_llama2_answers_have_one_space_before_them(void **state)
{
	struct tokenizer *t = open_golden("llama2");
	struct ids ids = {0};
	struct buf text = {0};
	struct why why = {0};
	float *weights = NULL;

	(void)state;
	assert_int_equal(chat_encode_row(format_of(LLAMA2), t, talk + 1, 2, &ids, &weights, 2, &why), OK);
	assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, false, true, &text), OK);
	assert_string_equal(text.data, "<s> [INST] Hi [/INST] Hello. </s>");
	assert_int_equal(ids.ids[ids.n - 1], 2);
	mem_free(weights);
	buf_fini(&text);
	ids_fini(&ids);
	tokenizer_close(t);
}

/* ---- rows ---- */

static void check_row(const char *template, const char *golden, size_t from)
{
	const struct chat_format *f = format_of(template);
	struct tokenizer *t = open_golden(golden);
	struct ids prompt = {0}, earlier = {0}, row = {0};
	struct why why = {0};
	float *weights = NULL;
	const int32_t mark = 77;

	assert_int_equal(ids_append(&row, &mark, 1), OK);
	assert_int_equal(chat_encode_prompt(f, t, talk + from, 2 - from, &earlier, &why), OK);
	assert_int_equal(chat_encode_prompt(f, t, talk + from, 4 - from, &prompt, &why), OK);
	if (chat_encode_row(f, t, talk + from, 5 - from, &row, &weights, 2, &why))
		fail_msg("%s", why.message);
	assert_int_equal(row.ids[0], mark);
	assert_true(row.n > 1 + prompt.n);
	assert_true(prompt.n > earlier.n);
	assert_memory_equal(row.ids + 1, prompt.ids, prompt.n * sizeof(*prompt.ids));
	assert_memory_equal(prompt.ids, earlier.ids, earlier.n * sizeof(*earlier.ids));
	/* The first answer weighs nothing, the last is all that is learnt. */
	for (size_t i = 1; i < row.n; i++)
		assert_true(weights[i] == (i >= 1 + prompt.n ? 1.0f : 0.0f));
	mem_free(weights);
	ids_fini(&prompt);
	ids_fini(&earlier);
	ids_fini(&row);
	tokenizer_close(t);
}

static void test_rows_begin_with_the_prompt(void **state)
{
	static const char *const goldens[] = {"gpt2", "llama2", "llama3"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		check_row("", goldens[i], 0);
		check_row(CHATML, goldens[i], 0);
		check_row(LLAMA2, goldens[i], 0);
		check_row(LLAMA3, goldens[i], 0);
		check_row(ZEPHYR, goldens[i], 0);
		check_row(MISTRAL, goldens[i], 1);
		check_row(GEMMA, goldens[i], 1);
	}
}

static void test_earlier_answers_are_learnt_by_their_weight(void **state)
{
	const struct chat_message two[] = {
	        {"assistant", "one", 1}, {"user", "x", 1}, {"assistant", "two", 0}};
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0}, learnt = {0};
	struct buf text = {0};
	struct why why = {0};
	float *weights = NULL;

	(void)state;
	assert_int_equal(chat_encode_row(format_of(CHATML), t, two, 3, &ids, &weights, 0, &why), OK);
	for (size_t i = 0; i < ids.n; i++) {
		if (weights[i] != 0)
			assert_int_equal(ids_append(&learnt, &ids.ids[i], 1), OK);
	}
	assert_int_equal(tokenizer_decode(t, learnt.ids, learnt.n, false, true, &text), OK);
	assert_string_equal(text.data, "one<|im_end|>");
	mem_free(weights);
	buf_fini(&text);
	ids_fini(&ids);
	ids_fini(&learnt);
	tokenizer_close(t);
}

static void test_the_plain_form_ends_with_the_given_eos(void **state)
{
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0};
	struct why why = {0};
	float *weights = NULL;

	(void)state;
	assert_int_equal(chat_encode_row(format_of(""), t, talk + 1, 2, &ids, &weights, 123, &why), OK);
	assert_int_equal(ids.ids[ids.n - 1], 123);
	assert_int_equal(chat_format_end_id(format_of(""), t), -1);
	assert_int_equal(chat_format_end_id(format_of(ZEPHYR), t), -1);
	mem_free(weights);
	ids_fini(&ids);
	tokenizer_close(t);
}

static void check_refused(const char *template, const struct chat_message *m, size_t n, const char *reason)
{
	struct tokenizer *t = open_golden("gpt2");
	struct ids ids = {0};
	struct why why = {0};

	assert_int_equal(chat_encode_prompt(format_of(template), t, m, n, &ids, &why), ERR_INVALID);
	assert_string_equal(why.param, "messages");
	if (!strstr(why.message, reason))
		fail_msg("\"%s\" does not say \"%s\"", why.message, reason);
	assert_int_equal(ids.n, 0);
	ids_fini(&ids);
	tokenizer_close(t);
}

static void test_messages_without_a_place_are_refused(void **state)
{
	const struct chat_message tool = {"tool", "7", 1};

	(void)state;
	check_refused("", &tool, 1, "messages[0]: the role \"tool\" is not known");
	check_refused("", &tool, 0, "messages is empty");
	check_refused(MISTRAL, talk, 2, "no system message");
	check_refused(LLAMA2, talk, 1, "comes first, a user's after it");
}

static void test_rendering_survives_every_failed_allocation(void **state)
{
	struct tokenizer *t = open_golden("llama2");
	const struct chat_format *f = format_of(LLAMA2);
	long n = 0;
	bool failed;

	(void)state;
	do {
		struct ids ids = {0};
		struct why why = {0};
		float *weights = NULL;
		enum err e;

		mem_fail_at(++n);
		e = chat_encode_row(f, t, talk, 5, &ids, &weights, 2, &why);
		failed = mem_failed();
		mem_fail_at(0);
		assert_int_equal(e != OK, failed);
		if (e) {
			assert_int_equal(e, ERR_MEM);
			assert_int_equal(ids.n, 0);
		}
		mem_free(weights);
		ids_fini(&ids);
	} while (failed);
	assert_true(n > 20);
	tokenizer_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_formats_are_told_apart),
	        cmocka_unit_test(test_templates_are_found_in_the_configuration),
	        cmocka_unit_test(test_a_template_file_comes_before_the_configuration),
	        cmocka_unit_test(test_strange_templates_are_refused_with_reason),
	        cmocka_unit_test(test_prompts_are_rendered_as_the_format_wants),
	        cmocka_unit_test(test_the_text_starts_with_bos_once),
	        cmocka_unit_test(test_llama2_answers_have_one_space_before_them),
	        cmocka_unit_test(test_rows_begin_with_the_prompt),
	        cmocka_unit_test(test_earlier_answers_are_learnt_by_their_weight),
	        cmocka_unit_test(test_the_plain_form_ends_with_the_given_eos),
	        cmocka_unit_test(test_messages_without_a_place_are_refused),
	        cmocka_unit_test(test_rendering_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
