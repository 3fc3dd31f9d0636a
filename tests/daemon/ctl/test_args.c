/* ctl/args, and the requests that submit and ask make of them. */
#include "daemon/ctl/args.h"
#include "daemon/ctl/ask.h"
#include "daemon/ctl/submit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_WORDS 32

static const struct args_option own[] = {{"model", 'm', "MODEL", "x"}, {"watch", 'w', NULL, "x"},
        {"count", 0, "N", "x"}, {NULL, 0, NULL, NULL}};
static const struct args_option global[] = {
        {"json", 'j', NULL, "x"}, {"url", 0, "URL", "x"}, {NULL, 0, NULL, NULL}};

/* Words that live as long as the test: getopt_long() permutes what it is given. */
static char *words[MAX_WORDS];
static int n_words;

static enum err parse(
        struct args *a, const struct args_option *table, bool stop, struct why *why, const char *line)
{
	static char text[512];
	char *rest;

	n_words = 0;
	words[n_words++] = (char *)"redctl";
	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[n_words++] = word;
	words[n_words] = NULL;
	return args_parse(a, n_words, words, table, global, stop, why);
}

static void test_options_may_stand_anywhere(void **state)
{
	struct args a = {0};

	(void)state;
	assert_int_equal(parse(&a, own, false, NULL, "one -m x --json two --model=y -w"), OK);
	assert_int_equal(a.n_operands, 2);
	assert_string_equal(a.operands[0], "one");
	assert_string_equal(a.operands[1], "two");
	assert_true(args_flag(&a, "json"));
	assert_true(args_flag(&a, "watch"));
	assert_false(args_flag(&a, "url"));
	assert_string_equal(args_text(&a, "model"), "y");
	assert_string_equal(args_nth(&a, "model", 0), "x");
	assert_string_equal(args_nth(&a, "model", 1), "y");
	assert_null(args_nth(&a, "model", 2));
	assert_null(args_text(&a, "count"));
}

static void test_parsing_stops_at_the_command_when_asked(void **state)
{
	struct args a = {0};

	(void)state;
	assert_int_equal(parse(&a, NULL, true, NULL, "--url u jobs --limit 3"), OK);
	assert_int_equal(a.n_operands, 3);
	assert_string_equal(a.operands[1], "--limit");
	assert_string_equal(args_text(&a, "url"), "u");
}

static void test_wrong_options_are_named_and_told_from_refusals(void **state)
{
	struct args a = {0};
	struct why why = {0};
	enum err e;

	(void)state;
	e = parse(&a, own, false, &why, "--nonsense");
	assert_true(args_is_wrong(e, &why));
	assert_non_null(strstr(why.message, "--nonsense"));
	e = parse(&a, own, false, &why, "-x");
	assert_true(args_is_wrong(e, &why));
	assert_non_null(strstr(why.message, "-x"));
	e = parse(&a, own, false, &why, "--model");
	assert_true(args_is_wrong(e, &why));
	assert_non_null(strstr(why.message, "--model needs a value"));
	e = why_set(&why, ERR_INVALID, "the server says no");
	assert_false(args_is_wrong(e, &why));
}

static void test_too_many_options_are_refused(void **state)
{
	char *many[ARGS_MAX + 3] = {(char *)"redctl"};
	struct args a = {0};

	(void)state;
	for (size_t i = 1; i < ARGS_MAX + 2; i++)
		many[i] = (char *)"-w";
	assert_int_equal(args_parse(&a, ARGS_MAX + 1, many, own, global, false, NULL), OK);
	memset(&a, 0, sizeof(a));
	assert_int_equal(args_parse(&a, ARGS_MAX + 2, many, own, global, false, NULL), ERR_INVALID);
}

static void test_numbers_are_checked(void **state)
{
	struct args a = {0};
	struct why why = {0};
	int64_t whole = 7;
	double real = 7;

	(void)state;
	assert_int_equal(args_integer(&a, "count", 0, 9, &whole, &why), OK);
	assert_int_equal(whole, 7);
	assert_int_equal(parse(&a, own, false, NULL, "--count 9"), OK);
	assert_int_equal(args_integer(&a, "count", 0, 9, &whole, &why), OK);
	assert_int_equal(whole, 9);
	assert_int_equal(args_integer(&a, "count", 0, 8, &whole, &why), ERR_INVALID);
	assert_non_null(strstr(why.message, "from 0 to 8"));
	assert_int_equal(parse(&a, own, false, NULL, "--count 1e-2"), OK);
	assert_int_equal(args_integer(&a, "count", 0, 9, &whole, &why), ERR_INVALID);
	assert_int_equal(args_real(&a, "count", 0, 1, &real, &why), OK);
	assert_true(real == 0.01);
	assert_int_equal(parse(&a, own, false, NULL, "--count nan"), OK);
	assert_int_equal(args_real(&a, "count", 0, 1, &real, &why), ERR_INVALID);
	assert_int_equal(parse(&a, own, false, NULL, "--count 99999999999999999999"), OK);
	assert_int_equal(args_integer(&a, "count", 0, INT64_MAX, &whole, &why), ERR_INVALID);
	assert_int_equal(whole, 9);
}

