/*
 * A frozen base model: a Hugging Face directory mapped once and shared by every thread, the table of its
 * family, and the one transformer that runs it forward and backward.
 *
 * Letters: N rows (tokens packed without padding), C width, H heads, V vocabulary. Everything float32 but,
 * where it is asked for, the weights of linear maps.
 * Thread: model_open/close by one; the rest any, as a model is immutable. A workspace belongs to one thread
 * at a time; so does a kv.
 */
#ifndef REDD_MODEL_MODEL_H
#define REDD_MODEL_MODEL_H

#include "core/err.h"
#include "worker/adapter/adapter.h"
#include "worker/math/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_MAX_EOS 8
#define MODEL_HASH_SIZE 65

struct model;

enum model_kind {
	MODEL_CAUSAL,  /* a decoder: GPT-2, LLaMA */
	MODEL_ENCODER, /* bidirectional, with a trained classification head: RoBERTa, BERT */
	MODEL_SEQ2SEQ, /* encoder and decoder: T5 */
};

/* What others need to know of a base; the architecture's details stay inside model/. */
struct model_info {
	const char *family;     /* "gpt2", "llama" */
	const char *model_type; /* config.json's */
	enum model_kind kind;
	size_t n_layers;
	size_t width;         /* C */
	size_t vocab_size;    /* V, rows of the output head */
	size_t max_positions; /* context length in tokens */
	uint64_t n_params;
	enum matrix_format weights;     /* of the linear maps in memory */
	uint64_t weight_bytes;          /* what they take */
	int32_t bos_id;                 /* -1 when there is none */
	int32_t eos_ids[MODEL_MAX_EOS]; /* config.json's and generation_config.json's */
	size_t n_eos;
	int32_t decoder_start_id;   /* seq2seq: what the decoder begins with; -1 otherwise */
	char hash[MODEL_HASH_SIZE]; /* hex fingerprint of architecture and weights: the "base hash" of
	                               manifests */
};

/* Map the directory. ERR_NOT_FOUND, ERR_FORMAT, ERR_UNSUPPORTED, ERR_IO, ERR_MEM; why names file and reason.
 * Every linear map, the output head included, is held in `weights` alone. What is computed with bf16 or int8
 * weights: serving as product.h says; training with the float32 values that they stand for. The fingerprint
 * is that of the files, so adapters move between formats. */
enum err model_open_as(const char *dir, enum matrix_format weights, struct model **out, struct why *why);
/* The same in float32. */
enum err model_open(const char *dir, struct model **out, struct why *why);
/* Let training multiply bf16 weights by rows rounded to bf16, where the processor multiplies pairs of bf16:
 * half the time, a little less exact. Sums stay float32. Before workspaces are made; nothing for other
 * weights. */
void model_train_bf16(struct model *m);
void model_close(struct model *m);
const struct model_info *model_info(const struct model *m);
/* Editable modules in the order of the forward pass; they live as long as m. */
const struct site *model_sites(const struct model *m, size_t *n_sites);
/* The sites a config.json alone implies, without weights (for counting trainable numbers). mem_free(*sites).
 */
enum err model_config_sites(const char *config_json, struct site **sites, size_t *n_sites, struct why *why);

/* ---- training ---- */

/* One packed piece of a step: sequences one after the other, all under one adapter. What a kind of base does
 * not speak of is zero. */
struct train_batch {
	size_t n_rows;         /* N, the sum of lengths */
	const int32_t *tokens; /* (N); seq2seq: the decoder's, each sequence from decoder_start_id on */
	const int32_t *labels; /* (N): the token that row must predict, or -1: no loss here; not encoders */
	const float *weights;  /* of each label (N), encoders: of each sequence (n_seqs); NULL for 1 */
	size_t n_seqs;
	const size_t *lengths; /* (n_seqs), each 1 .. max_positions */

	/* Seq2seq: what the encoder reads for each sequence. */
	size_t n_source_rows;         /* M, the sum of source_lengths */
	const int32_t *source_tokens; /* (M) */
	const size_t *source_lengths; /* (n_seqs), each 1 .. max_positions */

