/* Recipes, automatic values by kind of base, and what data and base forbid. */
#include "worker/job_spec.h"

#include "core/mem.h"
#include "worker/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct model_info bases[] = {
        {.family = "gpt2", .kind = MODEL_CAUSAL, .max_positions = 1024},
        {.family = "llama", .kind = MODEL_CAUSAL, .max_positions = 256},
        {.family = "roberta", .kind = MODEL_ENCODER, .max_positions = 512},
        {.family = "t5", .kind = MODEL_SEQ2SEQ, .max_positions = 2048},
        {.family = "mistral", .kind = MODEL_CAUSAL, .max_positions = 512},
        {.family = "gpt2", .kind = MODEL_CAUSAL, .max_positions = 1024, .n_layers = 36},
        {.family = "roberta", .kind = MODEL_ENCODER, .max_positions = 512, .n_layers = 24},
};
enum { GPT2, LLAMA, ROBERTA, T5, MISTRAL, GPT2_LARGE, ROBERTA_LARGE };

static struct job_spec parsed(const char *text)
{
	json_t *body = json_loads(text, 0, NULL);
	struct job_spec spec;
	struct why why = {0};

	assert_non_null(body);
	if (job_spec_from_request(body, &spec, &why))
		fail_msg("%s: %s", text, why.message);
	json_decref(body);
	return spec;
}

static enum err settle(struct job_spec *s, const struct model_info *base, size_t n_rows,
        enum labels_kind labels, struct why *why)
{
	const struct dataset d = {.n_rows = n_rows, .labels = {.kind = labels, .n = 2}};
	enum err e = job_spec_prepare(s, base, why);

	return e ? e : job_spec_resolve(s, base, &d, why);
}

static struct job_spec settled(const char *text, size_t base, size_t n_rows, enum labels_kind labels)
{
	struct job_spec s = parsed(text);
	struct why why = {0};

	if (settle(&s, &bases[base], n_rows, labels, &why))
		fail_msg("%s: %s", text, why.message);
	return s;
}

static void refused(
        const char *text, size_t base, enum labels_kind labels, const char *param, const char *word)
{
	struct job_spec s = parsed(text);
	struct why why = {0};

	assert_int_equal(settle(&s, &bases[base], 1000, labels, &why), ERR_INVALID);
	assert_string_equal(why.param, param);
	if (!strstr(why.message, word))
		fail_msg("%s", why.message);
}

static void test_auto_follows_the_kind_of_base(void **state)
{
	struct job_spec encoder = settled("{}", ROBERTA, 20000, LABELS_CLASSES);
	struct job_spec seq2seq = settled("{}", T5, 20000, LABELS_NONE);

	(void)state;
	assert_true(encoder.train.learning_rate == 0.003 && seq2seq.train.learning_rate == 0.03);
	assert_int_equal(encoder.train.batch_size, 32);
	assert_int_equal(encoder.train.n_epochs, 5);
	assert_int_equal(encoder.train.metric, METRIC_ACCURACY);
	assert_int_equal(encoder.problem, LABELS_CLASSES);
	assert_int_equal(settled("{}", ROBERTA, 9, LABELS_NUMBER).train.metric, METRIC_PEARSON);
	assert_int_equal(seq2seq.train.metric, METRIC_LOSS);
}

static void test_recipes_are_the_papers(void **state)
{
	static const char paper[] = "{\"preset\":\"paper\"}",
	                  inner[] = "{\"hyperparameters\":{\"preset\":\"paper\"}}";
	struct job_spec s = settled(paper, ROBERTA, 67349, LABELS_CLASSES);

	(void)state;
	assert_true(s.train.learning_rate == 1e-3 && s.train.weight_decay == 0);
	assert_true(s.train.batch_size == 32 && s.train.n_epochs == 40 && s.warmup_ratio == 0.06);
	assert_true(s.train.dropout == 0.5 && s.train.max_grad_norm == 0);
	assert_true(settled(paper, ROBERTA, 2490, LABELS_CLASSES).train.learning_rate == 8e-3);
	assert_true(settled(inner, ROBERTA, 5749, LABELS_NUMBER).train.learning_rate == 3e-3);
	s = settled(inner, GPT2, 42061, LABELS_NONE);
	assert_true(s.train.learning_rate == 6e-2 && s.train.weight_decay == 1e-4);
	assert_true(s.train.batch_size == 10 && s.train.n_epochs == 5);
	assert_true(s.train.warmup_steps == 500 && s.train.eval_every == 500);
	assert_true(s.train.max_grad_norm == 0 && s.train.dropout == 0);
	s = settled(paper, T5, 1000, LABELS_NONE);
	assert_true(s.train.learning_rate == 5e-2 && s.train.batch_size == 32 && s.train.n_epochs == 10);
	assert_int_equal(s.train.warmup_steps, 4); /* 1 % of 320, rounded up */
	s = settled(paper, LLAMA, 1000, LABELS_NONE);
	assert_true(s.train.learning_rate == 2e-5 && s.train.batch_size == 128);
	assert_int_equal(s.train.schedule, SCHEDULE_COSINE);
	assert_true(s.train.max_grad_norm == 1);
	assert_int_equal(s.max_length, 0); /* 512 in the paper; this base's context is shorter */
}

