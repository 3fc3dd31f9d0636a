/* What a request may ask for, what "auto" becomes, and that the stored form loses nothing. */
#include "worker/job_spec.h"

#include "core/mem.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct model_info decoder = {.family = "gpt2", .kind = MODEL_CAUSAL, .max_positions = 1024};

static enum err parse(const char *text, struct job_spec *spec, struct why *why)
{
	json_t *body = json_loads(text, 0, NULL);
	enum err e;

	if (!body)
		fail_msg("test has bad JSON: %s", text);
	memset(why, 0, sizeof(*why));
	e = job_spec_from_request(body, spec, why);
	json_decref(body);
	return e;
}

static struct job_spec parsed(const char *text)
{
	struct job_spec spec;
	struct why why;

	if (parse(text, &spec, &why) != OK)
		fail_msg("%s: %s", text, why.message);
	return spec;
}

static void test_empty_request_is_all_auto(void **state)
{
	struct job_spec spec = parsed("{\"model\":\"base\",\"training_file\":\"file-1\"}");

	(void)state;
	assert_true(
	        spec.auto_epochs && spec.auto_batch_size && spec.auto_learning_rate && spec.auto_multiplier);
	assert_false(spec.resolved);
	assert_string_equal(spec.suffix, "");
	assert_int_equal(spec.adapter.positions, POSITION_FFN);
	assert_int_equal(spec.train.schedule, SCHEDULE_LINEAR);
	assert_int_equal(spec.train.keep, KEEP_BEST);
	assert_true(spec.train.shuffle);
	assert_true(spec.train.weight_decay == 0 && spec.train.beta1 == 0.9 && spec.train.beta2 == 0.999);
}

static void test_seed_is_drawn_when_none_is_given(void **state)
{
	struct job_spec a = parsed("{}"), b = parsed("{\"seed\":null}"), c = parsed("{\"seed\":42}");

	(void)state;
	assert_true(a.seed != b.seed);
	assert_int_equal(c.seed, 42);
	assert_int_equal(c.train.seed, 42);
}

static const char every_field[] = "{\"suffix\":\"my-model_1.0\",\"seed\":9007199254740991,\"method\":{"
                                  "\"type\":\"supervised\",\"supervised\":"
                                  "{\"hyperparameters\":{\"n_epochs\":7,\"batch_size\":12,\"learning_rate\":"
                                  "0.017,\"lr_scheduler\":\"cosine\","
                                  "\"warmup_steps\":5,\"weight_decay\":0.0001,\"beta1\":0.8,\"beta2\":0.95,"
                                  "\"eps\":1e-6,\"max_grad_norm\":0,"
                                  "\"max_length\":128,\"shuffle\":false,\"eval_every\":10,\"early_stopping_"
                                  "patience\":2,\"keep\":\"last\","
                                  "\"dropout\":0}}},"
                                  "\"adapter\":{\"type\":\"red\",\"positions\":[\"attn\",\"ffn\"],\"parts\":["
                                  "\"bias\"],\"layers\":[0,2]}}";

static void test_every_hyperparameter_arrives(void **state)
{
	struct job_spec s = parsed(every_field);

	(void)state;
	assert_string_equal(s.suffix, "my-model_1.0");
	assert_true(s.seed == UINT64_C(9007199254740991));
	assert_int_equal(s.train.n_epochs, 7);
	assert_int_equal(s.train.batch_size, 12);
	assert_true(s.train.learning_rate == 0.017);
	assert_int_equal(s.train.schedule, SCHEDULE_COSINE);
	assert_int_equal(s.train.warmup_steps, 5);
	assert_true(s.warmup_steps_given);
	assert_true(s.train.weight_decay == 0.0001 && s.train.beta1 == 0.8 && s.train.beta2 == 0.95);
	assert_true(s.train.eps == 1e-6 && s.train.max_grad_norm == 0);
	assert_int_equal(s.max_length, 128);
	assert_false(s.train.shuffle);
	assert_int_equal(s.train.eval_every, 10);
	assert_int_equal(s.train.patience, 2);
	assert_int_equal(s.train.keep, KEEP_LAST);
	assert_int_equal(s.adapter.positions, POSITION_ATTN | POSITION_FFN);
	assert_int_equal(s.adapter.parts, PART_BIAS);
	assert_false(s.auto_epochs || s.auto_batch_size || s.auto_learning_rate);
}

static void test_older_top_level_hyperparameters_work(void **state)
{
	struct job_spec s = parsed("{\"hyperparameters\":{\"n_epochs\":2,\"batch_size\":\"auto\"}}");

	(void)state;
	assert_int_equal(s.train.n_epochs, 2);
	assert_true(s.auto_batch_size && !s.auto_epochs);
}

