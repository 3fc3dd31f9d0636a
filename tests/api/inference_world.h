/*
 * The world around the inference handlers, played for tests: an exchange that remembers its answer, a worker
 * whose engine does what the test says, a model, a tokenizer of bytes. It defines the symbols of those rooms,
 * so that the archive's own are not linked: included once by a test program.
 *
 * Tokens 0..255 are bytes; WORLD_BOS and WORLD_EOS are special; WORLD_TWIN spells "A", as token 65 does.
 */
#ifndef REDD_TESTS_API_INFERENCE_WORLD_H
#define REDD_TESTS_API_INFERENCE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/admit.h"
#include "api/exchange.h"
#include "core/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define WORLD_BOS 256
#define WORLD_EOS 257
#define WORLD_TWIN 258
#define WORLD_VOCAB 259
#define WORLD_CONTEXT 64
#define WORLD_MAX_REQUESTS 64
#define WORLD_MAX_CHOICES 8 /* of a request */

/* ---- the exchange ---- */

struct exchange {
	struct worker *worker;
	const char *body;
	json_t *json;

	pthread_mutex_t lock;
	pthread_cond_t is_over;
	/* under the lock */
	unsigned status;
	json_t *reply;
	bool streaming, over, left;
	unsigned n_answers; /* calls of exchange_finish() and exchange_end() */
	size_t reserved, used;
	struct buf stream;
	void (*gone)(void *arg);
	void *gone_arg;
};

static struct tenant world_tenant = {.id = "tenant-1", .name = "one"};

static inline void world_exchange_init(struct exchange *x, struct worker *w, const char *body)
{
	memset(x, 0, sizeof(*x));
	x->worker = w;
	x->body = body;
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->is_over, NULL);
}

static inline void world_exchange_fini(struct exchange *x)
{
	json_decref(x->json);
	json_decref(x->reply);
	buf_fini(&x->stream);
	pthread_mutex_destroy(&x->lock);
	pthread_cond_destroy(&x->is_over);
}

/* The client leaves. As the server does, gone is called under the exchange's lock. */
static inline void world_client_leaves(struct exchange *x)
{
	pthread_mutex_lock(&x->lock);
	x->left = true;
	if (x->gone && !x->over)
		x->gone(x->gone_arg);
	x->gone = NULL;
	pthread_mutex_unlock(&x->lock);
}

struct worker *exchange_worker(struct exchange *x)
{
	return x->worker;
}

const struct tenant *exchange_tenant(struct exchange *x)
{
	(void)x;
	return &world_tenant;
}

const char *exchange_request_id(struct exchange *x)
{
	(void)x;
	return "req-1";
}

json_t *exchange_json(struct exchange *x)
{
	if (!x->json)
		x->json = json_loads(x->body, 0, NULL);
	if (!x->json)
		exchange_reply_error(x, ERR_INVALID, NULL);
	return x->json;
}

enum exchange_verdict exchange_reply_json(struct exchange *x, unsigned status, json_t *body)
{
	pthread_mutex_lock(&x->lock);
	assert_null(x->reply);
	x->status = body ? status : 500;
	x->reply = body;
	pthread_mutex_unlock(&x->lock);
	return EXCHANGE_DONE;
}

unsigned err_http_status(enum err e)
{
	switch (e) {
	case ERR_BUSY:
	case ERR_CANCELLED:
		return 503;
	case ERR_MISMATCH:
		return 422;
	case ERR_NOT_FOUND:
		return 404;
	case ERR_INVALID:
	case ERR_TOO_LONG:
		return 400;
	default:
		return 500;
	}
}

json_t *error_json(enum err e, const struct why *why)
{
	return json_pack("{s:{s:s, s:s, s:s}}", "error", "message",
	        why && why->message[0] ? why->message : err_text(e), "param", why ? why->param : "", "code",
	        why ? why->code : "");
}

enum exchange_verdict exchange_reply_error(struct exchange *x, enum err e, const struct why *why)
{
	assert_int_not_equal(e, OK);
	return exchange_reply_json(x, err_http_status(e), error_json(e, why));
}

/* All are admitted. What was reserved and then settled is kept. */
enum err admit_request(struct exchange *x, struct why *why)
{
	(void)x;
	(void)why;
	return OK;
}

enum err admit_tokens(struct exchange *x, size_t n_prompt, size_t n_answer, struct why *why)
{
	(void)why;
	x->reserved = n_prompt + n_answer;
	return OK;
}

void admit_settle(struct exchange *x, size_t n_used)
{
	assert_int_equal(x->n_answers, 0);
	x->used = n_used;
}

static inline void world_exchange_over(struct exchange *x)
{
	pthread_mutex_lock(&x->lock);
	x->over = true;
	x->n_answers++;
	pthread_cond_signal(&x->is_over);
	pthread_mutex_unlock(&x->lock);
}

void exchange_finish(struct exchange *x)
{
	assert_false(x->streaming);
	world_exchange_over(x);
}

void exchange_stream_begin(struct exchange *x)
{
	pthread_mutex_lock(&x->lock);
	assert_false(x->streaming);
	x->streaming = true;
	pthread_mutex_unlock(&x->lock);
}

