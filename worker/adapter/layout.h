/*
 * The inside of a layout, for the files of this folder: sites and their slots. Internal to adapter/.
 */
#ifndef REDD_ADAPTER_LAYOUT_H
#define REDD_ADAPTER_LAYOUT_H

#include "worker/adapter/adapter.h"
#include "worker/adapter/method.h"
#include "worker/adapter/safetensors.h"

struct adapter_layout {
	struct adapter_spec spec;
	const struct method *method;
	struct site *sites; /* owned (n_sites) */
	struct slot *slots; /* owned (n_sites) */
	size_t n_sites;
	size_t n_params;
	size_t first_site;
	/* The classification head behind the edits: n_labels 0 = none. */
	size_t head_width, n_labels, head_offset;
};

/* A matrix or vector of the classification head, in the order they lie in the parameter vector. */
struct head_tensor {
	const char *name;  /* in files */
	size_t rows, cols; /* cols 0 = a vector */
	size_t offset;     /* from head_offset */
};
#define HEAD_TENSORS 4
/* Those of a head; what lies behind them begins at the number returned. ERR_TOO_LARGE is 0. */
size_t head_tensors(size_t width, size_t n_labels, struct head_tensor out[HEAD_TENSORS]);
/* Whether a tensor of that name belongs to a head. */
bool head_tensor_is(const char *name);

/* A layout over a copy of sites whose i-th slot has parts[i], and a head unless n_labels is 0. ERR_TOO_LARGE
 * when the numbers overflow; ERR_MEM. */
enum err layout_build(const struct adapter_spec *spec, const struct site *sites, size_t n_sites,
        const unsigned *parts, size_t head_width, size_t n_labels, struct adapter_layout **out);
/* A layout of what the tensors edit, and their numbers; mem_free(*params). Names may lack or have more of the
 * model's outer names than sites' when that leaves no doubt. ERR_MISMATCH when a tensor fits no site or has
 * another width, ERR_FORMAT for what is no edit. */
enum err layout_from_tensors(const struct tensor *const *tensors, size_t n, const struct site *sites,
        size_t n_sites, struct adapter_layout **layout, float **params, struct why *why);

#endif