static void test_bad_values_are_named(void **state)
{
	static const struct {
		const char *field, *value;
	} bad[] = {
	        {"n_epochs", "0"},
	        {"n_epochs", "1001"},
	        {"n_epochs", "2.5"},
	        {"n_epochs", "\"3\""},
	        {"n_epochs", "true"},
	        {"batch_size", "0"},
	        {"batch_size", "-1"},
	        {"batch_size", "4097"},
	        {"batch_size", "[]"},
	        {"learning_rate_multiplier", "0"},
	        {"learning_rate_multiplier", "1e9"},
	        {"learning_rate", "0"},
	        {"learning_rate", "-0.1"},
	        {"learning_rate", "11"},
	        {"learning_rate", "{}"},
	        {"lr_scheduler", "\"step\""},
	        {"lr_scheduler", "1"},
	        {"warmup_ratio", "1.5"},
	        {"warmup_ratio", "-0.5"},
	        {"warmup_steps", "-1"},
	        {"warmup_steps", "0.5"},
	        {"weight_decay", "2"},
	        {"beta1", "1"},
	        {"beta2", "-0.1"},
	        {"eps", "0"},
	        {"max_grad_norm", "-1"},
	        {"max_length", "1"},
	        {"max_length", "-5"},
	        {"shuffle", "1"},
	        {"shuffle", "\"true\""},
	        {"eval_every", "-1"},
	        {"early_stopping_patience", "\"auto\""},
	        {"keep", "\"first\""},
	        {"dropout", "1"},
	        {"n_epoch", "3"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct job_spec spec;
		struct why why;
		char text[200], param[64];

		snprintf(text, sizeof(text), "{\"hyperparameters\":{\"%s\":%s}}", bad[i].field, bad[i].value);
		snprintf(param, sizeof(param), "hyperparameters.%s", bad[i].field);
		if (parse(text, &spec, &why) != ERR_INVALID)
			fail_msg("accepted %s", text);
		assert_string_equal(why.param, param);
		assert_non_null(strstr(why.message, bad[i].field));
	}
}

static void test_bad_requests_are_named(void **state)
{
	static const struct {
		const char *body, *param;
	} bad[] = {
	        {"{\"suffix\":7}", "suffix"},
	        {"{\"suffix\":\"a/b\"}", "suffix"},
	        {"{\"suffix\":\"a:b\"}", "suffix"},
	        {"{\"suffix\":\"12345678901234567890123456789012345678901234567890123456789012345\"}",
	                "suffix"},
	        {"{\"seed\":-1}", "seed"},
	        {"{\"seed\":1.5}", "seed"},
	        {"{\"seed\":9007199254740992}", "seed"},
	        {"{\"method\":{\"type\":\"dpo\"}}", "method.type"},
	        {"{\"method\":\"supervised\"}", "method.type"},
	        {"{\"method\":{\"type\":\"supervised\",\"supervised\":1}}", "method.supervised"},
	        {"{\"hyperparameters\":[]}", "hyperparameters"},
	        {"{\"hyperparameters\":{},\"method\":{\"type\":\"supervised\",\"supervised\":{"
	         "\"hyperparameters\":{}}}}",
	                "hyperparameters"},
	        {"{\"integrations\":[{\"type\":\"wandb\"}]}", "integrations"},
	        {"{\"adapter\":{\"positions\":[\"head\"]}}", "adapter.positions"},
	        {"{\"hyperparameters\":{\"learning_rate\":0.1,\"learning_rate_multiplier\":2}}",
	                "hyperparameters.learning_rate_multiplier"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct job_spec spec;
		struct why why;

		if (parse(bad[i].body, &spec, &why) != ERR_INVALID)
			fail_msg("accepted %s", bad[i].body);
		assert_string_equal(why.param, bad[i].param);
	}
}

static void test_harmless_nulls_pass(void **state)
{
	struct job_spec s = parsed("{\"suffix\":null,\"method\":null,\"integrations\":null,\"adapter\":null,"
	                           "\"hyperparameters\":{\"n_epochs\":null}}");

	(void)state;
	assert_true(s.auto_epochs);
	parsed("{\"integrations\":[],\"hyperparameters\":null}");
}

static void test_auto_follows_the_data(void **state)
{
	static const struct {
		size_t n_rows, batch_size, n_epochs;
	} want[] = {{1, 1, 25}, {10, 1, 25}, {100, 4, 12}, {320, 5, 4}, {1000, 11, 3}, {8000, 16, 3}};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct job_spec s = parsed("{}");
		struct dataset d = {.n_rows = want[i].n_rows};
		size_t total;

		assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
		assert_true(s.resolved);
		assert_int_equal(s.train.batch_size, want[i].batch_size);
		assert_int_equal(s.train.n_epochs, want[i].n_epochs);
		assert_true(s.train.learning_rate == 0.03 && s.learning_rate_multiplier == 1);
		total = (want[i].n_rows - 1) / want[i].batch_size + 1;
		assert_int_equal(
		        s.train.warmup_steps, (size_t)ceil(0.06 * (double)(total * want[i].n_epochs)));
	}
}

static void test_warmup_by_ratio_leaves_a_step_to_train(void **state)
{
	struct dataset d = {.n_rows = 10};
	struct job_spec s = parsed("{\"hyperparameters\":{\"n_epochs\":1,\"batch_size\":10}}");

	(void)state;
	assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
	assert_int_equal(s.train.warmup_steps, 0);
	s = parsed("{\"hyperparameters\":{\"n_epochs\":2,\"batch_size\":10,\"warmup_ratio\":1}}");
	assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
	assert_int_equal(s.train.warmup_steps, 1);
}

static void test_numbers_given_stay(void **state)
{
	struct dataset d = {.n_rows = 100};
	struct job_spec s = parsed(every_field);

	(void)state;
	assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
	assert_int_equal(s.train.n_epochs, 7);
	assert_int_equal(s.train.batch_size, 12);
	assert_true(s.train.learning_rate == 0.017);
	assert_int_equal(s.train.warmup_steps, 5);
	s = parsed("{\"hyperparameters\":{\"learning_rate_multiplier\":0.5}}");
	assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
	assert_true(s.train.learning_rate == 0.03 * 0.5);
}

static void check_round_trip(const struct job_spec *spec)
{
	struct job_spec back;
	char *first, *second;

	assert_int_equal(job_spec_encode(spec, &first), OK);
	assert_int_equal(job_spec_decode(first, &back), OK);
	assert_int_equal(job_spec_encode(&back, &second), OK);
	assert_string_equal(first, second);
	assert_int_equal(back.seed, spec->seed);
	assert_int_equal(back.train.seed, spec->seed);
	assert_true(back.train.learning_rate == spec->train.learning_rate);
	assert_true(back.warmup_ratio == spec->warmup_ratio);
	assert_int_equal(back.resolved, spec->resolved);
	assert_int_equal(back.auto_batch_size, spec->auto_batch_size);
	mem_free(first);
	mem_free(second);
}

static void test_stored_form_loses_nothing(void **state)
{
	struct dataset d = {.n_rows = 333};
	struct job_spec specs[] = {parsed("{}"), parsed(every_field),
	        parsed("{\"hyperparameters\":{\"learning_rate_multiplier\":300,\"warmup_ratio\":0."
	               "123456789012345}}")};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		check_round_trip(&specs[i]);
		assert_int_equal(job_spec_resolve(&specs[i], &decoder, &d, NULL), OK);
		check_round_trip(&specs[i]);
	}
}