	/* Encoders: one answer a sequence, by the layout's head: classes or targets, or neither for outputs
	 * alone. The second of two segments begins after the first separator, which is the token that a
	 * sequence ends with. */
	const int32_t *classes; /* (n_seqs): cross-entropy; -1: no loss here */
	const float *targets;   /* (n_seqs): squared error of the first output; NaN: no loss here */
	float dropout;          /* in the head, 0 .. below 1 */
	uint64_t dropout_seed;  /* which of the head's inputs are dropped; the same seed, the same ones */
	float *outputs;         /* (n_seqs, head labels) written, or NULL */

	/* Where the sequences' stems are, (length, model_stem_floats()) each, seq2seq: of their sources;
	 * NULL: nowhere. They are written, or, where they are known from another call, read instead of
	 * computed, to the same bits. */
	float *const *stems; /* (n_seqs) */
	bool stems_known;
};

/* The stem of a row is what it is before the first edit of a layout. Its floats; 0: to keep it gains nothing.
 */
size_t model_stem_floats(const struct model *m, const struct adapter_layout *layout);

/* Sums over a batch; divided by nobody. */
struct train_sums {
	double loss;   /* sum of weight * (cross-entropy or squared error) over what is labelled */
	double weight; /* sum of weights */
	size_t n_labels;
	size_t n_correct; /* labelled rows or sequences whose argmax is the label */
};

/* Activations and scratch for one thread. Address space for max_rows, source rows counted too, is reserved;
 * memory is touched as rows need. A batch that would touch more than max_bytes keeps less and computes it a
 * second time on its way back, half as slow again, to the same bits; 0 = no limit. */
struct train_workspace;
enum err train_workspace_new(
        const struct model *m, size_t max_rows, size_t max_bytes, struct train_workspace **out);
void train_workspace_free(struct train_workspace *w);
/* Bytes that a batch of n_rows (source rows counted too) touches in a workspace at most; `sparse`: of one
 * that keeps less. */
size_t train_workspace_bytes(const struct model *m, size_t n_rows, bool sparse);

/* Forward, and unless grads is NULL backward: grads (n_params) are accumulated with d(grad_scale *
 * sums.loss). *sums is overwritten. ERR_TOO_LARGE when the batch exceeds the workspace. Deterministic for a
 * given batch. */
enum err model_train(const struct model *m, struct train_workspace *w, const struct train_batch *batch,
        const struct adapter_layout *layout, const float *params, float grad_scale, float *grads,
        struct train_sums *sums);

/* ---- serving ---- */

/* Room for keys and values, cut into pages of some tokens each, for all sequences of one thread. */
struct kv_pool;
/* As many pages as bytes hold; they cost memory once touched. ERR_LIMIT: not one; ERR_MEM. */
enum err kv_pool_new(const struct model *m, size_t bytes, struct kv_pool **out);
/* Nobody holds a page any more. */
void kv_pool_free(struct kv_pool *p);
size_t kv_pool_page_tokens(const struct kv_pool *p);
size_t kv_pool_pages(const struct kv_pool *p);
size_t kv_pool_free_pages(const struct kv_pool *p);
/* Keep a page that a sequence holds, beyond its end, until it is given up; once at a time. */
void kv_page_keep(struct kv_pool *p, uint32_t page);
void kv_page_give_up(struct kv_pool *p, uint32_t page);
/* Kept, and held by no sequence; and how many are. */
bool kv_page_is_idle(const struct kv_pool *p, uint32_t page);
size_t kv_pool_idle_pages(const struct kv_pool *p);
/* What a pool needs that is to hold n_positions of one sequence. */
size_t kv_bytes(const struct model *m, size_t n_positions);

/* Keys and values of one sequence. It holds pages of a pool as it grows; it may share them. */
struct kv;
/* For up to n_positions tokens, a seq2seq's source and decoder tokens together; no page is taken yet.
 * kv_new() brings a pool of its own, large enough. ERR_MEM. */
