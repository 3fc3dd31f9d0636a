/*
 * /v1/classify: what an adapter's classification head says of texts. The handler (on libuv's thread pool)
 * submits a request to the engine for each; the last to let go answers and frees.
 *
 * who              | does                            | synchronised by
 * handler          | submits                         | holds the job like one more input
 * serving thread   | brings each input's outputs     | one at a time; else the lock
 * loop             | client gone: cancels            | the lock; not once the answer is over
 *
 * No lock is held while the exchange or the engine is called.
 */
#include "api/admit.h"
#include "api/classify_request.h"
#include "api/exchange.h"
#include "api/inference_adapter.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/mem.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define CLASSIFY_ID_CHARS 24
#define CLASSIFY_ID_SIZE 40

struct classify;

struct classify_member {
	struct classify *c; /* borrowed */
	double *probs;      /* owned (n_outputs) */
};

struct classify {
	/* constant once started */
	struct exchange *x;
	struct worker *worker;
	struct classify_request request;   /* owned */
	struct inference_adapter *adapter; /* one holder of it */
	const struct labels *labels;       /* borrowed from adapter */
	struct classify_member *members;   /* owned; one an input, as the next */
	uint64_t *ids;                     /* owned; the engine's, (n_submitted), constant once written */

	pthread_mutex_t lock;
	/* under the lock */
	size_t n_running; /* inputs not done, and 1 for the handler */
	size_t n_submitted;
	bool cancelled;
	enum err error; /* the first failure, */
	struct why why; /* and its reason */
};

static void classify_free(struct classify *c)
{
	if (!c)
		return;
	for (size_t i = 0; c->members && i < c->request.n; i++)
		mem_free(c->members[i].probs);
	mem_free(c->members);
	mem_free(c->ids);
	inference_adapter_release(c->adapter);
	classify_request_fini(&c->request);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

static void classify_cancel(struct classify *c)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	if (!c->cancelled)
		n = c->n_submitted;
	c->cancelled = true;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < n; i++)
		worker_cancel(c->worker, c->ids[i]);
}

static bool classify_cancelled(struct classify *c)
{
	bool cancelled;

	pthread_mutex_lock(&c->lock);
	cancelled = c->cancelled;
	pthread_mutex_unlock(&c->lock);
	return cancelled;
}

static void classify_gone(void *arg)
{
	classify_cancel(arg);
}

static void classify_fail(struct classify *c, enum err e, const struct why *why)
{
	pthread_mutex_lock(&c->lock);
	if (!c->error) {
		c->error = e;
		c->why = *why;
	}
	pthread_mutex_unlock(&c->lock);
	classify_cancel(c);
}

/* ---- the answer ---- */

static json_t *input_json(const struct classify *c, size_t i)
{
	size_t n = c->labels->n, best = 0;
	const double *probs = c->members[i].probs;
	json_t *list = json_array();
	char room[32];

	for (size_t k = 0; k < n; k++) {
		if (probs[k] > probs[best])
			best = k;
		json_array_append_new(list, json_real(probs[k]));
	}
	if (json_array_size(list) != n) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:I, s:s, s:o, s:I}", "index", (json_int_t)i, "label",
	        labels_name(c->labels, best, room), "probs", list, "num_classes", (json_int_t)n);
}

static size_t classify_tokens(const struct classify_request *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->inputs[i].ids.n;
	return n;
}

static json_t *answer_json(const struct classify *c)
{
	char id[CLASSIFY_ID_SIZE];
	json_int_t n_tokens = (json_int_t)classify_tokens(&c->request);
	json_t *data = json_array();

	for (size_t i = 0; i < c->request.n; i++)
		json_array_append_new(data, input_json(c, i));
	if (json_array_size(data) != c->request.n || random_id("classify-", CLASSIFY_ID_CHARS, id)) {
		json_decref(data);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:I, s:s, s:o, s:{s:I, s:I, s:I}}", "id", id, "object", "list",
	        "created", (json_int_t)(clock_now_ms() / 1000), "model", c->request.model, "data", data,
	        "usage", "prompt_tokens", n_tokens, "completion_tokens", (json_int_t)0, "total_tokens",
	        n_tokens);
}

/* One of those who hold c lets go; the last one answers. */
static void classify_leave(struct classify *c)
{
	bool last;

	pthread_mutex_lock(&c->lock);
	last = --c->n_running == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	if (!c->error && classify_cancelled(c))
		c->error = ERR_CANCELLED; /* the client has gone: nobody reads this */
	admit_settle(c->x, c->error ? 0 : classify_tokens(&c->request));
	if (c->error)
		exchange_reply_error(c->x, c->error, &c->why);
	else
		exchange_reply_json(c->x, 200, answer_json(c));
	exchange_finish(c->x);
	classify_free(c);
}

/* ---- the engine's callback ---- */

/* Classes' probabilities, or of a regression the number itself. ERR_MISMATCH when they are none. */
static enum err take_outputs(struct classify_member *m, const struct labels *labels, const float *outputs)
{
	double max = -INFINITY, sum = 0;

	for (size_t k = 0; k < labels->n; k++) {
		if (!isfinite(outputs[k]))
			return ERR_MISMATCH;
		m->probs[k] = (double)outputs[k];
		max = fmax(max, m->probs[k]);
	}
	if (labels->kind == LABELS_NUMBER)
		return OK;
	for (size_t k = 0; k < labels->n; k++)
		sum += m->probs[k] = exp(m->probs[k] - max);
	for (size_t k = 0; k < labels->n; k++)
		m->probs[k] /= sum;
	return OK;
}

