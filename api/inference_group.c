/* See inference_group.h. */
#include "api/inference_group.h"

#include "api/admit.h"
#include "api/inference_adapter.h"
#include "api/inference_choice.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define GROUP_ID_CHARS 24
#define GROUP_ID_SIZE 40
#define GROUP_FINGERPRINT_SIZE 16

struct inference_group;

/* What a callback of the engine is given: the first of the choices that its request has. */
struct group_member {
	struct inference_group *group;
	struct inference_choice *choices; /* borrowed from the group */
};

struct inference_group {
	/* constant once started */
	struct exchange *x;
	struct worker *worker;
	const struct inference_codec *codec;
	struct inference_request request;  /* owned */
	struct inference_adapter *adapter; /* one holder of it */
	struct inference_head head;
	char id[GROUP_ID_SIZE];
	char fingerprint[GROUP_FINGERPRINT_SIZE];
	uint64_t seed;
	size_t n_choices;
	struct inference_choice *choices; /* owned; (prompts * best_of), a prompt's together */
	struct group_member *members;     /* owned; (n_choices) */
	uint64_t *ids; /* owned; the engine's, (n_submitted) of them, constant once written */

	pthread_mutex_t lock;
	/* under the lock */
	size_t n_running; /* choices not done, and 1 for the handler */
	size_t n_submitted;
	bool cancelled; /* nothing more is wanted of the engine */

	/* under the lock, or by the last one left */
	bool open;      /* the stream has begun: pieces go out at once instead of to the backlog */
	enum err error; /* the first failure, */
	struct why why; /* and its reason */
	struct buf backlog;
};

static void group_free(struct inference_group *g)
{
	if (!g)
		return;
	for (size_t i = 0; g->choices && i < g->n_choices; i++)
		inference_choice_fini(&g->choices[i]);
	mem_free(g->choices);
	mem_free(g->members);
	mem_free(g->ids);
	inference_adapter_release(g->adapter);
	inference_request_fini(&g->request);
	buf_fini(&g->backlog);
	pthread_mutex_destroy(&g->lock);
	mem_free(g);
}

/* Ask the engine to stop what it still computes for g. */
static void group_cancel(struct inference_group *g)
{
	size_t n = 0;

	pthread_mutex_lock(&g->lock);
	if (!g->cancelled)
		n = g->n_submitted;
	g->cancelled = true;
	pthread_mutex_unlock(&g->lock);
	for (size_t i = 0; i < n; i++)
		worker_cancel(g->worker, g->ids[i]);
}

/* The answer has failed; the first reason stays. */
static void group_fail(struct inference_group *g, enum err e, const struct why *why)
{
	pthread_mutex_lock(&g->lock);
	if (!g->error) {
		g->error = e;
		if (why)
			g->why = *why;
	}
	pthread_mutex_unlock(&g->lock);
	group_cancel(g);
}

static bool group_cancelled(struct inference_group *g)
{
	bool cancelled;

	pthread_mutex_lock(&g->lock);
	cancelled = g->cancelled;
	pthread_mutex_unlock(&g->lock);
	return cancelled;
}

static void group_gone(void *arg)
{
	group_cancel(arg);
}

/* ---- streaming ---- */

static int append_json(const char *data, size_t n, void *arg)
{
	return buf_append(arg, data, n) ? -1 : 0;
}

/* Send one event, or keep it until the stream is open. event is stolen; NULL is a shortage of memory. */
static void group_emit(struct inference_group *g, json_t *event)
{
	struct buf line = {0};
	bool kept;
	enum err e = OK;

	if (!event || buf_puts(&line, "data: ") ||
	        json_dump_callback(event, append_json, &line, JSON_COMPACT) || buf_puts(&line, "\n\n"))
		e = ERR_MEM;
	json_decref(event);
	pthread_mutex_lock(&g->lock);
	kept = !g->open;
	if (!e && kept)
		e = buf_append(&g->backlog, line.data, line.len);
	pthread_mutex_unlock(&g->lock);
	if (e)
		group_fail(g, e, NULL);
	else if (!kept && !exchange_stream_write(g->x, line.data, line.len))
		group_cancel(g);
	buf_fini(&line);
}

static void group_emit_piece(struct inference_group *g, struct inference_choice *c, enum serve_finish finish)
{
	json_t *choice = inference_choice_take_json(c, finish);

	group_emit(g, inference_chunk_json(g->codec, &g->head, choice, g->request.include_usage));
}

static void group_emit_opening(struct inference_group *g, struct inference_choice *c)
{
	if (g->codec->opening)
		group_emit(g, inference_chunk_json(g->codec, &g->head, g->codec->opening(c->index),
		                      g->request.include_usage));
}

/* Begin the stream: what the engine was quicker with than the handler goes first. */
static void group_open_stream(struct inference_group *g)
{
	struct buf backlog = {0};

	exchange_stream_begin(g->x);
	do {
		buf_fini(&backlog);
		pthread_mutex_lock(&g->lock);
		backlog = g->backlog;
		memset(&g->backlog, 0, sizeof(g->backlog));
		g->open = !backlog.len;
		pthread_mutex_unlock(&g->lock);
		if (backlog.len && !exchange_stream_write(g->x, backlog.data, backlog.len))
			group_cancel(g);
	} while (backlog.len);
	buf_fini(&backlog);
}

