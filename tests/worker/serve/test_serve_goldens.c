/*
 * The engine over the real models and tokenizers of the goldens: scoring, greedy text, adapters; and many
 * adapters in one batch against each alone.
 */
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/golden.h"
#include "worker/serve/serve.h"

#include <math.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-4
#define MAX_TOKENS 256
#define N_TOP 5
#define N_ADAPTERS 16

struct fixture {
	struct model *model;
	struct tokenizer *tokenizer;
	struct serve *serve;
};

struct answer {
	int32_t *prompt; /* owned */
	struct serve_request request;
	size_t n;
	int32_t ids[MAX_TOKENS];
	float logprobs[MAX_TOKENS];
	struct token_logprob top[MAX_TOKENS][N_TOP];
	struct buf text;
	enum serve_finish finish;
	sem_t done;
};

static void engine_start(struct fixture *f, size_t max_batch, size_t n_positions)
{
	struct serve_options options = {
	        .model = f->model,
	        .tokenizer = f->tokenizer,
	        .max_batch = max_batch,
	        .max_queue = 100,
	        .kv_bytes = kv_bytes(f->model, n_positions),
	        .prefill_rows = 16,
	};
	struct why why = {0};

	if (serve_start(&options, &f->serve, &why))
		fail_msg("%s", why.message);
}

static void fixture_open(struct fixture *f, const char *family, size_t max_batch)
{
	struct why why = {0};
	char dir[128];

	snprintf(dir, sizeof(dir), GOLDEN_DIR "%s", family);
	if (model_open(dir, &f->model, &why) || tokenizer_open(dir, &f->tokenizer, &why))
		fail_msg("%s", why.message);
	engine_start(f, max_batch, max_batch * model_info(f->model)->max_positions);
}

static void fixture_close(struct fixture *f)
{
	serve_stop(f->serve, 0);
	tokenizer_close(f->tokenizer);
	model_close(f->model);
}

static void on_token(void *arg, const struct serve_token *t)
{
	struct answer *a = arg;

	a->ids[a->n] = t->id;
	a->logprobs[a->n] = t->has_logprob ? t->logprob : NAN;
	if (t->n_top > 0)
		memcpy(a->top[a->n], t->top, t->n_top * sizeof(t->top[0]));
	a->n++;
	buf_append(&a->text, t->text, t->n_text);
}

static void on_done(void *arg, const struct serve_result *r)
{
	struct answer *a = arg;

	buf_append(&a->text, r->text, r->n_text);
	a->finish = r->finish;
	sem_post(&a->done);
}

/* Greedy; takes over prompt. */
static void ask(struct fixture *f, struct answer *a, int32_t *prompt, size_t n_prompt, size_t max_tokens,
        const struct adapter_ref *adapter, double temperature)
{
	uint64_t id;

	memset(a, 0, sizeof(*a));
	sem_init(&a->done, 0, 0);
	a->prompt = prompt;
	a->request = (struct serve_request){
	        .prompt = prompt,
	        .n_prompt = n_prompt,
	        .strength = 1,
	        .sample = {.temperature = temperature, .top_p = 0.9, .repetition_penalty = 1, .seed = 5},
	        .max_tokens = max_tokens,
	        .ignore_eos = true,
	        .echo_logprobs = true,
	        .logprobs = true,
	        .n_top_logprobs = N_TOP,
	        .on_token = on_token,
	        .on_done = on_done,
	        .arg = a,
	};
	if (adapter)
		a->request.adapter = *adapter;
	assert_int_equal(serve_submit(f->serve, &a->request, &id, NULL), OK);
}

static void answer_wait(struct answer *a)
{
	while (sem_wait(&a->done))
		;
	assert_int_equal(a->finish, FINISH_LENGTH);
	assert_int_equal(a->n, a->request.n_prompt + a->request.max_tokens);
}

static void answer_fini(struct answer *a)
{
	mem_free(a->prompt);
	buf_fini(&a->text);
	sem_destroy(&a->done);
}

/* ---- against the goldens ---- */

static void assert_near(double x, const json_t *expected)
{
	assert_true(fabs(x - json_real_value(expected)) < TOLERANCE);
}

static void assert_top(const struct token_logprob *top, const json_t *expected)
{
	for (size_t i = 0; i < json_array_size(expected); i++) {
		const json_t *pair = json_array_get(expected, i);

		assert_int_equal(top[i].id, json_integer_value(json_array_get(pair, 0)));
		assert_near((double)top[i].logprob, json_array_get(pair, 1));
	}
}

