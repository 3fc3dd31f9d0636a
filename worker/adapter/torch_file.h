/*
 * A reader of what torch.save writes for a dictionary of tensors: the zip archive of PyTorch 1.6 and later,
 * and the file of pickles from before. Nothing in it is executed: see pickle.h; besides plain data only
 * PyTorch's own tensors, parameters and storages are let in. Tensors that are views (offsets, strides,
 * transposed) are gathered; every size is checked against the storage it speaks of.
 * Thread: any; a reader is immutable from birth.
 */
#ifndef REDD_ADAPTER_TORCH_FILE_H
#define REDD_ADAPTER_TORCH_FILE_H

#include "worker/adapter/safetensors.h"

#include <stdbool.h>

#define TORCH_FILE_MAX_TENSORS 8192
/* Of all tensors that had to be gathered, together: a view may repeat its numbers. */
#define TORCH_FILE_MAX_GATHERED ((size_t)64 << 20)

struct torch_file;

/* Whether the file begins as torch.save's do. */
bool torch_file_is(const void *data, size_t n);
/* data (n) is borrowed for the reader's life. ERR_FORMAT, ERR_UNSUPPORTED for what is no dictionary of
 * tensors or asks for anything else, ERR_TOO_LARGE, ERR_MEM; why names tensor and reason. */
enum err torch_file_new(const void *data, size_t n, struct torch_file **out, struct why *why);
void torch_file_free(struct torch_file *f);
size_t torch_file_count(const struct torch_file *f);
/* The i-th tensor (i < count), by name in byte order. It lives as long as f. */
const struct tensor *torch_file_at(const struct torch_file *f, size_t i);
/* All of them in that order; mem_free(*out). ERR_MEM. */
enum err torch_file_list(const struct torch_file *f, const struct tensor ***out);

#endif