/* The body that a command line of submit makes must be this JSON. */
static void expect_body(const char *line, const char *expected)
{
	struct args a = {0};
	json_t *body = NULL, *wanted = json_loads(expected, 0, NULL);

	assert_non_null(wanted);
	assert_int_equal(parse(&a, submit_options, false, NULL, line), OK);
	assert_int_equal(submit_body(&a, "base", "file-1", NULL, &body, NULL), OK);
	if (!json_equal(body, wanted))
		fail_msg("%s makes %s", line, json_dumps(body, 0));
	json_decref(body);
	json_decref(wanted);
}

static void test_submit_says_only_what_was_asked_for(void **state)
{
	(void)state;
	expect_body("d.jsonl", "{\"model\":\"base\",\"training_file\":\"file-1\"}");
	expect_body("d.jsonl --epochs 3 --lr 3e-2 --batch-size auto --keep best --warmup-ratio 0.06",
	        "{\"model\":\"base\",\"training_file\":\"file-1\",\"method\":{\"type\":\"supervised\","
	        "\"supervised\":"
	        "{\"hyperparameters\":{\"n_epochs\":3,\"learning_rate\":0.03,\"batch_size\":\"auto\","
	        "\"keep\":\"best\","
	        "\"warmup_ratio\":0.06}}}}");
	expect_body("d.jsonl --positions ffn,attn --parts scale --layers 0,2-4 --suffix s --seed 7 "
	            "--metadata a=b=c",
	        "{\"model\":\"base\",\"training_file\":\"file-1\",\"suffix\":\"s\",\"seed\":7,\"metadata\":{"
	        "\"a\":\"b=c\"},"
	        "\"adapter\":{\"type\":\"red\",\"positions\":[\"ffn\",\"attn\"],\"parts\":[\"scale\"],"
	        "\"layers\":[0,2,3,4]}}");
}

static void test_submit_refuses_what_it_cannot_say(void **state)
{
	static const char *const lines[] = {"--epochs three", "--batch-size 1.5", "--lr auto", "--lr -1",
	        "--seed -1", "--positions ffn,,attn", "--parts ,", "--layers 3-1", "--layers 1,",
	        "--layers x", "--layers 1-", "--layers 99999", "--metadata plain", "--metadata =v"};
	struct why why;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct args a = {0};
		json_t *body = NULL;
		enum err e;

		memset(&why, 0, sizeof(why));
		assert_int_equal(parse(&a, submit_options, false, NULL, lines[i]), OK);
		e = submit_body(&a, "base", "file-1", NULL, &body, &why);
		if (!args_is_wrong(e, &why))
			fail_msg("%s is accepted", lines[i]);
		assert_null(body);
		/* The message begins with the option at fault. */
		assert_memory_equal(why.message, lines[i], strcspn(lines[i], " "));
	}
}

static void test_validation_file_is_named(void **state)
{
	struct args a = {0};
	json_t *body = NULL;

	(void)state;
	assert_int_equal(submit_body(&a, "base", "file-1", "file-2", &body, NULL), OK);
	assert_string_equal(json_string_value(json_object_get(body, "validation_file")), "file-2");
	json_decref(body);
}

static void test_ask_passes_sampling_options_on(void **state)
{
	struct args a = {0};
	json_t *body = NULL, *prompt = json_string("hi"), *wanted;
	struct why why = {0};

	(void)state;
	assert_int_equal(parse(&a, ask_options, false, NULL,
	                         "-n 5 -t 0.5 --top-p 1 --top-k 3 --seed 1 --stop x --stop y"),
	        OK);
	assert_int_equal(ask_body(&a, "m", "prompt", prompt, true, &body, NULL), OK);
	wanted = json_loads(
	        "{\"model\":\"m\",\"prompt\":\"hi\",\"stream\":true,\"max_tokens\":5,\"temperature\":0.5,"
	        "\"top_p\":1.0,\"top_k\":3,\"seed\":1,\"stop\":[\"x\",\"y\"]}",
	        0, NULL);
	assert_true(json_equal(body, wanted));
	json_decref(wanted);
	json_decref(body);
	assert_int_equal(parse(&a, ask_options, false, NULL, "-t 3"), OK);
	assert_true(args_is_wrong(ask_body(&a, "m", "prompt", prompt, true, &body, &why), &why));
	json_decref(prompt);
}

static void test_new_text_is_found_in_events_of_both_kinds(void **state)
{
	static const char *const events[][2] = {
	        {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "a"},
	        {"{\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}", ""},
	        {"{\"choices\":[{\"text\":\"b\"}]}", "b"},
	        {"{\"choices\":[]}", ""},
	        {"{}", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		json_t *event = json_loads(events[i][0], 0, NULL);

		assert_string_equal(ask_event_text(event), events[i][1]);
		json_decref(event);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_options_may_stand_anywhere),
	        cmocka_unit_test(test_parsing_stops_at_the_command_when_asked),
	        cmocka_unit_test(test_wrong_options_are_named_and_told_from_refusals),
	        cmocka_unit_test(test_too_many_options_are_refused),
	        cmocka_unit_test(test_numbers_are_checked),
	        cmocka_unit_test(test_submit_says_only_what_was_asked_for),
	        cmocka_unit_test(test_submit_refuses_what_it_cannot_say),
	        cmocka_unit_test(test_validation_file_is_named),
	        cmocka_unit_test(test_ask_passes_sampling_options_on),
	        cmocka_unit_test(test_new_text_is_found_in_events_of_both_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