static void assert_ids(const int32_t *ids, const json_t *expected)
{
	for (size_t i = 0; i < json_array_size(expected); i++)
		assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
}

static void assert_forward(const struct fixture *f, const struct answer *a, const json_t *c)
{
	const json_t *expected = json_object_get(c, "logprob_of_next");
	size_t n = a->request.n_prompt, n_prompt_text;
	struct buf text = {0};

	assert_true(isnan(a->logprobs[0]));
	for (size_t i = 1; i < n; i++)
		assert_near((double)a->logprobs[i], json_array_get(expected, i));
	assert_top(a->top[n], json_object_get(c, "last_top5"));
	assert_ids(a->ids + n, json_object_get(c, "greedy_24"));
	/* The answer is what its tokens add to the prompt's text. */
	assert_int_equal(tokenizer_decode(f->tokenizer, a->ids, n, true, true, &text), OK);
	n_prompt_text = text.len;
	text.len = 0;
	assert_int_equal(tokenizer_decode(f->tokenizer, a->ids, a->n, true, true, &text), OK);
	assert_int_equal(text.len - n_prompt_text, a->text.len);
	assert_memory_equal(text.data + n_prompt_text, a->text.data ? a->text.data : "", a->text.len);
	buf_fini(&text);
}

static void test_scores_and_greedy_text_match_the_goldens(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		json_t *golden = golden_open(golden_families[i]), *c;
		json_t *cases = json_object_get(golden, "forward");
		struct answer *answers = mem_calloc(json_array_size(cases), sizeof(*answers));
		struct fixture f;
		size_t k, n;

		assert_non_null(answers);
		fixture_open(&f, golden_families[i], 8);
		json_array_foreach (cases, k, c) {
			int32_t *ids = golden_ids(json_object_get(c, "ids"), &n);

			ask(&f, &answers[k], ids, n, 24, NULL, 0);
		}
		json_array_foreach (cases, k, c) {
			answer_wait(&answers[k]);
			assert_forward(&f, &answers[k], c);
			answer_fini(&answers[k]);
		}
		fixture_close(&f);
		mem_free(answers);
		json_decref(golden);
	}
}

static void assert_tuned(struct fixture *f, const json_t *tuned, const struct adapter_ref *adapter)
{
	const char *text = json_string_value(json_object_get(tuned, "text"));
	struct ids ids = {0};
	struct answer a;

	assert_int_equal(tokenizer_encode(f->tokenizer, text, strlen(text), true, &ids), OK);
	ask(f, &a, ids.ids, ids.n, 16, adapter, 0);
	answer_wait(&a);
	assert_ids(a.ids + ids.n, json_object_get(tuned, "greedy_16"));
	assert_top(a.top[ids.n], json_object_get(tuned, "last_logprob_top3"));
	answer_fini(&a);
}

static void test_a_trained_adapter_answers_as_the_goldens_do(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		json_t *golden = golden_open(golden_families[i]);
		struct adapter_layout *layout;
		struct buf file = {0};
		struct fixture f;
		const struct site *sites;
		size_t n_sites;
		float *params;
		char path[128];

		fixture_open(&f, golden_families[i], 2);
		sites = model_sites(f.model, &n_sites);
		snprintf(
		        path, sizeof(path), GOLDEN_DIR "%s/adapter_expected.safetensors", golden_families[i]);
		assert_int_equal(buf_read_file(&file, path, 1 << 20), OK);
		assert_int_equal(
		        adapter_read(file.data, file.len, sites, n_sites, &layout, &params, NULL, NULL), OK);
		assert_tuned(&f, json_object_get(golden, "tuned"),
		        &(struct adapter_ref){.layout = layout, .params = params});
		fixture_close(&f);
		mem_free(params);
		adapter_layout_free(layout);
		buf_fini(&file);
		json_decref(golden);
	}
}

/* ---- alone or together ---- */

/* N_ADAPTERS vectors near the identity, one behind the other. */
static float *random_adapters(const struct adapter_layout *l)
{
	size_t n = adapter_layout_n_params(l);
	float *params = mem_calloc(N_ADAPTERS * n, sizeof(*params));
	struct rng r;

	assert_non_null(params);
	rng_seed(&r, 3);
	for (size_t i = 0; i < N_ADAPTERS; i++) {
		adapter_layout_start(l, params + i * n);
		for (size_t k = 0; k < n; k++)
			params[i * n + k] += (float)(rng_uniform(&r) - 0.5);
	}
	return params;
}

