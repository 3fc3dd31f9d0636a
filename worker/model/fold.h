/*
 * Folding: an adapter worked into its base's own weights gives a plain Hugging Face checkpoint,
 *   scale * (W a + c) + shift = (diag(scale) W) a + (scale * c + shift),
 * wherever the module has a bias, may be given one, or needs none. Thread: any that may wait for the disk.
 */
#ifndef REDD_MODEL_FOLD_H
#define REDD_MODEL_FOLD_H

#include "worker/model/model.h"

/* Write a tar archive of the folded checkpoint to fd from where it stands: config.json, model.safetensors
 * with every tensor in its own type (rounded to nearest, ties to even), tokenizer files as they are. It is
 * streamed; memory holds the edits and one piece. layout is of m's sites. ERR_UNSUPPORTED with the reason
 * when the architecture cannot carry the edits, ERR_IO, ERR_FORMAT when the directory has changed since m was
 * opened, ERR_MEM. */
enum err model_fold(const struct model *m, const struct adapter_layout *layout, const float *params, int fd,
        struct why *why);

#endif