/* ---- the end, by the last one left; a client may still go until the exchange is told that it is over ----
 */

/* After a failure no [DONE] follows: to clients a stream that is done has succeeded. */
static void group_end_stream(struct inference_group *g)
{
	static const char done[] = "data: [DONE]\n\n";
	struct inference_usage usage = inference_choices_usage(&g->request, g->choices);
	bool cancelled = group_cancelled(g);

	admit_settle(g->x, usage.prompt_tokens + usage.completion_tokens);
	if (!cancelled && g->request.include_usage)
		group_emit(g, inference_usage_chunk_json(g->codec, &g->head, &usage));
	if (g->error) {
		log_warn("stream_failed", "request=%s tenant=%s model=%s error=%s", exchange_request_id(g->x),
		        exchange_tenant(g->x)->id, g->head.model, err_name(g->error));
		exchange_stream_json(g->x, error_json(g->error, &g->why));
	} else if (!cancelled)
		exchange_stream_write(g->x, done, sizeof(done) - 1);
	exchange_end(g->x);
}

static void group_reply(struct inference_group *g)
{
	struct inference_usage usage = inference_choices_usage(&g->request, g->choices);
	bool cancelled = group_cancelled(g);
	json_t *answer = NULL;

	admit_settle(g->x, usage.prompt_tokens + usage.completion_tokens);
	if (!cancelled)
		answer = inference_answer_json(
		        g->codec, &g->head, inference_choices_json(&g->request, g->choices), &usage);
	if (cancelled && !g->error)
		g->error = ERR_CANCELLED; /* the client has gone: nobody reads this */
	else if (!answer && !g->error)
		g->error = ERR_MEM;
	if (g->error)
		exchange_reply_error(g->x, g->error, &g->why);
	else
		exchange_reply_json(g->x, 200, answer);
	exchange_finish(g->x);
}

/* One of those who hold g lets go; the last one answers. */
static void group_leave(struct inference_group *g)
{
	bool last;

	pthread_mutex_lock(&g->lock);
	last = --g->n_running == 0;
	pthread_mutex_unlock(&g->lock);
	if (!last)
		return;
	if (g->open)
		group_end_stream(g);
	else
		group_reply(g);
	group_free(g);
}

/* ---- the engine's callbacks ---- */

static void member_token(void *arg, const struct serve_token *token)
{
	struct group_member *m = arg;
	struct inference_group *g = m->group;
	struct inference_choice *c = &m->choices[token->choice];
	enum err e;

	if (group_cancelled(g))
		return;
	e = inference_choice_token(c, token);
	if (e)
		group_fail(g, e, NULL);
	else if (g->request.stream && inference_choice_has_text(c))
		group_emit_piece(g, c, FINISH_NONE);
}

/* What the engine could not finish, in words for the one who asked. */
static void member_failed(struct inference_group *g, const struct serve_result *result)
{
	struct why why = {0};
	enum err e = result->error;

	if (result->finish == FINISH_CANCELLED) {
		if (group_cancelled(g))
			return;
		e = why_set(&why, ERR_BUSY, "The server is shutting down; try again soon");
	} else if (e == ERR_STATE) {
		e = why_set(&why, ERR_MISMATCH,
		        "The model's output is not finite with adapter %s at strength %g", g->request.model,
		        g->request.strength);
	}
	assert(e);
	group_fail(g, e, &why);
}

static void member_done(void *arg, const struct serve_result *result)
{
	struct group_member *m = arg;
	struct inference_group *g = m->group;
	struct inference_choice *c = &m->choices[result->choice];
	enum err e = inference_choice_done(c, result);

	if (result->finish == FINISH_ERROR || result->finish == FINISH_CANCELLED)
		member_failed(g, result);
	else if (e)
		group_fail(g, e, NULL);
	else if (g->request.stream && !group_cancelled(g)) {
		if (g->codec->ends_apart && (inference_choice_has_text(c) || c->log.n))
			group_emit_piece(g, c, FINISH_NONE);
		group_emit_piece(g, c, c->finish);
	}
	group_leave(g);
}

/* ---- the start ---- */

/* Beams find all choices of a prompt together; otherwise each is sampled on its own. */
static size_t choices_per_request(const struct inference_group *g)
{
	return g->request.sample.beams.n_beams > 1 ? g->request.best_of : 1;
}

