/*
 * The continuous batcher: requests of all tenants decoded together, one step for all, each row under its own
 * adapter version, by one serving thread that owns the running batch and its KV caches.
 *
 * Requests wait in arrival order until a place in the batch and memory for the keys and values of their
 * prompts are free; more is taken as they grow. When it runs out, the youngest begins once more later, which
 * shows in nothing but its time. Prompts are taken in chunks between decode steps, so a long one does not
 * stall the others. Thread: start/stop by one; submit and cancel from any. Callbacks run on the serving
 * thread and must not block.
 */
#ifndef REDD_SERVE_SERVE_H
#define REDD_SERVE_SERVE_H

#include "worker/adapter/adapter.h"
#include "worker/model/model.h"
#include "worker/serve/histogram.h"
#include "worker/text/labels.h"
#include "worker/text/tokenizer.h"

#define SERVE_MAX_LOGPROBS 20
#define SERVE_MAX_STOPS 16
#define SERVE_MAX_BIAS 300
#define SERVE_MAX_BEAMS 32

/* An adapter version someone holds on to while a request uses it. release() is called once, on any thread. */
struct adapter_ref {
	const struct adapter_layout *layout; /* NULL = the base */
	const float *params;
	const struct labels *labels; /* of the layout's head; NULL = it has none */
	uint64_t version; /* which version, of the base too, and whose: a number that is never given again; 0
	                     = unknown, and nothing is kept of its requests */
	void (*release)(void *owner); /* may be NULL */
	void *owner;
};

struct sample_params {
	double temperature; /* 0 = greedy */
	double top_p;       /* 1 = all */
	double min_p;       /* 0 = all */
	size_t top_k;       /* 0 = all */
	double presence_penalty, frequency_penalty;
	double repetition_penalty;   /* 1 = none */
	size_t no_repeat_ngram_size; /* no n-gram of prompt and answer comes twice; 0 = any may */
	uint64_t seed;
	size_t n_bias;
	struct {
		int32_t id;
		float bias;
	} bias[SERVE_MAX_BIAS];
};

/* When beams stop looking for better answers: Hugging Face's early_stopping. */
enum early_stopping {
	EARLY_STOPPING_GUESS, /* false: once the best beam, as it is, scores worse than every finished answer
	                       */
	EARLY_STOPPING_FIRST, /* true: once there are as many finished answers as beams */
	EARLY_STOPPING_NEVER, /* "never": once no beam can become better */
};

struct beam_params {
	size_t n_beams; /* 0 and 1 = tokens are sampled, one row; else <= SERVE_MAX_BEAMS rows of the batch */
	double length_penalty; /* an answer scores its sum of log-probabilities / its length ^ this */
	enum early_stopping early_stopping;
};

struct token_logprob {
	int32_t id;
	float logprob; /* of the model's own distribution: before temperature and filters */
};

enum serve_finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED, FINISH_ERROR };

/* One token, as it becomes known. For prompt tokens (echo) has_logprob is false on the first. */
struct serve_token {
	size_t choice;
	int32_t id;
	bool is_prompt;
	bool has_logprob;
	float logprob;
	size_t n_top;
	const struct token_logprob *top; /* borrowed during the call, best first */
	const char *text; /* new certain text, borrowed; "" while a character is unfinished or a stop
	                     string may be beginning; prompt tokens have none */
	size_t n_text;
};

struct serve_result {
	size_t choice;
	enum serve_finish finish;
	enum err error; /* with FINISH_ERROR */
	size_t n_prompt;
	size_t n_reused; /* of the prompt, kept from an earlier one */
	size_t n_generated;
	const char *text; /* borrowed: text that was still held back when it finished */
	size_t n_text;
	const float *outputs; /* borrowed (n_outputs): the head's, of a request that was to classify */
	size_t n_outputs;
};

