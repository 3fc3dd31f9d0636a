/*
 * One request from its acceptance to on_done: what it asked for, its keys and values, its text so far. It
 * turns logits into tokens, tokens into text and logs of probabilities, and says when it is finished; it
 * knows neither the queue nor its neighbours in the batch. Thread: made on the submitter's, then the serving
 * thread's, except where a field says otherwise.
 */
#ifndef REDD_SERVE_SEQUENCE_H
#define REDD_SERVE_SEQUENCE_H

#include "core/buf.h"
#include "core/rng.h"
#include "worker/serve/beam_run.h"
#include "worker/serve/prefix.h"
#include "worker/serve/sampler.h"
#include "worker/serve/serve.h"
#include "worker/serve/stop.h"

#include <stdatomic.h>

struct sequence {
	/* constant once made */
	struct serve_request request;
	uint64_t id;
	size_t max_tokens;  /* to generate: the request's, cut at the context */
	size_t n_positions; /* of the context, prompt and generated tokens together; 0 = none are kept */
	int64_t submitted_ns;
	size_t n_outputs; /* of the head, when it is to be classified */
	size_t n_rows;    /* of the batch it takes: one, or as many as it has beams */
	size_t n_choices;
	struct sample_history start; /* what its text continues */
	size_t n_ends;
	int32_t ends[MODEL_MAX_EOS + 1]; /* what ends the text */

	/* any thread */
	atomic_bool cancelled;

	/* under the engine's lock */
	struct sequence *prev, *next; /* in one of its lists */

	/* the serving thread's */
	float *outputs;                    /* owned (n_outputs) */
	struct kv *kv;                     /* owned; NULL with beams */
	struct beam_run *beams;            /* owned; NULL = tokens are sampled */
	const struct tokenizer *tokenizer; /* borrowed */
	struct detok *detok;               /* owned */
	struct stop_scan *stop;            /* owned; NULL = no stop strings */
	struct buf text;                   /* held back: it may begin a stop string */
	int32_t *generated;                /* owned (max_tokens); unused with beams */
	size_t n_generated;                /* with beams, of all choices, known at the end */
	size_t n_prefilled;                /* of the prompt */
	size_t n_reused;                   /* of the prompt, from what was kept */
	size_t n_fed;                      /* of those generated, into kv; not with beams */
	size_t n_echoed;                   /* of the prompt, reported */
	int64_t last_token_ns;             /* when the latest came */
	bool was_put_off;
	bool put_off;   /* lost its memory and waits for its turn to come again */
	struct rng rng; /* one draw a token, so that a draw depends on seed and step alone */
	bool stop_found;
	enum serve_finish finish; /* FINISH_NONE while it goes on */
	enum err error;
};

/* Beams of a request that has some, else 1. */
size_t sequence_rows_of(const struct serve_request *r);
/* The tokens that a model could see for one request: a seq2seq's source and answer together. */
size_t sequence_max_positions(const struct model_info *info);
/* Whether the prompt can be read, and how many tokens may follow it. */
bool sequence_room(
        const struct serve_request *r, const struct model_info *info, size_t context, size_t *room);
/* Whether context tokens and this model can take the request: ERR_INVALID, ERR_TOO_LONG. */
enum err sequence_check(
        const struct serve_request *r, const struct model_info *info, size_t context, struct why *why);
/* A waiting sequence for a request that was checked; costs little memory. ERR_MEM. */
enum err sequence_new(
        const struct serve_request *r, const struct model_info *info, size_t context, struct sequence **out);
/* Everything a running one needs but the pages of pool, so that its steps allocate nothing; pool is NULL when
 * n_positions is 0. Also of one that was put off. ERR_MEM: to be ended with that error. */
enum err sequence_begin(
        struct sequence *q, const struct model *m, struct kv_pool *pool, const struct tokenizer *t);
/* Give its pages back for others. Begun again it computes the same once more, without reporting anything
 * twice: sampled tokens are fed as they were, beams start afresh. */
void sequence_put_off(struct sequence *q);
/* Pages that it needs, as far as it is known by now, for the next token of each row. */
size_t sequence_pages(const struct sequence *q, const struct model_info *info, size_t page_tokens);
struct prefix_prompt sequence_prompt(const struct sequence *q);
/* Not yet submitted: nothing is called or released. NULL is allowed. */
void sequence_free(struct sequence *q);

/* A row of the next step: its cache and the token to feed. Beams become several rows with their first token.
 */
size_t sequence_n_rows(const struct sequence *q);
struct kv *sequence_kv(const struct sequence *q, size_t row);
int32_t sequence_token(const struct sequence *q, size_t row);

/* The next n_rows rows of it under its adapter. */
struct edit_run sequence_run(const struct sequence *q, size_t n_rows);

/* The first reason to finish counts; later ones are ignored. */
void sequence_end(struct sequence *q, enum serve_finish finish, enum err error);
/* Report prompt token i; logits (V) of the row before it, NULL for the first token. */
void sequence_echo(struct sequence *q, size_t i, size_t V, const float *logits);
/* Its rows' tokens have been fed. Choose the next of each from logits (n_rows, V), which may be overwritten,
 * and end the sequence where it ends; one that was put off may have been there before, and goes on with what
 * it chose then. Without beams the token is reported. */
void sequence_advance(
        struct sequence *q, const struct model_info *info, struct sampler *sampler, float *logits);
/* Report the answers of beams, give everything back, call on_done for each choice, free q. It has an end and
 * is in no list. */
void sequence_done(struct sequence *q);

#endif
