/*
 * Adapters: small trained edits on the outputs of frozen modules. The model offers its editable modules as
 * `sites`; a spec says which of them a method edits; a layout assigns each its place in one flat float32
 * parameter vector, so that training, checkpoints and hashing see n_params numbers and nothing else.
 * Methods are a table (see method.h); nothing outside this folder asks which one it is.
 *
 * Scales, biases and their gradients are float32 always. Trained scales may be zero or negative.
 * A finished adapter is immutable; layouts are immutable from birth. Thread: any.
 */
#ifndef REDD_ADAPTER_ADAPTER_H
#define REDD_ADAPTER_ADAPTER_H

#include "core/buf.h"
#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITE_NAME_SIZE 96
#define ADAPTER_MAX_LAYERS 256
#define ADAPTER_MAX_LABELS 1024

/* Where edits may sit, in the paper's words; RES: on the stream after a branch's residual add, and after the
 * norm where it follows the sum. */
enum position {
	POSITION_FFN = 1,
	POSITION_ATTN = 2,
	POSITION_QKV = 4,
	POSITION_FFN_RES = 8,
	POSITION_ATTN_RES = 16
};
/* PART_LN: a layer norm behind scale and bias, with a weight and a bias of its own. */
enum part {
	PART_SCALE = 1,
	PART_BIAS = 2,
	PART_LN_WEIGHT = 4,
	PART_LN_BIAS = 8,
	PART_LN = PART_LN_WEIGHT | PART_LN_BIAS
};
/* Rows of the table in method.h. */
enum adapter_method { METHOD_RED };

/* One editable module of a base, in the order of the forward pass. */
struct site {
	char name[SITE_NAME_SIZE]; /* Hugging Face module path: "model.layers.0.mlp.down_proj" */
	enum position position;
	size_t layer;
	size_t width;
};

/* What a job asks for. */
struct adapter_spec {
	enum adapter_method method;
	unsigned positions; /* bits of enum position */
	unsigned parts;     /* bits of enum part */
	bool all_layers;
	uint8_t layers[ADAPTER_MAX_LAYERS]; /* 1 = edited; only when !all_layers */
};

/* In specs: "ffn". NULL for what is no position. */
const char *position_name(enum position p);

/* RED as in the paper: ffn, scale and bias, all layers. */
void adapter_spec_default(struct adapter_spec *spec);
/* Read the wire form
 * {"type":"red","positions":[..],"parts":[..],"layers":"all"|[..],"ln":false,"res":false}; NULL gives the
 * default. "ln" in parts is the same as "ln":true, beside which parts may be empty. "res":true moves ffn and
 * attn behind their residuals; as positions of their own these are "res" and "attn_res". ERR_INVALID with
 * why->param such as "adapter.positions". */
enum err adapter_spec_parse(const json_t *json, struct adapter_spec *spec, struct why *why);
/* The wire form, a new reference; NULL when memory is short. */
json_t *adapter_spec_json(const struct adapter_spec *spec);

struct adapter_layout; /* opaque */

/* What a manifest says of an adapter: the wire form's members, "type" as "method", and "trainable_params". A
 * new reference; NULL when memory is short. */
json_t *adapter_manifest(const struct adapter_layout *l);

/* Lay out spec over a base's sites (copied). ERR_INVALID when it selects no module, or a layer that is not
 * there. */
enum err adapter_layout_new(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        struct adapter_layout **out, struct why *why);
/* The same with a classification head behind the edits in the parameter vector: classifier.dense
 * (width,width) and bias, classifier.out_proj (n_labels,width) and bias. spec may select no module then (a
 * head alone). ERR_INVALID unless n_labels is 1 .. ADAPTER_MAX_LABELS. */
enum err adapter_layout_new_head(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        size_t width, size_t n_labels, struct adapter_layout **out, struct why *why);
void adapter_layout_free(struct adapter_layout *l);
/* Outputs of the head, 0 = there is none. */
size_t adapter_layout_head_labels(const struct adapter_layout *l);
/* The head's parts in a parameter or gradient vector; only when there is a head. */
struct adapter_head {
	float *dense_w, *dense_b, *out_w, *out_b; /* (width,width), (width), (n_labels,width), (n_labels) */
};
struct adapter_head adapter_layout_head(const struct adapter_layout *l, float *params);
/* Random start of the head as transformers initialises it: normal with deviation 0.02, biases zero. */
void adapter_layout_start_head(const struct adapter_layout *l, float *params, uint64_t seed);
size_t adapter_layout_n_params(const struct adapter_layout *l);
size_t adapter_layout_n_sites(const struct adapter_layout *l); /* of the base, edited or not */
bool adapter_layout_edits(const struct adapter_layout *l, size_t site);
/* The lowest edited site, or n_sites when none is. What lies below it needs no gradient. */
size_t adapter_layout_first_site(const struct adapter_layout *l);
/* Whether two layouts of one base were asked for alike and give every parameter the same place. */
bool adapter_layout_same(const struct adapter_layout *a, const struct adapter_layout *b);
const struct adapter_spec *adapter_layout_spec(const struct adapter_layout *l);
/* Write the values of one layout's parameters over another's of the same base, vector by vector; what `from`
 * has not stays as it is in to_params. ERR_MISMATCH when `from` trains something that `to` does not, or heads
 * have other outputs; to_params may have been written to then. */