bool exchange_stream_write(struct exchange *x, const char *data, size_t n)
{
	bool there;

	pthread_mutex_lock(&x->lock);
	assert_true(x->streaming);
	assert_false(x->over);
	there = !x->left;
	if (there)
		there = !buf_append(&x->stream, data, n);
	pthread_mutex_unlock(&x->lock);
	return there;
}

bool exchange_stream_json(struct exchange *x, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);
	bool there = text && exchange_stream_write(x, "data: ", 6) &&
	             exchange_stream_write(x, text, strlen(text)) && exchange_stream_write(x, "\n\n", 2);

	json_decref(event);
	mem_free(text);
	return there;
}

void exchange_end(struct exchange *x)
{
	assert_true(x->streaming);
	world_exchange_over(x);
}

void exchange_on_gone(struct exchange *x, void (*gone)(void *arg), void *arg)
{
	pthread_mutex_lock(&x->lock);
	x->gone = gone;
	x->gone_arg = arg;
	pthread_mutex_unlock(&x->lock);
}

/* ---- the tokenizer, the model, the chat format ---- */

struct detok {
	int unused;
};

static const struct model_info world_info = {.vocab_size = WORLD_VOCAB,
        .max_positions = WORLD_CONTEXT,
        .bos_id = WORLD_BOS,
        .eos_ids = {WORLD_EOS},
        .n_eos = 1,
        .hash = "0123456789abcdef"};

const struct model_info *model_info(const struct model *m)
{
	(void)m;
	return &world_info;
}

enum err ids_append(struct ids *l, const int32_t *ids, size_t n)
{
	int32_t *bigger = mem_realloc(l->ids, l->n + n + 1, sizeof(*ids));

	if (!bigger)
		return ERR_MEM;
	l->ids = bigger;
	memcpy(bigger + l->n, ids, n * sizeof(*ids));
	l->n += n;
	return OK;
}

void ids_fini(struct ids *l)
{
	mem_free(l->ids);
	memset(l, 0, sizeof(*l));
}

/* No text, no beginning either: the case of a tokenizer without a post-processor. */
enum err tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t n, bool add_special, struct ids *out)
{
	int32_t id = WORLD_BOS;
	enum err e = OK;

	(void)t;
	if (add_special && n)
		e = ids_append(out, &id, 1);
	for (size_t i = 0; !e && i < n; i++) {
		id = (unsigned char)text[i];
		e = ids_append(out, &id, 1);
	}
	return e;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
	(void)t;
	return id == WORLD_BOS || id == WORLD_EOS;
}

enum err tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct buf *out)
{
	char byte = (char)id;

	(void)t;
	if (id == WORLD_BOS)
		return buf_puts(out, "<s>");
	if (id == WORLD_EOS)
		return buf_puts(out, "</s>");
	if (id == WORLD_TWIN)
		return buf_puts(out, "A");
	return buf_append(out, &byte, 1);
}

enum err tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
        bool lossy, struct buf *out)
{
	enum err e = buf_reserve(out, 0);

	(void)lossy;
	for (size_t i = 0; !e && i < n; i++)
		if (!skip_special || !tokenizer_is_special(t, ids[i]))
			e = tokenizer_token_bytes(t, ids[i], out);
	return e;
}

enum err detok_new(const struct tokenizer *t, const int32_t *before, size_t n_before, struct detok **out)
{
	(void)t;
	(void)before;
	(void)n_before;
	*out = mem_calloc(1, sizeof(**out));
	return *out ? OK : ERR_MEM;
}

void detok_free(struct detok *d)
{
	mem_free(d);
}

enum err detok_push(struct detok *d, int32_t id, struct buf *out)
{
	(void)d;
	return tokenizer_decode(NULL, &id, 1, true, true, out);
}

enum err chat_encode_prompt(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, struct why *why)
{
	enum err e = OK;

	(void)f;
	(void)why;
	for (size_t i = 0; !e && i < n; i++) {
		e = tokenizer_encode(t, messages[i].role, 1, false, out);
		if (!e)
			e = tokenizer_encode(t, messages[i].content, strlen(messages[i].content), false, out);
	}
	return e ? e : tokenizer_encode(t, "a", 1, false, out);
}

/* Turns end with the letter 'E'. */
int32_t chat_format_end_id(const struct chat_format *f, const struct tokenizer *t)
{
	(void)f;
	(void)t;
	return 'E';
}

/* ---- the worker ---- */

struct world_request {
	struct serve_request request;
	size_t n_done; /* choices */
	size_t n_generated[WORLD_MAX_CHOICES];
};

struct worker {
	pthread_mutex_t lock;
	pthread_cond_t work;
	/* under the lock */
	size_t n_requests;
	struct world_request requests[WORLD_MAX_REQUESTS];
	bool cancelled[WORLD_MAX_REQUESTS];
	size_t busy_at; /* how many submits succeed before ERR_BUSY */
	bool stopping;
	atomic_size_t n_acquired, n_released;
	/* called after a submit, as an engine that is quicker than its caller; or NULL */
	void (*quick)(struct worker *w, size_t i);
};