struct serve_request {
	/* borrowed until the last on_done returns */
	const int32_t *prompt; /* n_prompt >= 1; a seq2seq's encoder reads it, its decoder starts afresh */
	size_t n_prompt;
	bool classify; /* encoder bases: the head's outputs for the prompt are wanted; of the rest adapter,
	                  strength and on_done count */
	struct adapter_ref adapter;  /* taken over by a successful submit */
	float strength;              /* 1 as trained */
	struct sample_params sample; /* with beams temperature is 0: bias and penalties count */
	struct beam_params beams;    /* with beams all tokens come at the end, those of a choice together */
	size_t n_choices;            /* with beams, the so many best are wanted; 0 = 1, <= n_beams */
	size_t max_tokens;           /* 0 = score the prompt only */
	bool ignore_eos;
	bool has_end_id; /* end_id ends the text as the base's end-of-text ids do: a chat turn's own end */
	int32_t end_id;
	bool echo_logprobs;    /* report prompt tokens with their log-probabilities */
	bool logprobs;         /* report log-probabilities of generated tokens, and of the end of text that
	                          finished them, which has no text and is not counted */
	size_t n_top_logprobs; /* <= SERVE_MAX_LOGPROBS */
	size_t n_stops;
	const char *stops[SERVE_MAX_STOPS]; /* non-empty UTF-8; the text stops before one */
	void (*on_token)(void *arg, const struct serve_token *token); /* may be NULL */
	/* Exactly once for each choice after a successful submit; the request is over with the last choice's.
	 */
	void (*on_done)(void *arg, const struct serve_result *result);
	void *arg;
};

struct serve_options {
	const struct model *model;         /* borrowed */
	const struct tokenizer *tokenizer; /* borrowed */
	size_t max_batch;    /* rows decoded together: one a request, or as many as it has beams */
	size_t max_queue;    /* rows waiting beyond the batch's free places; when full: ERR_BUSY */
	size_t kv_bytes;     /* limit on keys and values together; what it holds of one is the context */
	size_t prefill_rows; /* chunk of a prompt between two decode steps; 0 = by the vocabulary. Beginnings
	                        of prompts are kept by the chunk when it is a multiple of 16 */
	size_t n_threads;    /* that compute each pass, the serving thread among them; 0 = that alone */
};

struct serve;
struct serve_stats {
	size_t running, waiting;
	uint64_t prompt_tokens, generated_tokens, steps;
	uint64_t batch_rows;                           /* sum over steps: / steps = mean batch size */
	size_t rows;                                   /* that the running take in the batch */
	size_t kv_pages, kv_pages_used, kv_pages_kept; /* kept: used by beginnings of prompts alone, and
	                                                  given up when others need them */
	uint64_t prefix_hits, prefix_tokens; /* prompts that began as an earlier one; tokens not computed for
	                                        it, which prompt_tokens leaves out */
	uint64_t put_off; /* times that a running request gave its memory to an older one and began again */
	struct histogram first_token, next_token; /* from submission to a request's first token, and from
	                                             token to token; tokens of beams come all at once */
};

/* ERR_MEM, ERR_LIMIT (kv_bytes hold no sequence), ERR_INVALID; why says which. */
enum err serve_start(const struct serve_options *options, struct serve **out, struct why *why);
/* Takes no more requests, waits for those it has at most drain_ms, cancels the rest, joins. */
void serve_stop(struct serve *s, int drain_ms);
/* *id names the request for serve_cancel(). The struct is copied; what it points to is borrowed as said
 * above. ERR_TOO_LONG when the prompt leaves no room for a token, ERR_BUSY, ERR_INVALID; nothing is taken
 * over then. */
enum err serve_submit(struct serve *s, const struct serve_request *request, uint64_t *id, struct why *why);
/* on_done follows soon with FINISH_CANCELLED, unless it was done already. */
void serve_cancel(struct serve *s, uint64_t id);
void serve_stats(struct serve *s, struct serve_stats *out);
/* True while the batch is not empty: trainers yield to it. */
bool serve_busy(struct serve *s);

#endif