enum err adapter_transfer(const struct adapter_layout *from, const float *from_params,
        const struct adapter_layout *to, float *to_params);
/* Another of the same. ERR_MEM. */
enum err adapter_layout_copy(const struct adapter_layout *l, struct adapter_layout **out);
/* One adapter of several of a base: every trained number is as far from the identity as theirs are together,
 * each weighed; heads are averaged by weight. A single share of weight 1 gives its own bits. *layout is the
 * caller's, mem_free(*params). ERR_EMPTY when all are the base; ERR_MISMATCH when heads have other outputs or
 * weights that cancel out; ERR_UNSUPPORTED when an edit is none that adapter_affine() knows; ERR_MEM. */
struct adapter_share {
	const struct adapter_layout *layout; /* borrowed; NULL = the base */
	const float *params;                 /* borrowed */
	double weight;
};
enum err adapter_blend(
        const struct adapter_share *shares, size_t n, struct adapter_layout **layout, float **params);
/* Start values: every edit the identity (of a layer norm, weight 1 and bias 0: it still norms), the head
 * zero. params (n_params). */
void adapter_layout_start(const struct adapter_layout *l, float *params);

/* A run of consecutive rows of a batch under one adapter. */
struct edit_run {
	size_t n_rows;
	const struct adapter_layout *layout; /* borrowed; NULL = the base, unedited */
	const float *params;                 /* borrowed (n_params) */
	/* 1 as trained, 0 the base's own bits, between them h + s * (edit(h) - h): of scale and bias that is
	 * 1 + s*(scale-1) and s*bias. */
	float strength;
};

/* Edit rows begin .. end - 1 of h (sum of n_rows, width of site; row distance ldh) in place, run by run; end
 * may be past the last. */
void adapter_forward(const struct edit_run *runs, size_t n_runs, size_t site, size_t begin, size_t end,
        float *h, size_t ldh);
/* Backward of one run at strength 1: dh overwritten with the gradient before the edit; grads (n_params)
 * accumulated; h is the value before the edit. */
void adapter_backward(const struct edit_run *run, size_t site, float *dh, size_t lddh, const float *h,
        size_t ldh, float *grads);

/* Where in grads (n_params) the gradient of a constant shift of the site's output is gathered, (width); NULL
 * when none is trained there. For a caller that knows that gradient more exactly than a sum over rows. */
float *adapter_shift_grads(const struct adapter_layout *l, size_t site, float *grads);

/* The edit at an edited site as h' = scale * h + shift, (width) each, for folding it into the module's own
 * weights. False when it is none such. */
bool adapter_affine(
        const struct adapter_layout *l, const float *params, size_t site, float *scale, float *shift);

/* One trained vector (width) in a parameter vector; NULL when the site has none of that part (one bit). */
const float *adapter_vector(const struct adapter_layout *l, const float *params, size_t site, enum part part);

/* Serialise as safetensors: F32 tensors (1, width) named NAME.delta_vector.activation_scaling / _bias, and
 * (width) named .activation_ln.weight / .bias, in site order, then the head's
 * classifier.{dense,out_proj}.{weight,bias}, with `manifest` (a JSON object or NULL) as __metadata__
 * {"manifest": "..."}. Same input, same bytes. Appends to out. */
enum err adapter_write(
        const struct adapter_layout *l, const float *params, const json_t *manifest, struct buf *out);
/* Read what adapter_write() wrote, or any safetensors of those names, against a base's sites. On success
 * *layout (owned by the caller) and *params (mem_free) are set, *manifest too unless NULL (new reference, or
 * NULL when the file has none). ERR_FORMAT; ERR_MISMATCH when a tensor fits no site or has another width; a
 * head is there whole or not at all, as wide as the feed-forward sites. */
enum err adapter_read(const void *data, size_t n, const struct site *sites, size_t n_sites,
        struct adapter_layout **layout, float **params, json_t **manifest, struct why *why);
/* Read an adapter that someone else may have made: safetensors, or what torch.save wrote (see torch_file.h),
 * told apart by their content; a head's tensors may lack "classifier.". Otherwise as adapter_read(); also
 * ERR_UNSUPPORTED and ERR_TOO_LARGE. */
enum err adapter_import(const void *data, size_t n, const struct site *sites, size_t n_sites,
        struct adapter_layout **layout, float **params, struct why *why);
/* The same with the head in a file of its own, of which why->param is "classifier". */
enum err adapter_import_with_head(const void *data, size_t n, const void *head, size_t n_head,
        const struct site *sites, size_t n_sites, struct adapter_layout **layout, float **params,
        struct why *why);

#endif
