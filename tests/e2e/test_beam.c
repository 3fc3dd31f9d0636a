/*
 * Beams over HTTP: the texts that transformers' ids spell (tests/goldens/beam.json), as answers and as
 * streams, and how requests that make no sense are refused.
 */
#include "core/mem.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CASE_STRIDE 7

struct place {
	struct daemon daemon;
	const char *family;
	char key[128];
	int32_t eos;
};

static void place_open(struct place *p, const char *family)
{
	char dir[128], path[160];
	const char *args[] = {"--model", dir, NULL};
	json_t *config;

	memset(p, 0, sizeof(*p));
	p->family = family;
	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	snprintf(path, sizeof(path), "%s/config.json", dir);
	config = json_load_file(path, 0, NULL);
	assert_non_null(config);
	p->eos = (int32_t)json_integer_value(json_object_get(config, "eos_token_id"));
	json_decref(config);
	daemon_init(&p->daemon);
	daemon_start(&p->daemon, args);
	must_tenant(&p->daemon, "beam", p->key);
}

static void place_close(struct place *p)
{
	daemon_stop(&p->daemon);
	daemon_fini(&p->daemon);
}

/* What a golden case asks, as a request for completions. */
static json_t *request_of(const struct place *p, const json_t *c)
{
	static const char *const same[] = {"prompt", "num_beams", "length_penalty", "early_stopping",
	        "no_repeat_ngram_size", "repetition_penalty", "max_tokens"};
	json_t *body = json_pack("{s:s, s:O, s:i}", "model", p->family, "n", json_object_get(c, "num_return"),
	        "temperature", 0);
	char eos[16];

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		json_object_set(body, same[i], json_object_get(c, same[i]));
	snprintf(eos, sizeof(eos), "%d", (int)p->eos);
	json_object_set_new(body, "logit_bias", json_pack("{s:O}", eos, json_object_get(c, "eos_bias")));
	return body;
}

/* The text that an answer's ids without the end add to the prompt. */
static char *text_of(const struct place *p, json_t *prompt, const json_t *ids, bool *ended)
{
	json_t *shown = json_copy((json_t *)ids);
	size_t n = json_array_size(ids);
	char *text;

	*ended = json_integer_value(json_array_get(ids, n - 1)) == p->eos;
	if (*ended)
		json_array_remove(shown, n - 1);
	text = must_added_text(&p->daemon, p->key, p->family, prompt, shown);
	json_decref(shown);
	return text;
}

static void check_answer(const struct place *p, const json_t *c)
{
	json_t *body = request_of(p, c);
	json_t *answer = must_call(&p->daemon, p->key, "POST", "/v1/completions", body);
	const json_t *choices = json_object_get(answer, "choices"), *answers = json_object_get(c, "answers");

	assert_int_equal(json_array_size(choices), json_array_size(answers));
	for (size_t k = 0; k < json_array_size(answers); k++) {
		const json_t *choice = json_array_get(choices, k);
		bool ended;
		char *text = text_of(p, json_object_get(c, "prompt"), json_array_get(answers, k), &ended);

		assert_string_equal(json_string_value(json_object_get(choice, "text")), text);
		assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")),
		        ended ? "stop" : "length");
		mem_free(text);
	}
	json_decref(answer);
	json_decref(body);
}

static void test_texts_are_those_of_transformers(void **state)
{
	json_t *golden = json_load_file(GOLDEN_DIR "beam.json", 0, NULL);
	size_t n = 0;

	(void)state;
	assert_non_null(golden);
	for (size_t i = 0; i < n_golden_families; i++) {
		struct place p;
		const json_t *c;
		size_t at;

		place_open(&p, golden_families[i]);
		json_array_foreach (json_object_get(golden, "cases"), at, c) {
			if (at % CASE_STRIDE ||
			        strcmp(json_string_value(json_object_get(c, "family")), p.family))
				continue;
			check_answer(&p, c);
			n++;
		}
		place_close(&p);
	}
	assert_true(n > 20);
	json_decref(golden);
}

struct pieces {
	char text[2][1024];
	bool done;
};

static bool take_piece(void *arg, const char *data)
{
	struct pieces *s = arg;
	json_t *chunk = json_loads(data, 0, NULL);
	const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
	const char *text = json_string_value(json_object_get(choice, "text"));
	size_t index = (size_t)json_integer_value(json_object_get(choice, "index"));

	s->done |= !strcmp(data, "[DONE]");
	if (text && index < 2)
		strncat(s->text[index], text, sizeof(s->text[index]) - strlen(s->text[index]) - 1);
	json_decref(chunk);
	return true;
}

static void test_a_stream_ends_up_as_the_answer_and_nonsense_is_refused(void **state)
{
	static const struct {
		const char *fields, *param;
	} refused[] = {
	        {"{\"num_beams\":4, \"temperature\":1}", "num_beams"},
	        {"{\"num_beams\":33}", "num_beams"},
	        {"{\"num_beams\":2, \"n\":3}", "n"},
	        {"{\"num_beams\":2, \"length_penalty\":\"long\"}", "length_penalty"},
	        {"{\"num_beams\":2, \"early_stopping\":\"soon\"}", "early_stopping"},
	        {"{\"no_repeat_ngram_size\":-4}", "no_repeat_ngram_size"},
	};
	struct pieces pieces = {0};
	struct place p;
	json_t *body, *answer;

	(void)state;
	place_open(&p, "gpt2");
	body = json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:i}", "model", p.family, "prompt", "The old clock",
	        "n", 2, "num_beams", 10, "no_repeat_ngram_size", 4, "length_penalty", 0.9, "max_tokens", 24);
	answer = must_call(&p.daemon, p.key, "POST", "/v1/completions", body);
	json_object_set_new(body, "stream", json_true());
	assert_int_equal(
	        http_stream(&p.daemon, p.key, "POST", "/v1/completions", body, take_piece, &pieces), 200);
	assert_true(pieces.done);
	for (size_t k = 0; k < 2; k++) {
		const json_t *choice = json_array_get(json_object_get(answer, "choices"), k);

		assert_true(pieces.text[k][0]);
		assert_string_equal(pieces.text[k], json_string_value(json_object_get(choice, "text")));
	}
	json_decref(body);
	json_decref(answer);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct answer a;

		body = json_loads(refused[i].fields, 0, NULL);
		json_object_set_new(body, "model", json_string(p.family));
		json_object_set_new(body, "prompt", json_string("Hi"));
		a = http_call(&p.daemon, p.key, "POST", "/v1/completions", body);
		assert_int_equal(a.status, 400);
		assert_string_equal(
		        json_string_value(json_object_get(json_object_get(a.json, "error"), "param")),
		        refused[i].param);
		answer_fini(&a);
		json_decref(body);
	}
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_texts_are_those_of_transformers),
	        cmocka_unit_test(test_a_stream_ends_up_as_the_answer_and_nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