static void ask_adapter(
        struct fixture *f, struct answer *a, size_t i, const struct adapter_layout *l, const float *params)
{
	struct adapter_ref ref = {.layout = l, .params = params + i * adapter_layout_n_params(l)};
	size_t n = 20 + i % 3 * 7;
	int32_t *prompt = mem_calloc(n, sizeof(*prompt));

	assert_non_null(prompt);
	for (size_t k = 0; k < n; k++)
		prompt[k] = (int32_t)(3 + k * k % 100); /* much the same for all */
	ask(f, a, prompt, n, 30, &ref, i % 2 ? 0.9 : 0);
}

static void assert_same(const struct answer *a, const struct answer *b)
{
	size_t n_prompt = a->request.n_prompt;

	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->ids, b->ids, a->n * sizeof(a->ids[0]));
	assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof(a->logprobs[0]));
	assert_memory_equal(a->top[1], b->top[1], (a->n - 1) * sizeof(a->top[0]));
	assert_true(n_prompt < a->n);
}

static void test_sixteen_adapters_together_give_what_each_gives_alone(void **state)
{
	struct answer *alone = mem_calloc(N_ADAPTERS, sizeof(*alone));
	struct answer *together = mem_calloc(N_ADAPTERS, sizeof(*together));

	(void)state;
	assert_true(alone && together);
	for (size_t i = 0; i < n_golden_families; i++) {
		struct adapter_layout *layout;
		struct adapter_spec spec;
		struct fixture f;
		const struct site *sites;
		size_t n_sites;
		float *params;

		fixture_open(&f, golden_families[i], N_ADAPTERS);
		sites = model_sites(f.model, &n_sites);
		adapter_spec_default(&spec);
		assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &layout, NULL), OK);
		params = random_adapters(layout);
		for (size_t k = 0; k < N_ADAPTERS; k++) {
			ask_adapter(&f, &alone[k], k, layout, params);
			answer_wait(&alone[k]);
		}
		for (size_t k = 0; k < N_ADAPTERS; k++)
			ask_adapter(&f, &together[k], k, layout, params);
		for (size_t k = 0; k < N_ADAPTERS; k++) {
			answer_wait(&together[k]);
			assert_same(&alone[k], &together[k]);
			if (k > 2) /* same prompt, same draws, another adapter */
				assert_memory_not_equal(alone[k].logprobs + 1, alone[k - 3].logprobs + 1, 64);
		}
		for (size_t k = 0; k < N_ADAPTERS; k++) {
			answer_fini(&alone[k]);
			answer_fini(&together[k]);
		}
		fixture_close(&f);
		mem_free(params);
		adapter_layout_free(layout);
	}
	mem_free(alone);
	mem_free(together);
}

/* ---- kept beginnings, and memory for fewer than there are ---- */

/* No scores of the prompt, so that what is kept of it serves. */
static void ask_unscored(struct fixture *f, struct answer *a, size_t n_prompt, size_t seed)
{
	int32_t *prompt = mem_calloc(n_prompt, sizeof(*prompt));
	uint64_t id;

	assert_non_null(prompt);
	for (size_t k = 0; k < n_prompt; k++)
		prompt[k] = (int32_t)(3 + k * (k + seed) % 100);
	memset(a, 0, sizeof(*a));
	sem_init(&a->done, 0, 0);
	a->prompt = prompt;
	a->request = (struct serve_request){
	        .prompt = prompt,
	        .n_prompt = n_prompt,
	        .adapter = {.version = 1},
	        .strength = 1,
	        .sample = {.temperature = seed % 2 ? 0.9 : 0, .top_p = 1, .repetition_penalty = 1, .seed = 5},
	        .max_tokens = 30,
	        .ignore_eos = true,
	        .logprobs = true,
	        .n_top_logprobs = N_TOP,
	        .on_token = on_token,
	        .on_done = on_done,
	        .arg = a,
	};
	assert_int_equal(serve_submit(f->serve, &a->request, &id, NULL), OK);
}

static void wait_unscored(struct answer *a)
{
	while (sem_wait(&a->done))
		;
	assert_int_equal(a->finish, FINISH_LENGTH);
	assert_int_equal(a->n, 30);
}

static void assert_same_unscored(struct answer *a, struct answer *b)
{
	assert_memory_equal(a->ids, b->ids, 30 * sizeof(a->ids[0]));
	assert_memory_equal(a->logprobs, b->logprobs, 30 * sizeof(a->logprobs[0]));
	assert_memory_equal(a->top, b->top, 30 * sizeof(a->top[0]));
}