enum err kv_new_in(struct kv_pool *p, size_t n_positions, struct kv **out);
enum err kv_new(const struct model *m, size_t n_positions, struct kv **out);
void kv_free(struct kv *kv);
/* Tokens the decoder has seen, and how many it could. */
size_t kv_length(const struct kv *kv);
size_t kv_capacity(const struct kv *kv);
size_t kv_held_pages(const struct kv *kv);
/* Forget all but the first n tokens. */
void kv_truncate(struct kv *kv, size_t n);
/* Make dst hold what src, of the same pool and of no greater capacity, holds: in the same pages, which either
 * leaves to the other before it writes to them. */
void kv_share(struct kv *dst, const struct kv *src);
/* Pages that the pool must have free before n more tokens can come. */
size_t kv_lacks_pages(const struct kv *kv, size_t n);
/* Take them. The passes do so themselves where the caller has not. ERR_TOO_LONG beyond the capacity,
 * ERR_LIMIT when the pool has too few; kv keeps what it holds in either case. */
enum err kv_extend(struct kv *kv, size_t n);
/* The page of the decoder's tokens i * page_tokens and on. */
uint32_t kv_page(const struct kv *kv, size_t i);
/* Append whole pages, kept ones, with the tokens in them; kv holds whole pages itself. */
void kv_adopt(struct kv *kv, const uint32_t *pages, size_t n_pages);

/* Scratch for prefill chunks of at most max_rows and decode steps of at most max_seqs. */
struct serve_workspace;
enum err serve_workspace_new(
        const struct model *m, size_t max_rows, size_t max_seqs, struct serve_workspace **out);
void serve_workspace_free(struct serve_workspace *w);
/* Let n_threads compute each pass, the caller's among them; at first it is the caller alone. The others live
 * until w is freed or told otherwise, by the thread that owns it. Results do not depend on how many there
 * are. ERR_MEM, ERR_LIMIT: as before. */
enum err serve_workspace_set_threads(struct serve_workspace *w, size_t n_threads);

/* Encoder bases: the head's outputs (n_seqs, head_labels) of each sequence, under its own adapter: one run a
 * sequence, runs[i].n_rows == lengths[i]; all their layouts have a head of `n_labels`. Results of a sequence
 * do not depend on the others. ERR_TOO_LARGE when the rows exceed the workspace. */
enum err model_classify(const struct model *m, struct serve_workspace *w, size_t n_seqs,
        const int32_t *tokens, const size_t *lengths, const struct edit_run *runs, size_t n_labels,
        float *outputs);
/* Seq2seq bases: encode the source (n_rows tokens) and keep the keys and values its cross-attention needs in
 * kv, which is empty. The decoder's own tokens follow by model_prefill() and model_decode(), beginning with
 * decoder_start_id. ERR_TOO_LARGE when the rows exceed the workspace, ERR_TOO_LONG when they exceed kv,
 * ERR_LIMIT when the pool has too few pages. */
enum err model_encode_source(const struct model *m, struct serve_workspace *w, struct kv *kv,
        const int32_t *tokens, size_t n_rows, const struct edit_run *run);

/* Append n_rows tokens of one sequence to kv. logit_rows (n_logits, ascending, each < n_rows) name the rows
 * whose logits (n_logits,V) are wanted. The result depends on this sequence and its chunks alone.
 * ERR_TOO_LONG when kv is full, ERR_LIMIT when its pool is, ERR_TOO_LARGE when n_rows exceeds the
 * workspace. */
enum err model_prefill(const struct model *m, struct serve_workspace *w, struct kv *kv, const int32_t *tokens,
        size_t n_rows, const struct edit_run *run, const size_t *logit_rows, size_t n_logits, float *logits);

/* One token for each of n sequences, each under its own run (runs[i].n_rows == 1); logits (n,V) of all.
 * A sequence's numbers do not depend on the others. ERR_TOO_LONG when any kv is full, ERR_LIMIT when their
 * pool is: then none has one more. */
enum err model_decode(const struct model *m, struct serve_workspace *w, size_t n, struct kv *const *kvs,
        const int32_t *tokens, const struct edit_run *runs, float *logits);

#endif