static struct serve_request group_request(struct inference_group *g, struct group_member *m, size_t member)
{
	const struct inference_request *r = &g->request;
	const struct ids *prompt = &r->prompts.items[m->choices->prompt].ids;
	const struct model_info *info = model_info(worker_model(g->worker));
	size_t room = info->max_positions - (info->kind == MODEL_SEQ2SEQ ? 0 : prompt->n);
	struct serve_request s = {.prompt = prompt->ids,
	        .n_prompt = prompt->n,
	        .adapter = inference_adapter_hold(g->adapter),
	        .strength = (float)r->strength,
	        .sample = r->sample.params,
	        .beams = r->sample.beams,
	        .n_choices = choices_per_request(g),
	        .max_tokens = r->max_tokens < room ? r->max_tokens : room,
	        .ignore_eos = r->ignore_eos,
	        .has_end_id = r->end_id >= 0,
	        .end_id = r->end_id,
	        .echo_logprobs = r->echo && r->logprobs,
	        .logprobs = r->logprobs || r->best_of > r->n,
	        .n_top_logprobs = r->n_top_logprobs,
	        .n_stops = r->n_stops,
	        .on_token = member_token,
	        .on_done = member_done,
	        .arg = m};

	/* With a seed of the request's own a prompt's answer does not depend on the prompts beside it. */
	s.sample.seed = sample_request_seed(g->seed, r->sample.has_seed ? member % r->best_of : member);
	memcpy(s.stops, r->stops, sizeof(s.stops));
	return s;
}

/* Submit the request of one member. A client that left meanwhile, or a member that failed, makes the rest
 * pointless: ERR_CANCELLED. */
static enum err group_submit(struct inference_group *g, size_t member, struct why *why)
{
	struct group_member *m = &g->members[member];
	struct serve_request s;
	uint64_t id;
	bool cancelled;
	enum err e;

	if (group_cancelled(g))
		return ERR_CANCELLED;
	s = group_request(g, m, member);
	pthread_mutex_lock(&g->lock);
	g->n_running += s.n_choices;
	pthread_mutex_unlock(&g->lock);
	e = worker_submit(g->worker, &s, &id, why);
	if (e) {
		s.adapter.release(s.adapter.owner);
		pthread_mutex_lock(&g->lock);
		g->n_running -= s.n_choices;
		pthread_mutex_unlock(&g->lock);
		return e;
	}
	pthread_mutex_lock(&g->lock);
	g->ids[g->n_submitted++] = id;
	cancelled = g->cancelled;
	pthread_mutex_unlock(&g->lock);
	if (cancelled)
		worker_cancel(g->worker, id);
	return OK;
}

/* Everything but the submitting. g->request is in place. */
static enum err group_init(struct inference_group *g)
{
	const struct model_info *info = model_info(worker_model(g->worker));
	const struct tokenizer *t = worker_tokenizer(g->worker);
	enum err e = OK;

	g->codec = g->request.kind == INFERENCE_CHAT ? &chat_codec : &completion_codec;
	g->n_choices = g->request.prompts.n * g->request.best_of;
	g->choices = mem_calloc(g->n_choices, sizeof(*g->choices));
	g->members = mem_calloc(g->n_choices, sizeof(*g->members));
	g->ids = mem_calloc(g->n_choices, sizeof(*g->ids));
	if (!g->choices || !g->members || !g->ids)
		return ERR_MEM;
	for (size_t i = 0; !e && i < g->n_choices; i++) {
		g->members[i] = (struct group_member){g, &g->choices[i]};
		e = inference_choice_init(
		        &g->choices[i], g->codec, &g->request, t, i / g->request.best_of, i);
	}
	if (!e)
		e = random_id(g->codec->id_prefix, GROUP_ID_CHARS, g->id);
	g->seed = g->request.sample.params.seed;
	if (!e && !g->request.sample.has_seed)
		e = random_bytes(&g->seed, sizeof(g->seed));
	snprintf(g->fingerprint, sizeof(g->fingerprint), "fp_%.10s", info->hash);
	g->head = (struct inference_head){.id = g->id,
	        .model = g->request.model,
	        .fingerprint = g->fingerprint,
	        .created = clock_now_ms() / 1000};
	return e;
}

static void group_run(struct inference_group *g)
{
	struct why why = {0};
	enum err e = OK;

	exchange_on_gone(g->x, group_gone, g);
	for (size_t i = 0; g->request.stream && i < g->n_choices; i++)
		group_emit_opening(g, &g->choices[i]);
	for (size_t i = 0; !e && i < g->n_choices; i += choices_per_request(g))
		e = group_submit(g, i, &why);
	if (e && e != ERR_CANCELLED)
		group_fail(g, e, &why);
	if (g->request.stream && !group_cancelled(g))
		group_open_stream(g);
	group_leave(g);
}

enum err inference_group_start(
        struct exchange *x, struct inference_request *request, const struct adapter_ref *adapter)
{
	struct inference_group *g = mem_calloc(1, sizeof(*g));
	enum err e;

	if (!g)
		return ERR_MEM;
	pthread_mutex_init(&g->lock, NULL);
	g->n_running = 1;
	g->x = x;
	g->worker = exchange_worker(x);
	g->request = *request;
	e = group_init(g);
	if (!e)
		e = inference_adapter_new(adapter, &g->adapter);
	if (e) {
		memset(&g->request, 0, sizeof(g->request));
		group_free(g);
		return e;
	}
	memset(request, 0, sizeof(*request));
	group_run(g);
	return OK;
}