static void member_done(void *arg, const struct serve_result *result)
{
	struct classify_member *m = arg;
	struct classify *c = m->c;
	struct why why = {0};
	enum err e = result->error;

	if (result->finish == FINISH_CANCELLED)
		e = why_set(&why, ERR_BUSY, "The server is shutting down; try again soon");
	else if (!e && take_outputs(m, c->labels, result->outputs))
		e = why_set(&why, ERR_MISMATCH,
		        "The head's output is not finite with adapter %s at strength %g", c->request.model,
		        c->request.strength);
	if (e && !(result->finish == FINISH_CANCELLED && classify_cancelled(c)))
		classify_fail(c, e, &why);
	classify_leave(c);
}

/* ---- the start ---- */

/* Submit one input. ERR_CANCELLED: there is no need any more. */
static enum err submit(struct classify *c, size_t i, struct why *why)
{
	struct serve_request s = {.prompt = c->request.inputs[i].ids.ids,
	        .n_prompt = c->request.inputs[i].ids.n,
	        .classify = true,
	        .strength = (float)c->request.strength,
	        .on_done = member_done,
	        .arg = &c->members[i]};
	bool cancelled;
	uint64_t id;
	enum err e;

	pthread_mutex_lock(&c->lock);
	cancelled = c->cancelled;
	c->n_running += !cancelled;
	pthread_mutex_unlock(&c->lock);
	if (cancelled)
		return ERR_CANCELLED;
	s.adapter = inference_adapter_hold(c->adapter);
	e = worker_submit(c->worker, &s, &id, why);
	if (e)
		s.adapter.release(s.adapter.owner);
	pthread_mutex_lock(&c->lock);
	if (e)
		c->n_running--;
	else
		c->ids[c->n_submitted++] = id;
	cancelled = c->cancelled;
	pthread_mutex_unlock(&c->lock);
	if (!e && cancelled)
		worker_cancel(c->worker, id);
	return e;
}

/* On success request and adapter are taken over. */
static enum err classify_new(struct exchange *x, struct classify_request *request,
        const struct adapter_ref *adapter, struct classify **out)
{
	struct classify *c = mem_calloc(1, sizeof(*c));
	size_t n = request->n;
	enum err e = ERR_MEM;

	if (!c)
		return ERR_MEM;
	pthread_mutex_init(&c->lock, NULL);
	c->x = x;
	c->worker = exchange_worker(x);
	c->n_running = 1;
	c->labels = adapter->labels;
	c->request = *request;
	c->members = mem_calloc(n, sizeof(*c->members));
	c->ids = mem_calloc(n, sizeof(*c->ids));
	if (!c->members || !c->ids)
		goto fail;
	for (size_t i = 0; i < n; i++) {
		c->members[i].c = c;
		c->members[i].probs = mem_calloc(c->labels->n, sizeof(double));
		if (!c->members[i].probs)
			goto fail;
	}
	e = inference_adapter_new(adapter, &c->adapter);
	if (e)
		goto fail;
	memset(request, 0, sizeof(*request));
	*out = c;
	return OK;
fail:
	for (size_t i = 0; c->members && i < n; i++)
		mem_free(c->members[i].probs);
	mem_free(c->members);
	c->members = NULL;
	memset(&c->request, 0, sizeof(c->request));
	classify_free(c);
	return e;
}

static void classify_run(struct classify *c)
{
	struct why why = {0};
	enum err e = OK;

	exchange_on_gone(c->x, classify_gone, c);
	for (size_t i = 0; !e && i < c->request.n; i++)
		e = submit(c, i, &why);
	if (e && e != ERR_CANCELLED)
		classify_fail(c, e, &why);
	classify_leave(c);
}

static enum err check_model(const struct model_info *info, const struct adapter_ref *adapter, struct why *why)
{
	if (info->kind != MODEL_ENCODER)
		return why_param(why, ERR_INVALID, "model",
		        "this base writes text and classifies none: use /v1/completions");
	if (!adapter->labels)
		return why_param(why, ERR_INVALID, "model",
		        "this model has no classification head: name an adapter that was trained on labels");
	return OK;
}

static enum exchange_verdict handle_classify(struct exchange *x)
{
	struct worker *w = exchange_worker(x);
	const struct model_info *info = model_info(worker_model(w));
	struct classify_request request = {0};
	struct adapter_ref adapter = {0};
	struct classify *c;
	struct why why = {0};
	json_t *body = exchange_json(x);
	enum err e;

	if (!body)
		return EXCHANGE_DONE;
	e = admit_request(x, &why);
	if (!e)
		e = classify_request_parse(body, &request, &why);
	if (!e)
		e = inference_adapter_acquire(
		        x, request.model, request.blend, request.n_blend, &adapter, &why);
	if (!e)
		e = check_model(info, &adapter, &why);
	if (!e)
		e = classify_request_encode(&request, worker_tokenizer(w), info->max_positions, &why);
	if (!e)
		e = admit_tokens(x, classify_tokens(&request), 0, &why);
	if (!e)
		e = classify_new(x, &request, &adapter, &c);
	if (!e) {
		classify_run(c);
		return EXCHANGE_LATER;
	}
	admit_settle(x, 0);
	if (adapter.release)
		adapter.release(adapter.owner);
	classify_request_fini(&request);
	return exchange_reply_error(x, e, &why);
}

const struct route classify_routes[] = {
        {"POST", "/v1/classify", ROUTE_TENANT, handle_classify},
        {0},
};