static void test_damaged_stored_form_is_refused(void **state)
{
	static const char *const bad[] = {
	        "", "null", "[]", "{}", "{\"suffix\":\"\",\"seed\":1,\"hyperparameters\":{}}"};
	struct job_spec spec;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(job_spec_decode(bad[i], &spec), ERR_FORMAT);
}

static void test_wire_form_says_auto_until_resolved(void **state)
{
	struct dataset d = {.n_rows = 100};
	struct job_spec s = parsed("{\"hyperparameters\":{\"n_epochs\":4}}");
	json_t *wire = job_spec_hyperparameters(&s);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(wire, "n_epochs")), 4);
	assert_string_equal(json_string_value(json_object_get(wire, "batch_size")), "auto");
	assert_string_equal(json_string_value(json_object_get(wire, "learning_rate_multiplier")), "auto");
	assert_null(json_object_get(wire, "warmup_steps"));
	json_decref(wire);
	assert_int_equal(job_spec_resolve(&s, &decoder, &d, NULL), OK);
	wire = job_spec_hyperparameters(&s);
	assert_int_equal(json_integer_value(json_object_get(wire, "batch_size")), 1);
	assert_true(json_real_value(json_object_get(wire, "learning_rate_multiplier")) == 1);
	assert_int_equal(json_integer_value(json_object_get(wire, "warmup_steps")), 24);
	json_decref(wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_empty_request_is_all_auto),
	        cmocka_unit_test(test_seed_is_drawn_when_none_is_given),
	        cmocka_unit_test(test_every_hyperparameter_arrives),
	        cmocka_unit_test(test_older_top_level_hyperparameters_work),
	        cmocka_unit_test(test_bad_values_are_named),
	        cmocka_unit_test(test_bad_requests_are_named),
	        cmocka_unit_test(test_harmless_nulls_pass),
	        cmocka_unit_test(test_auto_follows_the_data),
	        cmocka_unit_test(test_warmup_by_ratio_leaves_a_step_to_train),
	        cmocka_unit_test(test_numbers_given_stay),
	        cmocka_unit_test(test_stored_form_loses_nothing),
	        cmocka_unit_test(test_damaged_stored_form_is_refused),
	        cmocka_unit_test(test_wire_form_says_auto_until_resolved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