static inline void world_worker_init(struct worker *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	w->busy_at = SIZE_MAX;
}

/* Every adapter that was acquired must have been let go. */
static inline void world_worker_fini(struct worker *w)
{
	assert_int_equal(atomic_load(&w->n_acquired), atomic_load(&w->n_released));
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->work);
}

const struct model *worker_model(const struct worker *w)
{
	(void)w;
	return NULL;
}

const struct tokenizer *worker_tokenizer(const struct worker *w)
{
	(void)w;
	return NULL;
}

const struct chat_format *worker_chat(const struct worker *w)
{
	(void)w;
	return NULL;
}

static inline void world_adapter_release(void *owner)
{
	atomic_fetch_add(&((struct worker *)owner)->n_released, 1);
}

enum err worker_adapter_acquire(
        struct worker *w, const char *tenant_id, const char *model, struct adapter_ref *ref, struct why *why)
{
	enum err e;

	assert_string_equal(tenant_id, world_tenant.id);
	if (!strcmp(model, "base")) {
		memset(ref, 0, sizeof(*ref));
		return OK;
	}
	if (!strcmp(model, "tuned")) {
		*ref = (struct adapter_ref){.release = world_adapter_release, .owner = w};
		atomic_fetch_add(&w->n_acquired, 1);
		return OK;
	}
	e = why_param(why, ERR_NOT_FOUND, "model", "no model %s", model);
	snprintf(why->code, sizeof(why->code), "model_not_found");
	return e;
}

/* Of two parts: what the second names. */
enum err worker_adapter_blend(struct worker *w, const char *tenant_id, const struct blend_part *parts,
        size_t n, struct adapter_ref *ref, struct why *why)
{
	assert_int_equal(n, 2);
	return worker_adapter_acquire(w, tenant_id, parts[1].model, ref, why);
}

enum err worker_submit(struct worker *w, const struct serve_request *request, uint64_t *id, struct why *why)
{
	size_t i;

	pthread_mutex_lock(&w->lock);
	if (w->n_requests >= w->busy_at) {
		pthread_mutex_unlock(&w->lock);
		return why_set(why, ERR_BUSY, "the queue is full");
	}
	i = w->n_requests;
	assert_true(i < WORLD_MAX_REQUESTS);
	w->requests[i] = (struct world_request){.request = *request};
	w->n_requests++;
	*id = 1000 + i;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	if (w->quick)
		w->quick(w, i);
	return OK;
}

void worker_cancel(struct worker *w, uint64_t id)
{
	pthread_mutex_lock(&w->lock);
	assert_true(id >= 1000 && id - 1000 < w->n_requests);
	w->cancelled[id - 1000] = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
}

/* ---- playing the engine ---- */

/* The i-th request's prompt tokens, -1.5 each. */
static inline void world_play_prompt(struct worker *w, size_t i)
{
	const struct serve_request *r = &w->requests[i].request;

	for (size_t k = 0; r->echo_logprobs && k < r->n_prompt; k++) {
		struct token_logprob top = {r->prompt[k], -1.5f};
		struct serve_token token = {.id = r->prompt[k],
		        .is_prompt = true,
		        .has_logprob = k > 0,
		        .logprob = k ? -1.5f : 0,
		        .n_top = k && r->n_top_logprobs ? 1 : 0,
		        .top = &top};

		r->on_token(r->arg, &token);
	}
}

/* A generated token of one of the i-th request's choices with the text that has become certain. */
static inline void world_play_choice_token(
        struct worker *w, size_t i, size_t choice, int32_t id, float logprob, const char *text)
{
	const struct serve_request *r = &w->requests[i].request;
	struct token_logprob tops[2] = {{id, logprob}, {'z', -9}};
	struct serve_token token = {.choice = choice,
	        .id = id,
	        .has_logprob = r->logprobs,
	        .logprob = logprob,
	        .n_top = r->n_top_logprobs < 2 ? r->n_top_logprobs : 2,
	        .top = tops,
	        .text = text,
	        .n_text = strlen(text)};

	w->requests[i].n_generated[choice]++;
	r->on_token(r->arg, &token);
}

static inline void world_play_token(struct worker *w, size_t i, int32_t id, float logprob, const char *text)
{
	world_play_choice_token(w, i, 0, id, logprob, text);
}

/* The end of the next of the i-th request's choices, with the text held back. The last lets the adapter go.
 */
static inline void world_play_done(
        struct worker *w, size_t i, enum serve_finish finish, enum err error, const char *text)
{
	const struct serve_request *r = &w->requests[i].request;
	struct adapter_ref adapter = r->adapter;
	size_t n_choices = r->n_choices;
	size_t choice = w->requests[i].n_done++;
	struct serve_result result = {.choice = choice,
	        .finish = finish,
	        .error = error,
	        .n_prompt = r->n_prompt,
	        .n_generated = w->requests[i].n_generated[choice],
	        .text = text,
	        .n_text = strlen(text)};

	assert_true(choice < r->n_choices);
	r->on_done(r->arg, &result);
	if (adapter.release && choice + 1 == n_choices)
		adapter.release(adapter.owner);
}

#endif