static void test_larger_bases_have_their_own(void **state)
{
	static const char paper[] = "{\"preset\":\"paper\"}";
	struct job_spec s = settled(paper, GPT2_LARGE, 42061, LABELS_NONE);

	(void)state;
	assert_true(s.train.learning_rate == 6e-3 && s.train.weight_decay == 0 && s.train.n_epochs == 10);
	s = settled(paper, ROBERTA_LARGE, 2490, LABELS_CLASSES);
	assert_true(s.train.learning_rate == 5e-3 && s.train.weight_decay == 1e-4 && s.train.n_epochs == 20);
	s = settled(paper, ROBERTA_LARGE, 67349, LABELS_CLASSES);
	assert_true(s.train.learning_rate == 3e-3 && s.train.n_epochs == 10);
}

static void test_what_was_asked_wins_over_the_recipe(void **state)
{
	struct job_spec s =
	        settled("{\"preset\":\"paper\",\"hyperparameters\":{\"learning_rate\":0.5,\"n_epochs\":1,"
	                "\"batch_size\":\"auto\",\"warmup_ratio\":0.5}}",
	                GPT2, 100, LABELS_NONE);

	(void)state;
	assert_true(s.train.learning_rate == 0.5);
	assert_int_equal(s.train.n_epochs, 1);
	assert_int_equal(s.train.batch_size, 10);
	assert_int_equal(s.train.warmup_steps, 5);
	s = settled("{\"preset\":\"paper\",\"hyperparameters\":{\"learning_rate_multiplier\":2}}", GPT2, 100,
	        LABELS_NONE);
	assert_true(s.train.learning_rate == 0.12);
	/* 500 steps of warm-up are for the paper's task; this run has 50. */
	assert_int_equal(s.train.warmup_steps, 3);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	(void)state;
	refused("{\"preset\":\"paper\"}", MISTRAL, LABELS_NONE, "hyperparameters.preset", "mistral");
	refused("{\"hyperparameters\":{\"dropout\":0.1}}", GPT2, LABELS_NONE, "hyperparameters.dropout",
	        "head");
	refused("{\"hyperparameters\":{\"problem_type\":\"regression\"}}", T5, LABELS_NONE,
	        "hyperparameters.problem_type", "labels");
	refused("{\"hyperparameters\":{\"metric\":\"f1\"}}", GPT2, LABELS_NONE, "hyperparameters.metric",
	        "loss");
	refused("{\"hyperparameters\":{\"metric\":\"pearson\"}}", ROBERTA, LABELS_CLASSES,
	        "hyperparameters.metric", "matthews");
	refused("{\"hyperparameters\":{\"metric\":\"accuracy\"}}", ROBERTA, LABELS_NUMBER,
	        "hyperparameters.metric", "spearman");
	refused("{\"hyperparameters\":{\"max_length\":513}}", ROBERTA, LABELS_CLASSES,
	        "hyperparameters.max_length", "512");
}

static void test_settled_form_is_stored_and_stays(void **state)
{
	struct job_spec
	        s = settled("{\"preset\":\"paper\",\"hyperparameters\":{\"dropout\":0.1,\"metric\":\"f1\","
	                    "\"weight_decay_towards\":\"identity\"}}",
	                ROBERTA, 100, LABELS_CLASSES),
	        back;
	char *json;

	(void)state;
	assert_int_equal(job_spec_encode(&s, &json), OK);
	assert_int_equal(job_spec_decode(json, &back), OK);
	/* Settling it again, as the runner does, on data that would say otherwise, changes nothing. */
	assert_int_equal(settle(&back, &bases[ROBERTA], 90000, LABELS_CLASSES, NULL), OK);
	assert_true(back.train.learning_rate == 8e-3 && back.train.dropout == 0.1);
	assert_int_equal(back.train.metric, METRIC_F1);
	assert_int_equal(back.train.decay_towards, DECAY_TO_IDENTITY);
	assert_int_equal(back.problem, LABELS_CLASSES);
	assert_int_equal(back.preset, PRESET_PAPER);
	assert_true(job_spec_asked(&back, "dropout") && !job_spec_asked(&back, "learning_rate"));
	mem_free(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_auto_follows_the_kind_of_base),
	        cmocka_unit_test(test_recipes_are_the_papers),
	        cmocka_unit_test(test_larger_bases_have_their_own),
	        cmocka_unit_test(test_what_was_asked_wins_over_the_recipe),
	        cmocka_unit_test(test_what_does_not_fit_is_refused),
	        cmocka_unit_test(test_settled_form_is_stored_and_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