static void test_a_kept_beginning_gives_the_same_numbers(void **state)
{
	static struct answer fresh[2], kept[2];

	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		static const size_t n_prompt[2] = {50, 66};
		struct serve_stats stats;
		struct fixture f;

		fixture_open(&f, golden_families[i], 2);
		for (size_t k = 0; k < 2; k++) { /* each on an engine that has seen nothing */
			serve_stop(f.serve, 0);
			engine_start(&f, 2, 400);
			ask_unscored(&f, &fresh[k], n_prompt[k], 1);
			wait_unscored(&fresh[k]);
		}
		for (size_t k = 2; k-- > 0;) { /* the last engine has seen the longer one */
			ask_unscored(&f, &kept[k], n_prompt[k], 1);
			wait_unscored(&kept[k]);
			assert_same_unscored(&fresh[k], &kept[k]);
		}
		serve_stats(f.serve, &stats);
		assert_int_equal(stats.prefix_tokens, 64 + 48);
		for (size_t k = 0; k < 2; k++) {
			answer_fini(&fresh[k]);
			answer_fini(&kept[k]);
		}
		fixture_close(&f);
	}
}

static void test_putting_off_shows_in_no_number(void **state)
{
	static struct answer alone[N_ADAPTERS], together[N_ADAPTERS];

	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct serve_stats stats;
		struct fixture f;

		fixture_open(&f, golden_families[i], N_ADAPTERS);
		for (size_t k = 0; k < N_ADAPTERS; k++) {
			ask_unscored(&f, &alone[k], 10 + 3 * k, k);
			wait_unscored(&alone[k]);
		}
		serve_stop(f.serve, 0);
		engine_start(&f, N_ADAPTERS, 240);
		for (size_t k = 0; k < N_ADAPTERS; k++)
			ask_unscored(&f, &together[k], 10 + 3 * k, k);
		for (size_t k = 0; k < N_ADAPTERS; k++) {
			wait_unscored(&together[k]);
			assert_same_unscored(&alone[k], &together[k]);
			answer_fini(&alone[k]);
			answer_fini(&together[k]);
		}
		serve_stats(f.serve, &stats);
		assert_true(stats.put_off > 0);
		fixture_close(&f);
	}
}

/* ---- memory ---- */

/* From the first generated token on, the heap is shut. */
static void shut_heap(void *arg, const struct serve_token *t)
{
	struct answer *a = arg;

	a->n++;
	if (!t->is_prompt && a->n == a->request.n_prompt + 1)
		mem_fail_at(1);
}

static void note_finish(void *arg, const struct serve_result *r)
{
	struct answer *a = arg;

	a->finish = r->finish;
	sem_post(&a->done);
}

static void test_decode_steps_allocate_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_golden_families; i++) {
		struct answer a = {0};
		struct fixture f;
		int32_t prompt[30];
		uint64_t id;

		fixture_open(&f, golden_families[i], 2);
		for (size_t k = 0; k < 30; k++)
			prompt[k] = (int32_t)(5 + k);
		sem_init(&a.done, 0, 0);
		a.request = (struct serve_request){
		        .prompt = prompt,
		        .n_prompt = 30,
		        .strength = 1,
		        .sample = {.temperature = 1, .top_p = 0.9, .repetition_penalty = 1.1},
		        .max_tokens = 60,
		        .ignore_eos = true,
		        .echo_logprobs = true,
		        .logprobs = true,
		        .n_top_logprobs = SERVE_MAX_LOGPROBS,
		        .n_stops = 1,
		        .stops = {"never said"},
		        .on_token = shut_heap,
		        .on_done = note_finish,
		        .arg = &a,
		};
		assert_int_equal(serve_submit(f.serve, &a.request, &id, NULL), OK);
		while (sem_wait(&a.done))
			;
		assert_false(mem_failed());
		mem_fail_at(0);
		assert_int_equal(a.finish, FINISH_LENGTH);
		fixture_close(&f);
		answer_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scores_and_greedy_text_match_the_goldens),
	        cmocka_unit_test(test_a_trained_adapter_answers_as_the_goldens_do),
	        cmocka_unit_test(test_sixteen_adapters_together_give_what_each_gives_alone),
	        cmocka_unit_test(test_a_kept_beginning_gives_the_same_numbers),
	        cmocka_unit_test(test_putting_off_shows_in_no_number),
	        cmocka_unit_test(test_decode_steps_allocate_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
